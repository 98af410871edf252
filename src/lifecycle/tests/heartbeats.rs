//! Eight hours of five hundred held lifecycle hooks under a controlled clock: calls take their time, eight at once,
//! some are refused, and twice the leader dies in the middle of them with everything that it knew.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use jiff::SignedDuration;

use super::hooks::{beating, blocked};
use super::world::{NOTICE, World, hook};
use crate::api::policy::OnDrainFailure;
use crate::lifecycle::HookTimeout;

const HOOKS: usize = 500;
/// Between two heartbeats, in seconds: not more often, so that the test is over in seconds.
const INTERVAL: i64 = 600;
/// A hook ends if it hears nothing for so many seconds.
const TIMEOUT: i64 = 900;
const EIGHT_HOURS: i64 = 8 * 3600;
/// Calls to Auto Scaling in flight at once, as in `aws::lifecycle`.
const IN_FLIGHT: usize = 8;
/// How long a call takes, in milliseconds.
const LATENCY: i64 = 200;
/// One of so many calls is refused, as when Auto Scaling throttles.
const REFUSED_ONE_OF: usize = 50;
/// When a leader dies, and when the next one leads, in milliseconds after the notice: in the middle of the calls of one turn.
const FAILOVERS: [(i64, i64); 2] = [
    (12 * INTERVAL * 1000 + 4100, 12 * INTERVAL * 1000 + 9100),
    (30 * INTERVAL * 1000 + 3300, 30 * INTERVAL * 1000 + 18_300),
];

/// All incidents, the calls in flight, and when each incident's next pass is due; times in milliseconds after the notice.
struct Fleet {
    worlds: Vec<World>,
    /// When each place among the calls is free again.
    places: [i64; IN_FLIGHT],
    due: BinaryHeap<Reverse<(i64, usize)>>,
    calls: usize,
    refused: usize,
    /// When each hook was heard of last.
    heard: Vec<i64>,
    longest_silence: i64,
    /// Hooks that have ended, for want of a heartbeat.
    missed: BTreeSet<usize>,
    /// How late after its place on the grid a heartbeat was, at most, beside the failovers.
    latest: i64,
}

impl Fleet {
    fn new() -> Self {
        let interval = u32::try_from(INTERVAL).unwrap();
        let world = |_| {
            let mut world = blocked(beating(interval, 172_800), OnDrainFailure::Wait);
            world.timeout = HookTimeout::Known {
                heartbeat: SignedDuration::from_secs(TIMEOUT),
                global: SignedDuration::from_secs(100 * TIMEOUT),
            };
            world
        };
        Self {
            worlds: (0..HOOKS).map(world).collect(),
            places: [0; IN_FLIGHT],
            due: (0..HOOKS).map(|n| Reverse((0, n))).collect(),
            calls: 0,
            refused: 0,
            heard: vec![0; HOOKS],
            longest_silence: 0,
            missed: BTreeSet::new(),
            latest: 0,
        }
    }

    /// Runs all passes that are due before `end`, and all of them if nobody dies.
    fn run(&mut self, end: i64, dies: bool) {
        while let Some(Reverse((due, n))) = self.due.pop() {
            let start = if self.calls_at(n, due) {
                due.max(*self.places.iter().min().unwrap())
            } else {
                due
            };
            if start >= end {
                self.due.push(Reverse((due, n)));
                return;
            }
            let before = self.worlds[n].object.clone();
            let done = self.pass(n, start);
            if dies && done > end {
                // Auto Scaling has heard it, and nobody is left to write it down.
                self.worlds[n].object = before;
            }
        }
    }

    /// Whether that pass calls Auto Scaling.
    fn calls_at(&self, n: usize, due: i64) -> bool {
        let status = self.worlds[n].status();
        let next = status
            .lifecycle_actions
            .first()
            .and_then(|a| a.next_heartbeat_time.clone());
        next.is_some_and(|next| (next.0.as_second() - NOTICE) * 1000 <= due)
    }

    /// One incident's passes at that time; returns when they are over.
    fn pass(&mut self, n: usize, start: i64) -> i64 {
        let calls = self.calls_at(n, start);
        let refused = calls && self.calls % REFUSED_ONE_OF == REFUSED_ONE_OF - 1;
        let world = &mut self.worlds[n];
        let action = world.actions.get_mut(&hook(1).id).unwrap();
        action.throttled = refused;
        let before = action.beats.len();
        world.now = NOTICE + start / 1000;
        world.turn();
        let done = start + if calls { LATENCY } else { 0 };
        let next = world.next_pass().map(|s| (s - NOTICE) * 1000);
        self.due
            .extend(next.map(|next| Reverse((next.max(done), n))));
        self.calls += usize::from(calls);
        self.refused += usize::from(refused);
        if calls {
            *self.places.iter_mut().min().unwrap() = done;
        }
        let sent = self.worlds[n].actions[&hook(1).id].beats.len() - before;
        assert_eq!(sent, usize::from(calls && !refused), "{n} at {start}");
        if sent > 0 {
            self.hear(n, done);
        }
        done
    }

    /// Nothing was heard of the hook until then.
    fn silent(&mut self, n: usize, until: i64) {
        let silence = until - self.heard[n];
        self.longest_silence = self.longest_silence.max(silence);
        if silence > TIMEOUT * 1000 {
            self.missed.insert(n);
        }
    }

    fn hear(&mut self, n: usize, at: i64) {
        self.silent(n, at);
        self.heard[n] = at;
        let failing = |(dies, leads): &(i64, i64)| (*dies..*leads + INTERVAL * 1000).contains(&at);
        if !FAILOVERS.iter().any(failing) {
            self.latest = self.latest.max(at % (INTERVAL * 1000));
        }
    }

    /// The process is gone, with all that it knew; the next one looks at everything.
    fn fail_over(&mut self, leads: i64) {
        self.worlds.iter_mut().for_each(World::crash);
        self.places = [leads; IN_FLIGHT];
        self.due = (0..HOOKS).map(|n| Reverse((leads, n))).collect();
    }

    fn beats(&self) -> Vec<usize> {
        let beats = |w: &World| w.actions[&hook(1).id].beats.len();
        self.worlds.iter().map(beats).collect()
    }
}

#[test]
fn in_eight_hours_of_five_hundred_held_hooks_no_heartbeat_is_missed_though_two_leaders_die() {
    let mut fleet = Fleet::new();
    for (dies, leads) in FAILOVERS {
        fleet.run(dies, true);
        fleet.fail_over(leads);
    }
    fleet.run((EIGHT_HOURS + INTERVAL) * 1000 - 1, false);
    (0..HOOKS).for_each(|n| fleet.silent(n, EIGHT_HOURS * 1000));
    let beats = fleet.beats();
    println!(
        "{HOOKS} hooks: {} missed; {} heartbeats, {} calls refused; the longest silence was {} ms; at most {} ms late",
        fleet.missed.len(),
        beats.iter().sum::<usize>(),
        fleet.refused,
        fleet.longest_silence,
        fleet.latest,
    );
    assert!(fleet.missed.is_empty(), "{:?}", fleet.missed);
    // What the calls of one turn take; a refused call is repeated after five seconds, and some are refused again.
    let turn = i64::try_from(HOOKS / IN_FLIGHT + 1).unwrap() * LATENCY;
    let slow = turn + 2 * (5000 + LATENCY);
    assert!(fleet.latest <= slow, "{}", fleet.latest);
    let gap = FAILOVERS[1].1 - FAILOVERS[1].0;
    assert!(fleet.longest_silence <= INTERVAL * 1000 + gap + slow);
    let on_the_grid = usize::try_from(EIGHT_HOURS / INTERVAL).unwrap();
    for beats in beats {
        // One that the dying leader sent and did not write down is sent again.
        assert!((on_the_grid..=on_the_grid + 2).contains(&beats), "{beats}");
    }
}

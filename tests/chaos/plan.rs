//! What a run does, drawn from its seed alone: the nodes and their stories, and every step with its time. What comes of
//! it in the end also depends on the machine; the same seed asks the same of it again.

pub mod deed;
pub mod fault;
pub mod story;

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use deed::Deed;
pub use fault::Fault;
pub use story::{Notice, NoticeKind, Story};

/// Everything that a run does.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub nodes: Vec<NodePlan>,
    /// Notices to send, in the order of their times.
    pub notices: Vec<Step<Notice>>,
    /// What fails, one after another.
    pub faults: Vec<Step<Fault>>,
    /// What people do.
    pub deeds: Vec<Step<Deed>>,
    /// From when on nothing fails any more.
    pub calm: Duration,
    /// By how much the clocks of the two replicas are ahead.
    pub clocks: [SignedDuration; 2],
}

/// Something to be done, so long after the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<T> {
    pub at: Duration,
    pub act: T,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePlan {
    pub pool: Pool,
    pub story: Story,
    /// The pods that no controller makes.
    pub pods: Vec<PodPlan>,
    /// Somebody had cordoned it before.
    pub cordoned: bool,
}

/// The policy that a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    /// Budgets hold until a pod's last moment.
    Deadline,
    /// Budgets hold, whatever happens. The cordon of a recommendation expires.
    Respect,
    /// Like `Deadline`, with heartbeats.
    Beat,
    /// Nothing is changed.
    Observe,
}

impl Pool {
    pub const ALL: [Self; 4] = [Self::Deadline, Self::Respect, Self::Beat, Self::Observe];

    pub fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Respect => "respect",
            Self::Beat => "beat",
            Self::Observe => "observe",
        }
    }

    /// Whether its policy acts.
    pub fn acts(self) -> bool {
        self != Self::Observe
    }
}

/// A pod that no controller makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// Its `terminationGracePeriodSeconds`.
    pub grace: u32,
    /// How long it really takes to go.
    pub gone_after: Duration,
    /// A budget selects it that never has room.
    pub kept: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(seed: u64, nodes: usize, calm: Duration) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let nodes: Vec<NodePlan> = (0..nodes).map(|_| NodePlan::draw(&mut random)).collect();
        // Those that come last still have the time that is left of them.
        let bursts: Vec<Duration> = (0..random.random_range(2..=5))
            .map(|_| calm.mul_f64(random.random_range(0.05..0.6)))
            .collect();
        let mut notices = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let burst = *bursts.choose(&mut random).unwrap();
            notices.extend(node.story.notices(index, node.pool, burst, &mut random));
        }
        notices.sort_by_key(|s| s.at);
        Self {
            seed,
            faults: fault::draw(calm, &mut random),
            deeds: deed::draw(calm, &nodes, &mut random),
            nodes,
            notices,
            calm,
            clocks: [(); 2].map(|()| clock(&mut random)),
        }
    }
}

/// How far a clock is ahead: mostly it is right, sometimes a second off, sometimes far.
pub fn clock(random: &mut ChaCha8Rng) -> SignedDuration {
    SignedDuration::from_secs(
        *[0, 0, 0, 0, 1, -1, 7, -30, 90, -600, 3600]
            .choose(random)
            .unwrap(),
    )
}

impl NodePlan {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let pools = [
            (Pool::Deadline, 50),
            (Pool::Respect, 25),
            (Pool::Beat, 13),
            (Pool::Observe, 12),
        ];
        let pool = pools.choose_weighted(random, |p| p.1).unwrap().0;
        let pods = (0..random.random_range(1..=3))
            .map(|_| PodPlan::draw(pool, random))
            .collect();
        Self {
            pool,
            story: Story::draw(pool, random),
            pods,
            cordoned: random.random_ratio(1, 20),
        }
    }
}

impl PodPlan {
    fn draw(pool: Pool, random: &mut ChaCha8Rng) -> Self {
        let grace = *[1, 5, 10, 30, 30, 120].choose(random).unwrap();
        Self {
            grace,
            gone_after: Duration::from_secs(random.random_range(0..=grace.min(3)).into()),
            // With heartbeats the end is further away than a run takes.
            kept: pool != Pool::Beat && random.random_ratio(1, 8),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} nodes, {} notices, {} faults, {} deeds of people in {:?}",
            self.nodes.len(),
            self.notices.len(),
            self.faults.len(),
            self.deeds.len(),
            self.calm
        )
    }
}

#[test]
fn a_seed_always_gives_the_same_plan_and_another_seed_another() {
    let draw = |seed| Plan::draw(seed, 20, Duration::from_secs(30));
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn every_story_fault_and_deed_is_drawn_by_some_seed() {
    use std::collections::BTreeSet;
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let plan = Plan::draw(seed, 30, Duration::from_secs(30));
        let word = |debug: String| debug.split([' ', '(', '{']).next().unwrap().to_owned();
        seen.extend(plan.nodes.iter().map(|n| word(format!("{:?}", n.story))));
        seen.extend(plan.faults.iter().map(|s| word(format!("{:?}", s.act))));
        seen.extend(plan.deeds.iter().map(|s| word(format!("{:?}", s.act.kind))));
    }
    assert_eq!(
        seen.len(),
        story::KINDS + fault::KINDS + deed::KINDS,
        "{seen:?}"
    );
}

//! Time: second after second, with the passes that are due in each, and the pods and volumes that go.

use jiff::Timestamp;

use super::{NOTICE, World, at};
use crate::drain::volumes::NodeVolumes;

/// More passes than this within a second are a loop without end.
const SPIN: u32 = 40;

impl World {
    /// Lets time run until `done`, at most so many seconds.
    pub fn run(&mut self, seconds: i64, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds {
            self.turn();
            if done(self) {
                return true;
            }
            self.tick();
        }
        false
    }

    /// Lets so many seconds pass.
    pub fn run_for(&mut self, seconds: i64) {
        self.run(seconds, |_| false);
        self.turn();
    }

    /// The second of the next pass, if nothing else happens before.
    pub fn next_pass(&self) -> Option<i64> {
        let wake = self.memory.wake.map(Timestamp::as_second);
        if self.dirty { Some(self.now) } else { wake }
    }

    /// Every pass that is due this second.
    pub fn turn(&mut self) {
        for passes in 0.. {
            let due = self.memory.wake.is_some_and(|w| w <= at(self.now));
            if self.dirty || due {
                self.dirty = false;
                self.pass();
            }
            self.serve();
            if !self.dirty && self.memory.wake.is_none_or(|w| w > at(self.now)) {
                return;
            }
            assert!(
                passes < SPIN,
                "passes without end at {}: {:?}",
                self.now - NOTICE,
                self.status()
            );
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pods)
            .into_iter()
            .partition(|p| !self.stuck && p.deletion.is_some_and(|d| d.ends <= at(self.now)));
        self.pods = left;
        if self.pods.is_empty() {
            // The node's own word is gone before the detach is tried.
            if let Some(node) = &mut self.node {
                node.volumes = NodeVolumes::default();
            }
            let before = self.attached.len();
            self.attached.iter_mut().for_each(|(_, after)| *after -= 1);
            self.attached.retain(|(_, after)| *after > 0);
            // Only who watches attachments hears of it.
            self.dirty |= self.memory.volumes && self.attached.len() != before;
        }
        for pod in gone {
            self.dirty = true;
            self.replacements.insert(pod.name);
            // The replacement is ready elsewhere: the budget has its room again.
            self.tell_budget();
        }
    }
}

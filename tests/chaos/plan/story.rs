//! What AWS says of one instance, and what becomes of it.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{Pool, Step};

/// How many sorts of stories there are.
#[cfg(test)]
pub const KINDS: usize = 9;

/// What happens to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Nothing.
    Quiet,
    /// It is taken back.
    Spot,
    /// It is at risk, and then taken back.
    RebalanceThenSpot,
    /// It is at risk, and nothing follows.
    Rebalance,
    /// Its group terminates it, with one hook or two.
    Hooks,
    /// Its group terminates it while it is taken back.
    HooksAndSpot,
    /// Somebody terminates it.
    StateChange,
    /// It is to be rebooted, and is.
    Reboot,
    /// It was to be rebooted.
    CanceledReboot,
}

/// One notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The node, by its number.
    pub node: usize,
    pub kind: NoticeKind,
    /// Which of the queues it comes by.
    pub queue: usize,
    /// How often.
    pub copies: usize,
}

/// What a notice says. What is `left` is the time until the machine goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Spot {
        left: Duration,
    },
    Rebalance,
    /// With so many hooks; the notice is so old.
    Hooks {
        count: usize,
        age: Duration,
    },
    StateChange {
        age: Duration,
    },
    Reboot {
        left: Duration,
    },
    RebootCanceled,
}

/// The heartbeat time-out of hooks in pools without heartbeats, and with them.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(75);
pub const BEATING_TIMEOUT: Duration = Duration::from_secs(50);
/// `drain.timeoutSeconds` of every policy.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(40);

impl Story {
    pub fn draw(pool: Pool, random: &mut ChaCha8Rng) -> Self {
        let stories = [
            (Self::Quiet, 12),
            (Self::Spot, 30),
            (Self::RebalanceThenSpot, 8),
            (Self::Rebalance, 5),
            (Self::Hooks, 20),
            (Self::HooksAndSpot, 8),
            (Self::StateChange, 5),
            (Self::Reboot, 6),
            (Self::CanceledReboot, 6),
        ];
        let story = stories.choose_weighted(random, |s| s.1).unwrap().0;
        // An expired recommendation would close the incident that the spot notice, which is dated back, belongs to.
        match (pool, story) {
            (Pool::Respect, Self::RebalanceThenSpot) => Self::Spot,
            _ => story,
        }
    }

    /// Whether the instance is gone in the end.
    pub fn ends_instance(self) -> bool {
        !matches!(
            self,
            Self::Quiet | Self::Rebalance | Self::Reboot | Self::CanceledReboot
        )
    }

    /// What is said, from that time on.
    pub fn notices(
        self,
        node: usize,
        pool: Pool,
        burst: Duration,
        random: &mut ChaCha8Rng,
    ) -> Vec<Step<Notice>> {
        let seconds = |from: u64, to: u64, random: &mut ChaCha8Rng| {
            Duration::from_millis(random.random_range(from * 1000..=to * 1000))
        };
        let spot = NoticeKind::Spot {
            left: seconds(25, 45, random),
        };
        let hooks = NoticeKind::Hooks {
            count: random.random_range(1..=2),
            age: match pool {
                // The planned heartbeats are in the past and in the future.
                Pool::Beat => seconds(40, 70, random),
                _ => seconds(30, 50, random),
            },
        };
        let said = match self {
            Self::Quiet => vec![],
            Self::Spot => vec![spot],
            Self::RebalanceThenSpot => vec![NoticeKind::Rebalance, spot],
            Self::Rebalance => vec![NoticeKind::Rebalance],
            Self::Hooks => vec![hooks],
            Self::HooksAndSpot if random.random() => vec![hooks, spot],
            Self::HooksAndSpot => vec![spot, hooks],
            Self::StateChange => vec![NoticeKind::StateChange {
                age: seconds(0, 10, random),
            }],
            Self::Reboot => vec![NoticeKind::Reboot {
                left: seconds(35, 50, random),
            }],
            Self::CanceledReboot => {
                vec![
                    NoticeKind::Reboot {
                        left: seconds(60, 90, random),
                    },
                    NoticeKind::RebootCanceled,
                ]
            }
        };
        let mut at = burst + seconds(0, 1, random);
        let mut notices = Vec::new();
        for kind in said {
            let notice = Notice {
                node,
                kind,
                queue: random.random_range(0..2),
                copies: if random.random_ratio(1, 4) {
                    random.random_range(2..=3)
                } else {
                    1
                },
            };
            notices.push(Step { at, act: notice });
            at += seconds(0, 6, random);
        }
        if self == Self::CanceledReboot && random.random_ratio(1, 4) {
            // Queues do not keep the order.
            let (first, second) = (notices[0].at, notices[1].at);
            (notices[0].at, notices[1].at) = (second, first);
        }
        notices
    }
}

//! What fails.

use std::time::Duration;

use jiff::SignedDuration;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use testbed::aws::FaultKind;

use super::{Step, clock};

/// How many sorts of faults there are.
#[cfg(test)]
pub const KINDS: usize = 8;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// SIGKILL of the leader, which starts again so long after, with a clock that is so far ahead.
    KillLeader {
        back_after: Duration,
        ahead: SignedDuration,
    },
    /// SIGSTOP of the leader, longer than its lease: then two believe that they lead, until it looks at its clock.
    FreezeLeader {
        lasting: Duration,
    },
    /// Somebody else writes its name into the lease.
    StealLease,
    DeleteLease,
    /// SIGKILL of the API server.
    StopApiServer {
        lasting: Duration,
    },
    /// SIGKILL of etcd, which starts again at once.
    RestartEtcd,
    /// Every connection of both replicas to the API server is cut.
    CutConnections,
    /// Calls of one operation fail.
    Aws {
        operation: &'static str,
        kind: FaultKind,
        lasting: Duration,
    },
}

/// The calls that may fail.
const OPERATIONS: [&str; 7] = [
    "ReceiveMessage",
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "CompleteLifecycleAction",
    "RecordLifecycleActionHeartbeat",
    "DescribeLifecycleHooks",
];

/// How they may fail. Of a receive, `Duplicate` leaves the messages visible.
const KINDS_OF_AWS: [FaultKind; 6] = [
    FaultKind::InternalError,
    FaultKind::Throttling,
    FaultKind::AccessDenied,
    FaultKind::LostReply,
    FaultKind::LostReply,
    FaultKind::TimeOut(Duration::from_secs(3)),
];

/// Faults until then, with pauses in which things can recover, and be judged.
pub fn draw(calm: Duration, random: &mut ChaCha8Rng) -> Vec<Step<Fault>> {
    let mut faults: Vec<Step<Fault>> = Vec::new();
    let mut at = Duration::from_millis(random.random_range(500..4000));
    while at < calm.mul_f64(0.9) {
        let act = Fault::draw(random);
        // An outage of the API server takes a fifth of a run: one of them must do.
        let again = faults.iter().filter(|s| s.act.is_outage()).count() > 0;
        if !(again && act.is_outage()) {
            faults.push(Step { at, act });
        }
        at += Duration::from_millis(random.random_range(1500..5000));
    }
    faults
}

impl Fault {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let millis = |from, to, random: &mut ChaCha8Rng| {
            Duration::from_millis(random.random_range(from..to))
        };
        match random.random_range(0..20) {
            0..4 => {
                let back_after = millis(200, 4000, random);
                let ahead = clock(random);
                Self::KillLeader { back_after, ahead }
            }
            4..6 => Self::FreezeLeader {
                lasting: millis(5500, 9000, random),
            },
            6 => Self::StealLease,
            7 => Self::DeleteLease,
            8..10 => Self::StopApiServer {
                lasting: millis(100, 3000, random),
            },
            10 => Self::RestartEtcd,
            11..13 => Self::CutConnections,
            _ => Self::draw_aws(random),
        }
    }

    fn draw_aws(random: &mut ChaCha8Rng) -> Self {
        let operation = *OPERATIONS.choose(random).unwrap();
        let redelivers = operation == "ReceiveMessage" && random.random_ratio(1, 3);
        Self::Aws {
            operation,
            kind: if redelivers {
                FaultKind::Duplicate
            } else {
                *KINDS_OF_AWS.choose(random).unwrap()
            },
            lasting: Duration::from_millis(random.random_range(500..5000)),
        }
    }

    fn is_outage(self) -> bool {
        matches!(self, Self::StopApiServer { .. } | Self::RestartEtcd)
    }
}

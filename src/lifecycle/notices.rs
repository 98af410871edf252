//! Who is to be told: the stages that a pass brought an incident to, and what became of those that were told.
//!
//! A stage is reached between two records, the one that stood and the one that a pass has made of it. It becomes a row
//! in the record, and only what stands there is sent: so nothing is told of that a crash has undone, a process that
//! starts anew goes on with the rows, and a policy that gains a notification tells nothing of what was before.

use jiff::Timestamp;

use crate::api::policy::Stage;
use crate::api::termination::{
    NOTIFIED_MAX, NOTIFIED_MESSAGE_MAX, NodeTerminationStatus, NotificationState,
    NotificationStatus, Phase,
};
use crate::api::{Time, bounded};

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// Its name in the policy.
    pub name: String,
    /// The stage.
    pub stage: Stage,
    /// How it stands.
    pub state: NotificationState,
    /// When it was accepted.
    pub sent_at: Option<Timestamp>,
    /// What the last failed attempt came to.
    pub message: Option<String>,
}

/// Adds a row for each stage that the incident has come to since `before`, for everybody who wants to be told.
pub fn reach(before: &NodeTerminationStatus, status: &mut NodeTerminationStatus, now: Timestamp) {
    let Some(policy) = status.policy.as_ref() else {
        return;
    };
    let mut rows = Vec::new();
    for notification in &policy.notifications {
        for stage in Stage::ALL {
            let known = |r: &NotificationStatus| r.name == notification.name && r.stage == stage;
            if notification.stages.contains(&stage)
                && is_at(stage, status)
                && !is_at(stage, before)
                && !status.notifications.iter().any(known)
            {
                rows.push(NotificationStatus {
                    name: notification.name.clone(),
                    stage,
                    state: NotificationState::Pending,
                    reached_at: Time(now),
                    sent_at: None,
                    message: None,
                });
            }
        }
    }
    status.notifications.extend(rows);
    status.notifications.truncate(NOTIFIED_MAX);
}

fn is_at(stage: Stage, status: &NodeTerminationStatus) -> bool {
    match stage {
        Stage::Received => status.policy.is_some(),
        Stage::Waiting => status.phase == Some(Phase::Waiting),
        Stage::Draining => status.phase == Some(Phase::Draining),
        Stage::Blocked => status.started_at.is_some() && !status.blocked.is_empty(),
        Stage::Drained => status.drained_at.is_some(),
        Stage::Released => status.phase == Some(Phase::Released),
        Stage::Completed => status.phase == Some(Phase::Completed),
        Stage::Canceled => status.phase == Some(Phase::Canceled),
        Stage::Failed => status.phase == Some(Phase::Failed),
    }
}

/// The rows that are still to be sent, in the order of the record. For one receiver that is the order of the stages.
pub fn pending(status: &NodeTerminationStatus) -> impl Iterator<Item = &NotificationStatus> {
    let rows = status.notifications.iter();
    rows.filter(|r| r.state == NotificationState::Pending)
}

/// Puts down what became of those that were sent. What has been settled stays so.
pub fn settle(status: &mut NodeTerminationStatus, notified: &[Notified]) {
    for told in notified {
        let is = |r: &&mut NotificationStatus| r.name == told.name && r.stage == told.stage;
        let mut rows = status.notifications.iter_mut();
        let Some(row) = rows.find(is) else { continue };
        if row.state != NotificationState::Pending {
            continue;
        }
        row.state = told.state;
        row.sent_at = told.sent_at.map(Time);
        let message = told.message.clone();
        row.message = message.map(|m| bounded(m, NOTIFIED_MESSAGE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::termination::{EffectiveNotification, EffectivePolicy};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn policy(told: &[(&str, &[Stage])]) -> EffectivePolicy {
        let told = told.iter().map(|(name, stages)| EffectiveNotification {
            name: (*name).to_owned(),
            stages: stages.to_vec(),
        });
        EffectivePolicy {
            notifications: told.collect(),
            ..EffectivePolicy::default()
        }
    }

    fn rows(status: &NodeTerminationStatus) -> Vec<(&str, Stage, i64)> {
        let rows = status.notifications.iter();
        rows.map(|r| (r.name.as_str(), r.stage, r.reached_at.0.as_second()))
            .collect()
    }

    fn told(name: &str, stage: Stage, became: NotificationState) -> Notified {
        Notified {
            name: name.to_owned(),
            stage,
            state: became,
            sent_at: (became == NotificationState::Sent).then(|| at(50)),
            message: None,
        }
    }

    #[test]
    fn each_stage_is_told_once_to_those_who_want_it_in_the_order_of_the_stages() {
        let mut status = NodeTerminationStatus {
            policy: Some(policy(&[
                ("all", &[Stage::Drained, Stage::Draining, Stage::Received]),
                ("end", &[Stage::Drained]),
            ])),
            phase: Some(Phase::Draining),
            ..NodeTerminationStatus::default()
        };
        reach(&NodeTerminationStatus::default(), &mut status, at(1));
        let begun = [("all", Stage::Received, 1), ("all", Stage::Draining, 1)];
        assert_eq!(rows(&status), begun);

        // It is drained, drains again on account of something new, and is drained again.
        for (second, drained) in [(2, true), (3, false), (4, true)] {
            let before = status.clone();
            status.drained_at = drained.then(|| Time(at(second)));
            reach(&before, &mut status, at(second));
        }
        let after = [("all", Stage::Drained, 2), ("end", Stage::Drained, 2)];
        assert_eq!(rows(&status)[2..], after);
        assert_eq!(status.notifications.len(), 4);
    }

    #[test]
    fn a_policy_that_gains_a_notification_tells_nothing_of_what_was_before() {
        let every = &Stage::ALL[..];
        let before = NodeTerminationStatus {
            policy: Some(policy(&[])),
            phase: Some(Phase::Waiting),
            ..NodeTerminationStatus::default()
        };
        let mut status = before.clone();
        status.policy = Some(policy(&[("late", every)]));
        reach(&before, &mut status, at(1));
        assert_eq!(rows(&status), []);
        let before = status.clone();
        status.phase = Some(Phase::Canceled);
        reach(&before, &mut status, at(2));
        assert_eq!(rows(&status), [("late", Stage::Canceled, 2)]);
    }

    #[test]
    fn what_was_settled_stays_so_and_what_nobody_knows_is_no_row() {
        let mut status = NodeTerminationStatus {
            policy: Some(policy(&[("one", &[Stage::Received])])),
            ..NodeTerminationStatus::default()
        };
        reach(&NodeTerminationStatus::default(), &mut status, at(1));
        assert_eq!(pending(&status).count(), 1);
        let sent = told("one", Stage::Received, NotificationState::Sent);
        let other = told("two", Stage::Received, NotificationState::Sent);
        settle(&mut status, &[sent, other]);
        let failed = told("one", Stage::Received, NotificationState::Failed);
        settle(&mut status, &[failed]);
        assert_eq!(pending(&status).count(), 0);
        assert_eq!(status.notifications.len(), 1);
        let row = &status.notifications[0];
        assert_eq!(row.state, NotificationState::Sent);
        assert_eq!(row.sent_at.as_ref().unwrap().0, at(50));
    }

    #[test]
    fn the_record_never_holds_more_rows_than_its_schema_allows() {
        let mut status = NodeTerminationStatus::default();
        for n in 0..100 {
            let before = NodeTerminationStatus {
                phase: None,
                ..status.clone()
            };
            let name = format!("n{n}");
            status.policy = Some(policy(&[(name.as_str(), &[Stage::Waiting])]));
            status.phase = Some(Phase::Waiting);
            reach(&before, &mut status, at(n));
        }
        assert_eq!(status.notifications.len(), NOTIFIED_MAX);
    }
}

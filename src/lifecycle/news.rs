//! What is worth an Event: cordoned, blocked, done, failed.

pub(super) mod pod;

use super::foresee::WOULD_DRAIN;
use super::gone::REGISTERED_ANEW;
use super::say::{CORDON_LIFTED, CORDONED, DRAINED, OUT_OF_SERVICE, UNDONE, waiting};
use super::{found, risk};
use crate::api::condition::{self, FORBIDDEN, READY};
use crate::api::termination::{
    NodeTermination, NodeTerminationStatus, NotificationState, Outcome, Phase, WaitReason,
};

/// Something worth an Event on the object or its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// In one CamelCase word.
    pub reason: &'static str,
    /// It needs attention.
    pub warning: bool,
    /// In a sentence.
    pub note: String,
}

impl News {
    /// The node was closed or opened: whoever looks at the node wants to know why.
    #[must_use]
    pub fn is_about_the_node(&self) -> bool {
        matches!(
            self.reason,
            "Cordoned"
                | "CordonLifted"
                | "Canceled"
                | "Returned"
                | "OutOfService"
                | "BackInService"
        )
    }
}

/// What is worth an Event, given what the record said before and says now: cordoned, blocked, done, failed.
#[must_use]
pub fn happenings(
    object: &NodeTermination,
    before: &NodeTerminationStatus,
    now: &NodeTerminationStatus,
) -> Vec<News> {
    let kind = now.reason.unwrap_or_default().as_str();
    // A hook's time-out is read after the cordon: before, its deadline is a guess.
    let deadline = now
        .deadline
        .as_ref()
        .filter(|_| now.lifecycle_actions.iter().all(|a| a.state.is_over()))
        .filter(|_| !object.spec.signals.iter().any(found::names_no_hook))
        .map_or_else(String::new, |d| format!(", deadline {:.0}", d.0));
    let mut news = Vec::new();
    if before.cordoned_at.is_none() && now.cordoned_at.is_some() {
        news.push(News {
            reason: "Cordoned",
            warning: false,
            note: format!(
                "{kind} of {}{deadline}",
                object.instance_id().unwrap_or(&object.spec.node_name)
            ),
        });
    }
    news.extend(waits(before, now));
    let lifted = |s: &NodeTerminationStatus| condition::holds(&s.conditions, CORDON_LIFTED);
    // One that is left open is told of as what the incident waits for.
    if !lifted(before) && lifted(now) && now.waiting.is_none() {
        let said = condition::find(&now.conditions, CORDON_LIFTED);
        news.push(News {
            reason: "CordonLifted",
            warning: true,
            note: said.map(|c| c.message.clone()).unwrap_or_default(),
        });
    }
    news.extend(service(before, now));
    news.extend(forbidden(before, now));
    news.extend(anew(before, now));
    news.extend(not_notified(before, now));
    let works = now.started_at.is_some();
    if works && before.blocked.is_empty() && !now.blocked.is_empty() {
        let note = condition::find(&now.conditions, DRAINED)
            .map(|c| c.message.clone())
            .unwrap_or_default();
        news.push(News {
            reason: "Blocked",
            warning: true,
            note,
        });
    }
    if let Some(said) = risk::forecast(now).filter(|_| risk::forecast(before).is_none()) {
        news.push(News {
            reason: risk::DEADLINE_AT_RISK,
            warning: true,
            note: said.to_owned(),
        });
    }
    let outcome = now.outcome.map_or("", Outcome::as_str);
    if before.phase != now.phase {
        match now.phase {
            Some(Phase::Released) if now.outcome == Some(Outcome::DrainIncomplete) => {
                let note = condition::find(&now.conditions, DRAINED)
                    .map(|c| c.message.clone())
                    .unwrap_or_default();
                news.push(News {
                    reason: "DrainIncomplete",
                    warning: true,
                    note: note + &nothing_brings_back(now),
                });
            }
            Some(Phase::Released) => {
                let would = condition::find(&now.conditions, WOULD_DRAIN);
                let would = would.map_or_else(String::new, |c| format!(": {}", c.message));
                let bare = nothing_brings_back(now);
                news.push(News {
                    reason: "Released",
                    warning: !bare.is_empty(),
                    note: format!("{kind}: {outcome}{would}{bare}"),
                });
            }
            Some(Phase::Canceled) => news.push(News {
                reason: "Canceled",
                warning: false,
                note: format!("{kind}: {outcome}; what was done to the node was undone"),
            }),
            Some(Phase::Completed) if is_undone(now) => news.push(News {
                reason: "Returned",
                warning: false,
                note: format!("{kind}: the machine is back; what was done to the node was undone"),
            }),
            Some(Phase::Failed) if before.phase != Some(Phase::Released) => news.push(News {
                reason: "Failed",
                warning: true,
                note: format!("{kind}: {outcome}"),
            }),
            _ => {}
        }
    }
    news
}

/// Whether the drain does not fit its deadline as things stand.
#[must_use]
pub fn is_at_risk(status: &NodeTerminationStatus) -> bool {
    risk::forecast(status).is_some()
}

/// The operator's own pod is the last on its node.
#[must_use]
pub fn hands_over() -> News {
    News {
        reason: "HandsOver",
        warning: false,
        note: "the operator's own pod is the last to go: another replica is to lead first"
            .to_owned(),
    }
}

/// Somebody who was to be told is not, and will not be.
#[must_use]
pub fn not_notified(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Vec<News> {
    let failed = |s: &NodeTerminationStatus| {
        let rows = s.notifications.iter().cloned();
        rows.filter(|r| r.state == NotificationState::Failed)
            .collect::<Vec<_>>()
    };
    let known = failed(before);
    let new = failed(now).into_iter().filter(|row| !known.contains(row));
    new.map(|row| News {
        reason: "NotificationFailed",
        warning: true,
        note: format!(
            "{} was not told that it is {}: {}",
            row.name,
            row.stage.as_str(),
            row.message.unwrap_or_default()
        ),
    })
    .collect()
}

/// It waits for something, or for something else than before. Whoever holds it knows.
fn waits(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    let reason = |s: &NodeTerminationStatus| s.waiting.as_ref().map(|w| w.reason);
    let told = now
        .waiting
        .as_ref()
        .filter(|w| w.reason != WaitReason::Held)?;
    (reason(before) != Some(told.reason)).then(|| News {
        reason: told.reason.as_str(),
        warning: matches!(
            told.reason,
            WaitReason::NodeNotFound | WaitReason::Uncordoned
        ),
        note: waiting(told),
    })
}

/// Pods without a controller left: whoever made them must make them anew. No Event of its own: it would be one more
/// request for each node.
fn nothing_brings_back(now: &NodeTerminationStatus) -> String {
    if now.unmanaged.is_empty() {
        return String::new();
    }
    let names = now.unmanaged.join(", ");
    format!("; these have no controller, and nothing brings them back: {names}")
}

/// The operator's roles do not let it do what the incident needs, or an admission policy does not.
fn forbidden(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    became(READY, FORBIDDEN, before, now)
}

/// The Node went, and its instance, which is still to go, has another.
fn anew(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    became(CORDONED, REGISTERED_ANEW, before, now)
}

/// A condition has come to this reason, which it had not before.
fn became(
    kind: &str,
    reason: &'static str,
    before: &NodeTerminationStatus,
    now: &NodeTerminationStatus,
) -> Option<News> {
    let said = |s: &NodeTerminationStatus| {
        let said = condition::find(&s.conditions, kind)?;
        (said.reason == reason).then(|| said.message.clone())
    };
    let note = said(now).filter(|_| said(before).is_none())?;
    let warning = true;
    Some(News {
        reason,
        warning,
        note,
    })
}

/// The out-of-service taint was put on, or taken off.
fn service(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    let is_out = |s: &NodeTerminationStatus| condition::holds(&s.conditions, OUT_OF_SERVICE);
    let said = condition::find(&now.conditions, OUT_OF_SERVICE)?;
    (is_out(before) != is_out(now)).then(|| News {
        reason: if is_out(now) {
            "OutOfService"
        } else {
            "BackInService"
        },
        warning: is_out(now),
        note: said.message.clone(),
    })
}

/// What was put on the node was taken off.
fn is_undone(status: &NodeTerminationStatus) -> bool {
    let cordoned = condition::find(&status.conditions, CORDONED);
    cordoned.is_some_and(|c| c.reason == UNDONE)
}

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
    let first = [
        cordoned(object, before, now),
        waits(before, now),
        lifted(before, now),
        service(before, now),
        forbidden(before, now),
        anew(before, now),
    ];
    let last = [
        blocked(before, now),
        at_risk(before, now),
        comes_to(before, now),
    ];
    let mut news: Vec<News> = first.into_iter().flatten().collect();
    news.extend(not_notified(before, now));
    news.extend(last.into_iter().flatten());
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

/// The node was closed.
fn cordoned(
    object: &NodeTermination,
    before: &NodeTerminationStatus,
    now: &NodeTerminationStatus,
) -> Option<News> {
    if before.cordoned_at.is_some() || now.cordoned_at.is_none() {
        return None;
    }
    // A hook's time-out is read after the cordon: before, its deadline is a guess.
    let deadline = now
        .deadline
        .as_ref()
        .filter(|_| now.lifecycle_actions.iter().all(|a| a.state.is_over()))
        .filter(|_| !object.spec.signals.iter().any(found::names_no_hook))
        .map_or_else(String::new, |d| format!(", deadline {:.0}", d.0));
    let machine = object.instance_id().unwrap_or(&object.spec.node_name);
    Some(News {
        reason: "Cordoned",
        warning: false,
        note: format!("{} of {machine}{deadline}", kind(now)),
    })
}

/// What the incident is.
fn kind(now: &NodeTerminationStatus) -> &'static str {
    now.reason.unwrap_or_default().as_str()
}

/// Somebody opened the node. One that is left open is told of as what the incident waits for.
fn lifted(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    let lifted = |s: &NodeTerminationStatus| condition::holds(&s.conditions, CORDON_LIFTED);
    (!lifted(before) && lifted(now) && now.waiting.is_none()).then(|| News {
        reason: "CordonLifted",
        warning: true,
        note: said(now, CORDON_LIFTED),
    })
}

/// The message of a condition, if it is there.
fn said(status: &NodeTerminationStatus, kind: &str) -> String {
    let said = condition::find(&status.conditions, kind);
    said.map(|c| c.message.clone()).unwrap_or_default()
}

/// Something refuses the first of the node's pods.
fn blocked(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    let works = now.started_at.is_some();
    (works && before.blocked.is_empty() && !now.blocked.is_empty()).then(|| News {
        reason: "Blocked",
        warning: true,
        note: said(now, DRAINED),
    })
}

/// The plan does not fit the deadline any more.
fn at_risk(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    let said = risk::forecast(now).filter(|_| risk::forecast(before).is_none())?;
    Some(News {
        reason: risk::DEADLINE_AT_RISK,
        warning: true,
        note: said.to_owned(),
    })
}

/// Another phase, if it is one that tells how the work has ended.
fn comes_to(before: &NodeTerminationStatus, now: &NodeTerminationStatus) -> Option<News> {
    if before.phase == now.phase {
        return None;
    }
    let kind = kind(now);
    let outcome = now.outcome.map_or("", Outcome::as_str);
    let (reason, warning, note) = match now.phase? {
        Phase::Released if now.outcome == Some(Outcome::DrainIncomplete) => {
            let note = said(now, DRAINED) + &nothing_brings_back(now);
            ("DrainIncomplete", true, note)
        }
        Phase::Released => {
            let would = condition::find(&now.conditions, WOULD_DRAIN);
            let would = would.map_or_else(String::new, |c| format!(": {}", c.message));
            let bare = nothing_brings_back(now);
            let note = format!("{kind}: {outcome}{would}{bare}");
            ("Released", !bare.is_empty(), note)
        }
        Phase::Canceled => {
            let note = format!("{kind}: {outcome}; what was done to the node was undone");
            ("Canceled", false, note)
        }
        Phase::Completed if is_undone(now) => {
            let note = format!("{kind}: the machine is back; what was done to the node was undone");
            ("Returned", false, note)
        }
        Phase::Failed if before.phase != Some(Phase::Released) => {
            ("Failed", true, format!("{kind}: {outcome}"))
        }
        _ => return None,
    };
    Some(News {
        reason,
        warning,
        note,
    })
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

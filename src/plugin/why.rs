//! `why`: what blocks a drain, who, since when, and what happens next at what time.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::record::{self, REASON, is_by_hand};
use super::table::{NONE, facts, table};
use super::{CALL, ages, progress};
use crate::api::Time;
use crate::api::condition::{self, Condition, READY, RECONCILING, STALLED};
use crate::api::termination::{
    BlockedPod, NodeTermination, NodeTerminationStatus, Phase, SignalKind, WaitReason,
};

/// The condition that tells ahead that a drain does not fit its deadline.
const AT_RISK: &str = "DeadlineAtRisk";
/// The conditions whose words stand above the tables already.
const TOLD: [&str; 7] = [
    READY,
    RECONCILING,
    STALLED,
    AT_RISK,
    "Cordoned",
    "Drained",
    "WouldDrain",
];

/// What is to be told of one record.
#[must_use]
pub fn text(object: &NodeTermination, now: Timestamp) -> String {
    let status = record::status(object);
    let mut parts = vec![head(object, &status, now)];
    if !status.blocked.is_empty() {
        parts.push(blocked(&status.blocked, now));
    }
    if !status.left.is_empty() {
        let rows = status.left.iter().map(|pod| {
            let reason = format!("{:?}", pod.reason);
            [pod.pod.clone(), reason, pod.message.clone()]
        });
        parts.push(table(
            ["LEFT ALONE", "REASON", "MESSAGE"],
            &rows.collect::<Vec<_>>(),
        ));
    }
    let others: Vec<_> = status.conditions.iter().filter_map(other).collect();
    if !others.is_empty() {
        parts.push(table(["CONDITION", "REASON", "MESSAGE"], &others));
    }
    parts.extend(next(object, &status, now));
    parts.join("\n")
}

fn head(object: &NodeTermination, status: &NodeTerminationStatus, now: Timestamp) -> String {
    let age = ages::age(record::age(object, now));
    let asked = object.annotations().get(REASON);
    let asked = asked.map_or_else(String::new, |text| format!(": {text}"));
    let phase = record::phase(object).as_str();
    let outcome = status.outcome.map_or_else(String::new, |o| {
        let outcome = o.as_str();
        format!(" ({outcome})")
    });
    let mut lines = vec![
        ("Node", object.spec.node_name.clone()),
        ("Record", format!("nt/{}, {age} old", object.name_any())),
        ("Cause", format!("{}{asked}", record::kind(object))),
        ("Phase", format!("{phase}{outcome}")),
        ("State", progress::sentence(object)),
    ];
    if let Some(policy) = &status.policy {
        let name = if policy.name.is_empty() {
            "none: the defaults of one"
        } else {
            &policy.name
        };
        lines.push(("Policy", name.to_owned()));
    }
    if let Some(deadline) = &status.deadline {
        lines.push(("Deadline", ages::at(deadline.0, now)));
    }
    lines.extend(pods(status).map(|pods| ("Pods", pods)));
    let risk = condition::find(&status.conditions, AT_RISK).filter(|c| c.status == "True");
    lines.extend(risk.map(|c| ("At risk", format!("{}: {}", c.reason, c.message))));
    facts(&lines)
}

/// The pods, counted: what there is none of is left out.
fn pods(status: &NodeTerminationStatus) -> Option<String> {
    let pods = status.pods.as_ref()?;
    let counts = [
        (pods.evicted, "terminating"),
        (pods.blocked, "blocked"),
        (pods.stuck, "stuck"),
        (pods.forced, "deleted past a refusal"),
        (pods.skipped, "left alone"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, how)| format!(", {count} {how}"));
    let counts = counts.collect::<Vec<_>>().concat();
    Some(format!("{} gone{counts}", pods.summary))
}

/// The table of pods that can not leave yet.
fn blocked(pods: &[BlockedPod], now: Timestamp) -> String {
    let rows = pods.iter().map(|pod| {
        let forced = match pod.force_time.as_ref().map(|t| t.0) {
            None => "never".to_owned(),
            Some(at) if at <= now => format!("tried for {}", ages::since(at, now)),
            Some(at) => format!("in {}", ages::since(now, at)),
        };
        [
            pod.pod.clone(),
            pod.reason.as_str().to_owned(),
            pod.by.clone().unwrap_or_else(|| NONE.to_owned()),
            ages::since(pod.since.0, now),
            forced,
            pod.message.clone(),
        ]
    });
    table(
        ["BLOCKED", "REASON", "BY", "SINCE", "FORCED", "MESSAGE"],
        &rows.collect::<Vec<_>>(),
    )
}

fn other(condition: &Condition) -> Option<[String; 3]> {
    let told = TOLD.contains(&condition.type_.as_str());
    (!told).then(|| {
        let name = format!("{}={}", condition.type_, condition.status);
        [name, condition.reason.clone(), condition.message.clone()]
    })
}

/// What happens next, by time and by whom it can be changed.
fn next(
    object: &NodeTermination,
    status: &NodeTerminationStatus,
    now: Timestamp,
) -> Option<String> {
    if !record::is_open(object) {
        return None;
    }
    let mut events = events(object, status);
    events.retain(|(at, _)| *at > now);
    events.sort();
    let rows: Vec<_> = events
        .into_iter()
        .map(|(at, what)| {
            [
                format!("in {}", ages::since(now, at)),
                format!("{at:.0}"),
                what,
            ]
        })
        .collect();
    let table = (!rows.is_empty()).then(|| table(["NEXT", "AT", "WHAT"], &rows));
    let hint = hint(object, status).map(|hint| format!("{hint}\n"));
    let parts: Vec<String> = table.into_iter().chain(hint).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

fn events(object: &NodeTermination, status: &NodeTerminationStatus) -> Vec<(Timestamp, String)> {
    let mut events = Vec::new();
    if let Some((until, what)) = status.waiting.as_ref().and_then(|w| {
        let until = w.until.as_ref()?;
        Some((until.0, wait_ends(w.reason)))
    }) {
        events.push((until, what.to_owned()));
    }
    events.extend(first_forced(&status.blocked));
    for action in &status.lifecycle_actions {
        if let Some(Time(at)) = action.next_heartbeat_time {
            events.push((
                at,
                format!("heartbeat of lifecycle hook {}", action.hook_name),
            ));
        }
    }
    let drains = matches!(
        record::phase(object),
        Phase::Pending | Phase::Waiting | Phase::Draining
    );
    let deadline = deadline(object).filter(|_| drains);
    if let Some((Time(at), what)) = status.deadline.as_ref().zip(deadline) {
        events.push((*at, what.to_owned()));
    }
    events.extend(expiry(object, status));
    events
}

/// The soonest time at which blocked pods are told to end whatever holds them.
fn first_forced(pods: &[BlockedPod]) -> Option<(Timestamp, String)> {
    let times = pods
        .iter()
        .filter_map(|p| Some((p.force_time.as_ref()?.0, p)));
    let times: Vec<_> = times.collect();
    let (at, pod) = times.iter().min_by_key(|(at, _)| *at)?;
    let others = times.iter().filter(|(time, _)| time == at).count() - 1;
    let pod = &pod.pod;
    let who = match others {
        0 => pod.clone(),
        others => format!("{pod} and {others} more"),
    };
    Some((*at, format!("told to end whatever holds it: {who}")))
}

fn wait_ends(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Held => "it is held no longer",
        WaitReason::MaintenanceWindow => "the drain begins, for the maintenance window opens soon",
        WaitReason::LimitReached => "the drain begins, whatever limits.maxConcurrent says",
        WaitReason::NodeNotFound => "it fails, if no Node has the name by then",
        WaitReason::Uncordoned => "the node is closed again, for its deadline presses",
    }
}

/// What happens at the deadline. One that only we have set does not bind a drain that is held: its time begins anew.
fn deadline(object: &NodeTermination) -> Option<&'static str> {
    let status = record::status(object);
    let held = status.waiting.as_ref();
    let held = held.is_some_and(|w| w.reason == WaitReason::Held);
    Some(match status.reason.unwrap_or(SignalKind::Manual) {
        SignalKind::Manual | SignalKind::RebalanceRecommendation if held => return None,
        SignalKind::Manual | SignalKind::RebalanceRecommendation => {
            "deadline: shortly before, the drain is over with whatever is left"
        }
        SignalKind::ScheduledMaintenance => "deadline: the maintenance window opens",
        SignalKind::AutoScalingTermination => "deadline: Auto Scaling waits no longer",
        SignalKind::SpotInterruption
        | SignalKind::CapacityReservation
        | SignalKind::InstanceStateChange => "deadline: the machine goes",
    })
}

/// When the cordon of a recommendation is lifted.
fn expiry(object: &NodeTermination, status: &NodeTerminationStatus) -> Option<(Timestamp, String)> {
    let recommended = status.reason == Some(SignalKind::RebalanceRecommendation);
    let after = status.policy.as_ref()?.cordon.expire_seconds?;
    let cordoned = status.cordoned_at.as_ref().filter(|_| recommended)?.0;
    let at = cordoned.checked_add(SignedDuration::from_secs(after.into()));
    let node = &object.spec.node_name;
    let what = format!("{node} is opened again, if nothing but recommendations has come");
    Some((at.ok()?, what))
}

/// What a person can do about it.
fn hint(object: &NodeTermination, status: &NodeTerminationStatus) -> Option<String> {
    let node = &object.spec.node_name;
    if object.spec.cancel || object.metadata.deletion_timestamp.is_some() {
        return Some("it is being canceled".to_owned());
    }
    if object.spec.hold {
        return Some(format!("`{CALL} release {node}` lets it go on"));
    }
    match (
        record::phase(object),
        status.waiting.as_ref().map(|w| w.reason),
    ) {
        (Phase::Pending, _) if object.status.is_none() => Some(progress::unheard(node)),
        (_, Some(WaitReason::Uncordoned)) => Some(format!("`kubectl cordon {node}` lets it go on")),
        (Phase::Released, _) if is_by_hand(object) => {
            Some(format!("`{CALL} cancel {node}` opens the node again"))
        }
        _ => None,
    }
}

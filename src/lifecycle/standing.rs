//! Which signals still stand, and what those that stand mean for the machine.
//!
//! A signal is never taken off an incident. What takes it back is another one: maintenance that is moved, canceled or
//! over, and a stopped instance that runs again.

use jiff::Timestamp;

use crate::api::termination::{MaintenanceEvent, MaintenanceState, RUNNING, Signal, SignalKind};

/// The signals that still stand.
#[must_use]
pub fn standing(signals: &[Signal]) -> Vec<&Signal> {
    let stands = |signal: &&Signal| match &signal.maintenance {
        Some(event) => is_scheduled(signal, event, signals),
        None => !is_undone(signal, signals),
    };
    signals.iter().filter(stands).collect()
}

/// Whether the latest notice about the event says that it comes, at this time. Instance metadata and AWS Health name
/// one event differently: the same work in the same window is the same event.
fn is_scheduled(signal: &Signal, event: &MaintenanceEvent, signals: &[Signal]) -> bool {
    let notice = |s: &Signal| {
        (
            s.notice_time.0,
            s.maintenance.as_ref().map(|m| m.state as u8),
        )
    };
    let others = signals
        .iter()
        .filter_map(|s| Some((s, s.maintenance.as_ref()?)));
    let overtaken = others
        .filter(|(other, _)| notice(other) > notice(signal))
        .any(|(_, other)| {
            let ends = other.state != MaintenanceState::Scheduled;
            other.event_id == event.event_id || (ends && is_spelt_twice(event, other))
        });
    event.state == MaintenanceState::Scheduled && !overtaken
}

fn is_spelt_twice(event: &MaintenanceEvent, other: &MaintenanceEvent) -> bool {
    let of_health = |e: &MaintenanceEvent| e.event_id.starts_with("arn:");
    of_health(other) != of_health(event)
        && Work::of(other) == Work::of(event)
        && other.not_before.is_some()
        && other.not_before == event.not_before
}

/// Whether the instance ran again after it had stopped on account of this signal.
fn is_undone(signal: &Signal, signals: &[Signal]) -> bool {
    let runs = |s: &Signal| state(s) == Some(RUNNING);
    let since = signals
        .iter()
        .filter(|s| runs(s))
        .map(|s| s.notice_time.0)
        .max();
    let Some(since) = since else { return false };
    let stopped = signals
        .iter()
        .any(|s| has_stopped(s) && s.notice_time.0 <= since);
    runs(signal) || (stops(signal) && signal.notice_time.0 <= since && stopped)
}

/// The instance stops, or has stopped.
fn has_stopped(signal: &Signal) -> bool {
    matches!(state(signal), Some("stopping" | "stopped"))
}

/// The state that the instance went to. What another kind of signal says of it is not EC2's word.
fn state(signal: &Signal) -> Option<&str> {
    let state = signal.instance_state.as_deref();
    state.filter(|_| signal.kind == SignalKind::InstanceStateChange)
}

/// The machine stops on account of this signal, and may be started again.
fn stops(signal: &Signal) -> bool {
    let stopped_spot = signal.kind == SignalKind::SpotInterruption
        && matches!(
            signal.instance_action.as_deref(),
            Some("stop" | "hibernate")
        );
    stopped_spot || has_stopped(signal)
}

/// The sorts of maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The machine boots again.
    Reboot,
    /// The machine stops for good, unless somebody starts it again.
    Stop,
    /// Work on its network or its power supply, over when the window is.
    System,
}

impl Work {
    /// The sort that the code of instance metadata or the event type code of AWS Health tells of ("Types of scheduled
    /// events" in the EC2 User Guide; "Event types" in the AWS Health User Guide).
    #[must_use]
    pub fn of(event: &MaintenanceEvent) -> Self {
        let code = event.code.to_ascii_uppercase();
        let says = |word| code.contains(word);
        if says("RETIREMENT") || says("STOP") {
            Self::Stop
        } else if says("REBOOT") {
            Self::Reboot
        } else {
            Self::System
        }
    }

    /// It waits until shortly before its window: nothing is gained by an earlier drain.
    #[must_use]
    pub fn is_patient(self) -> bool {
        self != Self::Stop
    }
}

/// How a machine that is not lost comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// With another boot ID.
    Booted,
    /// When the maintenance window is over, if it is known when.
    After(Option<Timestamp>),
}

/// How the machine comes back, given all that was heard; `None`: it is lost, or it never goes.
#[must_use]
pub fn comes_back(standing: &[&Signal]) -> Option<Return> {
    let work = |s: &Signal| s.maintenance.as_ref().map(Work::of);
    let neutral = |s: &Signal| s.kind == SignalKind::RebalanceRecommendation;
    if standing
        .iter()
        .any(|s| !neutral(s) && !stops(s) && work(s).is_none())
    {
        return None;
    }
    if standing
        .iter()
        .any(|s| stops(s) || work(s).is_some_and(|w| w != Work::System))
    {
        return Some(Return::Booted);
    }
    let events = standing.iter().filter_map(|s| s.maintenance.as_ref());
    let ends: Vec<Option<Timestamp>> = events.map(|m| m.not_after.as_ref().map(|t| t.0)).collect();
    // The latest end, if every one is known.
    let last = ends
        .iter()
        .copied()
        .collect::<Option<Vec<_>>>()
        .and_then(|e| e.into_iter().max());
    (!ends.is_empty()).then_some(Return::After(last))
}

#[cfg(test)]
mod tests;

//! One `NodeTermination`, and every version that was seen of it.

use jiff::Timestamp;
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};

use super::after;
use super::pod::Gone;

/// An incident's life.
#[derive(Clone, Debug, Default)]
pub struct IncidentLife {
    pub name: String,
    pub uid: String,
    pub node_uid: String,
    pub versions: Vec<(Timestamp, NodeTermination)>,
    pub gone: Option<Gone>,
}

impl IncidentLife {
    pub fn last(&self) -> NodeTerminationStatus {
        let last = self.versions.last();
        last.and_then(|(_, v)| v.status.clone()).unwrap_or_default()
    }

    pub fn phase(&self) -> Option<Phase> {
        self.last().phase
    }

    /// When it was first seen; or, if the observer was late, when the API server says that it was created.
    pub fn since(&self) -> Option<Timestamp> {
        let (seen, version) = self.versions.first()?;
        let created = version.metadata.creation_timestamp.as_ref();
        // It is in whole seconds, and may have been almost a second later.
        created.map_or(Some(*seen), |c| Some(after(c.0, 1).min(*seen)))
    }

    /// When it was first seen finished, or told to stop, or gone.
    pub fn stopped(&self) -> Option<Timestamp> {
        let stops = |v: &NodeTermination| {
            let phase = v.status.as_ref().and_then(|s| s.phase);
            phase.is_some_and(Phase::is_finished)
                || v.spec.cancel
                || v.metadata.deletion_timestamp.is_some()
        };
        let seen = self.versions.iter().find(|(_, v)| stops(v));
        seen.map(|(at, _)| *at).or(self.gone.map(|g| g.by))
    }

    /// Its status as it was seen at that time.
    pub fn at(&self, time: Timestamp) -> Option<&NodeTerminationStatus> {
        let version = self.versions.iter().rev().find(|(at, _)| *at <= time);
        version.and_then(|(_, v)| v.status.as_ref())
    }

    /// Each status that somebody could have acted by at that time, within 3 s. Two leaders may have written one by then.
    pub fn about(&self, time: Timestamp) -> impl Iterator<Item = &NodeTerminationStatus> {
        let (from, until) = (after(time, -3), after(time, 3));
        let before = self.versions.iter().rev().find(move |(at, _)| *at < from);
        let within = self
            .versions
            .iter()
            .filter(move |(at, _)| (from..=until).contains(at));
        let versions = before.into_iter().chain(within);
        versions.filter_map(|(_, version)| version.status.as_ref())
    }

    /// Nothing is to be done about it any more: it is over, or its object is gone.
    pub fn is_over(&self) -> bool {
        self.gone.is_some() || self.phase().is_some_and(Phase::is_finished)
    }
}

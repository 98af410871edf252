//! Liveness and readiness, from the parts of the process that know.
//!
//! A part that runs forever beats its [`Pulse`]; one that hangs falls silent, and the process is not alive. A part that
//! must be there before we can work holds a [`Check`]; while it is missing the process is not ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Liveness and readiness of the process. Clones are the same one.
#[derive(Clone, Default, Debug)]
pub struct Health {
    parts: Arc<Mutex<Parts>>,
}

#[derive(Default, Debug)]
struct Parts {
    next_id: u64,
    pulses: BTreeMap<u64, Beat>,
    checks: BTreeMap<u64, Readiness>,
}

#[derive(Debug)]
struct Beat {
    name: &'static str,
    max_silence: Duration,
    last: Instant,
}

#[derive(Debug)]
struct Readiness {
    name: &'static str,
    missing: Option<String>,
}

/// The pulse of one part of the process; dropped, it is no longer listened to.
#[derive(Debug)]
pub struct Pulse {
    health: Health,
    id: u64,
}

/// The readiness of one part of the process; dropped, it is no longer asked.
#[derive(Debug)]
pub struct Check {
    health: Health,
    id: u64,
}

impl Health {
    /// Starts a pulse that is to beat at least every `max_silence`, from now on.
    #[must_use]
    pub fn pulse(&self, name: &'static str, max_silence: Duration) -> Pulse {
        let beat = Beat {
            name,
            max_silence,
            last: Instant::now(),
        };
        let mut parts = self.lock();
        let id = parts.new_id();
        parts.pulses.insert(id, beat);
        let health = self.clone();
        Pulse { health, id }
    }

    /// Adds something to wait for: missing until said to be ready.
    #[must_use]
    pub fn check(&self, name: &'static str) -> Check {
        let readiness = Readiness {
            name,
            missing: Some("not started".to_owned()),
        };
        let mut parts = self.lock();
        let id = parts.new_id();
        parts.checks.insert(id, readiness);
        let health = self.clone();
        Check { health, id }
    }

    /// The pulses silent for too long at `now`, a line for each. Alive is who has none.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Vec<String> {
        let parts = self.lock();
        let beats = parts.pulses.values();
        beats.filter_map(|beat| beat.silent(now)).collect()
    }

    /// What is missing, a line for each. Ready is who misses nothing.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let line = |check: &Readiness| {
            let missing = check.missing.as_ref()?;
            Some(format!("{}: {missing}", check.name))
        };
        self.lock().checks.values().filter_map(line).collect()
    }

    fn set(&self, id: u64, missing: Option<String>) {
        if let Some(check) = self.lock().checks.get_mut(&id) {
            check.missing = missing;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Beat {
    fn silent(&self, now: Instant) -> Option<String> {
        let silence = now.saturating_duration_since(self.last);
        let (seconds, most) = (silence.as_secs_f64(), self.max_silence.as_secs_f64());
        let name = self.name;
        (silence > self.max_silence)
            .then(|| format!("{name}: silent for {seconds:.1} s, at most {most:.1} s expected"))
    }
}

impl Pulse {
    /// Says that this part is still running.
    pub fn beat(&self) {
        if let Some(beat) = self.health.lock().pulses.get_mut(&self.id) {
            beat.last = Instant::now();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.health.lock().pulses.remove(&self.id);
    }
}

impl Check {
    /// Says that nothing is missing here.
    pub fn set_ready(&self) {
        self.health.set(self.id, None);
    }

    /// Says what is missing here.
    pub fn set_missing(&self, message: impl Into<String>) {
        self.health.set(self.id, Some(message.into()));
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.health.lock().checks.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_silent_after_its_maximum_until_it_beats_or_is_dropped() {
        let health = Health::default();
        let pulse = health.pulse("watch", Duration::from_secs(10));
        let other = health.pulse("evictor", Duration::from_mins(1));
        let now = Instant::now();
        let soon = now + Duration::from_secs(9);
        let late = now + Duration::from_secs(11);

        assert!(health.silent(soon).is_empty());
        let silent = health.silent(late);
        assert_eq!(silent.len(), 1);
        assert!(
            silent[0].starts_with("watch: silent for 11.0 s"),
            "{silent:?}"
        );

        pulse.beat();
        assert!(health.silent(soon).is_empty());
        drop(pulse);
        assert!(health.silent(late).is_empty());
        drop(other);
    }

    #[test]
    fn a_check_is_missing_until_it_is_ready_or_dropped() {
        let health = Health::default();
        let (nodes, queue) = (health.check("nodes"), health.check("queue"));
        assert_eq!(
            health.missing(),
            ["nodes: not started", "queue: not started"]
        );
        nodes.set_ready();
        queue.set_missing("AccessDenied");
        assert_eq!(health.missing(), ["queue: AccessDenied"]);
        nodes.set_missing("not synced");
        drop(queue);
        assert_eq!(health.missing(), ["nodes: not synced"]);
        nodes.set_ready();
        assert!(health.missing().is_empty());
    }
}

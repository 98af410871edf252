//! Whether the machine runs no more, by EC2's word alone. That a node is silent, drained or past its deadline says nothing
//! of it.

use jiff::Timestamp;

use crate::api::termination::{RUNNING, STOPPED, Signal, SignalKind, TERMINATED};
use crate::drain::cordon::out_of_service::Down;

/// What EC2 said of an instance when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in this state; nothing, if EC2 does not know it any more, which proves nothing.
    State(Option<String>),
    /// It did not say; why, in a word and in a sentence.
    Failed(&'static str, String),
}

/// How the machine is down, as far as EC2 has said. It was back at `back`: a stop that was heard of before is over.
#[must_use]
pub fn down(signals: &[Signal], told: Option<&Told>, back: Option<Timestamp>) -> Option<Down> {
    let asked = |state| matches!(told, Some(Told::State(Some(s))) if s == state);
    if asked(TERMINATED) || last(signals, TERMINATED).is_some() {
        return Some(Down::Terminated);
    }
    let stopped = last(signals, STOPPED);
    let runs = last(signals, RUNNING).max(back);
    let stays = stopped.is_some_and(|at| runs.is_none_or(|ran| ran < at));
    (asked(STOPPED) || stays).then_some(Down::Stopped)
}

/// Whether EC2 has said that an instance which had stopped runs again.
#[must_use]
pub fn runs_again(signals: &[Signal]) -> bool {
    last(signals, RUNNING).is_some_and(|ran| last(signals, STOPPED).is_none_or(|at| at <= ran))
}

/// When it was last heard that the instance went to this state.
fn last(signals: &[Signal], state: &str) -> Option<Timestamp> {
    let changes = signals
        .iter()
        .filter(|s| s.kind == SignalKind::InstanceStateChange);
    let to = changes.filter(|s| s.instance_state.as_deref() == Some(state));
    to.map(|s| s.notice_time.0).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Time;

    fn heard(states: &[(&str, i64)]) -> Vec<Signal> {
        let signal = |(state, at): &(&str, i64)| Signal {
            instance_state: Some((*state).to_owned()),
            ..Signal::new(
                format!("InstanceStateChange-{at:016x}"),
                SignalKind::InstanceStateChange,
                Time(Timestamp::from_second(*at).unwrap()),
            )
        };
        states.iter().map(signal).collect()
    }

    #[test]
    fn only_stopped_and_terminated_mean_that_it_is_down() {
        let state = |s: &str| Some(Told::State(Some(s.to_owned())));
        let failed = Some(Told::Failed("AccessDenied", String::new()));
        for (states, told, expected) in [
            (&[][..], None, None),
            (&[("shutting-down", 1)], None, None),
            (&[("stopping", 1)], None, None),
            (
                &[("shutting-down", 1), ("terminated", 2)],
                None,
                Some(Down::Terminated),
            ),
            (
                &[("stopping", 1), ("stopped", 2)],
                None,
                Some(Down::Stopped),
            ),
            (&[("stopped", 2), ("running", 3)], None, None),
            (&[("stopped", 2), ("running", 2)], None, None),
            (&[("stopped", 4), ("running", 3)], None, Some(Down::Stopped)),
            (
                &[("stopped", 2), ("terminated", 3)],
                None,
                Some(Down::Terminated),
            ),
            (&[], state("running"), None),
            (&[], state("shutting-down"), None),
            (&[], state("stopped"), Some(Down::Stopped)),
            (&[], state("terminated"), Some(Down::Terminated)),
            (&[], Some(Told::State(None)), None),
            (&[], failed, None),
        ] {
            assert_eq!(
                down(&heard(states), told.as_ref(), None),
                expected,
                "{states:?} {told:?}"
            );
        }
        let back = |second| Timestamp::from_second(second).ok();
        let stopped = heard(&[("stopped", 2)]);
        assert_eq!(down(&stopped, None, back(1)), Some(Down::Stopped));
        assert_eq!(down(&stopped, None, back(2)), None);
        assert!(runs_again(&heard(&[("stopped", 2), ("running", 3)])));
        assert!(!runs_again(&heard(&[("running", 2), ("stopped", 3)])));
        assert!(!runs_again(&[]));
    }

    #[test]
    fn what_another_kind_of_signal_says_of_the_instance_does_not_count() {
        let mut signals = heard(&[("terminated", 1)]);
        signals[0].kind = SignalKind::SpotInterruption;
        assert_eq!(down(&signals, None, None), None);
    }
}

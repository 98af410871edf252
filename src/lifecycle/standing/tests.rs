use proptest::prelude::*;

use super::*;
use crate::api::Time;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn maintenance(event_id: &str, code: &str, state: MaintenanceState, notice: i64) -> Signal {
    let event = MaintenanceEvent {
        event_id: event_id.into(),
        code: code.into(),
        state,
        not_before: Some(at(1000)),
        not_after: Some(at(2000)),
    };
    let id = format!("{event_id}-{notice}-{state:?}");
    Signal {
        maintenance: Some(event),
        ..Signal::new(id, SignalKind::ScheduledMaintenance, at(notice))
    }
}

fn state(state: &str, notice: i64) -> Signal {
    Signal {
        instance_state: Some(state.into()),
        ..Signal::new(
            format!("{state}-{notice}"),
            SignalKind::InstanceStateChange,
            at(notice),
        )
    }
}

fn spot(action: &str, notice: i64) -> Signal {
    Signal {
        instance_action: Some(action.into()),
        ..Signal::new(
            format!("{action}-{notice}"),
            SignalKind::SpotInterruption,
            at(notice),
        )
    }
}

fn other(kind: SignalKind) -> Signal {
    Signal::new(kind.as_str().into(), kind, at(5))
}

use MaintenanceState::{Canceled, Completed, Scheduled};

#[test]
fn what_takes_maintenance_back_is_another_notice() {
    let reboot = |state, notice| maintenance("e1", "instance-reboot", state, notice);
    let mut moved = reboot(Scheduled, 20);
    moved.maintenance.as_mut().unwrap().not_before = Some(at(5000));
    let health = |state, notice| {
        maintenance(
            "arn:e1",
            "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
            state,
            notice,
        )
    };
    let mut elsewhen = health(Canceled, 20);
    elsewhen.maintenance.as_mut().unwrap().not_before = Some(at(7000));
    for (signals, stand, why) in [
        (vec![reboot(Scheduled, 10)], vec![0], "nothing does"),
        (
            vec![reboot(Scheduled, 10), reboot(Canceled, 20)],
            vec![],
            "a cancellation",
        ),
        (
            vec![reboot(Scheduled, 10), reboot(Completed, 20)],
            vec![],
            "its end",
        ),
        (
            vec![reboot(Scheduled, 10), reboot(Canceled, 10)],
            vec![],
            "within the same second",
        ),
        (
            vec![reboot(Canceled, 10), reboot(Scheduled, 20)],
            vec![1],
            "scheduled again",
        ),
        (
            vec![reboot(Scheduled, 10), moved.clone()],
            vec![1],
            "a new window",
        ),
        (
            vec![
                reboot(Scheduled, 10),
                health(Scheduled, 11),
                health(Canceled, 20),
            ],
            vec![],
            "heard by both paths, canceled by one",
        ),
        (
            vec![reboot(Scheduled, 10), elsewhen],
            vec![0],
            "another event",
        ),
        (
            vec![
                maintenance("e2", "instance-retirement", Scheduled, 10),
                health(Canceled, 20),
            ],
            vec![0],
            "another work in the same window",
        ),
        (
            vec![
                reboot(Scheduled, 10),
                maintenance("e2", "system-reboot", Completed, 20),
            ],
            vec![0],
            "another event of the same window by the same path",
        ),
    ] {
        assert_stand(&signals, &stand, why);
    }
}

fn assert_stand(signals: &[Signal], stand: &[usize], why: &str) {
    let expected: Vec<&Signal> = stand.iter().map(|i| &signals[*i]).collect();
    assert_eq!(standing(signals), expected, "{why}");
}

#[test]
fn a_stop_is_taken_back_when_the_instance_runs_again() {
    for (signals, stand, why) in [
        (
            vec![state("stopping", 10), state("stopped", 11)],
            vec![0, 1],
            "nothing does",
        ),
        (
            vec![state("stopping", 10), state("running", 30)],
            vec![],
            "it runs again",
        ),
        (
            vec![state("running", 5), state("stopping", 10)],
            vec![1],
            "it ran before",
        ),
        (
            vec![spot("stop", 10), state("running", 30)],
            vec![0],
            "it has not stopped yet",
        ),
        (
            vec![spot("stop", 10), state("stopped", 20), state("running", 30)],
            vec![],
            "a spot instance that was stopped runs again",
        ),
        (
            vec![
                spot("terminate", 10),
                state("stopping", 20),
                state("running", 30),
            ],
            vec![0],
            "a terminated one does not",
        ),
        (
            vec![state("terminated", 10), state("running", 30)],
            vec![0],
            "nor this one",
        ),
    ] {
        assert_stand(&signals, &stand, why);
    }
}

#[test]
fn a_signal_that_is_no_change_of_state_says_nothing_of_the_state() {
    let running = Signal {
        instance_state: Some("running".into()),
        ..other(SignalKind::RebalanceRecommendation)
    };
    let signals = [spot("stop", 1), state("stopped", 2), running];
    assert_eq!(standing(&signals).len(), 3);
}

#[test]
fn the_sort_of_maintenance_is_read_from_either_spelling() {
    for (code, work) in [
        ("instance-reboot", Work::Reboot),
        ("system-reboot", Work::Reboot),
        ("instance-stop", Work::Stop),
        ("instance-retirement", Work::Stop),
        ("system-maintenance", Work::System),
        (
            "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED",
            Work::Reboot,
        ),
        ("AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", Work::Reboot),
        (
            "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
            Work::Stop,
        ),
        ("AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED", Work::Stop),
        ("AWS_EC2_INSTANCE_STOP_SCHEDULED", Work::Stop),
        (
            "AWS_EC2_INSTANCE_NETWORK_MAINTENANCE_SCHEDULED",
            Work::System,
        ),
        ("AWS_EC2_INSTANCE_POWER_MAINTENANCE_SCHEDULED", Work::System),
    ] {
        let signal = maintenance("e", code, Scheduled, 1);
        assert_eq!(
            Work::of(signal.maintenance.as_ref().unwrap()),
            work,
            "{code}"
        );
    }
}

#[test]
fn only_a_machine_that_nothing_terminates_comes_back() {
    let reboot = maintenance("e1", "system-reboot", Scheduled, 1);
    let system = maintenance("e2", "system-maintenance", Scheduled, 1);
    let rebalance = other(SignalKind::RebalanceRecommendation);
    let end = at(2000).0;
    for (signals, back) in [
        (vec![], None),
        (vec![&rebalance], None),
        (vec![&reboot], Some(Return::Booted)),
        (vec![&reboot, &rebalance], Some(Return::Booted)),
        (vec![&reboot, &system], Some(Return::Booted)),
        (vec![&system], Some(Return::After(Some(end)))),
        (
            vec![&reboot, &other(SignalKind::AutoScalingTermination)],
            None,
        ),
        (vec![&reboot, &other(SignalKind::CapacityReservation)], None),
        (vec![&spot("stop", 1)], Some(Return::Booted)),
        (vec![&spot("hibernate", 1)], Some(Return::Booted)),
        (vec![&spot("terminate", 1)], None),
        (
            vec![&state("stopping", 1), &state("stopped", 2)],
            Some(Return::Booted),
        ),
        (
            vec![&state("stopping", 1), &state("shutting-down", 2)],
            None,
        ),
    ] {
        assert_eq!(comes_back(&signals), back, "{signals:?}");
    }
    let mut endless = system.clone();
    endless.maintenance.as_mut().unwrap().not_after = None;
    assert_eq!(comes_back(&[&endless, &system]), Some(Return::After(None)));
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let event = (
        0..3_u8,
        0..3_i64,
        prop_oneof![Just(Scheduled), Just(Canceled), Just(Completed)],
    );
    prop_oneof![
        event.prop_map(|(e, n, s)| maintenance(&format!("e{e}"), "system-reboot", s, n)),
        ("(stopping|stopped|shutting-down|running)", 0..4_i64).prop_map(|(s, n)| state(&s, n)),
        ("(stop|terminate)", 0..4_i64).prop_map(|(a, n)| spot(&a, n)),
        Just(other(SignalKind::RebalanceRecommendation)),
    ]
}

/// What an incident holds after these were recorded on it, one after another: each once.
fn recorded(signals: impl IntoIterator<Item = Signal>) -> Vec<Signal> {
    let mut held: Vec<Signal> = Vec::new();
    for signal in signals {
        if !held.iter().any(|s| s.id == signal.id) {
            held.push(signal);
        }
    }
    held
}

fn ids(signals: &[Signal]) -> Vec<String> {
    let mut ids: Vec<String> = standing(signals).iter().map(|s| s.id.clone()).collect();
    ids.sort();
    ids
}

proptest! {
    #[test]
    fn merging_does_not_depend_on_order_grouping_or_repetition(
        signals in proptest::collection::vec(any_signal(), 0..8),
        swaps in proptest::collection::vec((0..8_usize, 0..8_usize), 0..8),
        split in 0..8_usize,
    ) {
        let expected = ids(&recorded(signals.clone()));
        let mut shuffled = signals.clone();
        for (a, b) in swaps {
            if a < shuffled.len() && b < shuffled.len() {
                shuffled.swap(a, b);
            }
        }
        prop_assert_eq!(&ids(&recorded(shuffled)), &expected, "commutative");
        let (left, right) = signals.split_at(split.min(signals.len()));
        let grouped = recorded(recorded(left.to_vec()).into_iter().chain(recorded(right.to_vec())));
        prop_assert_eq!(&ids(&grouped), &expected, "associative");
        let twice = recorded(signals.iter().chain(&signals).cloned());
        prop_assert_eq!(&ids(&twice), &expected, "idempotent");
    }
}

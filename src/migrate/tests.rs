//! Values files in `tests/fixtures/nth-values/`, the policies beside them, and what is refused.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::policy;
use super::setting::SETTINGS;
use crate::api::policy::{
    Action, DisruptionBudgets, Mode, OnDrainFailure, TerminationPolicy, UnknownInstances,
};

const QUEUE: &str = "enableSqsTerminationDraining: true\nqueueURL: https://sqs.eu-west-1.amazonaws.com/123456789012/q\n";

fn fixtures() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nth-values");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_str().unwrap().ends_with(".policy.yaml"))
        .collect();
    files.sort();
    files
}

/// The policy for these values, read back.
fn read(values: &str) -> TerminationPolicy {
    let text = policy(values).unwrap_or_else(|error| panic!("{error}: {values}"));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn each_values_file_becomes_the_policy_beside_it() {
    let files = fixtures();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let made = policy(&fs::read_to_string(&file).unwrap()).unwrap();
        let wanted = fs::read_to_string(file.with_extension("policy.yaml")).unwrap();
        assert_eq!(made, wanted, "{}", file.display());
    }
}

/// What is noted of the setting, and under which heading.
fn noted<'a>(text: &'a str, setting: &str) -> (&'a str, String) {
    let lines: Vec<&str> = text.lines().collect();
    let start = format!("# - {setting}: ");
    let at = lines.iter().position(|l| l.starts_with(&start));
    let at = at.unwrap_or_else(|| panic!("{setting}: {text}"));
    let heading = lines[..at].iter().rev().find(|l| l.ends_with(':'));
    let more = lines[at + 1..].iter().take_while(|l| l.starts_with("#   "));
    let words = more.map(|l| l.trim_start_matches(['#', ' ']));
    let note = [lines[at]].into_iter().chain(words).collect::<Vec<_>>();
    (heading.unwrap(), note.join(" "))
}

#[test]
fn where_nths_daemon_set_may_not_run_the_policy_speaks_all_the_same_and_that_is_said() {
    for setting in ["affinity", "linuxAffinity", "daemonsetAffinity"] {
        let values = format!("{setting}:\n  nodeAffinity: {{a: b}}\n");
        let alone = policy(&values).unwrap();
        let (heading, note) = noted(&alone, setting);
        assert_eq!(heading, "# Taken over, with a difference:");
        assert!(
            note.contains("speaks for ALL nodes; NTH ran only"),
            "{note}"
        );
        assert!(note.contains("write spec.nodeSelector"), "{note}");

        let selected = policy(&format!("{values}nodeSelector: {{pool: spot}}\n")).unwrap();
        let (heading, note) = noted(&selected, setting);
        assert_eq!(heading, "# Taken over, with a difference:");
        assert!(note.contains("its nodeSelector selects"), "{note}");
    }
    for setting in ["tolerations", "linuxTolerations", "daemonsetTolerations"] {
        let some = policy(&format!("{setting}: [{{key: pool, operator: Exists}}]")).unwrap();
        assert_eq!(noted(&some, setting).0, "# Taken over, with a difference:");
        let all = policy(&format!("{setting}: [{{operator: Exists}}]")).unwrap();
        assert_eq!(noted(&all, setting).0, "# Not in a policy:");
    }
}

#[test]
fn where_nths_deployment_runs_says_nothing_of_the_nodes_it_acts_on() {
    for setting in [
        "affinity: {nodeAffinity: {a: b}}",
        "tolerations: [{key: pool}]",
    ] {
        let text = policy(&format!("{QUEUE}{setting}\n")).unwrap();
        let (heading, note) = noted(&text, setting.split(':').next().unwrap());
        assert_eq!(heading, "# Not in a policy:");
        assert!(
            note.contains("where the controller runs, not which nodes"),
            "{note}"
        );
    }
}

#[test]
fn a_secret_of_the_values_is_not_printed() {
    for file in fixtures() {
        let text = policy(&fs::read_to_string(&file).unwrap()).unwrap();
        for secret in ["not-to-be-printed", "AKIAEXAMPLE", "hooks.example.com"] {
            assert!(!text.contains(secret), "{}: {secret}", file.display());
        }
    }
}

#[test]
fn queue_mode_acts_on_every_kind_for_tagged_instances_and_never_passes_a_budget() {
    let spec = read(QUEUE).spec;
    let sqs = spec.sources[0].sqs.as_ref().unwrap();
    let tag = Some("aws-node-termination-handler/managed");
    assert_eq!(sqs.managed_tag.as_deref(), tag);
    assert_eq!(sqs.unknown_instances, UnknownInstances::Leave);
    assert!(sqs.launch_hooks.complete);
    assert_eq!(spec.mode, Mode::Enforce);
    assert_eq!(
        spec.actions.rebalance_recommendation,
        Action::CordonAndDrain
    );
    assert_eq!(spec.drain.disruption_budgets, DisruptionBudgets::Respect);
    assert_eq!(spec.lifecycle.on_drain_failure, OnDrainFailure::Wait);
    assert_eq!(spec.lifecycle.heartbeat, None);
}

#[test]
fn metadata_mode_acts_on_the_kinds_that_are_enabled() {
    use Action::{Cordon, CordonAndDrain as Drain, Ignore};

    let act = |values: &str| {
        let actions = read(values).spec.actions;
        [
            actions.spot_interruption,
            actions.scheduled_maintenance,
            actions.auto_scaling_termination,
            actions.rebalance_recommendation,
        ]
    };
    for (values, actions) in [
        ("", [Drain, Drain, Drain, Ignore]),
        ("{}", [Drain, Drain, Drain, Ignore]),
        ("cordonOnly: true", [Cordon, Cordon, Cordon, Ignore]),
        (
            "enableSpotInterruptionDraining: 'false'",
            [Ignore, Drain, Drain, Ignore],
        ),
        (
            "enableScheduledEventDraining: false",
            [Drain, Ignore, Drain, Ignore],
        ),
        (
            "enableASGLifecycleDraining: false",
            [Drain, Drain, Ignore, Ignore],
        ),
        // The chart's default is true, the process's is false: an empty value lets the process choose.
        (
            "enableASGLifecycleDraining:",
            [Drain, Drain, Ignore, Ignore],
        ),
        (
            "enableRebalanceMonitoring: true",
            [Drain, Drain, Drain, Cordon],
        ),
        (
            "enableRebalanceDraining: true",
            [Drain, Drain, Drain, Drain],
        ),
        (
            "extraEnv: [{name: ENABLE_REBALANCE_DRAINING, value: 'true'}]",
            [Drain, Drain, Drain, Drain],
        ),
    ] {
        assert_eq!(act(values), actions, "{values}");
    }
}

#[test]
fn heartbeats_are_those_that_nth_would_send_and_refused_ones_are_told() {
    let beats = |settings: &str| {
        let values = format!("{QUEUE}{settings}");
        let heartbeat = read(&values).spec.lifecycle.heartbeat;
        let heartbeat = heartbeat.map(|h| (h.interval_seconds, h.until_seconds));
        // The comments, whose lines are broken at any word.
        (heartbeat, policy(&values).unwrap().replace("\n#   ", " "))
    };
    for (settings, wanted) in [
        ("heartbeatInterval: 30", (30, 172_800)),
        (
            "heartbeatInterval: 1000\nheartbeatUntil: 4500",
            (1000, 4500),
        ),
        ("heartbeatInterval: 60\nheartbeatUntil: 60", (60, 60)),
        ("heartbeatInterval: 3600", (3600, 172_800)),
    ] {
        assert_eq!(beats(settings).0, Some(wanted), "{settings}");
    }
    for (settings, message) in [
        (
            "heartbeatInterval: 29",
            "heartbeatInterval must be from 30 to 3600",
        ),
        (
            "heartbeatInterval: 3601",
            "heartbeatInterval must be from 30 to 3600",
        ),
        (
            "heartbeatInterval: 30\nheartbeatUntil: 59",
            "heartbeatUntil must be from 60 to 172800",
        ),
        (
            "heartbeatInterval: 30\nheartbeatUntil: 172801",
            "heartbeatUntil must be from 60 to 172800",
        ),
        (
            "heartbeatInterval: 61\nheartbeatUntil: 60",
            "heartbeatInterval must not be greater than heartbeatUntil",
        ),
        (
            "heartbeatUntil: 600",
            "heartbeatUntil means nothing without heartbeatInterval",
        ),
    ] {
        let (heartbeat, text) = beats(settings);
        assert_eq!(heartbeat, None, "{settings}");
        assert!(text.contains(message), "{settings}: {text}");
    }
}

#[test]
fn extra_env_wins_over_the_charts_values_and_no_execute_is_named_as_refused() {
    let values = format!(
        "{QUEUE}taintNode: false\nextraEnv:\n- {{name: TAINT_NODE, value: 'true'}}\n- {{name: TAINT_EFFECT, value: NoExecute}}\n"
    );
    assert_eq!(read(&values).spec.cordon.taint.effect, "NoSchedule");
    let text = policy(&values).unwrap();
    assert!(
        text.contains("- extraEnv TAINT_EFFECT: NoExecute is refused"),
        "{text}"
    );
}

#[test]
fn values_that_make_no_policy_are_refused_with_the_reason() {
    for (values, message) in [
        ("a: [", "line 2"),
        ("a: 1\n\tb: 2", "line 2"),
        (
            "# values\n\n---\n- a\n- b",
            "are a list (line 4), not a mapping",
        ),
        ("just a text", "are a single value (line 1), not a mapping"),
        ("!tag {a: b}", "are a value with a tag (line 1)"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("dryRun: true\ndryRun: false", "duplicate entry"),
        (
            "enableSqsTerminationDraining: true",
            "queueURL: missing; in queue mode",
        ),
        (
            "enableSqsTerminationDraining: true\nqueueURL: node-events",
            "queueURL: `node-events` does not look like https://",
        ),
        (
            "enableSqsTerminationDraining: true\nqueueURL: http://localhost:4566/000000000000/q",
            "awsRegion: missing",
        ),
        (
            "enableSqsTerminationDraining: true\nextraEnv: [{name: QUEUE_URL, valueFrom: {}}]",
            "queueURL: its value stands in a Secret",
        ),
        (
            "cordonOnly: perhaps",
            "cordonOnly: `perhaps` is not true or false",
        ),
        ("cordonOnly: {}", "cordonOnly: a mapping or a list is not"),
        (
            "podTerminationGracePeriod: soon",
            "podTerminationGracePeriod: soon is not a whole number",
        ),
        (
            "extraEnv: [{name: TAINT_NODE, value: maybe}]",
            "extraEnv TAINT_NODE: `maybe` is not true or false",
        ),
        ("extraEnv: {TAINT_NODE: true}", "extraEnv: must be a list"),
        ("extraEnv: [TAINT_NODE]", "extraEnv: must be a list"),
        (
            "nodeSelector: [a]",
            "nodeSelector: what stands there is not",
        ),
    ] {
        let error = policy(values).expect_err(values);
        let error = format!("{:#}", anyhow::Error::new(error));
        assert!(error.contains(message), "{values}: {error}");
    }
}

/// The settings that are numbers and reach a policy.
const NUMBERS: &[&str] = &[
    "podTerminationGracePeriod",
    "nodeTerminationGracePeriod",
    "completeLifecycleActionDelaySeconds",
    "heartbeatInterval",
    "heartbeatUntil",
];

/// What a values file may say about a setting.
fn value() -> impl Strategy<Value = serde_yaml::Value> {
    prop_oneof![
        Just(serde_yaml::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "true|false|[0-9]{1,6}|.{0,20}".prop_map(Into::into),
        Just(serde_yaml::Value::Sequence(Vec::new())),
        Just(serde_yaml::Value::Mapping(serde_yaml::Mapping::new())),
    ]
}

proptest! {
    #[test]
    fn whatever_the_values_are_there_is_a_policy_or_a_reason(
        said in prop::collection::vec((prop::sample::select(SETTINGS), value()), 0..3),
        numbers in prop::collection::vec((prop::sample::select(NUMBERS), -10_i64..200_000), 0..5),
        unknown in ".{0,40}",
        queue in any::<bool>(),
    ) {
        let mut values: serde_yaml::Mapping = serde_yaml::from_str(if queue { QUEUE } else { "{}" }).unwrap();
        values.insert(unknown.into(), 1.into());
        for (setting, value) in said {
            if setting.value.is_empty() || !queue || !QUEUE.contains(setting.value) {
                values.insert(setting.name().into(), value);
            }
        }
        values.extend(numbers.into_iter().map(|(name, number)| (name.into(), number.into())));
        if let Ok(text) = policy(&serde_yaml::to_string(&values).unwrap()) {
            let object: TerminationPolicy = serde_yaml::from_str(&text).unwrap();
            let spec = object.spec;
            prop_assert!((10..=172_800).contains(&spec.drain.timeout_seconds));
            prop_assert!(spec.drain.grace_period_seconds.is_none_or(|g| (1..=172_800).contains(&g)));
            prop_assert!(spec.lifecycle.completion_delay_seconds <= 7200);
            if let Some(beat) = spec.lifecycle.heartbeat {
                prop_assert!(queue && (30..=3600).contains(&beat.interval_seconds));
                prop_assert!((60..=172_800).contains(&beat.until_seconds));
                prop_assert!(beat.interval_seconds <= beat.until_seconds);
            }
            prop_assert!(["NoSchedule", "PreferNoSchedule"].contains(&spec.cordon.taint.effect.as_str()));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = policy(&text);
    }
}

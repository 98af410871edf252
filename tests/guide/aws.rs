//! The files of `docs/aws`: what the rules let through is what the parser understands, and the IAM policy allows what
//! the operator calls and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use node_termination_operator::event::{self, Discard, Malformed, Parsed};
use serde_json::Value;

use crate::text::{read, root};

/// The event patterns by the names of their files.
fn patterns() -> BTreeMap<String, Value> {
    let files = fs::read_dir(root().join("docs/aws/event-patterns")).unwrap();
    let patterns = files.map(|file| {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&read(path)).unwrap())
    });
    patterns.collect()
}

#[test]
fn the_guide_says_of_each_rule_what_it_brings() {
    let guide = read("docs/install.md");
    let (_, table) = guide.split_once("| rule | what it brings |").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let told: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, patterns().into_keys().collect::<BTreeSet<_>>());
}

/// EventBridge's rule for the one form of pattern that ours have: every leaf is a list of the values that may stand
/// there. Any other form would be a matcher that is not known here.
fn matches(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, pattern)| event.get(name).is_some_and(|value| matches(pattern, value))),
        Value::Array(values) => {
            assert!(values.iter().all(Value::is_string), "{pattern}");
            values.contains(event)
        }
        other => panic!("no pattern: {other}"),
    }
}

/// The fixtures that EventBridge could deliver, by their names.
fn events() -> Vec<(String, Value)> {
    let files = fs::read_dir(root().join("tests/fixtures/events")).unwrap();
    let events = files.filter_map(|file| {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut event: Value = serde_json::from_str(&read(path)).ok()?;
        // One page of the EC2 User Guide writes it so; in the envelope of EventBridge it always has its hyphen.
        if let Some(detail_type) = event.get("detail_type").cloned() {
            event["detail-type"] = detail_type;
        }
        (event["source"].is_string() && event["detail-type"].is_string()).then_some((name, event))
    });
    events.collect()
}

/// The rule that an event is for, by what we make of it; `None` if it means nothing to us.
fn rule(parsed: &Parsed) -> Option<&'static str> {
    match parsed {
        Parsed::Launch(_) => Some("auto-scaling-launch"),
        Parsed::Reservation(_) => Some("capacity-block"),
        Parsed::Signals(heard) => Some(match heard[0].signal.kind.as_str() {
            "SpotInterruption" => "spot-interruption",
            "RebalanceRecommendation" => "rebalance-recommendation",
            "InstanceStateChange" => "instance-state-change",
            "AutoScalingTermination" => "auto-scaling-termination",
            "ScheduledMaintenance" => "scheduled-maintenance",
            _ => "capacity-reservation",
        }),
        Parsed::Discarded(_) => None,
    }
}

#[test]
fn every_event_that_we_understand_matches_its_rule_and_no_other_and_foreign_events_match_none() {
    let (patterns, mut used, mut foreign) = (patterns(), BTreeSet::new(), 0);
    for (name, event) in events() {
        let matched = patterns
            .iter()
            .filter(|(_, pattern)| matches(pattern, &event));
        let matched: Vec<&str> = matched.map(|(rule, _)| rule.as_str()).collect();
        match event::parse(&event.to_string()) {
            Ok(Parsed::Discarded(
                Discard::OtherDetailType | Discard::OtherState | Discard::OtherHealthEvent,
            ))
            | Err(Malformed::UnknownSource) => {
                assert!(matched.is_empty(), "{name}: {matched:?}");
                foreign += 1;
            }
            Ok(parsed) => {
                let [matched] = matched[..] else {
                    panic!("{name}: {matched:?}")
                };
                // What a block's warning names may be a signal or a reservation; and an action says itself which
                // transition it is of, whatever its detail type.
                let block = matched == "capacity-block" && name.starts_with("capacity-block");
                let transition = name.ends_with("-by-its-transition");
                let wanted = rule(&parsed).filter(|_| !block && !transition);
                assert!(
                    wanted.is_none_or(|rule| rule == matched),
                    "{name}: {matched}"
                );
                used.insert(matched.to_owned());
            }
            // What can not be read may match or not: the rule looks at the envelope alone.
            Err(_) => assert!(matched.len() < 2, "{name}: {matched:?}"),
        }
    }
    assert_eq!(used, patterns.into_keys().collect::<BTreeSet<_>>());
    assert!(foreign >= 10, "{foreign}");
}

/// The actions of an IAM policy.
fn actions(policy: &Value) -> Vec<String> {
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::String(one) => vec![one.clone()],
        many => serde_json::from_value(many.clone()).unwrap(),
    });
    actions.collect()
}

/// The actions that IAM asks for before it lets the operations in `src/aws` pass. A batch is no action of its own.
fn called() -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    sources(&root().join("src/aws"), &mut |code| {
        // Every call of a service names itself before it is sent; assuming a role is the SDK's own doing.
        for rest in code.split("Operation::").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
            let name = name.unwrap();
            let action = name.strip_suffix("Batch").unwrap_or(name);
            let service = match action {
                "ReceiveMessage" | "DeleteMessage" | "ChangeMessageVisibility" => "sqs",
                "DescribeInstances" => "ec2",
                "ReadInstanceMetadata" => continue,
                _ => "autoscaling",
            };
            called.insert(format!("{service}:{action}"));
        }
        if code.contains("AssumeRoleProvider::builder") {
            called.insert("sts:AssumeRole".to_owned());
        }
    });
    called
}

/// Shows the code of every file below a folder, without its tests.
fn sources(folder: &std::path::Path, look: &mut impl FnMut(&str)) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, look);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let text = read(path);
            look(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}

#[test]
fn the_iam_policy_allows_every_action_that_we_call_and_no_other() {
    let policy = serde_json::from_str(&read("docs/aws/iam-policy.json")).unwrap();
    let allowed = actions(&policy);
    let distinct: BTreeSet<String> = allowed.iter().cloned().collect();
    assert_eq!(allowed.len(), distinct.len(), "{allowed:?}");
    assert_eq!(distinct, called());
}

#[test]
fn the_template_has_the_rules_and_the_permissions_of_the_files_beside_it() {
    let template: Value = serde_yaml::from_str(&read("docs/aws/node-events.yaml")).unwrap();
    let resources = template["Resources"].as_object().unwrap();
    let mut rules = BTreeMap::new();
    for (name, resource) in resources {
        if resource["Type"] == "AWS::Events::Rule" {
            rules.insert(
                hyphenated(name),
                resource["Properties"]["EventPattern"].clone(),
            );
        }
    }
    assert_eq!(rules, patterns());

    let policies = ["Policy", "OtherAccountPolicy"].map(|name| {
        let document = &resources[name]["Properties"]["PolicyDocument"];
        actions(document)
    });
    let file = serde_json::from_str(&read("docs/aws/iam-policy.json")).unwrap();
    assert_eq!(policies.concat(), actions(&file));
}

#[test]
fn the_template_has_the_outputs_that_the_guide_asks_for() {
    let template: Value = serde_yaml::from_str(&read("docs/aws/node-events.yaml")).unwrap();
    let guide = read("docs/install.md");
    let asked = guide.split("OutputKey==`").skip(1);
    let asked: Vec<&str> = asked.map(|rest| rest.split('`').next().unwrap()).collect();
    assert_eq!(asked, ["QueueURL", "PolicyARN"]);
    for output in asked {
        assert!(template["Outputs"][output].is_object(), "{output}");
    }
}

/// `SpotInterruption` as `spot-interruption`.
fn hyphenated(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(c.to_lowercase());
    }
    words
}

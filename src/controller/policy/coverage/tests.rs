use std::time::Instant;

use serde_json::json;

use super::*;
use crate::api::policy::{TerminationPolicy, TerminationPolicySpec};
use crate::drain::node::NodeObject;

fn node(name: &str, labels: &[(&str, &str)]) -> Arc<Node> {
    let labels: Labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let object = json!({"metadata": {"name": name, "labels": labels}});
    Arc::new(Node::from(
        serde_json::from_value::<NodeObject>(object).unwrap(),
    ))
}

fn policy(name: &str, mut spec: serde_json::Value) -> TerminationPolicy {
    spec["sources"] = json!([]);
    let spec: TerminationPolicySpec = serde_json::from_value(spec).unwrap();
    TerminationPolicy::new(name, spec)
}

fn survey(nodes: &[Arc<Node>], policies: &[TerminationPolicy]) -> Survey {
    Survey::of(nodes, &Ranking::of(policies))
}

const KARPENTER: (&str, &str) = (NODE_POOL, "general");
const GROUP: (&str, &str) = (NODE_GROUP, "web");

#[test]
fn nodes_that_others_drain_are_told_by_their_labels_each_once() {
    let nodes = [
        node("plain", &[("team", "web")]),
        node("karpenter", &[KARPENTER]),
        node("group", &[GROUP]),
        node("auto", &[COMPUTE_TYPE, KARPENTER]),
        node(
            "fargate-has-no-instance",
            &[("eks.amazonaws.com/compute-type", "fargate")],
        ),
    ];
    let ours = survey(&nodes, &[policy("all", json!({}))]).policy("all");
    assert_eq!(ours.nodes, 5);
    let (reason, message) = ours.overlaps_karpenter().unwrap();
    assert_eq!(reason, "NodesOfKarpenter");
    let told = "1 of its 5 nodes are Karpenter's (karpenter.sh/nodepool), such as karpenter: ";
    assert!(message.starts_with(told), "{message}");
    let (reason, message) = ours.overlaps_managed_nodes().unwrap();
    assert_eq!(reason, "NodesOfEKS");
    assert!(message.contains("2 of its 5 nodes"), "{message}");
    assert!(message.contains("such as auto, group: "), "{message}");
}

#[test]
fn a_policy_overlaps_only_where_it_acts_on_what_the_other_acts_on() {
    let maintenance_only = json!({"actions": {
        "spotInterruption": "Observe",
        "autoScalingTermination": "Ignore",
        "scheduledMaintenance": "CordonAndDrain",
        "rebalanceRecommendation": "Observe",
    }});
    let cordon = json!({"actions": {"rebalanceRecommendation": "Cordon"}});
    let without = |key: &str| {
        let expression = json!({"key": key, "operator": "DoesNotExist"});
        json!({"nodeSelector": {"matchExpressions": [expression]}})
    };
    for (why, spec, karpenter, managed) in [
        ("the defaults", json!({}), true, true),
        ("it observes", json!({"mode": "Observe"}), false, false),
        (
            "a managed node group leaves maintenance to others",
            maintenance_only,
            true,
            false,
        ),
        ("a cordon is an act too", cordon, true, true),
        ("it excludes Karpenter", without(NODE_POOL), false, true),
        ("it excludes node groups", without(NODE_GROUP), true, false),
    ] {
        let nodes = [node("k", &[KARPENTER]), node("g", &[GROUP])];
        let ours = survey(&nodes, &[policy("p", spec)]).policy("p");
        assert_eq!(ours.overlaps_karpenter().is_some(), karpenter, "{why}");
        assert_eq!(ours.overlaps_managed_nodes().is_some(), managed, "{why}");
    }
}

#[test]
fn only_the_policy_that_speaks_for_a_node_overlaps() {
    let specific = json!({
        "priority": 1,
        "mode": "Observe",
        "nodeSelector": {"matchExpressions": [{"key": NODE_POOL, "operator": "Exists"}]},
    });
    let policies = [policy("all", json!({})), policy("karpenter", specific)];
    let nodes = [node("k", &[KARPENTER]), node("plain", &[])];
    let all = survey(&nodes, &policies).policy("all");
    assert_eq!((all.nodes, all.overlaps_karpenter()), (1, None));
    let other = survey(&nodes, &policies).policy("karpenter");
    assert_eq!((other.nodes, other.overlaps_karpenter()), (1, None));
}

#[test]
fn a_spot_node_is_uncovered_if_neither_a_policy_nor_anybody_else_has_it() {
    let web = json!({"nodeSelector": {"matchLabels": {"team": "web"}}, "mode": "Observe"});
    let policies = [policy("web", web)];
    let of_group = ("eks.amazonaws.com/capacityType", "SPOT");
    let of_karpenter = ("karpenter.sh/capacity-type", "spot");
    let own = ("node.kubernetes.io/lifecycle", "spot");
    for (why, labels, uncovered) in [
        ("no policy", vec![own], true),
        ("a policy has it", vec![own, ("team", "web")], false),
        (
            "on demand",
            vec![("node.kubernetes.io/lifecycle", "normal")],
            false,
        ),
        ("no spot node", vec![("team", "db")], false),
        (
            "its node group drains it",
            vec![of_group, (NODE_GROUP, "a")],
            false,
        ),
        ("Karpenter drains it", vec![of_karpenter, KARPENTER], false),
        (
            "Auto Mode drains it",
            vec![of_karpenter, COMPUTE_TYPE],
            false,
        ),
        ("nobody says that they do", vec![of_karpenter], true),
    ] {
        let found = survey(&[node("n", &labels)], &policies);
        assert_eq!(found.uncovered().count() == 1, uncovered, "{why}");
        assert_eq!(found.spot_nodes_uncovered().is_some(), uncovered, "{why}");
    }
    let (_, message) = survey(&[node("n", &[own])], &[])
        .spot_nodes_uncovered()
        .unwrap();
    assert!(message.starts_with("1 spot nodes have no policy, such as n: "));
}

#[test]
fn of_thousands_of_nodes_the_first_three_by_name_are_named() {
    let names: Vec<String> = (0..5000).rev().map(|n| format!("node-{n:04}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| node(name, &[KARPENTER])).collect();
    let policies: Vec<_> = (0..10)
        .map(|n| {
            policy(
                &format!("p{n}"),
                json!({"nodeSelector": {"matchLabels": {"a": "b"}}}),
            )
        })
        .chain([policy("z", json!({"priority": -1}))])
        .collect();
    let ranking = Ranking::of(&policies);
    let started = Instant::now();
    let survey = Survey::of(&nodes, &ranking);
    let took = started.elapsed();
    let (_, message) = survey.policy("z").overlaps_karpenter().unwrap();
    assert!(message.contains("such as node-0000, node-0001, node-0002: "));
    assert!(message.starts_with("5000 of its 5000 nodes"));
    // A few milliseconds; a bound that only another order of growth breaks.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn news_of_a_node_are_told_only_if_they_are_about_who_drains_it() {
    let nodes = Nodes::default();
    let mut classes = Classes::default();
    let mut note = |node: Arc<Node>| {
        nodes.only((*node).clone());
        classes.note(Some(node.name.as_str().into()), &nodes)
    };
    let spot = ("node.kubernetes.io/lifecycle", "spot");
    assert!(!note(node("a", &[])), "an ordinary one");
    assert!(!note(node("a", &[("team", "web")])), "another label");
    assert!(note(node("a", &[KARPENTER])), "it is Karpenter's");
    assert!(!note(node("a", &[KARPENTER, ("x", "y")])), "as before");
    assert!(note(node("a", &[KARPENTER, spot])), "and a spot node");
    nodes.only((*node("b", &[])).clone());
    assert!(classes.note(Some("a".into()), &nodes), "it is gone");
    assert!(classes.0.is_empty(), "nothing is kept of ordinary nodes");
    nodes.only((*node("c", &[spot])).clone());
    assert!(classes.note(None, &nodes), "all are looked at");
    assert!(!classes.note(None, &nodes), "nothing new");
}

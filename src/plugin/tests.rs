//! What is printed, to the letter, and what is decided, by objects as the API server has them.

mod complete;
mod decided;
mod shown;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::api::termination::NodeTermination;
use crate::drain::Node;
use crate::drain::node::NodeObject;

fn now() -> Timestamp {
    "2026-11-21T10:43:00Z".parse().unwrap()
}

/// A record of node-1 that was made 34 s ago.
fn record(name: &str, spec: &Value, status: &Value) -> NodeTermination {
    let mut object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "creationTimestamp": "2026-11-21T10:42:26Z"},
        "spec": {"nodeName": "node-1"},
    });
    let fields = object["spec"].as_object_mut().unwrap();
    fields.extend(spec.as_object().unwrap().clone());
    if !status.is_null() {
        object["status"] = status.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn spot() -> Value {
    json!({
        "nodeUID": "uid-1",
        "instanceID": "i-0a1b2c3d4e5f60718",
        "signals": [{
            "id": "SpotInterruption-0123456789abcdef",
            "kind": "SpotInterruption",
            "noticeTime": "2026-11-21T10:42:23Z",
            "deadline": "2026-11-21T10:44:23Z",
        }],
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-21T10:42:30Z",
    })
}

fn node(spec: &Value) -> Node {
    let object = json!({
        "metadata": {"name": "node-1", "uid": "uid-1", "labels": {"team": "web"}},
        "spec": spec,
    });
    Node::from(serde_json::from_value::<NodeObject>(object).unwrap())
}

#[test]
fn the_name_of_the_executable_decides_what_it_is() {
    for (name, called) in [
        ("kubectl-nodetermination", Called::Plugin),
        ("/usr/local/bin/kubectl-nodetermination", Called::Plugin),
        ("C:\\bin\\kubectl-nodetermination.exe", Called::Plugin),
        ("/bin/kubectl_complete-nodetermination", Called::Completion),
        ("/node-termination-operator", Called::Operator),
        ("", Called::Operator),
    ] {
        assert_eq!(Called::by(name), called, "{name}");
    }
}

#[test]
fn the_command_line_is_one_that_clap_finds_no_fault_with() {
    args::command().debug_assert();
}

#[test]
fn no_two_ends_share_an_exit_code() {
    let mut codes = End::ALL.map(End::code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 130]);
}

//! A small history in which every promise is kept, for checkers to be tried on: one node that is scaled in at second 10
//! with its deadline at second 80, one pod on it that is evicted, one lifecycle action that is completed.

use jiff::Timestamp;
use node_termination_operator::api::termination::{NodeTermination, Outcome, Phase};
use serde_json::json;
use std::time::Duration;
use testbed::aws::{EndedBy, Outcome as Answer};

use super::{
    ActionLife, BudgetLife, Cause, Gone, History, IncidentLife, NodeLife, NodeState, NodeWrite,
    Order, PodLife, ProcessLife, Sent, Trouble, Verb,
};
use crate::history::node::TAINT;
use crate::plan::{NoticeKind, Pool, Story};

/// So many seconds after the start.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The history.
pub fn history() -> History {
    History {
        seed: 1,
        started: at(0),
        calm: at(50),
        ended: at(200),
        nodes: vec![node()],
        pods: vec![pod()],
        incidents: vec![incident()],
        orders: vec![Order {
            time: at(13),
            answered: at(13),
            verb: Verb::Evict,
            pod: "chaos/web".into(),
            uid: Some("pod".into()),
            grace: Some(30),
            code: 201,
        }],
        node_writes: vec![NodeWrite {
            time: at(12),
            node: "node-0".into(),
            code: 200,
        }],
        actions: vec![ActionLife {
            instance: "i-0".into(),
            token: "token".into(),
            unread: false,
            ended: Some((at(40), EndedBy::Completion)),
            completions: vec![(
                at(40),
                Answer {
                    status: 200,
                    code: None,
                },
            )],
        }],
        notices: vec![Sent {
            time: at(10),
            node: 0,
            kind: NoticeKind::Hooks {
                count: 1,
                age: Duration::ZERO,
            },
            deadline: Some(at(80)),
        }],
        processes: vec![ProcessLife {
            name: "first".into(),
            ended: None,
            peak_rss: 50_000_000,
            log: "2026 INFO all is well".into(),
        }],
        ..History::default()
    }
}

fn node() -> NodeLife {
    let mut node = NodeLife {
        number: 0,
        name: "node-0".into(),
        uid: "node".into(),
        instance: "i-0".into(),
        pool: Pool::Deadline,
        story: Story::Hooks,
        cordoned: false,
        states: vec![(at(0), NodeState::default())],
        gone: Some(at(150)),
    };
    close_at(&mut node, at(12));
    node
}

fn pod() -> PodLife {
    PodLife {
        uid: "pod".into(),
        name: "chaos/web".into(),
        node: Some((at(1), "node-0".into())),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        grace: 30,
        terminating: vec![(at(13), 30)],
        gone: Some(Gone {
            after: at(20),
            by: at(20),
        }),
        ..PodLife::default()
    }
}

fn incident() -> IncidentLife {
    let version: NodeTermination = serde_json::from_value(json!({
        "metadata": {"name": "i-0"},
        "spec": {"nodeName": "node-0", "nodeUID": "node", "instanceID": "i-0"},
        "status": {
            "phase": "Draining",
            "startedAt": at(11),
            "deadline": at(80),
            "pods": {
                "summary": "1/1", "total": 1, "evicted": 0, "forced": 0, "gone": 1, "blocked": 0, "stuck": 0, "skipped": 0,
            },
        },
    }))
    .unwrap();
    let mut incident = IncidentLife {
        name: "i-0".into(),
        uid: "incident".into(),
        node_uid: "node".into(),
        versions: vec![(at(11), version)],
        gone: None,
    };
    let status = incident.versions[0].1.status.as_mut().unwrap();
    status.policy = Some(node_termination_operator::api::termination::EffectivePolicy::default());
    set_phase_at(
        &mut incident,
        at(151),
        Phase::Completed,
        Some(Outcome::Drained),
    );
    incident
}

/// Another end of an incident.
pub fn set_phase(incident: &mut IncidentLife, phase: Phase, outcome: Option<Outcome>) {
    incident.versions.pop();
    set_phase_at(incident, at(151), phase, outcome);
}

/// Another version of an incident, from that time on.
pub fn set_phase_at(
    incident: &mut IncidentLife,
    time: Timestamp,
    phase: Phase,
    outcome: Option<Outcome>,
) {
    incident.versions.retain(|(at, _)| *at < time);
    let mut version = incident.versions.last().unwrap().1.clone();
    let status = version.status.as_mut().unwrap();
    (status.phase, status.outcome) = (Some(phase), outcome);
    incident.versions.push((time, version));
}

/// The node is closed by the operator from that time on.
pub fn close_at(node: &mut NodeLife, time: Timestamp) {
    node.states.truncate(1);
    let closed = NodeState {
        unschedulable: true,
        taints: [TAINT.to_owned()].into(),
        mark: Some("{}".into()),
        ..NodeState::default()
    };
    node.states.push((time, closed));
}

/// The node is as it was from that time on.
pub fn open_at(node: &mut NodeLife, time: Timestamp) {
    node.story = Story::CanceledReboot;
    node.states.push((time, NodeState::default()));
}

/// A budget of the pod, with this room from each second on.
pub fn budget(pod: &PodLife, room: &[(i64, i32)]) -> BudgetLife {
    BudgetLife {
        name: "budget".into(),
        namespace: pod.namespace().to_owned(),
        selector: pod.labels.clone().into_iter().collect(),
        room: room
            .iter()
            .map(|(second, room)| (at(*second), *room))
            .collect(),
    }
}

/// The pod is deleted at that time, and counted as forced.
pub fn force(history: &mut History, time: Timestamp) {
    let order = &mut history.orders[0];
    (order.verb, order.time) = (Verb::Delete, time);
    history.pods[0].terminating = vec![(time, 30)];
    for (_, version) in &mut history.incidents[0].versions {
        let status = version.status.as_mut().unwrap();
        status.pods.as_mut().unwrap().forced = 1;
    }
}

/// Something is out of order in these seconds.
pub fn trouble(cause: Cause, from: i64, until: i64) -> Trouble {
    Trouble {
        from: at(from),
        until: at(until),
        cause,
    }
}

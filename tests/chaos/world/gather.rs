//! What was seen, from all who saw it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use testbed::aws::{ActionState, Call, LifecycleAction};
use testbed::control_plane::AuditEntry;
use testbed::operator::USER;

use super::World;
use super::observer::Seen;
use crate::history::{
    ActionLife, History, NodeLife, NodeWrite, Order, ProcessLife, Troubles, Verb,
};

/// The history of a run that is over, and the folder with its logs.
pub fn gather(world: &World, calm: Timestamp, processes: Vec<ProcessLife>) -> (History, PathBuf) {
    let ended = Timestamp::now();
    let entries = world.control_plane.audit_log().unwrap().entries().unwrap();
    let ours: Vec<&AuditEntry> = entries.iter().filter(|e| e.user == USER).collect();
    let calls = world.aws.calls();
    let left = world.left();
    let seen = std::mem::take(&mut *world.observer.seen());
    let log = std::mem::take(&mut *world.log());
    let actions = log.actions.iter().map(|a| action(a, world, &calls));
    let history = History {
        seed: world.plan.seed,
        started: world.started,
        calm,
        ended,
        actions: actions.collect(),
        nodes: nodes(world, &seen),
        pods: seen.pods.into_values().collect(),
        incidents: seen.incidents.into_values().collect(),
        budgets: seen.budgets.into_values().collect(),
        orders: ours.iter().filter_map(|e| order(e)).collect(),
        node_writes: ours.iter().filter_map(|e| node_write(e)).collect(),
        recorded: ours.iter().filter_map(|e| recorded(e)).collect(),
        notices: log.notices,
        deeds: log.deeds,
        troubles: Troubles(log.troubles),
        left,
        refused_calls: calls.iter().filter_map(refused).collect(),
        audit: ours.iter().map(|e| (e.time, line(e))).collect(),
        processes,
    };
    let folder = keep(world, &history);
    (history, folder)
}

fn nodes(world: &World, seen: &Seen) -> Vec<NodeLife> {
    let nodes = world.nodes.iter().zip(&world.plan.nodes).enumerate();
    let live = nodes.map(|(number, (node, plan))| {
        let life = seen.nodes.get(&node.uid);
        NodeLife {
            number,
            name: node.name.clone(),
            uid: node.uid.clone(),
            instance: node.instance_id.clone(),
            pool: plan.pool,
            story: plan.story,
            cordoned: plan.cordoned,
            states: life.map(|l| l.states.clone()).unwrap_or_default(),
            gone: life.and_then(|l| l.gone).map(|g| g.after),
        }
    });
    live.collect()
}

/// What the entry asked of a pod, if it told it to end.
fn order(entry: &AuditEntry) -> Option<Order> {
    let (verb, options) = match (entry.verb.as_str(), entry.subresource.as_str()) {
        ("create", "eviction") => (Verb::Evict, &entry.body["deleteOptions"]),
        ("delete", "") => (Verb::Delete, &entry.body),
        _ => return None,
    };
    (entry.resource == "pods").then(|| Order {
        time: entry.time,
        answered: entry.answered,
        verb,
        pod: format!("{}/{}", entry.namespace, entry.name),
        uid: options["preconditions"]["uid"].as_str().map(str::to_owned),
        grace: options["gracePeriodSeconds"].as_i64(),
        code: entry.status_code,
    })
}

fn recorded(entry: &AuditEntry) -> Option<(Timestamp, String)> {
    let created = entry.resource == "nodeterminations" && entry.status_code == 201;
    created.then(|| (entry.time, entry.name.clone()))
}

fn node_write(entry: &AuditEntry) -> Option<NodeWrite> {
    let writes = entry.resource == "nodes" && !["get", "list", "watch"].contains(&&*entry.verb);
    let (time, node, code) = (entry.time, entry.name.clone(), entry.status_code);
    writes.then_some(NodeWrite { time, node, code })
}

fn action(action: &LifecycleAction, world: &World, calls: &[Call]) -> ActionLife {
    let ended = match world.aws.action_state(&action.token) {
        Some(ActionState::Ended { by, at, .. }) => Some((at, by)),
        _ => None,
    };
    let completions = calls.iter().filter(|c| {
        c.operation == "CompleteLifecycleAction"
            && c.params["LifecycleActionToken"] == action.token.as_str()
    });
    ActionLife {
        instance: action.instance_id.clone(),
        token: action.token.clone(),
        unread: calls.iter().any(|c| {
            let group = c.params["AutoScalingGroupName"] == action.group.as_str();
            c.operation == "DescribeLifecycleHooks" && group && !c.outcome.is_ok()
        }),
        ended,
        completions: completions.map(|c| (c.time, c.outcome.clone())).collect(),
    }
}

fn refused(call: &Call) -> Option<String> {
    let why = call.violation.as_ref()?;
    Some(format!("{}: {why}", call.operation))
}

fn line(entry: &AuditEntry) -> String {
    let AuditEntry {
        time,
        verb,
        resource,
        subresource,
        name,
        status_code,
        ..
    } = entry;
    format!(
        "{time} {verb} {resource}/{subresource} {name} {status_code} {}",
        entry.body
    )
}

/// Keeps the logs: the control plane's folder goes with it.
fn keep(world: &World, history: &History) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}", history.seed));
    std::fs::create_dir_all(&folder).unwrap();
    for process in &history.processes {
        std::fs::write(folder.join(format!("{}.log", process.name)), &process.log).unwrap();
    }
    let from = world.control_plane.folder();
    for file in [
        "audit.log",
        "kube-apiserver.log",
        "kube-controller-manager.log",
        "kwok.log",
    ] {
        // Only for people to read.
        let _ = std::fs::copy(from.join(file), folder.join(file));
    }
    std::fs::write(folder.join("history.txt"), format!("{history:#?}")).unwrap();
    folder
}

//! `why` of a node that nothing is open for: which policy speaks for it, and what a drain would do.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::record;
use super::table::{NONE, facts, table};
use super::{CALL, ages};
use crate::api::policy::Mode;
use crate::api::termination::{EffectivePolicy, NodeTermination, SignalKind};
use crate::drain::arrivals::Arrivals;
use crate::drain::plan::plan;
use crate::drain::preview::{Preview, preview};
use crate::drain::select::Selection;
use crate::drain::window::later;
use crate::drain::{Budget, Node, Pod, Queue, Window};
use crate::lifecycle::action;

/// What is announced by AWS, the most urgent first.
const KINDS: [SignalKind; 6] = [
    SignalKind::SpotInterruption,
    SignalKind::CapacityReservation,
    SignalKind::InstanceStateChange,
    SignalKind::AutoScalingTermination,
    SignalKind::ScheduledMaintenance,
    SignalKind::RebalanceRecommendation,
];

/// What a drain of these pods would do, were it begun now by a person.
#[must_use]
pub fn foresee(
    policy: &EffectivePolicy,
    pods: Vec<Pod>,
    budgets: Vec<Budget>,
    now: Timestamp,
) -> Preview {
    let seconds = |seconds: u32| SignedDuration::from_secs(seconds.into());
    let window = Window {
        start: now,
        deadline: later(now, seconds(policy.drain.timeout_seconds)),
        margin: seconds(policy.drain.deadline_margin_seconds),
    };
    let skip = policy.drain.skip_pod_selector.clone();
    let (seen, came) = (BTreeSet::new(), Arrivals::default());
    let selection = Selection {
        drain: &policy.drain,
        cordon: &policy.cordon,
        skip: skip.and_then(|selector| selector.try_into().ok()),
        cordoned_at: None,
        seen: &seen,
        came: &came,
        own_pod: None,
    };
    let pods: Vec<_> = pods.into_iter().map(Arc::new).collect();
    let plan = plan(&pods, &selection, window, now);
    let mut queue = Queue::default();
    queue.budgets_listed(budgets, now);
    preview(&plan, queue.would_hold(&plan.candidates, now), now)
}

/// What is to be told of the node. `would`: what a drain would do, or why that can not be told. `last`: the youngest
/// record of the node, which is over.
#[must_use]
pub fn text(
    node: &Node,
    policy: Option<&EffectivePolicy>,
    would: Result<Preview, String>,
    last: Option<&NodeTermination>,
    now: Timestamp,
) -> String {
    let mut lines = vec![
        ("Node", format!("{}, {}", node.name, stands(node))),
        (
            "Record",
            last.map_or_else(|| "none".to_owned(), |l| over(l, now)),
        ),
    ];
    lines.push(("Policy", speaks(policy)));
    let said = match &would {
        Ok(would) => sentence(would),
        Err(why) => format!("not known: {why}"),
    };
    lines.push(("A drain", said));
    let mut parts = vec![facts(&lines)];
    let blocked = would.map(|w| w.blocked).unwrap_or_default();
    let blocked = blocked.iter().filter_map(|work| {
        let block = work.block.as_ref()?;
        let forced = work.force_at.map_or_else(
            || "never".to_owned(),
            |at| format!("after {}", ages::since(now, at)),
        );
        Some([
            work.pod.clone(),
            block.reason.as_str().to_owned(),
            block.by.clone().unwrap_or_else(|| NONE.to_owned()),
            forced,
            block.message.clone(),
        ])
    });
    let blocked: Vec<_> = blocked.collect();
    if !blocked.is_empty() {
        let header = ["WOULD BE BLOCKED", "REASON", "BY", "FORCED", "MESSAGE"];
        parts.push(table(header, &blocked));
    }
    parts.extend(policy.map(actions));
    parts.join("\n")
}

fn stands(node: &Node) -> &'static str {
    match (node.unschedulable, &node.cordon) {
        (false, _) => "open to new pods",
        (true, None) => "closed to new pods, and not by the operator",
        (true, Some(_)) => "closed to new pods by the operator",
    }
}

fn over(last: &NodeTermination, now: Timestamp) -> String {
    let (name, phase) = (last.name_any(), record::phase(last).as_str());
    let age = ages::age(record::age(last, now));
    format!("none is open; the last one, nt/{name}, is {phase} ({age} old)")
}

fn speaks(policy: Option<&EffectivePolicy>) -> String {
    match policy {
        None => format!(
            "none: notices about it are dropped, and `{CALL} drain` goes by the defaults of one"
        ),
        Some(policy) if policy.mode == Mode::Observe => {
            format!(
                "{}, which only observes: nothing is ever changed",
                policy.name
            )
        }
        Some(policy) => policy.name.clone(),
    }
}

fn sentence(would: &Preview) -> String {
    let blocked = would.blocked.len();
    let Preview {
        leave, stay, cut, ..
    } = would;
    format!(
        "by hand, begun now, would move {leave} pods, of which {blocked} are blocked at first and {cut} have their grace period cut, and leave {stay} alone"
    )
}

/// What is done about each kind of notice.
fn actions(policy: &EffectivePolicy) -> String {
    let rows = KINDS.map(|kind| {
        let action = format!("{:?}", action::of_kind(policy, kind));
        [kind.as_str().to_owned(), action]
    });
    table(["NOTICE", "ACTION"], &rows)
}

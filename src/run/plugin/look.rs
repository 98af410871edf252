//! `why` and `history`: what is asked of the API server for them. Nothing is changed.

use node_termination_operator::api::termination::{EffectivePolicy, NodeTermination};
use node_termination_operator::clock;
use node_termination_operator::drain::{Node, Preview};
use node_termination_operator::plugin::args::{History, Switch};
use node_termination_operator::plugin::output::Format;
use node_termination_operator::plugin::{End, Target, history, idle, record, why};

use super::connection::Cluster;
use super::failure::Error;
use super::{note, print, print_list};

/// What there is to tell of.
enum Found {
    /// These records.
    Records(Vec<NodeTermination>),
    /// A node that nothing is open for, and the youngest record of it.
    Idle(Box<(Node, Option<NodeTermination>)>),
}

/// Tells how it stands with a node or a NodeTermination.
pub(super) async fn why(cluster: &Cluster, options: &Switch) -> Result<End, Error> {
    let target = Target::parse(&options.target).map_err(Error::Said)?;
    let text = match find(cluster, &target).await? {
        Found::Idle(_) if options.output.is_some() => return listed(options.output, &[]),
        Found::Idle(idle) => self::idle(cluster, &idle.0, idle.1.as_ref()).await?,
        Found::Records(records) if options.output.is_some() => {
            return listed(options.output, &records);
        }
        Found::Records(records) => {
            let now = clock::now();
            let texts: Vec<_> = records.iter().map(|r| why::text(r, now)).collect();
            texts.join("\n")
        }
    };
    print(&text)?;
    Ok(End::Done)
}

fn listed(format: Option<Format>, records: &[NodeTermination]) -> Result<End, Error> {
    print_list(format, records)?;
    Ok(End::Done)
}

/// What is open on the node; else the node; else the NodeTermination of that name, or the last one of a node that is gone.
async fn find(cluster: &Cluster, target: &Target) -> Result<Found, Error> {
    let name = target.name();
    let (mut records, mut node, mut named) = (Vec::new(), Ok(None), None);
    if target.may_be_node() {
        records = cluster.list(Some(name)).await?;
        record::sort(&mut records);
    }
    let open: Vec<_> = records
        .iter()
        .filter(|r| record::is_open(r))
        .cloned()
        .collect();
    if !open.is_empty() {
        return Ok(Found::Records(open));
    }
    if target.may_be_node() {
        node = cluster.node(name).await;
    }
    if let Ok(Some(node)) = node {
        return Ok(Found::Idle(Box::new((node, records.pop()))));
    }
    if target.may_be_record() {
        named = cluster.record(name).await?;
    }
    match named.or_else(|| records.pop()) {
        Some(record) => Ok(Found::Records(vec![record])),
        // Whoever may not read nodes is told that first.
        None => Err(node.err().unwrap_or_else(|| {
            let neither = "there is neither a Node";
            Error::NotFound(format!(
                "{neither} {name} nor a NodeTermination of that name"
            ))
        })),
    }
}

/// The text about a node that nothing is open for.
async fn idle(
    cluster: &Cluster,
    node: &Node,
    last: Option<&NodeTermination>,
) -> Result<String, Error> {
    let policies = cluster.policies().await?;
    let policy = policies.speaks_for(&node.labels).map(AsRef::as_ref);
    let would = foresee(cluster, node, policy).await;
    let would = would.map_err(|error| error.to_string());
    Ok(idle::text(node, policy, would, last, clock::now()))
}

async fn foresee(
    cluster: &Cluster,
    node: &Node,
    policy: Option<&EffectivePolicy>,
) -> Result<Preview, Error> {
    let (pods, budgets) = (cluster.pods(&node.name).await?, cluster.budgets().await?);
    let defaults = EffectivePolicy::default();
    let policy = policy.unwrap_or(&defaults);
    Ok(idle::foresee(policy, pods, budgets, clock::now()))
}

/// Tells what happened.
pub(super) async fn history(cluster: &Cluster, options: &History) -> Result<End, Error> {
    let records = cluster.list(options.node.as_deref()).await?;
    let records = history::within(records, options.since, clock::now());
    if options.output.is_some() {
        print_list(options.output, &records)?;
    } else if records.is_empty() {
        note("No NodeTerminations found");
    } else {
        print(&history::text(&records, clock::now()))?;
    }
    Ok(End::Done)
}

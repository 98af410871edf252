//! `drain`: makes the NodeTermination, or joins the one that there is.

use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::drain::Node;
use node_termination_operator::plugin::args::Drain;
use node_termination_operator::plugin::drain::{self, Choice};
use node_termination_operator::plugin::{End, output};

use super::connection::Cluster;
use super::failure::Error;
use super::follow::Follower;
use super::{note, print, tell};

/// A name may be taken by the record of another node: so many are tried.
const NAMES_TRIED: usize = 8;

pub(super) async fn drain(cluster: &Cluster, options: &Drain) -> Result<End, Error> {
    let node = cluster.node(&options.node).await?;
    let node = node.ok_or_else(|| Error::NotFound(format!("there is no Node {}", options.node)))?;
    let (record, said) = take_up(cluster, &node, options.reason.as_deref()).await?;
    tell(options.output, &said)?;
    let (end, record) = if options.wait {
        Follower::new(options, record).follow(cluster).await?
    } else {
        (End::Done, record)
    };
    if let Some(format) = options.output {
        print(&output::one(format, &record).map_err(Error::Said)?)?;
    }
    Ok(end)
}

/// The record that drains the node, and what is to be said of it.
async fn take_up(
    cluster: &Cluster,
    node: &Node,
    reason: Option<&str>,
) -> Result<(NodeTermination, String), Error> {
    let mut records = cluster.list(Some(&node.name)).await?;
    for _ in 0..NAMES_TRIED {
        let name = match drain::choose(node, &records) {
            Choice::Join(record) => return Ok((record.clone(), drain::joined(record))),
            Choice::Create(name) => name,
        };
        let object = drain::object(&name, &node.name, reason);
        match cluster.create(&object).await {
            Ok(made) => {
                warn(cluster, node).await;
                let said = drain::created(&made);
                return Ok((made, said));
            }
            // Somebody was faster, or it is of another node.
            Err(error) if error.is_conflict() => records.extend(cluster.record(&name).await?),
            Err(error) => return Err(error),
        }
    }
    let name = &node.name;
    Err(Error::Said(format!(
        "the names {name}, {name}-2 and so on are taken by NodeTerminations of other nodes: make one with a name of your own"
    )))
}

/// Tells what the policy means for the drain. Whoever may not read policies is not told.
async fn warn(cluster: &Cluster, node: &Node) {
    let Ok(policies) = cluster.policies().await else {
        return;
    };
    let policy = policies.speaks_for(&node.labels);
    if let Some(warning) = drain::warning(node, policy.map(AsRef::as_ref)) {
        note(&format!("warning: {warning}"));
    }
}

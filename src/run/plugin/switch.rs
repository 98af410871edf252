//! `hold`, `release` and `cancel`.

use kube::ResourceExt;
use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::plugin::output::Format;
use node_termination_operator::plugin::switch::{self, Switch};
use node_termination_operator::plugin::{End, Target, target};

use super::connection::Cluster;
use super::failure::Error;
use super::{note, print_list, tell};

/// Switches the NodeTerminations that are meant: one, or all that are open on the node.
pub(super) async fn switch(
    cluster: &Cluster,
    switch: Switch,
    typed: &str,
    all: bool,
    format: Option<Format>,
) -> Result<End, Error> {
    let meant = meant(cluster, typed).await?;
    if meant.len() > 1 && !all {
        return Err(Error::Said(target::several(&meant)));
    }
    let mut switched = Vec::new();
    for object in meant {
        switched.push(one(cluster, switch, object, format).await?);
    }
    print_list(format, &switched)?;
    Ok(End::Done)
}

async fn meant(cluster: &Cluster, typed: &str) -> Result<Vec<NodeTermination>, Error> {
    let target = Target::parse(typed).map_err(Error::Said)?;
    let (mut of_node, mut named) = (Vec::new(), None);
    if target.may_be_node() {
        of_node = cluster.list(Some(target.name())).await?;
    }
    if target.may_be_record() {
        named = cluster.record(target.name()).await?;
    }
    let meant = target.meant(&of_node, named);
    match &meant[..] {
        [] => Err(Error::NotFound(target.nothing())),
        [only] => match switch::over(only) {
            Some(over) => Err(Error::NotFound(over)),
            None => Ok(meant),
        },
        _ => Ok(meant),
    }
}

async fn one(
    cluster: &Cluster,
    switch: Switch,
    object: NodeTermination,
    format: Option<Format>,
) -> Result<NodeTermination, Error> {
    if switch.is_set(&object) {
        tell(format, &switch.was_set(&object))?;
        return Ok(object);
    }
    if let Some(warning) = switch::warning(switch, &object) {
        note(&format!("warning: {warning}"));
    }
    let name = object.name_any();
    let patched = cluster.patch(&name, &switch.patch(&object)).await;
    let patched = patched.map_err(|error| match error {
        error if error.is_replaced() => Error::Said(format!(
            "nt/{name} was replaced by another one meanwhile: try again"
        )),
        error if error.code() == Some(404) => {
            Error::NotFound(format!("nt/{name} was deleted meanwhile"))
        }
        error => error,
    })?;
    tell(format, &switch.done(&patched))?;
    Ok(patched)
}

//! An agent to which nothing happens: it reads its instance's metadata every other second.

use std::time::Duration;

use kube::Api;
use kube::api::PostParams;
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::json;
use testbed::imds::{Imds, documents};
use testbed::operator::{self, Operator};

use crate::bed::{Bed, binary, repository};
use crate::idle::quiet;
use crate::report::{Row, megabytes, time};
use crate::sizes::Sizes;
use crate::stage::Stage;

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    operator::install_agent(&bed.control_plane, repository()).await?;
    let stage = Stage::set(&bed, "agent", 1, 0).await?;
    let node = &stage.nodes[0];
    let policy: TerminationPolicy = serde_json::from_value(json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": "agent"},
        "spec": {"sources": [{"name": "metadata", "imds": {}}]},
    }))?;
    let policies = Api::<TerminationPolicy>::all(bed.client.clone());
    policies.create(&PostParams::default(), &policy).await?;
    let imds = Imds::start(&node.instance_id)?;
    let token = operator::agent_token(&bed.client, &node.name).await?;
    let kubeconfig = bed.control_plane.kubeconfig_with_token("agent", &token)?;
    let mut environment = imds.env().to_vec();
    environment.push(("NTO_LOG_LEVEL", "info"));
    let plane = &bed.control_plane;
    let agent = Operator::start_agent(binary(), plane, &kubeconfig, "agent", &environment)?;
    agent.await_ready().await?;
    imds.await_reads(documents::SPOT, 1, Duration::from_mins(1))
        .await?;
    let cost = quiet(&bed, &agent, sizes.quiet).await?;
    let seconds = sizes.quiet.as_secs();
    Ok(vec![
        Row::promised(
            "idle agent: RSS",
            "≤ 25 MB",
            &megabytes(cost.rss),
            cost.rss <= 25_000_000,
        ),
        Row::told(&format!("idle agent: CPU in {seconds} s"), &time(cost.cpu)),
    ])
}

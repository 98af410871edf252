//! The metadata mode: an agent on each node, each with the metadata service of its own instance.

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use node_termination_operator::api::condition;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::Phase;
use testbed::cluster::{self, PodOptions, await_object};
use testbed::imds::{Answer, Imds, documents};
use testbed::{Operator, operator};

use super::REPOSITORY;
use super::stage::{STOPS_AFTER, Stage, headline, within};

/// A node's agent and the metadata service that it reads.
struct Reader {
    metadata: Imds,
    agent: Operator,
    kubeconfig: String,
}

impl Stage {
    /// The story.
    pub async fn tell_of_metadata(&self) -> anyhow::Result<()> {
        within("workload", Box::pin(self.one_workload())).await?;
        within("agents", Box::pin(self.install_agents())).await?;
        let readers = within("agents", Box::pin(self.readers())).await?;
        let told = Box::pin(self.tell_with(&readers)).await;
        told.with_context(|| {
            let tails = readers.iter().map(|r| r.agent.process().tail());
            format!(
                "the agents' logs end:\n{}",
                tails.collect::<Vec<_>>().join("\n")
            )
        })
    }

    async fn tell_with(&self, readers: &[Reader]) -> anyhow::Result<()> {
        within("notices", Box::pin(self.notices(readers))).await?;
        within("admission", Box::pin(self.overreach(&readers[2]))).await?;
        within("end", Box::pin(self.end_of_one())).await
    }

    async fn one_workload(&self) -> anyhow::Result<()> {
        headline("A Deployment on three nodes");
        let options = PodOptions::default().gone_after(STOPS_AFTER);
        cluster::make_deployment(&self.client, &self.namespace, "web", 6, &options).await?;
        self.show(&["get", "pods", "-n", &self.namespace, "-o", "wide"])
            .await
    }

    async fn install_agents(&self) -> anyhow::Result<()> {
        headline("The agent's manifests, and a policy: read the metadata every two seconds");
        let repository = std::path::Path::new(REPOSITORY);
        operator::install_agent(&self.control_plane, repository).await?;
        let file = repository.join("manifests/examples/metadata.yaml");
        let file = file.to_str().context("the path is not UTF-8")?;
        self.show(&["apply", "-f", file]).await?;
        let api = Api::<TerminationPolicy>::all(self.client.clone());
        await_object(api, "default", |p: Option<&TerminationPolicy>| {
            p.and_then(|p| p.status.as_ref())
                .is_some_and(|s| condition::holds(&s.conditions, condition::READY))
        })
        .await?;
        self.show(&["get", "daemonsets,pods", "-n", operator::NAME])
            .await?;
        self.show(&["get", "terminationpolicies"]).await
    }

    /// The simulated kubelets run nothing: each agent is a process here, with the token of its pod.
    async fn readers(&self) -> anyhow::Result<Vec<Reader>> {
        headline(
            "Three agents as processes, each with the token of its pod and the metadata of its node's instance",
        );
        let mut readers = Vec::new();
        for node in &self.nodes {
            let metadata = Imds::start(&node.instance_id)?;
            let token = operator::agent_token(&self.client, &node.name).await?;
            let name = format!("agent-{}", node.name);
            let kubeconfig = self.control_plane.kubeconfig_with_token(&name, &token)?;
            let agent = Operator::start_agent(
                &self.binary,
                &self.control_plane,
                &kubeconfig,
                &name,
                &metadata.env(),
            )?;
            let kubeconfig = kubeconfig.to_str().context("the path is not UTF-8")?;
            readers.push(Reader {
                metadata,
                agent,
                kubeconfig: kubeconfig.to_owned(),
            });
        }
        for (node, reader) in self.nodes.iter().zip(&readers) {
            reader.agent.await_ready().await?;
            let kilo = reader.agent.process().anonymous_bytes()? / 1000;
            println!(
                "{}: the agent is ready and uses {kilo} kB beside its program",
                node.name
            );
        }
        Ok(readers)
    }

    async fn notices(&self, readers: &[Reader]) -> anyhow::Result<()> {
        headline("What the metadata says from now on");
        let now = Timestamp::now();
        let spot = documents::spot(now + SignedDuration::from_secs(120));
        println!("{}: {} is {spot}", self.nodes[0].name, documents::SPOT);
        readers[0].metadata.set(documents::SPOT, Answer::body(spot));
        let target = documents::TARGET_STATE;
        println!("{}: {target} is Terminated", self.nodes[1].name);
        readers[1].metadata.set(target, Answer::body("Terminated"));
        let nodes = Api::<Node>::all(self.client.clone());
        for node in &self.nodes[..2] {
            await_object(nodes.clone(), &node.name, |n: Option<&Node>| {
                n.and_then(|n| n.spec.as_ref())
                    .is_some_and(|s| s.unschedulable == Some(true))
            })
            .await?;
            self.await_phase(node, Phase::Released).await?;
        }
        headline("Cordoned and drained: the agents recorded it, the controller acted");
        self.show(&["get", "nodes"]).await?;
        self.show(&["get", "nodeterminations", "-o", "wide"])
            .await?;
        self.show(&["get", "pods", "-n", &self.namespace, "-o", "wide"])
            .await
    }

    /// What somebody who took over one node's agent would try.
    async fn overreach(&self, reader: &Reader) -> anyhow::Result<()> {
        headline("Node-2's agent tries to hold the record of node-1, and to have node-1 drained");
        let victim = &self.nodes[1];
        let hold = r#"{"spec":{"hold":true}}"#;
        let name = &victim.instance_id;
        self.refused(
            reader,
            &["patch", "nt", name, "--type", "merge", "-p", hold],
        )
        .await?;
        let file = self.control_plane.folder().join("drain-node-1.yaml");
        let object = format!(
            "apiVersion: nodetermination.dev/v1alpha1\nkind: NodeTermination\n\
             metadata: {{name: drain-node-1}}\nspec: {{nodeName: {}}}\n",
            victim.name
        );
        std::fs::write(&file, object)?;
        let file = file.to_str().context("the path is not UTF-8")?;
        self.refused(reader, &["create", "-f", file]).await
    }

    /// Runs kubectl with an agent's token and shows the refusal.
    async fn refused(&self, reader: &Reader, arguments: &[&str]) -> anyhow::Result<()> {
        println!("$ kubectl {}", arguments.join(" "));
        let with_token = [arguments, &["--kubeconfig", &reader.kubeconfig]].concat();
        let Err(refusal) = self.control_plane.kubectl(&with_token).await else {
            anyhow::bail!("the agent was let do that");
        };
        let refusal = refusal.to_string();
        let said = refusal.split_once("denied request: ");
        let (_, said) = said.with_context(|| refusal.clone())?;
        println!("denied: {said}\n");
        Ok(())
    }

    async fn end_of_one(&self) -> anyhow::Result<()> {
        headline("The machines go, and their Nodes with them: the records are closed and stay");
        for node in &self.nodes[..2] {
            cluster::delete_node(&self.client, &node.name).await?;
            self.await_phase(node, Phase::Completed).await?;
        }
        self.show(&["get", "nodeterminations"]).await?;
        self.describe(&self.nodes[0], &["Spec:", "Events:"]).await
    }
}

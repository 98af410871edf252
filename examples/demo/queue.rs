//! The queue mode: both notices come through one queue, and the lifecycle hook is kept alive meanwhile.

use std::time::Duration;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use node_termination_operator::api::condition;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTerminationStatus, Phase};
use testbed::aws::{ActionState, LifecycleAction, LifecycleResult, REGION, events};
use testbed::cluster::{self, Budget, PodOptions, TestNode, await_object};
use tokio::time::Instant;

use super::stage::{PATIENCE, STOPS_AFTER, Stage, headline, within};

/// The Auto Scaling group and its lifecycle hook.
const GROUP: &str = "workers";
const HOOK: &str = "drain-first";
/// How long the hook waits for a heartbeat.
const HOOK_TIMEOUT: Duration = Duration::from_mins(2);
/// The termination's event has waited so long in the queue: the first heartbeat, 30 s after it, is due soon.
const EVENT_AGE: SignedDuration = SignedDuration::from_secs(24);

impl Stage {
    /// The story.
    pub async fn tell(&self) -> anyhow::Result<()> {
        within("workload", Box::pin(self.workload())).await?;
        within("policy", Box::pin(self.policy())).await?;
        let (spot, scaled_in) = (&self.nodes[0], &self.nodes[1]);
        let sent = Instant::now();
        let action = self.give_notice(spot, scaled_in)?;
        within("cordon", Box::pin(self.cordoned(spot, scaled_in, sent))).await?;
        within("budget", Box::pin(self.blocked(spot))).await?;
        within("heartbeat", Box::pin(self.heartbeat(scaled_in))).await?;
        within("room", Box::pin(self.room())).await?;
        within("release", Box::pin(self.released(spot, scaled_in, &action))).await?;
        within("end", Box::pin(self.gone(spot, scaled_in))).await
    }

    async fn workload(&self) -> anyhow::Result<()> {
        headline(
            "Two Deployments on three nodes. The budget of one has no room: all its pods must stay",
        );
        let (client, namespace) = (&self.client, &self.namespace);
        let options = PodOptions::default().gone_after(STOPS_AFTER);
        cluster::make_deployment(client, namespace, "web", 6, &options).await?;
        cluster::make_deployment(client, namespace, "batch", 3, &options).await?;
        let all = Budget::MinAvailable(IntOrString::Int(6));
        let labels = cluster::map(&[("app", "web")]);
        cluster::make_pdb(client, namespace, "web", &labels, all).await?;
        self.show(&["get", "pods,pdb", "-n", namespace, "-o", "wide"])
            .await
    }

    async fn policy(&self) -> anyhow::Result<()> {
        headline("A policy: which queue, what to do, how to drain");
        let yaml = policy(&self.queue.url());
        println!("{yaml}");
        let file = self.control_plane.folder().join("policy.yaml");
        std::fs::write(&file, yaml)?;
        let file = file.to_str().context("the path is not UTF-8")?;
        self.control_plane.kubectl(&["apply", "-f", file]).await?;
        let api = Api::<TerminationPolicy>::all(self.client.clone());
        await_object(api, "default", |p: Option<&TerminationPolicy>| {
            p.and_then(|p| p.status.as_ref())
                .is_some_and(|s| condition::holds(&s.conditions, condition::READY))
        })
        .await?;
        self.show(&["get", "terminationpolicies"]).await
    }

    /// Both notices at once, as EventBridge puts them into the queue.
    fn give_notice(
        &self,
        spot: &TestNode,
        scaled_in: &TestNode,
    ) -> anyhow::Result<LifecycleAction> {
        headline("AWS takes two of the machines");
        let (name, id) = (&spot.name, &spot.instance_id);
        println!("{name}: EC2 takes the spot instance {id} back in two minutes");
        let (name, id) = (&scaled_in.name, &scaled_in.instance_id);
        println!(
            "{name}: the group {GROUP} terminates {id}; its lifecycle hook {HOOK} waits for us"
        );
        let age = EVENT_AGE.as_secs();
        println!("(the second event has lain in the queue for {age} s, as after an outage)");
        let action = self.scale_in(&scaled_in.instance_id)?;
        let now = Timestamp::now();
        self.queue.send_batch([
            events::spot_interruption(&spot.instance_id, now),
            events::terminate_lifecycle(&action, now - EVENT_AGE),
        ])?;
        Ok(action)
    }

    fn scale_in(&self, instance: &str) -> anyhow::Result<LifecycleAction> {
        let result = LifecycleResult::Abandon;
        self.aws.put_hook(GROUP, HOOK, HOOK_TIMEOUT, result);
        self.aws.put_instance(GROUP, instance);
        self.aws
            .start_termination(GROUP, instance, None)?
            .pop()
            .context("the group has no hook")
    }

    async fn cordoned(
        &self,
        spot: &TestNode,
        scaled_in: &TestNode,
        sent: Instant,
    ) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        let closed = |node: Option<&Node>| {
            node.and_then(|n| n.spec.as_ref())
                .is_some_and(|s| s.unschedulable == Some(true))
        };
        for node in [spot, scaled_in] {
            await_object(nodes.clone(), &node.name, closed).await?;
        }
        let took = sent.elapsed().as_secs_f64();
        headline(&format!(
            "Both nodes are cordoned, {took:.2} s after the notices"
        ));
        self.show(&["get", "nodes"]).await
    }

    async fn blocked(&self, spot: &TestNode) -> anyhow::Result<()> {
        let blocked = |t: &NodeTerminationStatus| t.blocked.len() == 2;
        self.await_status(spot, blocked).await?;
        headline(
            "Their pods leave, but for those of the budget: the record says who blocks, and until when",
        );
        self.show(&["get", "nodeterminations"]).await?;
        self.describe(spot, &["Blocked:", "Conditions:"]).await
    }

    async fn heartbeat(&self, scaled_in: &TestNode) -> anyhow::Result<()> {
        let beat = self
            .aws
            .await_call(PATIENCE, |call| {
                call.operation == "RecordLifecycleActionHeartbeat" && call.outcome.is_ok()
            })
            .await?;
        headline("The lifecycle hook is kept alive meanwhile: Auto Scaling gets a heartbeat");
        println!("{:.0}  RecordLifecycleActionHeartbeat", beat.time);
        println!("{}\n", beat.params);
        self.await_status(scaled_in, |t| {
            t.lifecycle_actions.iter().any(|a| a.heartbeats == 1)
        })
        .await?;
        self.describe(scaled_in, &["Lifecycle Actions:"]).await
    }

    async fn room(&self) -> anyhow::Result<()> {
        headline("Somebody makes room: two more replicas. The drains go on at that moment");
        let (namespace, more) = (self.namespace.as_str(), "--replicas=8");
        self.show(&["scale", "deployment", "web", "-n", namespace, more])
            .await
    }

    async fn released(
        &self,
        spot: &TestNode,
        scaled_in: &TestNode,
        action: &LifecycleAction,
    ) -> anyhow::Result<()> {
        let end = self.aws.await_action_done(&action.token, PATIENCE).await?;
        let ActionState::Ended { result, by, at } = end else {
            bail!("the lifecycle action has not ended: {end:?}");
        };
        headline("Drained: the lifecycle action is completed, the group may go on");
        println!("{at:.0}  {HOOK} ended by {by:?}, result {result:?}\n");
        for node in [spot, scaled_in] {
            self.await_phase(node, Phase::Released).await?;
        }
        self.show(&["get", "nodeterminations", "-o", "wide"])
            .await?;
        self.show(&["get", "pods", "-n", &self.namespace, "-o", "wide"])
            .await
    }

    async fn gone(&self, spot: &TestNode, scaled_in: &TestNode) -> anyhow::Result<()> {
        headline("The machines go, and their Nodes with them: the records are closed and stay");
        for node in [spot, scaled_in] {
            cluster::delete_node(&self.client, &node.name).await?;
            self.await_phase(node, Phase::Completed).await?;
        }
        self.show(&["get", "nodeterminations"]).await?;
        self.describe(scaled_in, &["Lifecycle Actions:", "Events:"])
            .await
    }
}

fn policy(queue: &str) -> String {
    format!(
        "\
apiVersion: nodetermination.dev/v1alpha1
kind: TerminationPolicy
metadata:
  name: default
spec:
  nodeSelector:
    matchExpressions:
    - {{key: karpenter.sh/nodepool, operator: DoesNotExist}}
    - {{key: eks.amazonaws.com/nodegroup, operator: DoesNotExist}}
    - {{key: eks.amazonaws.com/compute-type, operator: NotIn, values: [auto]}}
  sources:
  - name: events
    sqs:
      queueURL: {queue}
      region: {REGION}
  drain:
    disruptionBudgets: RespectUntilDeadline
  lifecycle:
    heartbeat:
      intervalSeconds: 30
      untilSeconds: 600
"
    )
}

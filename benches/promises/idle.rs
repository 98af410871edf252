//! A large cluster to which nothing happens.

use std::time::Duration;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use testbed::Operator;
use testbed::cluster::{self, await_count, map};

use crate::bed::Bed;
use crate::cost::{Cost, Meter};
use crate::raw::at_once;
use crate::report::{Row, megabytes, time};
use crate::sizes::Sizes;
use crate::stage::Stage;

/// What is done once, after the start, is over by then.
const SETTLED: Duration = Duration::from_secs(10);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (nodes, pods) = sizes.thousand;
    let stage = Stage::set(&bed, "idle", nodes, pods).await?;
    measure(&bed, &stage, sizes).await
}

/// Nothing happens to these nodes, and to twice as many budgets.
pub async fn measure(bed: &Bed, stage: &Stage, sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let (nodes, budgets) = (stage.nodes.len(), 2 * stage.nodes.len());
    make_budgets(bed, budgets).await?;
    let operator = bed.lead("idle").await?;
    bed.policy("idle", &stage.selector()).await?;
    let cost = quiet(bed, &operator, sizes.quiet).await?;
    bed.end(operator, "idle").await?;
    let spent = cost.by_request();
    let changes = cost.requests.iter().filter(|e| e.verb != "watch").count();
    let seconds = sizes.quiet.as_secs();
    let what = |what: &str| {
        let pods = stage.pods;
        format!("idle, {nodes} nodes, {budgets} budgets, {pods} pods: {what}")
    };
    Ok(vec![
        Row::promised(
            &what("RSS"),
            "≤ 35 MB",
            &format!(
                "{}, at most {}",
                megabytes(cost.rss),
                megabytes(cost.peak_rss)
            ),
            cost.rss <= 35_000_000,
        ),
        Row::promised(
            &what(&format!("requests in {seconds} s")),
            "none but watches and the lease",
            if spent.is_empty() { "none" } else { &spent },
            changes == 0,
        ),
        Row::told(&what(&format!("CPU in {seconds} s")), &time(cost.cpu)),
    ])
}

/// What the process spends while nothing happens.
pub async fn quiet(bed: &Bed, operator: &Operator, how_long: Duration) -> anyhow::Result<Cost> {
    tokio::time::sleep(SETTLED).await;
    let meter = Meter::start(bed, operator)?;
    tokio::time::sleep(how_long).await;
    meter.stop().await
}

/// Budgets of pods that there are none of.
async fn make_budgets(bed: &Bed, count: usize) -> anyhow::Result<()> {
    let namespace = cluster::namespace(&bed.client, "budgets").await?;
    let api = Api::<PodDisruptionBudget>::namespaced(bed.client.clone(), &namespace);
    let create = |n: usize| {
        let (api, name) = (api.clone(), format!("budget-{n}"));
        async move {
            api.create(&PostParams::default(), &budget(&name)).await?;
            Ok(())
        }
    };
    at_once((0..count).map(create).collect()).await?;
    let counted = |budget: &PodDisruptionBudget| {
        let status = budget.status.as_ref();
        status.is_some_and(|s| s.observed_generation == budget.metadata.generation)
    };
    await_count(api, watcher::Config::default(), count, counted).await
}

fn budget(name: &str) -> PodDisruptionBudget {
    let selector = LabelSelector {
        match_labels: Some(map(&[("app", name)])),
        ..LabelSelector::default()
    };
    PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

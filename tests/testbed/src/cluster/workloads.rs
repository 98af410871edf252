//! Deployments and what governs the eviction of their pods.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
        scheduling::v1::PriorityClass,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{PodOptions, await_object};

/// Creates a Deployment whose pods have the label `app=NAME` and what `options` says, and waits
/// until all replicas are available.
pub async fn make_deployment(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: i32,
    options: &PodOptions,
) -> anyhow::Result<Deployment> {
    let deployment = Deployment {
        metadata: named(name),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: selecting(&super::map(&[("app", name)])),
            template: options.clone().label("app", name).template(),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    };
    let api = Api::namespaced(client.clone(), namespace);
    let created = api.create(&PostParams::default(), &deployment).await?;
    let available = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| status.available_replicas.unwrap_or(0) == replicas)
    };
    Ok(await_object(api, name, available).await?.unwrap_or(created))
}

/// What a `PodDisruptionBudget` demands, as a number or a percentage.
#[derive(Clone, Debug)]
pub enum Budget {
    /// `minAvailable`. For pods without a controller it must be a number.
    MinAvailable(IntOrString),
    /// `maxUnavailable`. It needs pods with a controller, such as those of a Deployment.
    MaxUnavailable(IntOrString),
}

/// Creates a `PodDisruptionBudget` for the pods with `labels`, and waits until its status counts
/// them.
pub async fn make_pdb(
    client: &Client,
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    budget: Budget,
) -> anyhow::Result<PodDisruptionBudget> {
    let (min_available, max_unavailable) = match budget {
        Budget::MinAvailable(number) => (Some(number), None),
        Budget::MaxUnavailable(number) => (None, Some(number)),
    };
    let budget = PodDisruptionBudget {
        metadata: named(name),
        spec: Some(PodDisruptionBudgetSpec {
            min_available,
            max_unavailable,
            selector: Some(selecting(labels)),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    let api = Api::namespaced(client.clone(), namespace);
    let created = api.create(&PostParams::default(), &budget).await?;
    let generation = created.metadata.generation;
    let counted = |budget: Option<&PodDisruptionBudget>| {
        let status = budget.and_then(|budget| budget.status.as_ref());
        status.is_some_and(|status| status.observed_generation == generation)
    };
    Ok(await_object(api, name, counted).await?.unwrap_or(created))
}

/// Creates a priority class, for [`PodOptions::priority_class`]. It belongs to no namespace.
pub async fn make_priority_class(client: &Client, name: &str, value: i32) -> anyhow::Result<()> {
    let class = PriorityClass {
        metadata: named(name),
        value,
        ..PriorityClass::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &class)
        .await?;
    Ok(())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

fn selecting(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels.clone()),
        ..LabelSelector::default()
    }
}

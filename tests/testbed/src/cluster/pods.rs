//! Pods that no controller makes.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec, Toleration},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, ResourceExt, api::ObjectMeta, runtime::watcher};

use super::{BATCH, await_count, create_all, unique};

/// How a pod differs from a plain one. By default it goes at once when it is deleted.
#[derive(Clone, Debug, Default)]
pub struct PodOptions {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.terminationGracePeriodSeconds`; 30 by Kubernetes' default.
    pub grace_seconds: Option<i64>,
    /// The object that owns it, such as a `DaemonSet`.
    pub owner: Option<OwnerReference>,
    /// Its tolerations.
    pub tolerations: Vec<Toleration>,
    /// The name of its priority class: a built-in one or one of [`super::make_priority_class`].
    pub priority_class: Option<String>,
    /// `spec.nodeSelector`, for pods that the scheduler places.
    pub node_selector: BTreeMap<String, String>,
}

impl PodOptions {
    /// Once deleted, the pod stays for `delay`, unless it is deleted with a grace of zero.
    #[must_use]
    pub fn gone_after(self, delay: Duration) -> Self {
        let delay = format!("{}ms", delay.as_millis());
        self.annotation("pod-delete.stage.kwok.x-k8s.io/delay", &delay)
    }

    /// Once deleted, the pod stays for ever, unless it is deleted with a grace of zero.
    #[must_use]
    pub fn stuck(self) -> Self {
        self.annotation("testbed/stuck", "true")
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With one more annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With `spec.terminationGracePeriodSeconds`.
    #[must_use]
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_seconds = Some(seconds);
        self
    }

    pub(super) fn template(&self) -> PodTemplateSpec {
        let some = |map: &BTreeMap<_, _>| (!map.is_empty()).then(|| map.clone());
        let metadata = ObjectMeta {
            labels: some(&self.labels),
            annotations: some(&self.annotations),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        let spec = PodSpec {
            containers: vec![Container {
                name: "main".to_owned(),
                image: Some("example.invalid/none".to_owned()),
                ..Container::default()
            }],
            node_selector: some(&self.node_selector),
            priority_class_name: self.priority_class.clone(),
            termination_grace_period_seconds: self.grace_seconds,
            tolerations: (!self.tolerations.is_empty()).then(|| self.tolerations.clone()),
            ..PodSpec::default()
        };
        PodTemplateSpec {
            metadata: Some(metadata),
            spec: Some(spec),
        }
    }
}

/// Creates `count` pods bound to `node`, without a scheduler, and waits until they are Ready. They
/// are returned as they were created. Their names are `NODE-` and something unique.
pub async fn make_pods(
    client: &Client,
    namespace: &str,
    node: &str,
    count: usize,
    options: &PodOptions,
) -> anyhow::Result<Vec<Pod>> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let batch = unique();
    let template = options.clone().label(BATCH, &batch).template();
    let pods = (0..count).map(|index| {
        let mut metadata = template.metadata.clone().unwrap_or_default();
        metadata.name = Some(format!("{node}-{batch}-{index}"));
        let mut spec = template.spec.clone().unwrap_or_default();
        spec.node_name = Some(node.to_owned());
        Pod {
            metadata,
            spec: Some(spec),
            ..Pod::default()
        }
    });
    let pods = create_all(&api, pods.collect()).await?;
    let selector = watcher::Config::default().labels(&format!("{BATCH}={batch}"));
    await_count(api, selector, count, ready).await?;
    Ok(pods)
}

/// Waits until none of `pods`, all of one namespace, exists any more. A new pod of the same name
/// does not count.
pub async fn await_pods_gone(client: &Client, namespace: &str, pods: &[Pod]) -> anyhow::Result<()> {
    let uids: HashSet<_> = pods.iter().filter_map(ResourceExt::uid).collect();
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let selector = watcher::Config::default();
    await_count(api, selector, 0, |pod| {
        pod.uid().is_some_and(|uid| uids.contains(&uid))
    })
    .await
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

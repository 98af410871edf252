//! The kubelet's part: a container of a pod as a process, as the pod's manifest says and with the pod's own token.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kube::{Client, ResourceExt};

use super::{Operator, pod_token};
use crate::ControlPlane;

impl Operator {
    /// Starts `binary` as the first container of a pod of the namespace [`super::NAME`]: with its arguments and its
    /// environment, as its service account, with a token that is bound to the pod. The environment `extra` comes last.
    pub async fn start_pod(
        binary: &Path,
        control_plane: &ControlPlane,
        client: &Client,
        pod: &Pod,
        extra: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let spec = pod.spec.as_ref().context("a pod without a spec")?;
        let account = spec.service_account_name.as_deref();
        let account = account.context("a pod without an account")?;
        let container = spec.containers.first().context("no container")?;
        let token = pod_token(client, account, pod.clone()).await?;
        let name = pod.name_any();
        let mut command = Command::new(binary);
        command
            .args(container.args.iter().flatten())
            .envs(environment(container, pod)?)
            .env(
                "KUBECONFIG",
                control_plane.kubeconfig_with_token(&name, &token)?,
            )
            .envs(extra.iter().copied());
        Self::spawn(command, control_plane, &name)
    }
}

/// What the kubelet makes of the container's environment; values and the pod's own fields are understood.
fn environment(container: &Container, pod: &Pod) -> anyhow::Result<Vec<(String, String)>> {
    let variables = container.env.iter().flatten();
    variables
        .map(|variable| Ok((variable.name.clone(), value(variable, pod)?)))
        .collect()
}

fn value(variable: &EnvVar, pod: &Pod) -> anyhow::Result<String> {
    if let Some(value) = &variable.value {
        return Ok(value.clone());
    }
    let field = variable
        .value_from
        .as_ref()
        .and_then(|source| Some(source.field_ref.as_ref()?.field_path.as_str()));
    match field {
        Some("metadata.name") => Ok(pod.name_any()),
        Some("metadata.namespace") => pod.namespace().context("no namespace"),
        other => bail!("{} from {other:?}", variable.name),
    }
}

//! What tests, the demo and the benches put into a cluster: nodes, pods, workloads.
//!
//! Everything is created with bounded parallelism, and awaited by watches. A wait that is not over
//! after [`PATIENCE`] is an error.

mod nodes;
mod pods;
mod watch;
mod workloads;

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub use nodes::{TestNode, delete_node, get_ready, instance_id, join_node, make_nodes};
pub use pods::{PodOptions, await_pods_gone, make_pods};
pub use watch::{await_count, await_object};
pub use workloads::{Budget, make_deployment, make_pdb, make_priority_class};

/// How long any wait of this module may take: thousands of pods on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Requests under way at once. The API server allows 200 writes at a time by default.
const PARALLEL: usize = 50;

/// The label that tells the objects of one call apart, so that one watch sees them all and no more.
const BATCH: &str = "testbed/batch";

/// Creates a namespace with a unique name that starts with `prefix`, and waits until pods can be
/// created in it.
pub async fn namespace(client: &Client, prefix: &str) -> anyhow::Result<String> {
    let name = format!("{prefix}-{}", unique());
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        ..ObjectMeta::default()
    };
    let object = Namespace {
        metadata,
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &object)
        .await?;
    // Without its service account a pod is refused.
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &name);
    await_object(accounts, "default", |account| account.is_some()).await?;
    Ok(name)
}

/// Labels or annotations from pairs.
#[must_use]
pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Eight hexadecimal digits that nobody else has.
fn unique() -> String {
    let mut id = Uuid::new_v4().simple().to_string();
    id.truncate(8);
    id
}

/// Creates all objects and returns them in the same order as the API server made them.
async fn create_all<K>(api: &Api<K>, objects: Vec<K>) -> anyhow::Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug + Resource,
{
    let post = PostParams::default();
    let requests = objects.iter().map(|object| api.create(&post, object));
    // Collected first: the closure borrows, and the stream must be `Send` for any lifetime.
    let requests: Vec<_> = requests.collect();
    Ok(stream::iter(requests)
        .buffered(PARALLEL)
        .try_collect()
        .await?)
}

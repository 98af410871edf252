//! Which node we run on, as the API server knows it, and what it says of that node.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use super::{Error, call};
use crate::drain::Node;
use crate::drain::node::NodeObject;

/// What the API server adds to the user of a service account token that is bound to a pod (Kubernetes, "Managing Service
/// Accounts", "Additional metadata in Pod bound tokens").
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";

/// How the name of the agents' user ends: by it the admission policy in `manifests/agent` knows whom to hold to its own
/// node.
const ACCOUNT: &str = ":node-termination-operator-agent";

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Me {
    /// The agent of that node.
    Agent(OwnNode),
    /// An agent whose credentials are not bound to a node.
    NotBound,
    /// A user of this name, whom no admission policy holds to its own node.
    Other(String),
}

/// The node that our credentials are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnNode {
    /// Its name.
    pub name: String,
    /// Its UID when the token was made.
    pub uid: String,
}

/// Asks the API server who we are.
///
/// # Errors
/// See [`Error`].
pub async fn identify(client: &Client) -> Result<Me, Error> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let params = PostParams::default();
    let review = SelfSubjectReview::default();
    let review = call("review own identity", api.create(&params, &review)).await?;
    let user = review.status.and_then(|s| s.user_info).unwrap_or_default();
    let name = user.username.unwrap_or_default();
    if !name.ends_with(ACCOUNT) {
        return Ok(Me::Other(name));
    }
    let extra = user.extra.unwrap_or_default();
    let first = |key| extra.get(key).and_then(|values| values.first()).cloned();
    Ok(match first(NODE_NAME).zip(first(NODE_UID)) {
        Some((name, uid)) => Me::Agent(OwnNode { name, uid }),
        None => Me::NotBound,
    })
}

/// The node as it stands now. `None`: it is gone, or another machine has its name.
///
/// # Errors
/// See [`Error`].
pub async fn look(client: &Client, own: &OwnNode) -> Result<Option<Node>, Error> {
    let api: Api<NodeObject> = Api::all(client.clone());
    let node = call("get own node", api.get_opt(&own.name)).await?;
    Ok(node.map(Node::from).filter(|node| node.uid == own.uid))
}

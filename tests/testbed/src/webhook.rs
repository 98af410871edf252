//! An admission webhook that answers what a test tells it to.

use std::iter;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use axum::Router;
use axum::extract::State;
use axum::serve::Listener;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    RuleWithOperations, ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stand_in::{Server, Tls};

/// The label by which every namespace can be selected.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// A running webhook. It allows everything until it is told otherwise, and ends when this is dropped.
#[derive(Debug)]
pub struct Webhook {
    world: Arc<World>,
    _server: Server,
}

#[derive(Debug)]
struct World {
    address: SocketAddr,
    certificate: String,
    denial: Mutex<Option<(u16, String)>>,
    held: watch::Sender<bool>,
    asked: watch::Sender<u64>,
}

impl Webhook {
    /// Starts one.
    pub fn start() -> anyhow::Result<Self> {
        let (server, world) = Server::start("webhook", serve)?;
        Ok(Self {
            world,
            _server: server,
        })
    }

    /// Denies whatever is asked from now on, with this status code and message.
    pub fn deny(&self, code: u16, message: &str) {
        *self.denial() = Some((code, message.to_owned()));
    }

    /// Allows everything from now on.
    pub fn allow(&self) {
        *self.denial() = None;
    }

    /// Keeps every answer back from now on. Whoever is asked about something waits for as long as the API server lets it.
    pub fn hold(&self) {
        self.world.asked.send_replace(0);
        self.world.held.send_replace(true);
    }

    /// Waits until an answer is kept back.
    pub async fn await_held(&self) {
        // The sender lives as long as the webhook: this can not fail.
        let _ = self.world.asked.subscribe().wait_for(|n| *n > 0).await;
    }

    /// Gives the answers that were kept back, and none is from now on.
    pub fn release(&self) {
        self.world.held.send_replace(false);
    }

    fn denial(&self) -> std::sync::MutexGuard<'_, Option<(u16, String)>> {
        let denial = &self.world.denial;
        denial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration that has the API server ask it, as the webhook `name`, about `operation` on `resource` in one
    /// namespace.
    #[must_use]
    pub fn configuration(
        &self,
        name: &str,
        namespace: &str,
        (operation, resource): (&str, &str),
    ) -> ValidatingWebhookConfiguration {
        let url = format!("https://{}/", self.world.address);
        let certificate = self.world.certificate.clone();
        configuration(name, namespace, (operation, resource), url, certificate)
    }
}

/// The configuration of a webhook that nobody serves.
#[must_use]
pub fn nobody(name: &str, namespace: &str, asked: (&str, &str)) -> ValidatingWebhookConfiguration {
    let url = "https://127.0.0.1:1/".to_owned();
    configuration(name, namespace, asked, url, String::new())
}

fn configuration(
    name: &str,
    namespace: &str,
    (operation, resource): (&str, &str),
    url: String,
    certificate: String,
) -> ValidatingWebhookConfiguration {
    let one = |value: &str| Some(vec![value.to_owned()]);
    let labels = iter::once((NAMESPACE.to_owned(), namespace.to_owned())).collect();
    let webhook = ValidatingWebhook {
        name: name.to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        side_effects: "None".to_owned(),
        failure_policy: Some("Fail".to_owned()),
        timeout_seconds: Some(2),
        client_config: WebhookClientConfig {
            ca_bundle: (!certificate.is_empty()).then(|| ByteString(certificate.into_bytes())),
            url: Some(url),
            ..WebhookClientConfig::default()
        },
        namespace_selector: Some(LabelSelector {
            match_labels: Some(labels),
            ..LabelSelector::default()
        }),
        rules: Some(vec![RuleWithOperations {
            api_groups: one(""),
            api_versions: one("v1"),
            operations: one(operation),
            resources: one(resource),
            ..RuleWithOperations::default()
        }]),
        ..ValidatingWebhook::default()
    };
    ValidatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(format!("{namespace}.{name}")),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![webhook]),
    }
}

async fn serve(started: mpsc::Sender<Arc<World>>) -> anyhow::Result<()> {
    let listener = Tls::bind().await?;
    let world = Arc::new(World {
        address: listener.local_addr()?,
        certificate: listener.certificate().to_owned(),
        denial: Mutex::default(),
        held: watch::Sender::new(false),
        asked: watch::Sender::new(0),
    });
    started.send(world.clone())?;
    let router = Router::new().fallback(review).with_state(world);
    Ok(axum::serve(listener, router).await?)
}

async fn review(State(world): State<Arc<World>>, body: String) -> String {
    world.asked.send_modify(|n| *n += 1);
    let _ = world.held.subscribe().wait_for(|held| !held).await;
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let denial = world.denial.lock().unwrap_or_else(PoisonError::into_inner);
    let mut response = json!({"uid": asked["request"]["uid"], "allowed": denial.is_none()});
    if let Some((code, message)) = &*denial {
        response["status"] = json!({"code": code, "message": message});
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        .to_string()
}

//! Where a notification goes: what its policy says, with the values that stand in Secrets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::Notifier;
use crate::api::policy::{Notification, SecretKeyRef, TerminationPolicy, ValueSource};
use crate::cluster::secrets::{self, Found, NOTIFICATION_LABEL};
use crate::notify::{self, BadRequest, Post};

/// A Secret is read again after this: most are never changed,
const KEPT: Duration = Duration::from_mins(5);
/// unless it could not be used, or what was sent with it was not accepted.
const DOUBTED: Duration = Duration::from_secs(10);

/// Why a notification can not be sent as it is set: something for a person to mend. It holds no value of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In one CamelCase word.
    pub reason: &'static str,
    /// In a sentence that names the notification.
    pub message: String,
}

impl Trouble {
    fn new(reason: &'static str, name: &str, what: impl std::fmt::Display) -> Self {
        let message = format!("{name}: {what}");
        Self { reason, message }
    }

    /// The template of that notification makes no body.
    pub(super) fn template(name: &str, fault: &notify::Fault) -> Self {
        Self::new("TemplateInvalid", name, fault)
    }

    fn request(name: &str, bad: &BadRequest) -> Self {
        Self::new(bad.reason(), name, bad)
    }
}

/// A notification and the request that it makes.
pub(super) struct Destination {
    /// As the policy has it now.
    pub notification: Notification,
    /// The request, without its body.
    pub post: Post,
    /// The template's own values.
    pub variables: BTreeMap<String, String>,
}

impl Notifier {
    /// Where that notification goes now. `None`: the policy, or its notification, is gone.
    pub(super) async fn destination(
        &self,
        policy: &str,
        name: &str,
    ) -> Result<Option<Destination>, Trouble> {
        let Some(policy) = self.policies.get(policy) else {
            return Ok(None);
        };
        let notifications = match &policy.0 {
            Ok(policy) => policy.spec.notifications.as_slice(),
            Err(_) => return Ok(None),
        };
        let Some(notification) = notifications.iter().find(|n| n.name == name).cloned() else {
            return Ok(None);
        };
        let post = self.post(&notification).await?;
        let variables = self.variables(&notification).await?;
        Ok(Some(Destination {
            notification,
            post,
            variables,
        }))
    }

    /// What is wrong with the policy's notifications, one each at most.
    pub(in crate::controller) async fn troubles(&self, policy: &TerminationPolicy) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for notification in &policy.spec.notifications {
            let name = notification.name.as_str();
            let checked = self.templates.check(notification).await;
            let mut trouble = checked.err().map(|fault| Trouble::template(name, &fault));
            if trouble.is_none() {
                trouble = self.post(notification).await.err();
            }
            if trouble.is_none() {
                trouble = self.variables(notification).await.err();
            }
            troubles.extend(trouble);
        }
        troubles
    }

    async fn post(&self, notification: &Notification) -> Result<Post, Trouble> {
        let name = notification.name.as_str();
        let url = self.value(
            name,
            notification.url.as_ref(),
            notification.url_from.as_ref(),
        );
        let url = url.await?;
        let mut headers = Vec::new();
        for header in &notification.headers {
            let value = self.value(name, header.value.as_ref(), header.value_from.as_ref());
            headers.push((header.name.clone(), value.await?));
        }
        let timeout = Duration::from_secs(notification.timeout_seconds.into());
        let post = self.sender.prepare(&url, &headers, timeout);
        post.map_err(|bad| Trouble::request(name, &bad))
    }

    async fn variables(
        &self,
        notification: &Notification,
    ) -> Result<BTreeMap<String, String>, Trouble> {
        let mut variables = BTreeMap::new();
        for variable in &notification.variables {
            let (plain, from) = (variable.value.as_ref(), variable.value_from.as_ref());
            let value = self.value(&notification.name, plain, from).await?;
            variables.insert(variable.name.clone(), value);
        }
        Ok(variables)
    }

    async fn value(
        &self,
        name: &str,
        plain: Option<&String>,
        from: Option<&ValueSource>,
    ) -> Result<String, Trouble> {
        match from {
            Some(from) => self.secrets.value(name, &from.secret_key_ref).await,
            None => Ok(plain.cloned().unwrap_or_default()),
        }
    }
}

/// What a Secret gave when it was read.
type Read = Result<Arc<BTreeMap<String, Vec<u8>>>, Trouble>;

/// The Secrets that were read lately.
pub(super) struct Secrets {
    client: Client,
    namespace: String,
    read: Mutex<HashMap<String, (Instant, Read)>>,
}

impl Secrets {
    pub(super) fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            read: Mutex::default(),
        }
    }

    /// The value of that key.
    async fn value(&self, notification: &str, key: &SecretKeyRef) -> Result<String, Trouble> {
        let trouble = |reason, what: String| Trouble::new(reason, notification, what);
        let data = match self.known(&key.name) {
            Some(read) => read,
            None => self.read(&key.name).await,
        };
        let data = data.map_err(|t| trouble(t.reason, t.message))?;
        let named = format!("key {} of Secret {}", key.key, key.name);
        let Some(value) = data.get(&key.key) else {
            return Err(trouble("SecretKeyMissing", format!("there is no {named}")));
        };
        let text = String::from_utf8(value.clone());
        text.map_err(|_| trouble("SecretInvalid", format!("{named} is no text")))
    }

    fn known(&self, name: &str) -> Option<Read> {
        let read = self.lock();
        let (at, found) = read.get(name)?;
        let kept = if found.is_ok() { KEPT } else { DOUBTED };
        (at.elapsed() < kept).then(|| found.clone())
    }

    async fn read(&self, name: &str) -> Read {
        let namespace = self.namespace.as_str();
        let trouble = |reason, message: String| Err(Trouble { reason, message });
        let found = match secrets::read(&self.client, namespace, name).await {
            Ok(Found::Data(data)) => Ok(Arc::new(data)),
            Ok(Found::Missing) => trouble(
                "SecretMissing",
                format!("there is no Secret {name} in the namespace {namespace}"),
            ),
            Ok(Found::NotLabelled) => {
                let (key, value) = NOTIFICATION_LABEL;
                trouble(
                    "SecretNotLabelled",
                    format!("Secret {name} does not have the label {key}={value}"),
                )
            }
            Err(error) => trouble("SecretUnreadable", error.to_string()),
        };
        let mut read = self.lock();
        read.retain(|_, (at, _)| at.elapsed() < KEPT);
        read.insert(name.to_owned(), (Instant::now(), found.clone()));
        found
    }

    /// What was sent with these was not accepted: they may have been changed since they were read. Whether one of them is
    /// to be read again now.
    pub(super) fn doubt(&self, notification: &Notification) -> bool {
        let mut read = self.lock();
        let before = read.len();
        for name in notification.secrets() {
            if read.get(name).is_some_and(|(at, _)| at.elapsed() > DOUBTED) {
                read.remove(name);
            }
        }
        read.len() < before
    }

    /// Lets that much time pass since each was read.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        for (at, _) in self.lock().values_mut() {
            *at -= by;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Read)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

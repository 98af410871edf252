//! What was asked of the API server, by whom, and how it answered: its audit log.
//!
//! The log is complete in the sense that a request is in it when it was answered, give or take the
//! few milliseconds between the answer and its line.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::credentials::{CONTROLLER_MANAGER, KUBELETS, SCHEDULER};

const LOG: &str = "audit.log";
const POLICY: &str = "audit-policy.json";

/// The requests of all users but the control plane's own, as the API server has written them down.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

/// One request. A watch is one request, logged when it begins.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// The verb of RBAC: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Who asked.
    pub user: String,
    /// The API group of the resource; empty for the core group.
    pub group: String,
    /// The plural name of the resource; empty for a path that is none, such as `/readyz`.
    pub resource: String,
    /// The part of the resource, such as `eviction`; empty for the whole.
    pub subresource: String,
    /// The namespace; empty for what has none.
    pub namespace: String,
    /// The name of the object; empty for a list, and for a create where only the body names it.
    pub name: String,
    /// The HTTP status of the answer.
    pub status_code: u16,
    /// When the API server received the request.
    pub time: Timestamp,
    /// When it had answered; when it began to, for a watch.
    pub answered: Timestamp,
    /// The client's name for itself.
    pub user_agent: String,
    /// Path and query.
    pub request_uri: String,
    /// What was asked for, where [`super::Builder::audit_bodies`] keeps it; else null.
    pub body: Value,
}

impl AuditLog {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(LOG),
        }
    }

    /// All requests so far, in the order of their answers. Empty before the first.
    pub fn entries(&self) -> anyhow::Result<Vec<AuditEntry>> {
        let text = if self.path.exists() {
            fs::read_to_string(&self.path)?
        } else {
            String::new()
        };
        // What follows the last line break is a line that is being written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        for line in complete.lines() {
            let event = parse(line).context("read the audit log")?;
            // A watch has an event for its start and one for its end.
            if seen.insert(event.audit_id.clone()) {
                entries.push(event.into());
            }
        }
        Ok(entries)
    }
}

/// A line is one event. An API server that was killed may have left the beginning of one, which the next has then
/// written on.
fn parse(line: &str) -> serde_json::Result<Event> {
    serde_json::from_str(line).or_else(|error| match line.rfind(START) {
        Some(start) if start > 0 => serde_json::from_str(&line[start..]),
        _ => Err(error),
    })
}

/// What every event begins with.
const START: &str = r#"{"kind":"Event","#;

/// `audit.k8s.io/v1` `Event`, as far as it is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    request_object: Value,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ObjectRef {
    #[serde(rename = "apiGroup")]
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        Self {
            verb: event.verb,
            user: event.user.username,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            status_code: event.response_status.code,
            time: event.request_received_timestamp,
            answered: event.stage_timestamp,
            user_agent: event.user_agent,
            request_uri: event.request_uri,
            body: event.request_object,
        }
    }
}

/// Everything at level Metadata, except what the control plane asks of itself, and the bodies of deletions and evictions.
pub(super) fn write_policy(folder: &Path, bodies: bool) -> anyhow::Result<()> {
    let own = ["system:apiserver", CONTROLLER_MANAGER, SCHEDULER, KUBELETS];
    let mut rules = vec![
        json!({"level": "None", "users": own}),
        json!({"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]}),
    ];
    if bodies {
        let ends = json!([{"group": "", "resources": ["pods", "pods/eviction"]}]);
        let verbs = ["create", "delete"];
        rules.push(json!({"level": "Request", "verbs": verbs, "resources": ends}));
    }
    rules.push(json!({"level": "Metadata"}));
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    });
    Ok(fs::write(folder.join(POLICY), policy.to_string())?)
}

pub(super) fn arguments(folder: &Path) -> [String; 3] {
    [
        format!("--audit-policy-file={}", folder.join(POLICY).display()),
        format!("--audit-log-path={}", folder.join(LOG).display()),
        // In megabytes, beyond any test: a rotated file would be missing from the entries.
        "--audit-log-maxsize=100000".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_killed_server_began_does_not_hide_the_next() {
        let event = r#"{"kind":"Event","auditID":"1","verb":"get","user":{"username":"a"},"requestURI":"/","requestReceivedTimestamp":"2026-11-21T10:00:00.000000Z","stageTimestamp":"2026-11-21T10:00:00.100000Z"}"#;
        assert_eq!(parse(event).unwrap().verb, "get");
        assert_eq!(
            parse(&format!("{}{event}", &event[..60])).unwrap().verb,
            "get"
        );
        assert!(parse(&event[..60]).is_err());
    }
}

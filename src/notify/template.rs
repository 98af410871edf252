//! Bodies in the words of a receiver: Jinja templates, bounded in time and size.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, filters};
use serde_json::json;

use super::Message;
use crate::api::Time;
use crate::api::policy::{Notification, Stage};
use crate::api::termination::{NodeTermination, NotificationState, NotificationStatus};

/// A template takes at most so many instructions: a loop over all that an object holds takes a few thousand.
const FUEL: u64 = 100_000;
/// The longest body, in bytes: no receiver that is known to us takes more (Slack 40,000 characters, Teams 28 KB,
/// `PagerDuty` 512 KB).
const BODY_MAX: usize = 65_536;
/// What a notification's own values are called.
const VARIABLES: &str = "variables";
/// Functions of the language that a template may name beside the message.
const GLOBALS: [&str; 5] = ["range", "dict", "namespace", "loop", "self"];

/// Filters that take a width or a count without a bound: an absurd one would end the process, at each look at the policy.
const UNBOUNDED: [&str; 4] = ["batch", "format", "indent", "slice"];

/// Why a template makes no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the template{}: {what}", at(*.line))]
pub struct Fault {
    /// The line of the template, from 1, if one is to blame.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

impl Fault {
    /// One that no line is to blame for.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            line: None,
            what: what.into(),
        }
    }

    /// The same, without what was found there: with the values of Secrets that may be one of them.
    #[must_use]
    pub fn bare(&self) -> Self {
        let what = self.what.split(':').next().unwrap_or_default();
        Self {
            line: self.line,
            what: what.to_owned(),
        }
    }
}

impl From<minijinja::Error> for Fault {
    fn from(error: minijinja::Error) -> Self {
        let kind = error.kind();
        let detail = error.detail();
        Self {
            line: error.line(),
            what: detail.map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
        }
    }
}

/// The body that the template makes of a message.
pub fn render(
    template: &str,
    message: &Message,
    object: &NodeTermination,
    variables: &BTreeMap<String, String>,
) -> Result<String, Fault> {
    let environment = environment();
    let template = environment.template_from_str(template)?;
    let mut body = Bounded::default();
    let mut context = message.context(object);
    context[VARIABLES] = json!(variables);
    let context = Value::from(Serde(context));
    let rendered = template.render_captured_to(context, &mut body).map(drop);
    if body.full {
        return Err(Fault::new(format!("it makes more than {BODY_MAX} bytes")));
    }
    rendered?;
    String::from_utf8(body.text).map_err(|_| Fault::new("it makes no text"))
}

/// Whether the template makes a body of whatever may happen: it is tried on an incident that has everything, with
/// quotes and line breaks in what others have written, and on one that has next to nothing, at each stage.
pub fn check(notification: &Notification) -> Result<(), Fault> {
    let Some(template) = &notification.template else {
        return Ok(());
    };
    let samples = [sample(true)?, sample(false)?];
    names(template, notification, &samples)?;
    let variables = notification.variables.iter();
    let variables = variables.map(|v| (v.name.clone(), "a \"value\"".to_owned()));
    let variables = variables.collect();
    for object in &samples {
        for stage in &notification.stages {
            let message = Message::of(object, &row(notification, *stage), Some("a \"cluster\""));
            let body = render(template, &message, object, &variables)?;
            if notification.is_json() && !body.trim().is_empty() {
                serde_json::from_str::<serde_json::Value>(&body).map_err(|error| {
                    Fault::new(format!(
                        "at stage {} it makes no JSON: line {} of the body: {}; the filter tojson quotes a value",
                        stage.as_str(),
                        error.line(),
                        without_place(&error)
                    ))
                })?;
            }
        }
    }
    Ok(())
}

fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let bare = said.split(" at line ").next().unwrap_or_default();
    bare.to_owned()
}

/// A name that nothing has is a typing error, which would otherwise show as nothing at all.
fn names(
    template: &str,
    notification: &Notification,
    samples: &[NodeTermination],
) -> Result<(), Fault> {
    let environment = environment();
    let named = environment.template_from_str(template)?;
    let mut known: BTreeSet<String> = GLOBALS.iter().map(|g| (*g).to_owned()).collect();
    for object in samples {
        let message = Message::of(
            object,
            &row(&Notification::default(), Stage::Received),
            None,
        );
        let context = message.context(object);
        known.extend(
            context
                .as_object()
                .into_iter()
                .flat_map(|c| c.keys().cloned()),
        );
    }
    let variables = notification.variables.iter();
    let variables: BTreeSet<&str> = variables.map(|v| v.name.as_str()).collect();
    let is_known = |path: &&String| {
        let mut parts = path.split('.');
        match (parts.next().unwrap_or_default(), parts.next()) {
            (VARIABLES, Some(name)) => variables.contains(name),
            (VARIABLES, None) => true,
            (name, _) => known.contains(name),
        }
    };
    let named: BTreeSet<String> = named.undeclared_variables(true).into_iter().collect();
    let Some(name) = named.iter().find(|path| !is_known(path)) else {
        return Ok(());
    };
    let line = template
        .lines()
        .position(|line| line.contains(name.as_str()));
    Err(Fault {
        line: line.map(|n| n + 1),
        what: format!("nothing is called {name}"),
    })
}

fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // What is not known at a stage is nothing, and no reason to tell nobody.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    for filter in UNBOUNDED {
        environment.remove_filter(filter);
    }
    environment.add_filter("tojson", json);
    environment
}

/// A value as JSON in one line; the language's own filter takes an indentation of any width.
fn json(value: &Value) -> Result<Value, minijinja::Error> {
    filters::tojson(value, None, Kwargs::from_iter([] as [(String, Value); 0]))
}

/// A body that takes no more than [`BODY_MAX`].
#[derive(Default)]
struct Bounded {
    text: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.text.len() + more.len() > BODY_MAX {
            self.full = true;
            return Err(io::Error::other("the body is too long"));
        }
        self.text.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn row(notification: &Notification, stage: Stage) -> NotificationStatus {
    NotificationStatus {
        name: notification.name.clone(),
        stage,
        state: NotificationState::Pending,
        reached_at: Time(Timestamp::UNIX_EPOCH),
        sent_at: None,
        message: None,
    }
}

/// An incident to try templates on: with everything, or next to nothing.
pub(super) fn sample(full: bool) -> Result<NodeTermination, Fault> {
    let then = "2026-01-01T00:00:00Z";
    let mut object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": "i-0123456789abcdef0", "uid": "b7e0ff4e-6a4e-4c0e-9f39-7a4b5f0e0f4e", "creationTimestamp": then},
        "spec": {"nodeName": "ip-10-0-0-1.ec2.internal", "signals": []},
        "status": {},
    });
    if full {
        object["spec"] = json!({
            "nodeName": "ip-10-0-0-1.ec2.internal", "nodeUID": "0e0f4e", "instanceID": "i-0123456789abcdef0",
            "signals": [{"id": "SpotInterruption-0123456789abcdef", "kind": "SpotInterruption", "noticeTime": then, "deadline": then,
                "instanceAction": "terminate", "cause": "a \"cause\"\nof two lines"}],
        });
        object["status"] = json!({
            "phase": "Draining", "outcome": "Drained", "reason": "SpotInterruption", "deadline": then, "startedAt": then,
            "cordonedAt": then, "drainedAt": then, "releasedAt": then, "completedAt": then,
            "waiting": {"reason": "Held", "until": then},
            "conditions": [{"type": "Ready", "status": "False", "reason": "Draining", "message": "a \"message\"\nof two lines", "lastTransitionTime": then}],
            "pods": {"summary": "1/2", "total": 2, "evicted": 0, "forced": 0, "gone": 1, "blocked": 1, "stuck": 0, "skipped": 0},
            "blocked": [{"pod": "web/web-0", "uid": "4e", "reason": "Webhook", "by": "a \"webhook\"", "since": then, "forceTime": then,
                "message": "it said \"no\"\nand more"}],
            "lifecycleActions": [{"signalID": "AutoScalingTermination-0123456789abcdef", "hookName": "drain",
                "autoScalingGroupName": "a \"group\"", "state": "Pending"}],
        });
    }
    serde_json::from_value(object).map_err(|error| Fault::new(error.to_string()))
}

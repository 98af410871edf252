//! NTH's webhook as a notification of the policy.

use super::Error;
use super::note::{About, Notes};
use super::values::Values;
use crate::api::policy::{Notification, SecretKeyRef, Stage, ValueSource, defaults};

/// The Secret that the URL is to be put into if it stands in the values.
const SECRET: &str = "nth-webhook";
/// The key by which NTH's chart reads a Secret.
const KEY: &str = "webhookurl";
/// What NTH's default body is: a message as Slack takes it.
const TEMPLATE: &str = "{\"text\": {{ summary | tojson }}}";
/// What shapes NTH's request, and has no effect without its URL.
const SHAPES: [&str; 6] = [
    "webhookProxy",
    "webhookHeaders",
    "webhookTemplate",
    "WEBHOOK_TEMPLATE_FILE",
    "webhookTemplateConfigMapName",
    "webhookTemplateConfigMapKey",
];

/// Who is told, if anybody is. No URL and no header is printed: they are secrets more often than not.
pub fn notifications(values: &Values, notes: &mut Notes) -> Result<Vec<Notification>, Error> {
    let given = |name: &'static str| -> Result<bool, Error> {
        Ok(values.is_unreadable(name) || !values.text(name)?.is_empty())
    };
    let mut shaping = Vec::new();
    for name in SHAPES {
        if given(name)? {
            shaping.push(name);
        }
    }
    let secret = values.text("webhookURLSecretName")?;
    if secret.is_empty() && !given("webhookURL")? {
        for name in shaping {
            let text = "NTH posts nothing without webhookURL";
            notes.add(About::Unread, values.shown(name), text);
        }
        return Ok(Vec::new());
    }
    for name in shaping {
        let (about, text) = shape(name);
        notes.add(about, values.shown(name), text);
    }
    let text = "NTH posts once, after its drain, and again at each try: stage Released. Others can be told too, as what \
                blocks a drain; each is told once";
    notes.add(About::Kept, "notifications", text);
    let name = if secret.is_empty() {
        SECRET.to_owned()
    } else {
        secret.clone()
    };
    let (shown, what) = if secret.is_empty() {
        ("webhookURL", "put the URL into")
    } else {
        ("webhookURLSecretName", "copy it to")
    };
    let text = format!(
        "{what} a Secret {name}, key {KEY}, in the operator's namespace, with the label \
         nodetermination.dev/notification=true"
    );
    notes.add(About::Differs, values.shown(shown), &text);
    let key = KEY.to_owned();
    Ok(vec![Notification {
        name: "webhook".to_owned(),
        url_from: Some(ValueSource {
            secret_key_ref: SecretKeyRef { name, key },
        }),
        stages: vec![Stage::Released],
        template: Some(TEMPLATE.to_owned()),
        timeout_seconds: defaults::notification_timeout_seconds(),
        ..Notification::default()
    }])
}

/// What became of a setting that shapes the request.
fn shape(name: &str) -> (About, &'static str) {
    match name {
        "webhookProxy" => (
            About::Elsewhere,
            "HTTPS_PROXY in the controller's environment, for its calls to AWS as well; NO_PROXY names what is reached \
             directly",
        ),
        "webhookHeaders" => (
            About::Differs,
            "left out, for they may hold secrets: write them as headers of the notification, their values from a Secret; \
             Content-Type is application/json without one",
        ),
        _ => (
            About::Differs,
            "a Go template, left out: write it in Jinja as the notification's template",
        ),
    }
}

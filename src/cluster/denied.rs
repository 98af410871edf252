//! What the operator's roles do not let it do: one call in a while asks whether they do by now, the others are not sent.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::clock;

/// A call that was forbidden is sent again after this, once for all that want it.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// An apply, which merges into an object or makes it. Nobody knows which before: it is always sent for want of the right
/// to make one,
pub(super) const RECORD: &str = "record signal";
/// which is noted under this, until an object was made.
pub(super) const MAKE_RECORD: &str = "make record";

static DENIED: Mutex<BTreeMap<&'static str, Entry>> = Mutex::new(BTreeMap::new());

static MISSING: LazyLock<Gauge> = LazyLock::new(Gauge::default);

static CHANGES: LazyLock<watch::Sender<()>> = LazyLock::new(|| watch::Sender::new(()));

/// Something that the operator may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Verb and resource, as in `patch nodes`.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

struct Entry {
    denied: Denied,
    asked: Instant,
}

/// Puts the metric into the registry.
pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "permissions_missing",
        "Sorts of calls that the operator's roles do not allow",
        MISSING.clone(),
    );
}

/// All that the operator was last not allowed to do.
#[must_use]
pub fn all() -> Vec<Denied> {
    let denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    denied.values().map(|entry| entry.denied.clone()).collect()
}

/// Tells whenever that changes.
#[must_use]
pub fn changes() -> watch::Receiver<()> {
    CHANGES.subscribe()
}

/// What is known to be denied and not to be asked for now. Whoever gets nothing asks for all.
pub(super) fn is_denied(act: &'static str) -> Option<Denied> {
    let mut denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = denied.get_mut(act)?;
    if entry.asked.elapsed() < ASK_AGAIN {
        return Some(entry.denied.clone());
    }
    entry.asked = Instant::now();
    None
}

/// Whether an answer of that code shows that our roles allow the call: they are asked before anything else is looked at.
pub(super) fn allows(code: u16) -> bool {
    (200..500).contains(&code) && !matches!(code, 401 | 403 | 429)
}

/// It was allowed.
pub(super) fn allowed(act: &'static str) {
    let mut denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(entry) = denied.remove(act) {
        MISSING.dec();
        tracing::info!(what = entry.denied.what, "is allowed now");
        CHANGES.send_replace(());
    }
}

/// It was forbidden with this message. Only if our roles are what is missing it is noted: an admission policy may
/// forbid one object and let the next pass.
pub(super) fn forbidden(act: &'static str, message: &str) {
    let Some(what) = missing(message) else { return };
    let act = if act == RECORD && what.starts_with("create ") {
        // That is looked at second: patching is allowed.
        allowed(RECORD);
        MAKE_RECORD
    } else {
        act
    };
    let mut denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    if !denied.contains_key(act) {
        tracing::error!(what, message, "the operator's roles do not allow it");
        MISSING.inc();
        CHANGES.send_replace(());
    }
    let entry = denied.entry(act).or_insert_with(|| Entry {
        denied: Denied {
            what: String::new(),
            since: clock::now(),
        },
        asked: Instant::now(),
    });
    entry.denied.what = what;
    entry.asked = Instant::now();
}

/// The verb and the resource of `User "U" cannot VERB resource "RESOURCE" in API group …`, which is what the API
/// server's authorizers say (apiserver: `pkg/endpoints/handlers/responsewriters/errors.go`).
pub(super) fn missing(message: &str) -> Option<String> {
    let (verb, rest) = message
        .split_once(" cannot ")?
        .1
        .split_once(" resource \"")?;
    let resource = rest.split_once('"')?.0;
    Some(format!("{verb} {resource}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "nodes \"n\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource \"nodes\" in API group \"\" at the cluster scope";

    #[test]
    fn a_missing_role_is_told_from_an_object_that_an_admission_policy_forbids() {
        assert_eq!(missing(MESSAGE).as_deref(), Some("patch nodes"));
        let policy = "nodeterminations \"i-1\" is forbidden: ValidatingAdmissionPolicy 'agent' denied request: no";
        assert_eq!(missing(policy), None);
    }

    #[test]
    fn what_is_denied_is_asked_for_by_one_in_a_while_until_it_is_allowed() {
        assert_eq!(is_denied("test"), None);
        forbidden("test", MESSAGE);
        assert_eq!(is_denied("test").unwrap().what, "patch nodes");
        DENIED.lock().unwrap().get_mut("test").unwrap().asked -= ASK_AGAIN;
        assert_eq!(is_denied("test"), None, "this one asks");
        assert!(is_denied("test").is_some(), "and nobody else");
        allowed("test");
        assert_eq!(is_denied("test"), None);
    }

    #[test]
    fn while_only_making_records_is_denied_signals_are_merged_and_it_is_told_until_one_was_made() {
        let create = MESSAGE.replace("cannot patch", "cannot create");
        forbidden(RECORD, MESSAGE);
        assert!(is_denied(RECORD).is_some());
        forbidden(RECORD, &create);
        assert_eq!(is_denied(RECORD), None, "one that merges may pass");
        let told = |what: &str| all().iter().any(|d| d.what == what);
        assert!(told("create nodes"));
        allowed(RECORD);
        assert!(told("create nodes"), "a merge shows nothing of it");
        allowed(MAKE_RECORD);
        assert!(!told("create nodes"));
    }

    fn refused(code: u16, message: &str) -> kube::Error {
        let status = kube::core::Status::failure(message, "").with_code(code);
        kube::Error::Api(status.boxed())
    }

    #[tokio::test]
    async fn whatever_is_refused_for_another_reason_is_allowed() {
        for (code, allows) in [(409, true), (404, true), (422, true), (500, false)] {
            forbidden("refused", MESSAGE);
            DENIED.lock().unwrap().get_mut("refused").unwrap().asked -= ASK_AGAIN;
            let answer = async { Err::<(), _>(refused(code, "no")) };
            assert!(crate::cluster::call("refused", answer).await.is_err());
            assert_eq!(is_denied("refused").is_none(), allows, "{code}");
        }
    }
}

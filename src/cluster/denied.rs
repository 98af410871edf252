//! What the operator's roles do not let it do: one call in a while asks whether they do by now, the others are not sent.
//! Authorizers answer by namespace, so each is asked for itself: what is missing in one holds up nobody in another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::clock;

/// A call that was forbidden is sent again after this, once for all that want it: an API server that has only just
/// started forbids everything until it has read the roles. Asked in vain, it is twice as long each time,
const ASK_SOON: Duration = Duration::from_secs(1);
/// up to this.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Where nobody has wanted it for so long nobody asks any more: another namespace's answer takes its place.
const WANTED_WITHIN: Duration = Duration::from_mins(1);
/// Of one sort of call so many namespaces are known. In any further one each call asks for itself.
const NAMESPACES: usize = 256;
/// The namespace of what is in none.
pub(super) const CLUSTER: &str = "";

/// An apply, which merges into an object or makes it. Nobody knows which before: it is always sent for want of the right
/// to make one,
pub(super) const RECORD: &str = "record signal";
/// which is noted under this, until an object was made.
pub(super) const MAKE_RECORD: &str = "make record";

/// By act and namespace.
type Entries = BTreeMap<&'static str, BTreeMap<String, Entry>>;

static DENIED: Mutex<Entries> = Mutex::new(BTreeMap::new());

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
    /// How often it was asked for since.
    asks: u32,
}

impl Entry {
    fn pause(&self) -> Duration {
        (ASK_SOON * 2_u32.pow(self.asks.min(3))).min(ASK_AGAIN)
    }
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
    told_of(&denied)
}

fn told_of(denied: &Entries) -> Vec<Denied> {
    let entries = denied.values().flat_map(BTreeMap::values);
    told(entries.map(|entry| &entry.denied))
}

/// Each verb and resource once, however many namespaces it is missing in.
fn told<'a>(denied: impl Iterator<Item = &'a Denied>) -> Vec<Denied> {
    let mut first: Vec<Denied> = denied.cloned().collect();
    first.sort_by_key(|d| d.since);
    let mut known = BTreeSet::new();
    first.retain(|d| known.insert(d.what.clone()));
    first
}

/// Tells whenever that changes.
#[must_use]
pub fn changes() -> watch::Receiver<()> {
    CHANGES.subscribe()
}

/// What is known to be denied and not to be asked for now. Whoever gets nothing asks for all.
pub(super) fn is_denied(act: &'static str, namespace: &str) -> Option<Denied> {
    let mut denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = denied.get_mut(act)?.get_mut(namespace)?;
    if entry.asked.elapsed() < entry.pause() {
        return Some(entry.denied.clone());
    }
    entry.asked = Instant::now();
    entry.asks = entry.asks.saturating_add(1);
    None
}

/// Whether an answer of that code shows that our roles allow the call: they are asked before anything else is looked at.
pub(super) fn allows(code: u16) -> bool {
    (200..500).contains(&code) && !matches!(code, 401 | 403 | 429)
}

/// It was allowed.
pub(super) fn allowed(act: &'static str, namespace: &str) {
    let mut denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(entries) = denied.get_mut(act) else {
        return;
    };
    let before = entries.len();
    if let Some(entry) = entries.remove(namespace) {
        tracing::info!(what = entry.denied.what, namespace, "is allowed now");
    }
    forget_unwanted(entries);
    if entries.len() < before {
        tell(&denied);
    }
}

/// It was forbidden with this message. Only if our roles are what is missing it is noted: an admission policy may
/// forbid one object and let the next pass.
pub(super) fn forbidden(act: &'static str, namespace: &str, message: &str) {
    let Some(what) = missing(message) else { return };
    let act = if act == RECORD && what.starts_with("create ") {
        // That is looked at second: patching is allowed.
        allowed(RECORD, namespace);
        MAKE_RECORD
    } else {
        act
    };
    let mut denied = DENIED.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = denied.entry(act).or_default();
    let asked = Instant::now();
    if let Some(entry) = entries.get_mut(namespace) {
        (entry.denied.what, entry.asked) = (what, asked);
        return;
    }
    forget_unwanted(entries);
    if entries.len() >= NAMESPACES {
        return;
    }
    tracing::error!(
        what,
        namespace,
        message,
        "the operator's roles do not allow it"
    );
    let since = clock::now();
    let new = Entry {
        denied: Denied { what, since },
        asked,
        asks: 0,
    };
    entries.insert(namespace.to_owned(), new);
    tell(&denied);
}

fn tell(denied: &Entries) {
    let missing = told_of(denied).len();
    MISSING.set(i64::try_from(missing).unwrap_or(i64::MAX));
    CHANGES.send_replace(());
}

/// Forgets namespaces in which nobody waits for it any more. What is in none stays until it is allowed.
fn forget_unwanted(entries: &mut BTreeMap<String, Entry>) {
    entries
        .retain(|namespace, entry| namespace == CLUSTER || entry.asked.elapsed() < WANTED_WITHIN);
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

    /// Lets that much time pass since it was last asked for.
    fn age(act: &str, namespace: &str, by: Duration) {
        let mut denied = DENIED.lock().unwrap();
        let entry = denied.get_mut(act).and_then(|e| e.get_mut(namespace));
        entry.unwrap().asked -= by;
    }

    #[test]
    fn what_is_missing_in_one_namespace_holds_up_nobody_in_another() {
        let act = "test namespaces";
        forbidden(act, "a", MESSAGE);
        assert!(is_denied(act, "a").is_some());
        assert_eq!(is_denied(act, "b"), None);
        forbidden(act, "b", &MESSAGE.replace("nodes", "others"));
        age(act, "a", ASK_AGAIN);
        assert_eq!(is_denied(act, "a"), None, "each asks for itself");
        assert!(is_denied(act, "b").is_some());
        allowed(act, "a");
        assert!(is_denied(act, "b").is_some());
    }

    #[test]
    fn namespaces_that_nobody_asks_for_any_more_are_forgotten_and_the_others_are_bounded() {
        let act = "test bound";
        for n in 0..=NAMESPACES {
            forbidden(act, &format!("ns-{n}"), MESSAGE);
        }
        let known = || DENIED.lock().unwrap()[act].len();
        assert_eq!(known(), NAMESPACES);
        for n in 1..NAMESPACES {
            age(act, &format!("ns-{n}"), WANTED_WITHIN);
        }
        allowed(act, "another");
        assert_eq!(known(), 1);
    }

    #[test]
    fn a_right_that_is_missing_in_many_namespaces_is_told_once_since_it_was_first_missed() {
        let denied = |what: &str, second| Denied {
            what: what.to_owned(),
            since: Timestamp::from_second(second).unwrap(),
        };
        let all = [denied("a", 3), denied("b", 2), denied("a", 1)];
        assert_eq!(told(all.iter()), [denied("a", 1), denied("b", 2)]);
    }

    #[test]
    fn a_missing_role_is_told_from_an_object_that_an_admission_policy_forbids() {
        assert_eq!(missing(MESSAGE).as_deref(), Some("patch nodes"));
        let policy = "nodeterminations \"i-1\" is forbidden: ValidatingAdmissionPolicy 'agent' denied request: no";
        assert_eq!(missing(policy), None);
    }

    #[test]
    fn what_is_denied_is_asked_for_by_one_in_a_while_until_it_is_allowed() {
        assert_eq!(is_denied("test", CLUSTER), None);
        forbidden("test", CLUSTER, MESSAGE);
        assert_eq!(is_denied("test", CLUSTER).unwrap().what, "patch nodes");
        age("test", CLUSTER, ASK_AGAIN);
        assert_eq!(is_denied("test", CLUSTER), None, "this one asks");
        assert!(is_denied("test", CLUSTER).is_some(), "and nobody else");
        allowed("test", CLUSTER);
        assert_eq!(is_denied("test", CLUSTER), None);
    }

    #[test]
    fn an_api_server_that_forbids_while_it_starts_is_asked_again_within_a_second() {
        let act = "test start";
        forbidden(act, CLUSTER, MESSAGE);
        for pause in [1, 2, 4, 5, 5] {
            let pause = Duration::from_secs(pause);
            age(
                act,
                CLUSTER,
                pause.saturating_sub(Duration::from_millis(100)),
            );
            assert!(is_denied(act, CLUSTER).is_some(), "not within {pause:?}");
            age(act, CLUSTER, Duration::from_millis(100));
            assert_eq!(is_denied(act, CLUSTER), None, "after {pause:?}");
            forbidden(act, CLUSTER, MESSAGE);
        }
    }

    #[test]
    fn while_only_making_records_is_denied_signals_are_merged_and_it_is_told_until_one_was_made() {
        let create = MESSAGE.replace("cannot patch", "cannot create");
        forbidden(RECORD, CLUSTER, MESSAGE);
        assert!(is_denied(RECORD, CLUSTER).is_some());
        forbidden(RECORD, CLUSTER, &create);
        assert_eq!(is_denied(RECORD, CLUSTER), None, "one that merges may pass");
        let told = |what: &str| all().iter().any(|d| d.what == what);
        assert!(told("create nodes"));
        allowed(RECORD, CLUSTER);
        assert!(told("create nodes"), "a merge shows nothing of it");
        allowed(MAKE_RECORD, CLUSTER);
        assert!(!told("create nodes"));
    }

    fn refused(code: u16, message: &str) -> kube::Error {
        let status = kube::core::Status::failure(message, "").with_code(code);
        kube::Error::Api(status.boxed())
    }

    #[tokio::test]
    async fn whatever_is_refused_for_another_reason_is_allowed() {
        for (code, allows) in [(409, true), (404, true), (422, true), (500, false)] {
            forbidden("refused", CLUSTER, MESSAGE);
            age("refused", CLUSTER, ASK_AGAIN);
            let answer = async { Err::<(), _>(refused(code, "no")) };
            assert!(crate::cluster::call("refused", answer).await.is_err());
            assert_eq!(is_denied("refused", CLUSTER).is_none(), allows, "{code}");
        }
    }
}

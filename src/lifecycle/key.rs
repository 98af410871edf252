//! The name of one lifecycle action within an incident.

use crate::api::termination::{LifecycleActionStatus, Signal};

/// A signal and a hook. A signal from the queue brings one action; one from instance metadata brings those of every
/// hook that was found waiting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionKey {
    /// The signal that brought it.
    pub signal_id: String,
    /// The lifecycle hook.
    pub hook_name: String,
}

impl ActionKey {
    /// The key of the action that the signal itself names, if it names one.
    #[must_use]
    pub fn of_signal(signal: &Signal) -> Option<Self> {
        signal.lifecycle_hook.as_ref().map(|hook| Self {
            signal_id: signal.id.clone(),
            hook_name: hook.hook_name.clone(),
        })
    }

    /// Whether this is the key of that entry of the record.
    #[must_use]
    pub fn is_of(&self, action: &LifecycleActionStatus) -> bool {
        self.signal_id == action.signal_id && self.hook_name == action.hook_name
    }
}

impl From<&LifecycleActionStatus> for ActionKey {
    fn from(action: &LifecycleActionStatus) -> Self {
        Self {
            signal_id: action.signal_id.clone(),
            hook_name: action.hook_name.clone(),
        }
    }
}

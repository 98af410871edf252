//! `hold`, `release` and `cancel`: the two switches of a record, and who else sets them.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::record::{self, is_open};
use super::{CALL, FIELD_MANAGER};
use crate::api::termination::NodeTermination;

/// Where `kubectl apply`, and tools that do as it does, remember what they have applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `spec.hold` is set.
    Hold,
    /// `spec.hold` is taken back.
    Release,
    /// `spec.cancel` is set.
    Cancel,
}

impl Switch {
    /// The field of spec.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Hold | Self::Release => "hold",
            Self::Cancel => "cancel",
        }
    }

    fn value(self) -> bool {
        self != Self::Release
    }

    /// The field has that value already.
    #[must_use]
    pub fn is_set(self, object: &NodeTermination) -> bool {
        let is = match self {
            Self::Hold | Self::Release => object.spec.hold,
            Self::Cancel => object.spec.cancel,
        };
        is == self.value()
    }

    /// The merge patch. It names the UID, so that another record under the old name is not switched, and no version: the
    /// operator writes the status all the time, and what it writes does not matter here.
    #[must_use]
    pub fn patch(self, object: &NodeTermination) -> Value {
        json!({
            "metadata": {"uid": object.metadata.uid},
            "spec": {self.field(): self.value()},
        })
    }

    /// That it is done.
    #[must_use]
    pub fn done(self, object: &NodeTermination) -> String {
        let (name, node) = (super::output::name(object), &object.spec.node_name);
        match self {
            Self::Hold => format!(
                "{name} held: no pod of {node} is told to end any more; `{CALL} release {node}` lets it go on"
            ),
            Self::Release => format!("{name} released: its drain goes on"),
            Self::Cancel => format!(
                "{name} canceled: what was put on {node} for it is taken off, and its lifecycle actions are left alone"
            ),
        }
    }

    /// That there was nothing to do.
    #[must_use]
    pub fn was_set(self, object: &NodeTermination) -> String {
        let name = super::output::name(object);
        match self {
            Self::Hold => format!("{name} is held already"),
            Self::Release => format!("{name} is not held"),
            Self::Cancel => format!("{name} is being canceled already"),
        }
    }
}

/// That a record is over, if it is.
#[must_use]
pub fn over(object: &NodeTermination) -> Option<String> {
    let phase = record::phase(object).as_str();
    (!is_open(object)).then(|| format!("{} is over ({phase})", super::output::name(object)))
}

/// That somebody else's manifest sets the field, and may set it back.
#[must_use]
pub fn warning(switch: Switch, object: &NodeTermination) -> Option<String> {
    let field = switch.field();
    let keeper = keeper(object, field)?;
    let name = object.name_any();
    Some(match switch {
        Switch::Hold | Switch::Release => format!(
            "spec.{field} of {name} stands in a manifest that {keeper} applies, which may set it back: change it there too"
        ),
        Switch::Cancel => format!(
            "spec.{field} of {name} stands in a manifest that {keeper} applies; it can not be set back, so applying that will fail until it is changed there too"
        ),
    })
}

/// Who applies a manifest that has the field: by the managed fields of server-side apply, or by what client-side apply
/// remembers. A field that is only defaulted stands in neither.
fn keeper(object: &NodeTermination, field: &str) -> Option<String> {
    let of_server = object.managed_fields().iter().find_map(|entry| {
        let fields = &entry.fields_v1.as_ref()?.0;
        let manager = entry.manager.as_deref()?;
        let applies = entry.operation.as_deref() == Some("Apply") && manager != FIELD_MANAGER;
        let has = fields["f:spec"].get(format!("f:{field}")).is_some();
        (applies && has).then(|| manager.to_owned())
    });
    let of_client = || {
        let applied = object.annotations().get(LAST_APPLIED)?;
        let applied: Value = serde_json::from_str(applied).ok()?;
        let has = applied["spec"].get(field).is_some();
        has.then(|| "kubectl apply, or a GitOps tool,".to_owned())
    };
    of_server.or_else(of_client)
}

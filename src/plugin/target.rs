//! Which drain a person means: a node's name, or that of a NodeTermination.

use kube::ResourceExt;

use super::record::is_open;
use crate::api::termination::NodeTermination;

/// The longest name of an object, in bytes (RFC 1123 subdomain).
pub(super) const NAME_MAX: usize = 253;

/// What a person has typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `node/NAME`: what is open on the node.
    Node(String),
    /// `nt/NAME`: that NodeTermination.
    Record(String),
    /// A name alone: what is open on the node of that name, else that NodeTermination.
    Either(String),
}

impl Target {
    /// Reads it. Kinds are spelt as kubectl takes them.
    ///
    /// # Errors
    /// It is the name of another kind, or no name. The message is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((kind, name)) => (Some(kind), name),
        };
        if name.is_empty() || name.contains('/') {
            return Err(format!(
                "`{text}` names nothing: write a node's name, node/NAME or nt/NAME"
            ));
        }
        let name = object_name(name)?;
        match kind {
            None => Ok(Self::Either(name)),
            Some("node" | "nodes" | "no") => Ok(Self::Node(name)),
            Some(kind) if is_ours(kind) => Ok(Self::Record(name)),
            Some(kind) => Err(format!(
                "`{kind}` is not a kind to name here: write node/{name} or nt/{name}"
            )),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) | Self::Record(name) | Self::Either(name) => name,
        }
    }

    /// It may be a node's name.
    #[must_use]
    pub fn may_be_node(&self) -> bool {
        !matches!(self, Self::Record(_))
    }

    /// It may be a NodeTermination's name.
    #[must_use]
    pub fn may_be_record(&self) -> bool {
        !matches!(self, Self::Node(_))
    }

    /// The NodeTerminations that are meant, given those of the node of that name and the one of that name: what is open on
    /// the node, else the one that is named, whether it is open or not.
    #[must_use]
    pub fn meant(
        &self,
        of_node: &[NodeTermination],
        named: Option<NodeTermination>,
    ) -> Vec<NodeTermination> {
        let open: Vec<_> = of_node.iter().filter(|o| is_open(o)).cloned().collect();
        if open.is_empty() {
            named.into_iter().collect()
        } else {
            open
        }
    }

    /// That nothing is meant: neither a node's drain nor a NodeTermination.
    #[must_use]
    pub fn nothing(&self) -> String {
        match self {
            Self::Node(name) => format!("node/{name} has no open NodeTermination"),
            Self::Record(name) => format!("there is no NodeTermination {name}"),
            Self::Either(name) => {
                format!("no NodeTermination is open on a node {name}, and none has that name")
            }
        }
    }
}

/// Reads the name of an object. What can be none would be read as something else in the address or the selector of a request.
///
/// # Errors
/// It can be no name. The message is for people.
pub fn object_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c == '-' || c == '.';
    let none =
        text.is_empty() || text.len() > NAME_MAX || text.starts_with(ends) || text.ends_with(ends);
    if none || !text.chars().all(allowed) {
        return Err(format!(
            "`{text}` can be no name: names are lower-case letters, digits, hyphens and dots"
        ));
    }
    Ok(text.to_owned())
}

fn is_ours(kind: &str) -> bool {
    let kind = kind.strip_suffix(".nodetermination.dev").unwrap_or(kind);
    ["nt", "nodetermination", "nodeterminations"].contains(&kind)
}

/// Why several can not be canceled at once: one of them may be the only thing that saves the pods.
#[must_use]
pub fn several(objects: &[NodeTermination]) -> String {
    let lines = objects.iter().map(|o| {
        let kind = super::record::kind(o);
        format!("\n  nt/{} ({kind})", o.name_any())
    });
    let node = objects.first().map_or("", |o| o.spec.node_name.as_str());
    let lines = lines.collect::<Vec<_>>().concat();
    format!(
        "several NodeTerminations are open on {node}: name one of them, or --all{lines}\nnothing was canceled"
    )
}

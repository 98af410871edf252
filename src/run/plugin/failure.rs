//! Why a command can not do what it was asked for: a sentence, and how the command ends by it.

use kube::core::Status;
use node_termination_operator::plugin::End;

/// Where the rights are that a person needs.
const RIGHTS: &str = "the ClusterRoles nodetermination-view and nodetermination-drain hold what the plugin needs (manifests/examples/plugin-user.yaml)";

/// Why a command can not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kubeconfig, or what it names.
    #[error("the cluster can not be found: {0}")]
    Config(String),
    /// The API server's own words.
    #[error("{act}: {}", .status.message)]
    Refused {
        /// What was tried.
        act: &'static str,
        /// What it said.
        status: Box<Status>,
    },
    /// The user may not do it.
    #[error("{act}: {message}\n{RIGHTS}")]
    Forbidden {
        /// What was tried.
        act: &'static str,
        /// What the API server said.
        message: String,
    },
    /// The API server does not know who asks.
    #[error("{act}: the API server does not accept the kubeconfig's credentials: {message}")]
    Unknown {
        /// What was tried.
        act: &'static str,
        /// What it said.
        message: String,
    },
    /// The API server does not know our kinds.
    #[error(
        "the API server does not know the kind {0}: is the operator installed in this cluster? (kubectl get crd nodeterminations.nodetermination.dev)"
    )]
    NotInstalled(String),
    /// No answer.
    #[error("{act}: the API server at {url} can not be reached: {why}")]
    Unreachable {
        /// What was tried.
        act: &'static str,
        /// Where it is.
        url: String,
        /// In the words of whoever failed, and what may be the reason.
        why: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Anything else, in a sentence.
    #[error("{0}")]
    Said(String),
    /// Nobody reads the output any more.
    #[error("nobody reads the output")]
    Unread,
}

impl Error {
    /// How a command ends by it.
    pub(super) fn end(&self) -> End {
        match self {
            Self::NotFound(_) => End::NotFound,
            Self::Unread => End::Done,
            _ => End::Error,
        }
    }

    /// The status code of the API server's answer, if it is told apart by nothing else.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(status.code),
            _ => None,
        }
    }

    /// It will not be answered otherwise a moment later.
    pub(super) fn is_lasting(&self) -> bool {
        let refused = matches!(self.code(), Some(400 | 404 | 405 | 422));
        refused || matches!(self, Self::Forbidden { .. } | Self::Unknown { .. })
    }

    /// An object of that name is there.
    pub(super) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object is another one by now, under the same name.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.message.contains("metadata.uid"))
    }
}

/// What an error says, and each that caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

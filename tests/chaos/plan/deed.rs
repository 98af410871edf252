//! What people do meanwhile.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{NodePlan, Step};

/// How many sorts of deeds there are.
#[cfg(test)]
pub const KINDS: usize = 9;

/// What somebody does, to the node of that number or what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    pub node: usize,
    pub kind: DeedKind,
}

/// What people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeedKind {
    /// Opens the node.
    Uncordon,
    /// Cancels its incident.
    Cancel,
    /// Deletes its incident.
    DeleteIncident,
    /// Holds its incident, for so long.
    Hold { lasting: Duration },
    /// Edits the policy of its pool.
    EditPolicy,
    /// Deletes one of its pods.
    DeletePod,
    /// Deletes the Node.
    DeleteNode,
    /// Puts a taint of another product on it.
    Taint,
    /// Puts a label on it.
    Label,
}

/// Deeds until then.
pub fn draw(calm: Duration, nodes: &[NodePlan], random: &mut ChaCha8Rng) -> Vec<Step<Deed>> {
    let kinds = [
        (DeedKind::Uncordon, 4),
        (DeedKind::Cancel, 3),
        (DeedKind::DeleteIncident, 3),
        (
            DeedKind::Hold {
                lasting: Duration::ZERO,
            },
            2,
        ),
        (DeedKind::EditPolicy, 2),
        (DeedKind::DeletePod, 5),
        (DeedKind::DeleteNode, 2),
        (DeedKind::Taint, 4),
        (DeedKind::Label, 3),
    ];
    let mut deeds = Vec::new();
    let mut at = Duration::from_millis(random.random_range(500..3000));
    while at < calm {
        let mut kind = kinds.choose_weighted(random, |k| k.1).unwrap().0;
        if let DeedKind::Hold { lasting } = &mut kind {
            *lasting = Duration::from_millis(random.random_range(1000..8000));
        }
        let node = random.random_range(0..nodes.len());
        // Whose cordon it then is nobody could say.
        if !(kind == DeedKind::Uncordon && nodes[node].cordoned) {
            deeds.push(Step {
                at,
                act: Deed { node, kind },
            });
        }
        at += Duration::from_millis(random.random_range(300..1800));
    }
    deeds
}

//! The volumes' part of a pass: after the drain, until what the pods had mounted is detached, or the time is up.

use super::super::effect::Effect;
use super::super::view::Pods;
use super::Pass;
use crate::api::bounded;
use crate::api::termination::{EffectivePolicy, Outcome, Phase, VOLUMES_NAMED_MAX, VolumesStatus};
use crate::drain::volumes::{NodeVolumes, awaited, kept};
use crate::drain::{Attachment, Node};

/// No volume of a pod that has left is attached to the node.
const VOLUMES_DETACHED: &str = "VolumesDetached";
/// The longest name of a volume, in bytes: the field's maximum is 253.
const NAME_MAX: usize = 253;

impl Pass<'_> {
    /// Takes down, when the drain begins, that the node has volumes: later its status may not show them any more, though
    /// they are still being detached.
    pub(super) fn note_volumes(&mut self, policy: &EffectivePolicy) {
        let shown = self.view.machine.node().map_or(0, |n| n.volumes.count());
        let noted = self.status().volumes.as_ref();
        let anew = noted.is_none_or(|v| v.ended_at.is_some());
        if policy.drain.wait_for_volume_detach && shown > 0 && anew {
            self.status().volumes = Some(VolumesStatus {
                waiting: shown,
                ..VolumesStatus::default()
            });
            let message = format!("{shown} volumes are attached to the node; its pods leave first");
            self.state(VOLUMES_DETACHED, false, "Draining", message);
        }
    }

    /// Takes down how many attachments the pods that stay may hold.
    pub(super) fn note_kept(&mut self, policy: &EffectivePolicy, pods: Pods<'_>) {
        if self.decision.status.volumes.is_none() {
            return;
        }
        let kept = kept(pods.pods, &self.selection(policy));
        if let Some(volumes) = &mut self.status().volumes {
            volumes.kept = kept;
        }
    }

    /// Waits until the volumes of the pods that have left are detached. `true`: that is over, one way or another.
    pub(super) fn detach(&mut self, policy: &EffectivePolicy) -> bool {
        let Some(volumes) = self.status().volumes.clone() else {
            return true;
        };
        let drained = self.status().outcome == Some(Outcome::Drained);
        if volumes.ended_at.is_some() {
            return true;
        }
        let node = self.view.machine.node().filter(|_| drained);
        let Some(node) = node else {
            let outcome = self.status().outcome.unwrap_or(Outcome::NodeGone);
            self.leave_volumes(outcome);
            return true;
        };
        let over = self.window(policy).over();
        let left = self
            .view
            .attachments
            .map(|all| awaited(all, node, volumes.kept));
        if left.as_ref().is_some_and(Vec::is_empty) {
            self.end_volumes(0, Vec::new());
            let message = "the volumes of the pods that have gone are detached";
            self.state(VOLUMES_DETACHED, true, "Detached", message);
            return true;
        }
        if self.view.now >= over {
            self.give_up_volumes(node, left);
            return true;
        }
        self.status().phase = Some(Phase::Draining);
        self.decision.effects.push(Effect::WatchVolumes);
        self.wake_at(over);
        if let Some(left) = left {
            self.await_volumes(&left, over);
        }
        false
    }

    fn await_volumes(&mut self, left: &[&Attachment], over: jiff::Timestamp) {
        let (count, names) = (number(left.len()), names(left.iter().map(|a| a.shown())));
        let message = format!(
            "{count} volumes are still attached: {}; waited for until {over:.0} at the latest",
            names.join(", ")
        );
        self.state(VOLUMES_DETACHED, false, "Detaching", message);
        if let Some(volumes) = &mut self.status().volumes {
            (volumes.waiting, volumes.names) = (count, names);
        }
    }

    fn give_up_volumes(&mut self, node: &Node, left: Option<Vec<&Attachment>>) {
        let Some(left) = left else {
            // As last seen: the Node shows no volume any more that is being detached.
            let seen = self.status().volumes.clone().unwrap_or_default();
            let mut names = names(node.volumes.handles());
            if names.is_empty() {
                names = seen.names;
            }
            self.end_volumes(node.volumes.count().max(seen.waiting), names);
            let message = "the time was over before the volume attachments were listed";
            return self.state(VOLUMES_DETACHED, false, "NotListed", message);
        };
        let names = names(left.iter().map(|a| a.shown()));
        let message = format!(
            "the time was over with {} volumes still attached: {}",
            left.len(),
            names.join(", ")
        );
        self.end_volumes(number(left.len()), names);
        self.state(VOLUMES_DETACHED, false, "DetachTimeout", message);
    }

    /// The incident goes on or ends without them.
    pub(super) fn leave_volumes(&mut self, outcome: Outcome) {
        let open = self.status().volumes.as_ref();
        if open.is_none_or(|v| v.ended_at.is_some()) {
            return;
        }
        let volumes = self.view.machine.node().map(|n| &n.volumes);
        let left = volumes.map_or(0, NodeVolumes::count);
        let names = names(volumes.into_iter().flat_map(NodeVolumes::handles));
        self.end_volumes(left, names);
        let message = format!("volumes are not waited for any more ({})", outcome.as_str());
        self.state(VOLUMES_DETACHED, false, outcome.as_str(), message);
    }

    fn end_volumes(&mut self, left: u32, names: Vec<String>) {
        self.decision.effects.push(Effect::CloseView);
        let now = self.now();
        if let Some(volumes) = &mut self.status().volumes {
            *volumes = VolumesStatus {
                waiting: 0,
                left,
                kept: volumes.kept,
                names,
                ended_at: Some(now),
            };
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(|n| bounded(n.to_owned(), NAME_MAX)).collect();
    names.sort();
    names.truncate(VOLUMES_NAMED_MAX);
    names
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! Auto Scaling as tests drive it: instances that launch into a group.

use std::time::Duration;

use super::{
    Aws, LifecycleAction, LifecycleResult, Queue,
    autoscaling::{Hook, Transition},
    lock,
};

impl Aws {
    /// Gives a group a lifecycle hook on launch whose default result is ABANDON, or changes it. Makes the group.
    pub fn put_launch_hook(&self, group: &str, hook: &str, heartbeat_timeout: Duration) {
        let settings = Hook {
            transition: Transition::Launching,
            heartbeat_timeout,
            default_result: LifecycleResult::Abandon,
        };
        lock(&self.world.lifecycle).put_hook(group, hook, settings);
    }

    /// Launches an instance: starts an action for each of the group's hooks on launch and sends each one's event to the
    /// queue. Without hooks the instance is in service at once.
    pub fn start_launch(
        &self,
        group: &str,
        instance_id: &str,
        notify: Option<&Queue>,
    ) -> anyhow::Result<Vec<LifecycleAction>> {
        self.start_actions(group, instance_id, Transition::Launching, notify)
    }
}

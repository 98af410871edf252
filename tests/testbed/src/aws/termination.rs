//! Auto Scaling as tests drive it: hooks, terminations and their ends.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    ActionState, Aws, LifecycleAction, LifecycleResult, Queue,
    autoscaling::{Hook, Transition},
    events, lock,
};

impl Aws {
    /// Gives a group a lifecycle hook on termination, or changes it for later terminations. Makes the group.
    pub fn put_hook(
        &self,
        group: &str,
        hook: &str,
        heartbeat_timeout: Duration,
        default_result: LifecycleResult,
    ) {
        let settings = Hook {
            transition: Transition::Terminating,
            heartbeat_timeout,
            default_result,
        };
        lock(&self.world.lifecycle).put_hook(group, hook, settings);
    }

    /// Puts an instance into a group, in service. Makes the group.
    pub fn put_instance(&self, group: &str, instance_id: &str) {
        lock(&self.world.lifecycle).put_instance(group, instance_id);
    }

    /// Scales an instance in: starts an action for each of the group's hooks and sends each one's event to the queue.
    /// Without hooks the instance terminates at once. A second termination of an instance returns the same actions.
    pub fn start_termination(
        &self,
        group: &str,
        instance_id: &str,
        notify: Option<&Queue>,
    ) -> anyhow::Result<Vec<LifecycleAction>> {
        self.start_actions(group, instance_id, Transition::Terminating, notify)
    }

    /// Starts an action for each of the group's hooks on that transition and sends each one's event to the queue.
    pub(super) fn start_actions(
        &self,
        group: &str,
        instance_id: &str,
        transition: Transition,
        notify: Option<&Queue>,
    ) -> anyhow::Result<Vec<LifecycleAction>> {
        let now = self.world.clock.now();
        let (actions, new) = lock(&self.world.lifecycle).start(group, instance_id, transition, now);
        self.world.lifecycle_changed.notify();
        let event = match transition {
            Transition::Launching => events::launch_lifecycle,
            Transition::Terminating => events::terminate_lifecycle,
        };
        if let Some(queue) = notify.filter(|_| new) {
            queue.send_batch(actions.iter().map(|action| event(action, now)))?;
        }
        Ok(actions)
    }

    /// How an action stands now; `None` for a token that was never given out.
    #[must_use]
    pub fn action_state(&self, token: &str) -> Option<ActionState> {
        let mut lifecycle = lock(&self.world.lifecycle);
        lifecycle.settle(self.world.clock.now());
        lifecycle.state(token)
    }

    /// Waits until an action has ended and returns its end; fails after `timeout` of real time.
    pub async fn await_action_done(
        &self,
        token: &str,
        timeout: Duration,
    ) -> anyhow::Result<ActionState> {
        let ended = || {
            self.action_state(token)
                .filter(|state| matches!(state, ActionState::Ended { .. }))
        };
        let what = format!("the end of lifecycle action {token}");
        self.world
            .lifecycle_changed
            .until(timeout, &what, ended)
            .await
    }

    /// When an instance was terminated; `None` while it lives.
    #[must_use]
    pub fn terminated(&self, instance_id: &str) -> Option<Timestamp> {
        let mut lifecycle = lock(&self.world.lifecycle);
        lifecycle.settle(self.world.clock.now());
        lifecycle.terminated(instance_id)
    }

    /// Waits until an instance is terminated and returns when; fails after `timeout` of real time.
    pub async fn await_terminated(
        &self,
        instance_id: &str,
        timeout: Duration,
    ) -> anyhow::Result<Timestamp> {
        let what = format!("the termination of {instance_id}");
        let look = || self.terminated(instance_id);
        self.world
            .lifecycle_changed
            .until(timeout, &what, look)
            .await
    }
}

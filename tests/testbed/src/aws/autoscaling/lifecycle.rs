//! The state machine of instances that terminate or launch: each lifecycle hook of the group holds the instance in
//! `Terminating:Wait` or `Pending:Wait` until its action is completed or times out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use uuid::Uuid;

use super::action::{ActionState, EndedBy, Hook, LifecycleAction, LifecycleResult, Transition};
use crate::aws::answer::ApiError;

#[derive(Debug)]
struct ActionRecord {
    action: LifecycleAction,
    /// The hook as it was at the start.
    hook: Hook,
    started: Timestamp,
    state: ActionState,
}

#[derive(Debug)]
struct Instance {
    group: String,
    /// Where it goes, if it goes anywhere.
    transition: Option<Transition>,
    /// The tokens of its actions; empty while it is in service.
    actions: Vec<String>,
    terminated: Option<Timestamp>,
}

/// All groups, their hooks, instances and lifecycle actions.
#[derive(Debug, Default)]
pub(in crate::aws) struct Lifecycle {
    groups: BTreeMap<String, BTreeMap<String, Hook>>,
    instances: BTreeMap<String, Instance>,
    actions: HashMap<String, ActionRecord>,
    /// The actions that wait, by deadline.
    deadlines: BTreeSet<(Timestamp, String)>,
}

/// The answer for a group that is not there.
pub(in crate::aws) fn no_such_group(group: &str) -> ApiError {
    let message = format!("AutoScalingGroup name not found - AutoScalingGroup '{group}' not found");
    ApiError::validation(message)
}

fn no_active_action(token: Option<&str>, instance_id: Option<&str>) -> ApiError {
    let which = match (token, instance_id) {
        (Some(token), _) => format!("token {token}"),
        (None, instance_id) => format!("instance ID {}", instance_id.unwrap_or("null")),
    };
    ApiError::validation(format!("No active Lifecycle Action found with {which}"))
}

impl Lifecycle {
    pub fn put_hook(&mut self, group: &str, name: &str, hook: Hook) {
        self.groups
            .entry(group.into())
            .or_default()
            .insert(name.into(), hook);
    }

    pub fn put_instance(&mut self, group: &str, instance_id: &str) {
        self.groups.entry(group.into()).or_default();
        let instance = || Instance {
            group: group.into(),
            transition: None,
            actions: Vec::new(),
            terminated: None,
        };
        self.instances
            .entry(instance_id.into())
            .or_insert_with(instance);
    }

    /// The hooks of a group by name.
    pub fn hooks(&self, group: &str) -> Result<impl Iterator<Item = (&str, Hook)>, ApiError> {
        let hooks = self.groups.get(group).ok_or_else(|| no_such_group(group))?;
        Ok(hooks.iter().map(|(name, hook)| (name.as_str(), *hook)))
    }

    /// Id, group and lifecycle state of the instances that are not terminated.
    pub fn instances(&self) -> impl Iterator<Item = (&str, &str, &'static str)> {
        let alive = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.terminated.is_none());
        alive.map(|(id, instance)| {
            let state = instance.transition.map_or("InService", Transition::waiting);
            (id.as_str(), instance.group.as_str(), state)
        })
    }

    /// Starts an action for each hook of the group on that transition; without hooks it is over at once. The second value
    /// says whether the transition is new: a second one changes nothing.
    pub fn start(
        &mut self,
        group: &str,
        instance_id: &str,
        transition: Transition,
        now: Timestamp,
    ) -> (Vec<LifecycleAction>, bool) {
        self.put_instance(group, instance_id);
        let known = self.actions_of(instance_id);
        if !known.is_empty() {
            return (known, false);
        }
        let hooks = self.groups.get(group).cloned().unwrap_or_default();
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.transition = Some(transition);
        }
        let actions: Vec<_> = hooks
            .into_iter()
            .filter(|(_, hook)| hook.transition == transition)
            .map(|(name, hook)| self.hold(group, &name, hook, instance_id, now))
            .collect();
        if actions.is_empty() {
            self.release(instance_id, now);
        }
        (actions, true)
    }

    fn hold(
        &mut self,
        group: &str,
        name: &str,
        hook: Hook,
        instance_id: &str,
        now: Timestamp,
    ) -> LifecycleAction {
        let action = LifecycleAction {
            group: group.into(),
            hook: name.into(),
            instance_id: instance_id.into(),
            token: Uuid::new_v4().to_string(),
        };
        let deadline = now + hook.heartbeat_timeout;
        let state = ActionState::Waiting {
            deadline,
            heartbeats: 0,
        };
        let record = ActionRecord {
            action: action.clone(),
            hook,
            started: now,
            state,
        };
        self.deadlines.insert((deadline, action.token.clone()));
        self.actions.insert(action.token.clone(), record);
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.actions.push(action.token.clone());
        }
        action
    }

    fn actions_of(&self, instance_id: &str) -> Vec<LifecycleAction> {
        let tokens = self
            .instances
            .get(instance_id)
            .map(|instance| instance.actions.as_slice());
        let records = tokens
            .unwrap_or_default()
            .iter()
            .filter_map(|token| self.actions.get(token));
        records.map(|record| record.action.clone()).collect()
    }

    /// The token of the waiting action that a request means, by token or else by instance.
    pub fn active(
        &self,
        group: &str,
        hook: &str,
        token: Option<&str>,
        instance_id: Option<&str>,
    ) -> Result<String, ApiError> {
        if !self.hooks(group)?.any(|(name, _)| name == hook) {
            let message = format!("No Lifecycle Hook found with name {hook} for group {group}");
            return Err(ApiError::validation(message));
        }
        if token.is_none() && instance_id.is_none() {
            let message = "LifecycleActionToken or InstanceId must be given";
            return Err(ApiError::validation(message).broken_rule());
        }
        let fits = |record: &&ActionRecord| {
            let action = &record.action;
            matches!(record.state, ActionState::Waiting { .. })
                && (action.group == group && action.hook == hook)
                && instance_id.is_none_or(|id| action.instance_id == id)
        };
        let found = match (token, instance_id) {
            (Some(token), _) => self.actions.get(token).filter(fits),
            (None, id) => {
                let tokens = id
                    .and_then(|id| self.instances.get(id))
                    .map(|found| &found.actions);
                let tokens = tokens.into_iter().flatten();
                tokens
                    .filter_map(|token| self.actions.get(token))
                    .find(fits)
            }
        };
        let found = found.map(|record| record.action.token.clone());
        found.ok_or_else(|| no_active_action(token, instance_id))
    }

    /// Sets the deadline to one heartbeat timeout from now, within the global timeout.
    pub fn beat(&mut self, token: &str, now: Timestamp) {
        if let Some(record) = self.actions.get_mut(token)
            && let ActionState::Waiting {
                deadline,
                heartbeats,
            } = &mut record.state
        {
            self.deadlines.remove(&(*deadline, token.into()));
            let latest = record.started + record.hook.global_timeout();
            *deadline = latest.min(now + record.hook.heartbeat_timeout);
            *heartbeats += 1;
            self.deadlines.insert((*deadline, token.into()));
        }
    }

    /// Ends an action; after the last one, or an abandoned one, the instance terminates.
    pub fn end(&mut self, token: &str, result: LifecycleResult, by: EndedBy, at: Timestamp) {
        let Some(record) = self.actions.get_mut(token) else {
            return;
        };
        let ActionState::Waiting { deadline, .. } = record.state else {
            return;
        };
        record.state = ActionState::Ended { result, by, at };
        self.deadlines.remove(&(deadline, token.into()));
        let instance_id = record.action.instance_id.clone();
        let others = self.actions_of(&instance_id);
        if result == LifecycleResult::Abandon {
            for other in &others {
                self.end_other(&other.token, at);
            }
        }
        if !others.iter().any(|other| self.waits(&other.token)) {
            self.release(&instance_id, at);
        }
    }

    fn end_other(&mut self, token: &str, at: Timestamp) {
        if let Some(record) = self.actions.get_mut(token)
            && let ActionState::Waiting { deadline, .. } = record.state
        {
            let (result, by) = (LifecycleResult::Abandon, EndedBy::Abandonment);
            record.state = ActionState::Ended { result, by, at };
            self.deadlines.remove(&(deadline, token.into()));
        }
    }

    fn waits(&self, token: &str) -> bool {
        matches!(self.state(token), Some(ActionState::Waiting { .. }))
    }

    fn release(&mut self, instance_id: &str, at: Timestamp) {
        let abandoned = self.actions_of(instance_id).iter().any(|action| {
            let result = LifecycleResult::Abandon;
            matches!(self.state(&action.token), Some(ActionState::Ended { result: r, .. }) if r == result)
        });
        if let Some(instance) = self.instances.get_mut(instance_id) {
            let launched = instance.transition == Some(Transition::Launching) && !abandoned;
            instance.transition = None;
            if launched {
                instance.actions.clear();
            } else {
                instance.terminated = Some(at);
            }
        }
    }

    /// Applies the default result of every action whose deadline has passed.
    pub fn settle(&mut self, now: Timestamp) {
        while let Some((deadline, token)) = self.deadlines.first().cloned()
            && deadline <= now
        {
            let Some(result) = self
                .actions
                .get(&token)
                .map(|record| record.hook.default_result)
            else {
                break;
            };
            self.end(&token, result, EndedBy::TimeOut, deadline);
        }
    }

    /// When the next action times out.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub fn state(&self, token: &str) -> Option<ActionState> {
        self.actions.get(token).map(|record| record.state)
    }

    /// When the instance was terminated.
    pub fn terminated(&self, instance_id: &str) -> Option<Timestamp> {
        self.instances
            .get(instance_id)
            .and_then(|instance| instance.terminated)
    }
}

//! A node whose incidents are only observed, in each state that a signal may find: none, open, over, full.

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use node_termination_operator::api::termination::{NodeTermination, Phase};
use node_termination_operator::cluster::record::{Answer, Identity};
use node_termination_operator::event::identity::object_name;
use serde_json::{Value, json};
use testbed::aws::{LifecycleAction, events};
use testbed::cluster::TestNode;

use super::{SETTLED, apply, identity_of};
use crate::bare::spots;
use crate::scene::{Corner, World, status, within};

/// A corner of one node whose incidents are only observed, so that nothing but recording happens to them.
pub struct Observed {
    pub corner: Corner,
    noticed: Timestamp,
}

pub async fn quiet(prefix: &str) -> Observed {
    Observed {
        corner: Corner::new(prefix, 1, json!({"mode": "Observe"})).await,
        // Long enough ago that nothing else happens in that second.
        noticed: Timestamp::from_second(Timestamp::now().as_second() - 30).unwrap(),
    }
}

/// One with an open incident of one notice.
pub async fn open(prefix: &str) -> Observed {
    let observed = quiet(prefix).await;
    observed.send(observed.noticed()).await;
    observed
        .corner
        .await_phase(&observed.name(1), Phase::Released)
        .await;
    observed
}

/// One with an incident that is over, its node still there.
pub async fn over(prefix: &str) -> Observed {
    let observed = open(prefix).await;
    observed.cancel().await;
    observed
}

/// One whose incident holds all the signals that it may.
pub async fn full(prefix: &str) -> Observed {
    let observed = open(prefix).await;
    let name = observed.name(1);
    for signal in spots(&observed.node().instance_id, 31) {
        let answer = apply(
            &observed.corner.client,
            &name,
            &observed.identity(),
            &signal,
        )
        .await;
        assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
    }
    observed
}

/// What is sent to the queue.
pub enum Message {
    Spot(Timestamp),
    Hook(String),
}

impl From<Timestamp> for Message {
    fn from(notice: Timestamp) -> Self {
        Self::Spot(notice)
    }
}

impl Observed {
    pub fn world(&self) -> &'static World {
        self.corner.world
    }

    pub fn node(&self) -> &TestNode {
        &self.corner.nodes[0]
    }

    pub fn identity(&self) -> Identity {
        identity_of(self.node())
    }

    /// When the first notice was given.
    pub fn noticed(&self) -> Timestamp {
        self.noticed
    }

    pub fn api(&self) -> Api<NodeTermination> {
        Api::all(self.corner.client.clone())
    }

    /// The name of the incident with that number.
    pub fn name(&self, number: u32) -> String {
        let instance = &self.node().instance_id;
        object_name(instance, number)
    }

    pub async fn incident(&self, number: u32) -> Option<NodeTermination> {
        self.api().get_opt(&self.name(number)).await.unwrap()
    }

    /// The message of a lifecycle action that began then.
    pub fn hook(&self, time: Timestamp) -> Message {
        let action = LifecycleAction {
            group: self.corner.name.clone(),
            hook: "drain".to_owned(),
            instance_id: self.node().instance_id.clone(),
            token: "87654321-4321-4321-4321-210987654321".to_owned(),
        };
        Message::Hook(events::terminate_lifecycle(&action, time))
    }

    pub fn notify(&self, message: impl Into<Message>) {
        match message.into() {
            Message::Spot(notice) => self.corner.interrupt_at(self.node(), notice),
            Message::Hook(body) => drop(self.corner.queue.send(body).unwrap()),
        }
    }

    /// Sends a message and waits until it is acknowledged.
    pub async fn send(&self, message: impl Into<Message>) {
        self.notify(message);
        within(self.corner.queue.await_empty(SETTLED)).await;
    }

    pub async fn patch(&self, body: Value) {
        self.api()
            .patch(&self.name(1), &PatchParams::default(), &Patch::Merge(body))
            .await
            .unwrap();
    }

    /// Cancels the incident and says when it was over.
    pub async fn cancel(&self) -> Timestamp {
        self.patch(json!({"spec": {"cancel": true}})).await;
        let over = self
            .corner
            .await_phase(&self.name(1), Phase::Canceled)
            .await;
        status(&over).completed_at.unwrap().0
    }
}

//! Replies of AWS are lost, and calls fail, while nobody dies.

use std::time::Duration;

use jiff::SignedDuration;
use node_termination_operator::api::termination::{LifecycleActionState, Outcome, Phase};
use serde_json::json;
use testbed::aws::{Fault, FaultKind};

use crate::stage::{Stage, status};

#[tokio::test]
async fn a_message_whose_deletion_failed_or_was_not_answered_makes_no_second_incident() {
    let stage = Stage::new(json!({})).await;
    let operation = "DeleteMessageBatch";
    for (node, kind, left) in [
        (&stage.nodes[0], FaultKind::LostReply, 0),
        (&stage.nodes[1], FaultKind::InternalError, 1),
    ] {
        stage.aws.forget_calls();
        let fault = stage.aws.inject(Fault::new(operation, kind).times(1));
        stage.interrupt(node);
        stage.await_struck(operation, &fault).await;
        assert_eq!(stage.queue.depth().total(), left);
    }
    stage.aws.advance(Duration::from_secs(15));
    stage.await_empty_queue().await;
    for node in &stage.nodes {
        let released = |i: &_| status(i).phase == Some(Phase::Released);
        let incident = stage.await_incident(node, "it is released", released).await;
        assert_eq!(incident.spec.signals.len(), 1);
        assert_eq!(stage.end(node).await.outcome, Some(Outcome::Drained));
    }
}

#[tokio::test]
async fn a_lifecycle_action_whose_completion_was_not_answered_is_found_done_the_next_time() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let operation = "CompleteLifecycleAction";
    let lost = Fault::new(operation, FaultKind::LostReply).times(1);
    let fault = stage.aws.inject(lost);
    let (action, _) = stage.scale_in(node, SignedDuration::ZERO);
    stage.await_struck(operation, &fault).await;
    stage.await_completed(&action).await;
    let released = stage.await_phase(node, Phase::Released).await;
    let [action] = released.lifecycle_actions.as_slice() else {
        panic!("{:?}", released.lifecycle_actions)
    };
    assert_eq!(action.state, LifecycleActionState::AlreadyDone);
    assert_eq!(stage.end(node).await.outcome, Some(Outcome::Drained));
}

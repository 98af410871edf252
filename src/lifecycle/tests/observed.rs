//! An incident that is only observed: it tells what would have been done, once, and changes nothing.

use super::world::{NOTICE, World, content, hook, is_released, node, signal, spot};
use crate::api::condition::{self, Condition};
use crate::api::policy::{Action, Mode};
use crate::api::termination::{BlockReason, EffectivePolicy, Outcome, Phase, Signal, SignalKind};
use crate::lifecycle::{Effect, happenings};

fn observing() -> EffectivePolicy {
    EffectivePolicy {
        mode: Mode::Observe,
        ..EffectivePolicy::default()
    }
}

fn said(world: &World) -> Condition {
    let conditions = world.status().conditions;
    condition::find(&conditions, "WouldDrain").unwrap().clone()
}

fn rebalance() -> Signal {
    signal(SignalKind::RebalanceRecommendation, 5)
}

#[test]
fn it_tells_who_would_leave_be_blocked_and_be_cut_and_changes_nothing() {
    let mut world = World::new(vec![spot(), hook(1)], observing());
    world.allowed = 0;
    world.add_pods(2, 12);
    world.pods[0].grace = jiff::SignedDuration::from_secs(600);
    world.crash();
    assert!(world.run(5, is_released), "{:?}", world.status());
    let (status, pods) = (world.status(), world.status().pods.unwrap());
    assert_eq!(
        (pods.summary.as_str(), pods.total, pods.blocked),
        ("0/14", 14, 12)
    );
    assert_eq!(status.blocked.len(), 10, "the record names ten");
    assert!(
        status
            .blocked
            .iter()
            .all(|b| b.reason == BlockReason::Budget)
    );
    let said = said(&world);
    assert_eq!(
        (said.status.as_str(), said.reason.as_str()),
        ("True", "Observed")
    );
    for words in [
        "move 14 pods",
        "12 are blocked",
        "1 have their grace period cut",
        "web/db-0 is held by web/db",
    ] {
        assert!(said.message.contains(words), "{words}: {}", said.message);
    }
    assert!(condition::find(&status.conditions, "Drained").is_none());
    world.run_for(1000);
    assert_eq!(
        (world.phase(), world.end()),
        (Some(Phase::Completed), Some(Outcome::Observed))
    );
    assert_eq!(
        world.status().blocked,
        status.blocked,
        "the record keeps it"
    );
    assert_eq!(content(world.node.as_ref()), content(Some(&node())));
    assert!(world.told.is_empty() && world.object.metadata.finalizers.is_none());
}

#[test]
fn an_observed_recommendation_announces_no_end_and_so_cuts_nothing() {
    let recommendation = Signal {
        deadline: None,
        ..rebalance()
    };
    let mut world = World::new(vec![recommendation], EffectivePolicy::default());
    world.add_pods(2, 0);
    world.now = NOTICE + 600;
    world.run_for(2);
    let message = said(&world).message;
    assert!(
        message.contains("0 have their grace period cut by the policy's own time"),
        "{message}"
    );
}

#[test]
fn it_looks_once_in_an_incident_not_at_every_change() {
    let mut world = World::new(vec![spot()], observing());
    world.add_pods(2, 0);
    world.run_for(5);
    let before = world.status().pods;
    world.pods.pop();
    world.dirty = true;
    world.run_for(5);
    world.crash();
    world.run_for(5);
    world.hear(hook(1));
    world.run_for(50);
    assert_eq!(world.status().pods, before);
    let looks = world
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Preview(_)));
    assert_eq!(looks.count(), 1);
    let last = world
        .effects
        .iter()
        .rfind(|e| matches!(e, Effect::OpenView { .. } | Effect::CloseView));
    assert_eq!(last, Some(&Effect::CloseView));
}

#[test]
fn the_view_of_an_observed_node_gives_way_to_every_node_that_drains() {
    let mut world = World::new(vec![spot()], observing());
    let decision = world.pass();
    let latest = Effect::OpenView {
        deadline: jiff::Timestamp::MAX,
    };
    assert_eq!(decision.effects, [latest]);
}

#[test]
fn pods_that_can_not_be_listed_are_waited_for_half_a_minute_and_it_says_so() {
    let mut world = World::new(vec![spot()], observing());
    world.unlisted = true;
    assert!(!world.run(30, is_released));
    assert!(world.run(1, is_released), "{:?}", world.status());
    assert_eq!(
        (said(&world).status.as_str(), said(&world).reason.as_str()),
        ("False", "NotListed")
    );
    assert_eq!(
        (world.end(), world.status().pods),
        (Some(Outcome::Observed), None)
    );
}

#[test]
fn a_policy_that_would_only_cordon_says_so_until_a_kind_that_would_drain_comes() {
    let mut policy = observing();
    policy.actions.auto_scaling_termination = Action::Cordon;
    let mut world = World::new(vec![hook(1)], policy);
    world.add_pods(1, 0);
    assert!(world.run(2, is_released));
    assert_eq!(said(&world).reason, "CordonOnly");
    assert!(world.effects.is_empty(), "{:?}", world.effects);
    world.run_for(100);
    world.hear(spot());
    world.run_for(2);
    assert_eq!(
        (world.phase(), said(&world).reason.as_str()),
        (Some(Phase::Released), "Observed")
    );
    assert_eq!(world.status().pods.unwrap().total, 1);
}

#[test]
fn a_spot_notice_after_an_observed_rebalance_drains_and_counts_from_its_own_beginning() {
    for second in [1, 100] {
        for crash in [false, true] {
            let mut world = World::new(vec![rebalance()], EffectivePolicy::default());
            world.add_pods(3, 0);
            world.run_for(second);
            assert_eq!(world.end(), Some(Outcome::Observed));
            // One leaves by itself before the notice comes.
            world.pods.pop();
            let mut notice = spot();
            notice.deadline = Some(crate::api::Time(super::world::at(world.now + 120)));
            world.hear(notice);
            if crash {
                world.crash();
            }
            world.run_for(3);
            let status = world.status();
            assert_eq!(
                (status.phase, status.outcome),
                (Some(Phase::Draining), None)
            );
            assert!(condition::find(&status.conditions, "WouldDrain").is_none());
            assert!(world.run(100, is_released));
            let pods = world.status().pods.unwrap();
            assert_eq!(
                (pods.summary.as_str(), world.told.len()),
                ("2/2", 2),
                "{second} {crash}"
            );
            assert_eq!(world.end(), Some(Outcome::Drained));
        }
    }
}

#[test]
fn a_spot_notice_before_the_observed_nodes_pods_are_listed_drains() {
    let mut world = World::new(vec![rebalance()], EffectivePolicy::default());
    world.add_pods(1, 0);
    world.unlisted = true;
    world.run_for(3);
    assert_eq!(world.phase(), Some(Phase::Pending));
    world.unlisted = false;
    world.hear(spot());
    assert!(world.run(100, is_released));
    assert_eq!((world.end(), world.told.len()), (Some(Outcome::Drained), 1));
}

#[test]
fn held_and_canceled_it_changes_nothing_either() {
    let mut world = World::new(vec![spot()], observing());
    world.add_pods(1, 0);
    world.object.spec.hold = true;
    world.run_for(60);
    assert_eq!(world.phase(), Some(Phase::Waiting));
    world.object.spec.hold = false;
    world.change();
    world.run_for(5);
    assert_eq!(world.phase(), Some(Phase::Released));
    world.object.spec.cancel = true;
    world.change();
    world.run_for(5);
    assert_eq!(world.phase(), Some(Phase::Canceled));
    assert_eq!(content(world.node.as_ref()), content(Some(&node())));
}

#[test]
fn one_event_tells_what_would_have_been_done_and_none_warns() {
    let mut world = World::new(vec![spot()], observing());
    world.allowed = 0;
    world.add_pods(0, 1);
    world.crash();
    let before = world.status();
    world.run_for(5);
    let news = happenings(&world.object, &before, &world.status());
    assert_eq!(news.len(), 1, "{news:?}");
    assert!(!news[0].warning && news[0].reason == "Released");
    assert!(
        news[0].note.contains("a drain would move 1 pods"),
        "{}",
        news[0].note
    );
    assert_eq!(world.now, NOTICE + 5);
}

#[test]
fn a_drain_that_begins_names_nobody_that_was_named_before() {
    let mut world = World::new(vec![rebalance()], EffectivePolicy::default());
    world.add_pods(1, 0);
    world.run_for(2);
    let status = world.object.status.as_mut().unwrap();
    status.unmanaged = vec!["web/gone".to_owned()];
    world.crash();
    world.hear(spot());
    world.run_for(2);
    assert_eq!(world.phase(), Some(Phase::Draining));
    assert_eq!(world.status().unmanaged, Vec::<String>::new());
}

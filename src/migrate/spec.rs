//! NTH's settings as the fields of a policy.

use std::collections::BTreeMap;

use super::Error;
use super::note::{About, Notes};
use super::queue;
use super::values::Values;
use super::webhook;
use crate::api::LabelSelector;
use crate::api::policy::{
    Action, Actions, Cordon, CordonTaint, DisruptionBudgets, Drain, Heartbeat, Hesitation,
    ImdsSource, Lifecycle, Limits, Maintenance, Mode, OnDrainFailure, Source,
    TerminationPolicySpec, defaults,
};

/// Thirty days, the most that a policy takes; AWS Health gives notice about two weeks before a window.
const LEAD_SECONDS_MAX: u32 = 2_592_000;

/// The whole policy. Fails if NTH could not work with these values either.
pub fn spec(values: &Values, notes: &mut Notes) -> Result<TerminationPolicySpec, Error> {
    let actions = actions(values, notes)?;
    Ok(TerminationPolicySpec {
        maintenance: maintenance(&actions, notes),
        actions,
        node_selector: node_selector(values, notes)?,
        priority: 0,
        mode: mode(values, notes)?,
        sources: vec![source(values, notes)?],
        cordon: cordon(values, notes)?,
        drain: drain(values, notes)?,
        lifecycle: lifecycle(values, notes)?,
        limits: Limits::default(),
        notifications: webhook::notifications(values, notes)?,
        ttl_seconds_after_finished: defaults::ttl_seconds_after_finished(),
        history_limit: defaults::history_limit(),
    })
}

/// In metadata mode NTH serves the nodes that its DaemonSet runs on, as its chart chooses them.
fn node_selector(values: &Values, notes: &mut Notes) -> Result<Option<LabelSelector>, Error> {
    let everywhere = values.labels("nodeSelector")?;
    if values.queue {
        if !everywhere.is_empty() {
            let text = "the manifests: it says where the controller runs";
            notes.add(About::Elsewhere, "nodeSelector", text);
        }
        return Ok(None);
    }
    let linux = values.labels("linuxNodeSelector")?;
    let own = values.labels("daemonsetNodeSelector")?;
    let labels = [linux, everywhere, own];
    let labels: Option<BTreeMap<_, _>> = labels.into_iter().find(|l| !l.is_empty());
    if labels.is_some() {
        let text = "NTH's DaemonSet runs on these nodes only; the agent's DaemonSet may have the same nodeSelector";
        notes.add(About::Kept, "nodeSelector", text);
    }
    Ok(labels.map(|labels| LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }))
}

fn mode(values: &Values, notes: &mut Notes) -> Result<Mode, Error> {
    if !values.is_on("dryRun")? {
        return Ok(Mode::Enforce);
    }
    let text = if values.queue {
        "mode: Observe records and changes nothing. NTH's dry run completes lifecycle hooks and deletes messages; here \
         hooks are left alone, and a message is deleted once it is recorded: give the policy a queue of its own"
    } else {
        "mode: Observe records and changes nothing"
    };
    notes.add(About::Differs, values.shown("dryRun"), text);
    Ok(Mode::Observe)
}

fn source(values: &Values, notes: &mut Notes) -> Result<Source, Error> {
    if values.queue {
        return Ok(Source {
            name: "events".to_owned(),
            sqs: Some(queue::source(values, notes)?),
            imds: None,
        });
    }
    if !values.text("awsRegion")?.is_empty() {
        let text = "the agent reads the region from its instance";
        notes.add(About::Nowhere, values.shown("awsRegion"), text);
    }
    Ok(Source {
        name: "metadata".to_owned(),
        sqs: None,
        imds: Some(ImdsSource {
            poll_interval_seconds: defaults::poll_interval_seconds(),
        }),
    })
}

/// In queue mode NTH acts on all that it knows; in metadata mode on what is enabled.
fn actions(values: &Values, notes: &mut Notes) -> Result<Actions, Error> {
    let act = if values.is_on("cordonOnly")? {
        Action::Cordon
    } else {
        Action::CordonAndDrain
    };
    let all = Actions {
        spot_interruption: act,
        auto_scaling_termination: act,
        scheduled_maintenance: act,
        instance_state_change: act,
        capacity_reservation: act,
        rebalance_recommendation: act,
    };
    if values.queue {
        let text = "NTH drains on these in queue mode; the default is Observe, for a storm of them would empty the pools";
        notes.add(About::Kept, "actions.rebalanceRecommendation", text);
        let text =
            "NTH does not know these events; they reach the queue only by a rule of their own";
        notes.add(About::Differs, "actions.capacityReservation", text);
        return Ok(all);
    }
    let enabled = |name| {
        Ok(if values.is_on(name)? {
            act
        } else {
            Action::Ignore
        })
    };
    let rebalance = match enabled("enableRebalanceDraining")? {
        // Monitoring alone closes the node, and no more.
        Action::Ignore => enabled("enableRebalanceMonitoring")?.min(Action::Cordon),
        drains => drains,
    };
    Ok(Actions {
        spot_interruption: enabled("enableSpotInterruptionDraining")?,
        auto_scaling_termination: enabled("enableASGLifecycleDraining")?,
        scheduled_maintenance: enabled("enableScheduledEventDraining")?,
        rebalance_recommendation: rebalance,
        ..all
    })
}

fn cordon(values: &Values, notes: &mut Notes) -> Result<Cordon, Error> {
    let exclude = values.is_on("excludeFromLoadBalancers")?;
    let cordon_only = values.is_on("cordonOnly")?;
    if exclude && cordon_only {
        let text = "NTH sets the label only when it drains, and cordonOnly never does";
        notes.add(
            About::Unread,
            values.shown("excludeFromLoadBalancers"),
            text,
        );
    }
    Ok(Cordon {
        taint: taint(values, notes)?,
        exclude_from_load_balancers: exclude && !cordon_only,
        expire_seconds: None,
    })
}

fn taint(values: &Values, notes: &mut Notes) -> Result<CordonTaint, Error> {
    let mut taint = CordonTaint::default();
    if !values.is_on("taintNode")? {
        let text =
            "NTH puts none on; here the taint always comes with the cordon, and goes with it";
        notes.add(About::Differs, "cordon.taint", text);
        if values.text("TAINT_EFFECT")? != taint.effect {
            let text = "NTH looks at it under taintNode only";
            notes.add(About::Unread, values.shown("TAINT_EFFECT"), text);
        }
        return Ok(taint);
    }
    let text = "nodetermination.dev/terminating, with the kind as its value, stands for NTH's four taints \
                aws-node-termination-handler/…: change tolerations and alerts that name them";
    notes.add(About::Differs, values.shown("taintNode"), text);
    let shown = values.shown("TAINT_EFFECT");
    match values.text("TAINT_EFFECT")?.as_str() {
        effect @ ("NoSchedule" | "PreferNoSchedule") => effect.clone_into(&mut taint.effect),
        "NoExecute" => {
            let text = "NoExecute is refused: it deletes pods at once, past disruption budgets, order and grace; \
                        NoSchedule is taken, and the drain moves the pods";
            notes.add(About::Differs, shown, text);
        }
        _ => {
            let text = "no effect of a taint; NTH too takes NoSchedule";
            notes.add(About::Differs, shown, text);
        }
    }
    Ok(taint)
}

fn drain(values: &Values, notes: &mut Notes) -> Result<Drain, Error> {
    let text = "Respect: NTH never goes past a budget. The default, RespectUntilDeadline, deletes a pod at the last moment \
                that leaves it its grace period, before the machine ends it without one";
    notes.add(About::Kept, "drain.disruptionBudgets", text);
    let empty_dir_pods = if values.is_on("deleteLocalData")? {
        Hesitation::Evict
    } else {
        let text = "emptyDirPods: Block keeps only these pods, until their last moment; NTH's whole drain fails where \
                    one of them runs";
        notes.add(About::Differs, values.shown("deleteLocalData"), text);
        Hesitation::Block
    };
    let text = "true: once the pods have gone, the hook is completed when their volumes are detached, or at the deadline; \
                NTH does not wait for them";
    if values.queue {
        notes.add(About::Differs, "drain.waitForVolumeDetach", text);
    }
    let taint = values.is_on("enableOutOfServiceTaint")?;
    if taint {
        let text = "put on once EC2 says that the instance is stopped or terminated and pods or volumes are left, and taken \
                    off when the node returns; NTH puts it on after the drain, while the machine runs, and leaves it";
        notes.add(
            About::Differs,
            values.shown("enableOutOfServiceTaint"),
            text,
        );
    }
    Ok(Drain {
        out_of_service_taint: taint && !values.is_on("cordonOnly")?,
        grace_period_seconds: grace_period(values, notes)?,
        timeout_seconds: timeout(values, notes)?,
        disruption_budgets: DisruptionBudgets::Respect,
        empty_dir_pods,
        ..Drain::default()
    })
}

fn grace_period(values: &Values, notes: &mut Notes) -> Result<Option<u32>, Error> {
    let name = "podTerminationGracePeriod";
    match values.number(name)? {
        ..0 => Ok(None),
        grace => Ok(Some(within(values, notes, name, grace, 1, 172_800))),
    }
}

fn timeout(values: &Values, notes: &mut Notes) -> Result<u32, Error> {
    let name = "nodeTerminationGracePeriod";
    let text = "drain.timeoutSeconds counts only where an event names no deadline and its hook can not be read; \
                otherwise a drain has the time that the notice or the hook leaves it";
    notes.add(About::Differs, name, text);
    match values.number(name)? {
        0 => {
            let text = "0 is no limit to NTH; 172800 is the most here";
            notes.add(About::Differs, name, text);
            Ok(172_800)
        }
        seconds => Ok(within(values, notes, name, seconds, 10, 172_800)),
    }
}

fn lifecycle(values: &Values, notes: &mut Notes) -> Result<Lifecycle, Error> {
    if !values.queue {
        let text = "left alone, as NTH does in metadata mode; add the group's queue as a second source to have them \
                    completed";
        notes.add(About::Kept, "lifecycle hooks", text);
        return Ok(Lifecycle::default());
    }
    let text = "Wait: NTH leaves the hook of a failed drain to time out. The default, Continue, completes it";
    notes.add(About::Kept, "lifecycle.onDrainFailure", text);
    let delay = values.number("completeLifecycleActionDelaySeconds")?;
    let delay_name = "completeLifecycleActionDelaySeconds";
    Ok(Lifecycle {
        heartbeat: heartbeat(values, notes)?,
        on_drain_failure: OnDrainFailure::Wait,
        completion_delay_seconds: within(values, notes, delay_name, delay.max(0), 0, 7200),
    })
}

/// NTH does not start with a heartbeat out of its bounds, which are ours too.
fn heartbeat(values: &Values, notes: &mut Notes) -> Result<Option<Heartbeat>, Error> {
    let interval = values.number("heartbeatInterval")?;
    let until = match values.number("heartbeatUntil")? {
        -1 => i64::from(defaults::heartbeat_until_seconds()),
        until => until,
    };
    let wrong = if interval == -1 {
        if until == i64::from(defaults::heartbeat_until_seconds()) {
            return Ok(None);
        }
        "heartbeatUntil means nothing without heartbeatInterval"
    } else if !(30..=3600).contains(&interval) {
        "heartbeatInterval must be from 30 to 3600"
    } else if !(60..=172_800).contains(&until) {
        "heartbeatUntil must be from 60 to 172800"
    } else if interval > until {
        "heartbeatInterval must not be greater than heartbeatUntil"
    } else {
        let (Ok(interval_seconds), Ok(until_seconds)) =
            (u32::try_from(interval), u32::try_from(until))
        else {
            return Ok(None);
        };
        let text = "heartbeats go on from the notice to the completion, also while the drain does not end; NTH's stop \
                    when a drain fails";
        notes.add(About::Differs, values.shown("heartbeatInterval"), text);
        return Ok(Some(Heartbeat {
            interval_seconds,
            until_seconds,
        }));
    };
    let text = format!("left out, as NTH does not start with it: {wrong}");
    notes.add(About::Differs, "lifecycle.heartbeat", &text);
    Ok(None)
}

fn maintenance(actions: &Actions, notes: &mut Notes) -> Maintenance {
    if actions.scheduled_maintenance == Action::Ignore {
        return Maintenance::default();
    }
    let text = "30 days: NTH acts as soon as maintenance is announced, weeks before its window. The default, 3600, keeps \
                the node in service until an hour before a reboot";
    notes.add(About::Kept, "maintenance.leadSeconds", text);
    Maintenance {
        lead_seconds: LEAD_SECONDS_MAX,
    }
}

/// A number cut to what the policy takes, with a note if it was.
fn within(
    values: &Values,
    notes: &mut Notes,
    name: &'static str,
    number: i64,
    least: u32,
    most: u32,
) -> u32 {
    let taken = number.clamp(i64::from(least), i64::from(most));
    if taken != number {
        let text = format!("{number} is out of range here ({least} to {most}); {taken} is taken");
        notes.add(About::Differs, values.shown(name), &text);
    }
    u32::try_from(taken).unwrap_or(most)
}

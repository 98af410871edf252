//! What an answer of the API server makes of the pod that was told to end: when it is tried again, and how.

use jiff::{SignedDuration, Timestamp};

use super::{
    BACK_OFF_FIRST, BACK_OFF_LAST, BUDGET_PAUSE, EXPECT_IN_VIEW, Entry, Gates, Guard, LOOK_AGAIN,
    State, Verb,
};
use crate::api::termination::BlockReason;
use crate::drain::answer::Answer;
use crate::drain::window::later;

impl Entry {
    /// What became of the call.
    pub(in crate::drain::queue) fn answered(
        &mut self,
        verb: Verb,
        answer: &Answer,
        gates: &Gates,
        now: Timestamp,
    ) {
        self.state = match answer {
            Answer::Accepted | Answer::NotFound => {
                self.block = None;
                self.failures = 0;
                State::Sent {
                    until: later(now, EXPECT_IN_VIEW),
                }
            }
            Answer::Conflict => self.back_off(LOOK_AGAIN, verb, now),
            Answer::Unanswered { message } | Answer::ServerError { message } => {
                self.blocked(BlockReason::ServerError, None, message.clone(), now);
                let wait = doubled(LOOK_AGAIN, self.failures);
                self.back_off(wait, verb, now)
            }
            Answer::BudgetRefused {
                message,
                retry_after,
            } => {
                let by = self.budget_name();
                self.blocked(BlockReason::Budget, by, message.clone(), now);
                let advised = retry_after.and_then(|d| SignedDuration::try_from(d).ok());
                self.refused_by_budget(verb, advised, gates, now)
            }
            Answer::BudgetContended => {
                let message = "too many evictions collide in the budget's status".to_owned();
                self.blocked(BlockReason::Budget, self.budget_name(), message, now);
                self.back_off(BUDGET_PAUSE, verb, now)
            }
            Answer::BudgetUncomputed { message } => {
                let (reason, by) = (BlockReason::BudgetSyncFailed, self.budget_name());
                self.blocked(reason, by, message.clone(), now);
                self.back_off(BACK_OFF_LAST, verb, now)
            }
            Answer::MultipleBudgets => {
                let message = "more than one budget selects it".to_owned();
                self.blocked(BlockReason::MultipleBudgets, None, message, now);
                self.back_off(BACK_OFF_LAST, verb, now)
            }
            Answer::Overloaded { .. } => State::Idle,
            Answer::NamespaceTerminating => {
                self.delete_only = true;
                State::Idle
            }
            Answer::RoleMissing { message } => {
                // One call in a while asks for all pods: most of these cost nothing, and none is to wait once it is granted.
                self.blocked(BlockReason::Forbidden, None, message.clone(), now);
                let wait = doubled(LOOK_AGAIN, self.failures).min(BACK_OFF_FIRST);
                self.back_off(wait, verb, now)
            }
            Answer::Denied {
                reason,
                by,
                message,
            } => {
                self.blocked(*reason, by.clone(), message.clone(), now);
                let wait = doubled(BACK_OFF_FIRST, self.failures);
                self.back_off(wait, verb, now)
            }
        };
    }

    /// It waits for the budget's next event, or for the time that the server advises.
    fn refused_by_budget(
        &mut self,
        verb: Verb,
        advised: Option<SignedDuration>,
        gates: &Gates,
        now: Timestamp,
    ) -> State {
        let waits = matches!(&self.guard, Guard::Budget(id) if self.needs_permit(gates, id));
        if waits {
            self.probe_at = advised.map(|wait| later(now, wait));
            State::Idle
        } else {
            // By what we know no budget refuses: without an event to wait for, only time is left.
            let wait = advised.unwrap_or(doubled(BACK_OFF_FIRST, self.failures));
            self.back_off(wait, verb, now)
        }
    }

    fn budget_name(&self) -> Option<String> {
        match &self.guard {
            Guard::Budget(id) => Some(id.to_string()),
            Guard::Free | Guard::Multiple(_) => None,
        }
    }

    fn back_off(&mut self, wait: SignedDuration, after: Verb, now: Timestamp) -> State {
        self.failures = self.failures.saturating_add(1);
        State::BackOff {
            until: later(now, wait),
            after,
        }
    }
}

fn doubled(first: SignedDuration, failures: u32) -> SignedDuration {
    (first * 2_i32.pow(failures.min(6))).min(BACK_OFF_LAST)
}

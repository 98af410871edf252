//! Giving up leadership by choice, once in the life of a process: before the operator's own pod is evicted.

use tokio::sync::watch;

/// Asks for leadership to be given up; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HandOver(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotAsked,
    Asked,
    Done,
}

impl HandOver {
    /// Whether nobody has asked yet. Where no other replica takes over, asking again would not help.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        *self.0.borrow() == State::NotAsked
    }

    /// Asks for it.
    pub fn ask(&self) {
        self.goes_from(State::NotAsked, State::Asked);
    }

    /// Waits until it is asked for; for ever once it was done.
    pub async fn asked(&self) {
        // The sender lives as long as we do: this can not fail.
        let _ = self.0.subscribe().wait_for(|s| *s == State::Asked).await;
    }

    /// It was done.
    pub fn done(&self) {
        self.goes_from(State::Asked, State::Done);
    }

    /// A new term begins. What was asked for in one that ended by itself is not owed by this one.
    pub fn begin_term(&self) {
        self.goes_from(State::Asked, State::NotAsked);
    }

    fn goes_from(&self, before: State, after: State) {
        self.0.send_if_modified(|state| {
            let goes = *state == before;
            if goes {
                *state = after;
            }
            goes
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_was_asked_in_a_term_that_was_lost_meanwhile_is_not_done_in_the_next() {
        let hand_over = HandOver::default();
        hand_over.ask();
        assert!(hand_over.asked().now_or_never().is_some());
        assert!(!hand_over.is_possible());
        // The lease was lost before anybody heard of it.
        hand_over.begin_term();
        assert!(hand_over.asked().now_or_never().is_none());
        assert!(hand_over.is_possible());
    }

    #[test]
    fn it_is_done_once_in_the_life_of_a_process() {
        let hand_over = HandOver::default();
        hand_over.ask();
        hand_over.done();
        hand_over.begin_term();
        assert!(!hand_over.is_possible());
        hand_over.ask();
        assert!(hand_over.asked().now_or_never().is_none());
    }
}

//! No process of the operator panics, ends by itself, reports a defect of its own, asks AWS what AWS would refuse, or
//! grows without bound.

use super::Violation;
use crate::history::{Cause, History, ProcessLife};

const PROMISE: &str = "no process panics, ends by itself, reports a defect or grows without bound";
/// Of an unoptimised build, whose program alone is large.
const RSS_BOUND: u64 = 250_000_000;

pub fn check(history: &History) -> Vec<Violation> {
    let refused = history.refused_calls.iter();
    let refused = refused.map(|call| Violation::new(PROMISE, format!("AWS would refuse {call}")));
    let processes = history.processes.iter().filter_map(|process| {
        let what = format!("{}: {}", process.name, wrong(process, history)?);
        Some(Violation::new(PROMISE, what))
    });
    processes.chain(refused).collect()
}

fn wrong(process: &ProcessLife, history: &History) -> Option<String> {
    if let Some(ended) = &process.ended {
        return Some(format!("ended by itself: {ended}"));
    }
    if process.peak_rss > RSS_BOUND {
        return Some(format!("took {} MB", process.peak_rss / 1_000_000));
    }
    // An API server that has just started forbids everything until it has read the roles.
    let restarted = history.troubles.0.iter().any(|t| t.cause == Cause::Api);
    // The client's library calls a connection that is refused an error; that is what the run wants.
    let defect = |line: &&str| {
        let ours = line.contains(" node_termination_operator")
            && !(restarted && line.contains("cluster::denied"));
        line.contains("panicked") || (line.contains(" ERROR ") && ours)
    };
    process.log.lines().find(defect).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sample::{history, trouble};

    #[test]
    fn an_end_a_panic_an_error_and_too_much_memory_are_violations() {
        let with = |change: &dyn Fn(&mut ProcessLife)| {
            let mut history = history();
            change(&mut history.processes[0]);
            check(&history).len()
        };
        assert_eq!(with(&|_| {}), 0);
        assert_eq!(with(&|p| p.ended = Some("exit status: 1".into())), 1);
        assert_eq!(with(&|p| p.log = "thread 'main' panicked at".into()), 1);
        assert_eq!(
            with(&|p| p.log = "2026 ERROR node_termination_operator: a".into()),
            1
        );
        assert_eq!(
            with(&|p| p.log = "2026 ERROR reconcile: kube_client: a".into()),
            0
        );
        assert_eq!(with(&|p| p.peak_rss = 1_000_000_000), 1);
    }

    #[test]
    fn a_missing_role_is_a_violation_unless_the_api_server_was_restarted() {
        let mut history = history();
        history.processes[0].log =
            "2026 ERROR node_termination_operator::cluster::denied: a".into();
        assert_eq!(check(&history).len(), 1);
        history.troubles.0.push(trouble(Cause::Api, 10, 12));
        assert_eq!(check(&history).len(), 0);
    }

    #[test]
    fn a_call_that_aws_would_refuse_is_a_violation() {
        let mut history = history();
        history
            .refused_calls
            .push("DeleteMessageBatch: no entries".into());
        assert_eq!(check(&history).len(), 1);
    }
}

//! What a person needs to understand a violation: who was concerned, what was asked of the API server, what the operators
//! said.

use crate::history::{History, NodeLife};
use crate::invariants::Violation;

/// Violations that are told with everything that belongs to them; the others in one line.
const TOLD: usize = 5;
/// Lines of each log that are shown.
const LINES: usize = 40;

/// Prints them.
pub fn print(history: &History, violations: &[Violation]) {
    for violation in violations {
        let Violation {
            promise,
            time,
            what,
            ..
        } = violation;
        let at = time.map(|t| t.duration_since(history.started).as_secs_f64());
        println!(
            "VIOLATION of seed {}: {promise}: {what}; at {at:.1?} s",
            history.seed
        );
    }
    for violation in violations.iter().take(TOLD) {
        let node = violation
            .node
            .and_then(|n| history.nodes.iter().find(|l| l.number == n));
        if let Some(node) = node {
            println!("\n--- {}: {}", violation.promise, violation.what);
            print_node(history, node);
        }
    }
    for trouble in &history.troubles.0 {
        let second = |t: jiff::Timestamp| t.duration_since(history.started).as_secs_f64();
        println!(
            "{:?} from {:.1} s to {:.1} s",
            trouble.cause,
            second(trouble.from),
            second(trouble.until)
        );
    }
}

fn print_node(history: &History, node: &NodeLife) {
    println!(
        "{} {} {:?} {:?} gone {:?}",
        node.name, node.instance, node.pool, node.story, node.gone
    );
    for notice in history.notices_of(node) {
        println!("notice: {notice:?}");
    }
    for deed in history.deeds_to(node) {
        println!("deed: {deed:?}");
    }
    for action in history
        .actions
        .iter()
        .filter(|a| a.instance == node.instance)
    {
        println!("lifecycle action: {action:?}");
    }
    for incident in history.incidents_of(node) {
        let status = serde_json::to_string(&incident.last()).unwrap_or_default();
        println!(
            "incident {} gone {:?}: {status}",
            incident.name, incident.gone
        );
    }
    let pods = history.pods.iter().filter(|p| p.is_on(&node.name));
    let names: Vec<&str> = pods.filter_map(|p| p.name.split('/').next_back()).collect();
    let concerns = |line: &str| {
        line.contains(&node.instance)
            || line.contains(&format!(" {} ", node.name))
            || names.iter().any(|name| line.contains(name))
    };
    print_last(
        "audit log",
        history
            .audit
            .iter()
            .map(|(_, line)| line.as_str())
            .filter(|l| concerns(l)),
    );
    for process in &history.processes {
        print_last(&process.name, process.log.lines().filter(|l| concerns(l)));
    }
}

fn print_last<'a>(name: &str, lines: impl Iterator<Item = &'a str>) {
    let lines: Vec<&str> = lines.collect();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        println!("{name}: {line}");
    }
}

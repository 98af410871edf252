//! Chaos: random notices for many nodes, while at random the leader is killed or frozen, the lease is stolen, the API
//! server, etcd and AWS fail, and people interfere. Afterwards the promises are held against what was seen from outside.
//!
//! [`plan`] draws everything from a seed, [`world`] makes it happen, [`history`] is what was seen, and each file of
//! [`invariants`] holds one promise against it. `just chaos` runs many seeds; see CONTRIBUTING.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod history;
mod invariants;
mod options;
mod plan;
mod report;
mod world;

use options::Options;
use plan::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_meanwhile_every_promise_is_kept() {
    let options = Options::of_environment();
    let mut failed = Vec::new();
    for seed in options.seeds() {
        let plan = Plan::draw(seed, options.nodes, options.duration);
        println!("seed {seed}: {plan}");
        let (history, folder) = world::play(&plan).await;
        let violations = invariants::check(&history);
        println!("seed {seed}: {} violations; {history}", violations.len());
        if !violations.is_empty() {
            failed.push(seed);
            report::print(&history, &violations);
            println!("logs and the audit log: {}", folder.display());
        }
    }
    assert!(
        failed.is_empty(),
        "violations with CHAOS_SEED={failed:?}, {options}"
    );
}

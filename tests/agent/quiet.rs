//! What an agent costs when nothing happens.

use testbed::imds::documents;

use crate::scene::{AGENT_USER, Corner, PATIENCE, control_plane, within};

#[tokio::test]
async fn an_agent_to_which_nothing_happens_sends_nothing_but_its_watch() {
    let control_plane = control_plane().await;
    let corner = Corner::metadata(&control_plane, "quiet").await;
    let (service, agent) = corner.reading().await;
    let asked = || {
        let entries = control_plane.audit_log().unwrap().entries().unwrap();
        let ours = entries.into_iter().filter(|e| e.user == AGENT_USER);
        let ours = ours.map(|e| format!("{} {}", e.verb, e.resource));
        ours.collect::<Vec<_>>()
    };
    let first = asked();
    let others = first
        .iter()
        .filter(|r| !r.ends_with(" terminationpolicies"));
    let others: Vec<_> = others.collect();
    assert_eq!(
        others,
        ["create selfsubjectreviews", "get nodes"],
        "once each"
    );
    within(service.await_reads(documents::SPOT, 30, PATIENCE)).await;
    let mut later = asked().split_off(first.len());
    later.retain(|request| request != "watch terminationpolicies");
    assert!(later.is_empty(), "{later:?}");

    let tokens = service.requests().into_iter().filter(|r| r.method == "PUT");
    assert_eq!(tokens.count(), 1, "one token serves all reads");
    let process = agent.process();
    let (all, own) = (process.rss_bytes(), process.anonymous_bytes());
    let kilo = |bytes: u64| bytes / 1000;
    // The program's own pages are many while it is not optimised.
    println!(
        "an idle agent: {} kB resident, of which {} kB are not the program's; {:?} of CPU",
        kilo(all.unwrap()),
        kilo(own.unwrap()),
        process.cpu_time().unwrap()
    );
}

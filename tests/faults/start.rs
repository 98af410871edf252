//! Starts into a world that is not ready, or never will be.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use testbed::aws::Aws;
use testbed::operator::{control_plane, install_account, install_kinds};
use tokio::process::Command;

use crate::stage::{Stage, binary, repository, start, turn};

/// How long a process that can not start may take to say so.
const SAYS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn started_before_its_kinds_are_installed_it_names_them_and_is_ready_once_they_are() {
    let _turn = turn().await;
    let control_plane = control_plane(false).await.unwrap();
    install_account(&control_plane, repository()).await.unwrap();
    let aws = Aws::start().unwrap();
    let operator = start(&control_plane, &aws, "early");
    let missing = "not listed yet: are the custom resource definitions installed?";
    let named = |code, body: &str| {
        let lines: Vec<&str> = body.lines().collect();
        code == 503
            && lines.len() == 2
            && lines.contains(&format!("terminationpolicies: {missing}").as_str())
            && lines.contains(&format!("nodeterminations: {missing}").as_str())
    };
    operator.await_answer("/readyz", named).await.unwrap();
    let (alive, _) = operator.get("/healthz").await.unwrap();
    assert_eq!(alive, 200);
    install_kinds(&control_plane, repository()).await.unwrap();
    operator.await_ready().await.unwrap();
    operator.process().check().unwrap();
}

#[tokio::test]
async fn kinds_that_are_deleted_and_installed_again_are_watched_again_without_a_restart() {
    let stage = Stage::new(json!({})).await;
    let delete = [
        "delete",
        "crd",
        "terminationpolicies.nodetermination.dev",
        "nodeterminations.nodetermination.dev",
    ];
    stage.control_plane.kubectl(&delete).await.unwrap();
    let told = async {
        let said = "does not serve this kind, trying again: are the custom resource definitions";
        while !stage.first.process().logs().contains(said) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    stage.within("the log tells of it", told).await;
    install_kinds(&stage.control_plane, repository())
        .await
        .unwrap();
    stage.apply_policy(&json!({})).await;
    stage.interrupt(&stage.nodes[0]);
    stage.await_cordoned(&stage.nodes[0]).await;
    stage.first.process().check().unwrap();
}

#[tokio::test]
async fn a_start_that_can_not_succeed_ends_with_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let garbage = folder.join("faults-kubeconfig");
    std::fs::write(&garbage, "{").unwrap();
    let (garbage, nowhere) = (garbage.to_str().unwrap(), "/nowhere/kubeconfig");
    let free = "127.0.0.1:0";
    for (arguments, kubeconfig, said) in [
        (
            vec!["--http-address", free],
            nowhere,
            "no cluster: set KUBECONFIG, or run in a pod",
        ),
        (
            vec!["--http-address", free],
            garbage,
            "no cluster: set KUBECONFIG, or run in a pod",
        ),
        (
            vec!["--http-address", &address],
            nowhere,
            "cannot listen on 127.0.0.1:",
        ),
        (
            vec!["--log-level", "inof"],
            nowhere,
            "no log level: \"inof\"",
        ),
        (
            vec!["--log-level", "ours=inof"],
            nowhere,
            "no log directives: \"ours=inof\"",
        ),
        (
            vec!["--lease-duration-seconds", "4"],
            nowhere,
            "4 is not in 5..=300",
        ),
        (
            vec!["--http-address", "8080"],
            nowhere,
            "invalid socket address syntax",
        ),
        (
            vec!["--log-format", "xml"],
            nowhere,
            "invalid value 'xml' for '--log-format",
        ),
        (vec!["--leases"], nowhere, "unexpected argument '--leases'"),
    ] {
        let (code, errors) = run(&arguments, kubeconfig).await;
        assert!(
            matches!(code, Some(1..=2)),
            "{arguments:?}: {code:?}: {errors}"
        );
        assert!(errors.contains(said), "{arguments:?}: {errors}");
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        let lines = errors.lines().filter(|l| l.contains(said)).count();
        assert_eq!(lines, 1, "{arguments:?}: {errors}");
    }
}

/// Runs the controller to its end: its exit code, and what it wrote to standard error.
async fn run(arguments: &[&str], kubeconfig: &str) -> (Option<i32>, String) {
    let run = Command::new(binary())
        .arg("controller")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SAYS_WITHIN, run)
        .await
        .unwrap_or_else(|_| panic!("{arguments:?} runs on"))
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), errors)
}

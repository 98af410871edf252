//! What the test bed promises, on the real servers.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use testbed::{
    ControlPlane,
    cluster::{self, Budget, PodOptions},
};
use tokio::sync::OnceCell;

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

async fn shared() -> &'static ControlPlane {
    let start = || {
        ControlPlane::builder()
            .audit(true)
            .user("somebody", &[])
            .start()
    };
    SHARED.get_or_try_init(start).await.unwrap()
}

#[tokio::test]
async fn nodes_and_pods_run_soon_after_the_start() {
    let control_plane = shared().await;
    let client = control_plane.client().await.unwrap();
    let started = Instant::now();
    let nodes = cluster::make_nodes(&client, "soon", 3, &cluster::map(&[("pool", "soon")])).await;
    let nodes = nodes.unwrap();
    let namespace = cluster::namespace(&client, "soon").await.unwrap();
    let plain = PodOptions::default();
    let pods = cluster::make_pods(&client, &namespace, &nodes[0].name, 10, &plain)
        .await
        .unwrap();
    assert_eq!(pods.len(), 10);
    let placed = PodOptions {
        node_selector: cluster::map(&[("pool", "soon")]),
        ..plain
    };
    cluster::make_deployment(&client, &namespace, "web", 5, &placed)
        .await
        .unwrap();
    let labels = cluster::map(&[("app", "web")]);
    let half = Budget::MinAvailable(IntOrString::String("50%".to_owned()));
    let budget = cluster::make_pdb(&client, &namespace, "web", &labels, half);
    assert_eq!(budget.await.unwrap().status.unwrap().expected_pods, 5);
    let seconds = started.elapsed().as_secs();
    assert!(seconds < 30, "{seconds} s");

    let listed = control_plane
        .kubectl(&["get", "nodes", "-l", "pool=soon", "-o", "name"])
        .await;
    assert_eq!(listed.unwrap().lines().count(), 3);
    let error = control_plane
        .kubectl(&["get", "nonsense"])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the server doesn't have a resource type"),
        "{error}"
    );
}

#[tokio::test]
async fn a_deleted_pod_goes_at_once_or_after_its_delay_or_never() {
    let client = shared().await.client().await.unwrap();
    let node = cluster::make_nodes(&client, "going", 1, &cluster::map(&[]))
        .await
        .unwrap()
        .remove(0);
    let namespace = cluster::namespace(&client, "going").await.unwrap();
    let api = Api::<Pod>::namespaced(client.clone(), &namespace);
    let delay = Duration::from_secs(3);
    let kinds = [
        PodOptions::default(),
        PodOptions::default().gone_after(delay),
        PodOptions::default().stuck(),
    ];
    let mut pods = Vec::new();
    for kind in kinds {
        pods.push(
            cluster::make_pods(&client, &namespace, &node.name, 1, &kind)
                .await
                .unwrap(),
        );
    }
    let deleted = Instant::now();
    for pod in pods.iter().flatten() {
        api.delete(&pod.name_any(), &DeleteParams::default())
            .await
            .unwrap();
    }
    cluster::await_pods_gone(&client, &namespace, &pods[0])
        .await
        .unwrap();
    assert!(deleted.elapsed() < delay, "{:?}", deleted.elapsed());
    cluster::await_pods_gone(&client, &namespace, &pods[1])
        .await
        .unwrap();
    assert!(deleted.elapsed() >= delay, "{:?}", deleted.elapsed());
    let stuck = &pods[2][0].name_any();
    assert!(
        api.get(stuck)
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    api.delete(stuck, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    cluster::await_pods_gone(&client, &namespace, &pods[2])
        .await
        .unwrap();
}

#[tokio::test]
async fn the_audit_log_has_every_request_of_a_named_user_and_none_of_the_control_plane() {
    let control_plane = shared().await;
    let client = control_plane.client_for("somebody").await.unwrap();
    let pods = Api::<Pod>::namespaced(client, "default");
    let refused = pods.get("anything").await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    let log = control_plane.audit_log().unwrap();
    let entries = loop {
        let entries = log.entries().unwrap();
        if entries.iter().any(|entry| entry.user == "somebody") {
            break entries;
        }
        tokio::task::yield_now().await;
    };
    let [entry] = &entries
        .iter()
        .filter(|it| it.user == "somebody")
        .collect::<Vec<_>>()[..]
    else {
        panic!("one request, one entry: {entries:?}");
    };
    assert_eq!(
        (&*entry.verb, &*entry.resource, &*entry.name),
        ("get", "pods", "anything")
    );
    assert_eq!((&*entry.namespace, entry.status_code), ("default", 403));
    assert!(entries.iter().all(|entry| !entry.user.contains("kube-")));
}

#[tokio::test]
async fn a_restarted_api_server_has_its_data() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    let mut kept = ConfigMap::default();
    kept.metadata.name = Some("kept".into());
    maps.create(&PostParams::default(), &kept).await.unwrap();
    control_plane.stop_api_server().unwrap();
    assert!(maps.get("kept").await.is_err());
    control_plane.start_api_server().await.unwrap();
    maps.get("kept").await.unwrap();
    control_plane.restart_api_server().await.unwrap();
    maps.get("kept").await.unwrap();
    cluster::make_nodes(&client, "after", 1, &cluster::map(&[]))
        .await
        .unwrap();
    control_plane.check().unwrap();
    let folder = control_plane.folder().to_owned();
    control_plane.stop();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_scheduler_that_does_not_survive_an_outage_is_started_again() {
    let control_plane = ControlPlane::start().await.unwrap();
    let [scheduler] = schedulers(&control_plane)[..] else {
        panic!("there is one");
    };
    kill_process(scheduler, Signal::KILL).unwrap();
    while control_plane.check().is_ok() {
        tokio::task::yield_now().await;
    }
    control_plane.restart_etcd().await.unwrap();
    let [another] = schedulers(&control_plane)[..] else {
        panic!("there is one");
    };
    assert_ne!(another, scheduler);
    control_plane.check().unwrap();
}

fn schedulers(control_plane: &ControlPlane) -> Vec<Pid> {
    let schedulers = running_in(control_plane.folder()).into_iter();
    schedulers
        .filter(|(_, line)| line.contains("kube-scheduler"))
        .map(|(pid, _)| pid)
        .collect()
}

/// Set for the process that is to end.
const VICTIM: &str = "TESTBED_TEST_VICTIM";

/// Not a test by itself: the process the next tests bring to its end.
#[tokio::test]
#[ignore = "started by another test"]
async fn victim() {
    let Ok(end) = std::env::var(VICTIM) else {
        return;
    };
    // Leaked, it is never dropped, like the shared one of a test binary.
    let control_plane = Box::leak(Box::new(ControlPlane::start().await.unwrap()));
    println!("\nfolder {}", control_plane.folder().display());
    if end == "killed" {
        std::future::pending::<()>().await;
    }
    std::io::stdin().read_line(&mut String::new()).unwrap();
    panic!("as asked");
}

#[test]
fn a_parent_that_is_killed_leaves_nothing() {
    leaves_nothing("killed", |victim| {
        kill_process(Pid::from_child(victim), Signal::KILL).unwrap();
    });
}

#[test]
fn a_parent_that_is_interrupted_at_the_terminal_leaves_nothing() {
    leaves_nothing("killed", |victim| {
        kill_process_group(Pid::from_child(victim), Signal::INT).unwrap();
    });
}

#[test]
fn a_parent_that_panics_and_never_drops_leaves_nothing() {
    leaves_nothing("panics", |victim| drop(victim.stdin.take()));
}

fn leaves_nothing(mode: &str, end: impl Fn(&mut Child)) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env(VICTIM, mode)
        .env_remove("TESTBED_KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let folder = lines
        .find_map(|line| line.strip_prefix("folder ").map(PathBuf::from))
        .unwrap();
    let servers = running_in(&folder);
    assert_eq!(servers.len(), 5, "{servers:?}");

    end(&mut victim);
    victim.wait().unwrap();
    let give_up = Instant::now() + Duration::from_secs(10);
    while folder.exists() || !running_in(&folder).is_empty() {
        assert!(
            Instant::now() < give_up,
            "{:?} is left",
            running_in(&folder)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes with `folder` in their command line, and that line. A zombie has none.
fn running_in(folder: &std::path::Path) -> Vec<(Pid, String)> {
    let name = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| {
            let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .filter(|(_, line)| line.contains(name))
        .collect()
}

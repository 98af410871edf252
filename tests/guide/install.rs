//! An installation as the guide tells it, in a cluster that knows nothing of ours, to its end. The controller runs as a
//! process with the token of its pod, for there is no kubelet.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher;
use testbed::aws::REGION;
use testbed::binaries::Binaries;
use testbed::cluster::await_count;
use testbed::{Operator, operator};

use crate::site::Site;
use crate::text::{read, section};

const GUIDE: &str = "docs/install.md";
/// The pods of the controller.
const CONTROLLER: &str =
    "app.kubernetes.io/name=node-termination-operator,app.kubernetes.io/component=controller";

/// One of the controller's two pods as a process, once they are there; it leads.
async fn controller(site: &Site) -> Operator {
    let pods = Api::<Pod>::namespaced(site.client.clone(), operator::NAME);
    let ours = watcher::Config::default().labels(CONTROLLER);
    await_count(pods.clone(), ours, 2, |_| true).await.unwrap();
    let ours = ListParams::default().labels(CONTROLLER);
    let pod = pods.list(&ours).await.unwrap().items.remove(0);
    let binary = Path::new(env!("CARGO_BIN_EXE_node-termination-operator"));
    let env = site.aws.env();
    let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let started = Operator::start_pod(binary, &site.control_plane, &site.client, &pod, &env);
    let controller = started.await.unwrap();
    controller.await_ready().await.unwrap();
    controller.await_leader().await.unwrap();
    controller
}

/// The only block of a language below a heading of the guide.
fn only(heading: &str, language: &str) -> String {
    let mut blocks = section(GUIDE, heading, language);
    assert_eq!(blocks.len(), 1, "{heading}: {language}");
    blocks.remove(0)
}

/// Asserts that the first policy is there and that its queue is read.
async fn assert_ready(site: &Site) {
    let table = site
        .sh("kubectl get terminationpolicies --no-headers")
        .await;
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells[..3], ["default", "True", "1/1"], "{table}");
}

/// Asserts that nothing of ours is left.
async fn assert_bare(site: &Site) {
    let left = "kubectl get crds,clusterroles,clusterrolebindings -o name";
    let left = site.sh(left).await;
    for name in ["node-termination-operator", "nodetermination.dev"] {
        assert!(!left.contains(name), "{left}");
    }
}

#[tokio::test]
async fn by_kubectl_a_bare_cluster_gets_a_policy_that_is_ready_and_is_bare_again_at_the_end() {
    let site = Site::bare(2).await;
    let production = site.clone_of_ours().join("production");
    fs::create_dir(&production).unwrap();
    fs::write(
        production.join("kustomization.yaml"),
        only("By kubectl", "yaml"),
    )
    .unwrap();
    site.sh(&only("By kubectl", "sh")).await;
    let _controller = controller(&site).await;
    // The address of the stand-in's queue names no region.
    let queue = format!("QUEUE_URL+='\\n      region: {REGION}'\n");
    site.sh(&(queue + &only("A first policy", "sh"))).await;
    assert_ready(&site).await;
    for line in short("kubectl apply") {
        site.sh(&format!("{line} --dry-run=server")).await;
    }
    let [policies, records, _helm] = &section(GUIDE, "Uninstall", "sh")[..] else {
        panic!("three blocks")
    };
    site.sh(policies).await;
    site.sh(records).await;
    assert!(read(GUIDE).contains("`kubectl delete -k production`"));
    site.sh("kubectl delete -k production --timeout=100s").await;
    assert_bare(&site).await;
}

#[tokio::test]
async fn by_helm_a_bare_cluster_gets_a_policy_that_is_ready_and_is_bare_again_at_the_end() {
    let site = Site::bare(2).await;
    let bin = site.clone_of_ours().join("bin");
    symlink(Binaries::extra("helm").unwrap(), bin.join("helm")).unwrap();
    let shown = "\"https://sqs.eu-west-1.amazonaws.com/123456789012/node-events\"";
    let queue = format!("\"{}\", region: {REGION}", site.queue.url());
    let values = only("By Helm", "yaml").replace(shown, &queue);
    let values = values.replace("REGISTRY", "registry.example.com");
    assert!(values.contains(&site.queue.url()), "{values}");
    fs::write(site.clone_of_ours().join("values.yaml"), values).unwrap();
    // It waits for the policy too, and so for somebody who looks at it.
    let install = only("By Helm", "sh");
    let (_, _controller) = tokio::join!(site.sh(&install), controller(&site));
    assert_ready(&site).await;
    for line in short("helm") {
        site.sh(&line).await;
    }
    let blocks = section(GUIDE, "Uninstall", "sh");
    for block in &blocks {
        site.sh(block).await;
    }
    assert_bare(&site).await;
}

/// The commands of the README's installation in short that begin so.
fn short(start: &str) -> Vec<String> {
    let blocks = section("README.md", "Installation", "sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    let lines: Vec<String> = lines
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "{start}");
    lines
}

#[test]
fn the_command_of_the_readme_for_aws_is_that_of_the_guide() {
    for line in short("aws") {
        assert!(read(GUIDE).contains(&line), "{line}");
    }
}

//! What the plugin tells without changing anything, by kubectl itself and to shells too.

use std::fs;

use kube::ResourceExt;
use node_termination_operator::api::termination::{NodeTermination, Phase};
use serde_json::{Value, json};
use testbed::binaries::Binaries;
use tokio::process::Command;

use super::{Person, blocked, by_hand, said};
use crate::scene::{Corner, binary, patch, says, within};

#[tokio::test]
async fn why_of_a_node_that_nothing_is_open_for_tells_what_a_drain_would_do() {
    let (corner, person) = blocked("plugin-idle").await;
    let node = &corner.nodes[0].name;
    let why = person.ends(0, &["why", node]).await.out;
    assert!(
        why.contains(&format!("Node:      {node}, open to new pods\n")),
        "{why}"
    );
    assert!(
        why.contains(&format!("Policy:    {}\n", corner.name)),
        "{why}"
    );
    assert!(
        why.contains("would move 2 pods, of which 2 are blocked at first"),
        "{why}"
    );
    assert!(why.contains(&format!("{}/pdb", corner.namespace)), "{why}");
    assert!(
        why.contains("SpotInterruption          CordonAndDrain\n"),
        "{why}"
    );
    let listed = person.ends(0, &["why", node, "-o", "json"]).await.out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn whoever_may_view_the_cluster_may_look_back_and_not_drain() {
    let corner = Corner::new("plugin-view", 1, json!({})).await;
    let node = &corner.nodes[0];
    let person = Person::with(&corner, "viewer", Some("view")).await;
    corner.interrupt(node);
    corner.await_phase(&node.instance_id, Phase::Released).await;
    // The controller of aggregated roles adds ours to `view`.
    within(async {
        while person.run(&["history"]).await.code != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    })
    .await;
    let why = person.ends(0, &["why", &node.name]).await.out;
    assert!(why.contains("Cause:      SpotInterruption\n"), "{why}");
    let named = person.ends(0, &["why", &node.instance_id]).await.out;
    assert!(
        named.contains(&format!("nt/{}", node.instance_id)),
        "{named}"
    );
    let held = person.ends(1, &["hold", &node.name]).await;
    assert!(
        held.err
            .contains("cannot patch resource \"nodeterminations\""),
        "{held:?}"
    );
    let drained = person.ends(1, &["drain", &node.name]).await;
    assert!(
        drained.err.contains("cannot get resource \"nodes\""),
        "{drained:?}"
    );
    assert!(
        drained.err.contains("manifests/examples/plugin-user.yaml"),
        "{drained:?}"
    );
}

#[tokio::test]
async fn kubectl_finds_the_plugin_and_completes_its_commands_and_the_names_of_nodes() {
    let corner = Corner::new("plugin-kubectl", 2, json!({})).await;
    let person = Person::on_call(&corner).await;
    let kubectl = |words: &[&str]| {
        let mut command = Command::new(Binaries::any_kubectl());
        command
            .args(words)
            .env("PATH", person.folder)
            .env("KUBECONFIG", &person.kubeconfig)
            .env("HOME", person.folder);
        said(command)
    };
    let history = kubectl(&["nodetermination", "history", "--node", "none"]).await;
    assert_eq!(
        (history.code, history.err.as_str()),
        (0, "No NodeTerminations found\n")
    );
    let commands = kubectl(&["__complete", "nodetermination", "dr"]).await;
    assert!(
        commands
            .out
            .starts_with("drain\tTake a node out of service"),
        "{commands:?}"
    );
    let nodes = kubectl(&["__complete", "nodetermination", "drain", &corner.name]).await;
    let mut names: Vec<&str> = nodes.out.lines().filter(|l| !l.starts_with(':')).collect();
    names.sort_unstable();
    let wanted = [&corner.nodes[0].name, &corner.nodes[1].name];
    assert_eq!(names, wanted, "{nodes:?}");
    by_hand(&corner, &corner.nodes[0], &corner.name, &json!({})).await;
    let open = kubectl(&["__complete", "nodetermination", "cancel", &corner.name]).await;
    assert!(
        open.out.starts_with(&format!("{}\tManual, ", wanted[0])),
        "{open:?}"
    );
    let contexts = kubectl(&["__complete", "nodetermination", "why", "--context", ""]).await;
    assert!(contexts.out.starts_with("testbed"), "{contexts:?}");
}

#[tokio::test]
async fn the_completion_scripts_are_such_that_their_shells_read_them() {
    let corner = Corner::without_policy("plugin-shells", 0).await;
    let person = Person::with(&corner, "nobody", None).await;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = person.ends(0, &["completion", shell]).await.out;
        assert!(
            script.contains("kubectl-nodetermination") && script.contains("history"),
            "{shell}"
        );
        if shell == "bash" {
            let file = corner.world.control_plane.folder().join("completion.bash");
            fs::write(&file, script).unwrap();
            let read = Command::new("bash").arg("-n").arg(&file).status().await;
            assert!(read.unwrap().success());
        }
    }
}

#[tokio::test]
async fn the_operators_own_name_does_the_same_behind_the_word_kubectl() {
    let corner = Corner::without_policy("plugin-word", 1).await;
    let person = Person::on_call(&corner).await;
    let node = &corner.nodes[0].name;
    let mut command = Command::new(binary());
    let words = ["kubectl", "why", node];
    command.args(words).env("KUBECONFIG", &person.kubeconfig);
    let why = said(command).await;
    assert_eq!(why.code, 0, "{why:?}");
    assert_eq!(why.out, person.ends(0, &["why", node]).await.out);
    assert!(
        why.out
            .contains("Policy:    none: notices about it are dropped"),
        "{}",
        why.out
    );
    let drained = person.ends(0, &["drain", node, "-o", "json"]).await;
    assert!(
        drained.err.contains("no TerminationPolicy selects"),
        "{drained:?}"
    );
    let made: Value = serde_json::from_str(&drained.out).unwrap();
    assert_eq!(made["spec"]["nodeName"], node.as_str());
    let manager = corner.incident(node).await.unwrap();
    let managers = manager
        .managed_fields()
        .iter()
        .filter_map(|m| m.manager.as_deref());
    assert!(managers.into_iter().any(|m| m == "kubectl-nodetermination"));
    patch::<NodeTermination>(&corner.client, node, json!({"spec": {"cancel": true}})).await;
    let ended = corner.await_phase(node, Phase::Canceled).await;
    assert!(says(&ended, "Ready", true, "Canceled"));
}

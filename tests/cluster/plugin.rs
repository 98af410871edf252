//! The kubectl plugin: the real binary under the plugin's name, with the rights of `manifests/examples/plugin-user.yaml`
//! and no more.

mod looks;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::Phase;
use serde_json::{Value, json};
use testbed::ControlPlane;
use testbed::cluster::TestNode;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;

use crate::budgets::{keep, keep_only, web};
use crate::scene::{Corner, binary, is_cordoned, is_untouched, status, within};

/// The role that holds all the plugin needs.
const DRAIN: &str = "nodetermination-drain";

/// A folder with the binary under its names as a plugin, and the example's roles in the shared world.
async fn installed(control_plane: &ControlPlane) -> &'static Path {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    let folder = FOLDER.get_or_init(async || {
        let folder = control_plane.folder().join("plugin");
        fs::create_dir(&folder).unwrap();
        for name in [
            "kubectl-nodetermination",
            "kubectl_complete-nodetermination",
        ] {
            std::os::unix::fs::symlink(binary(), folder.join(name)).unwrap();
        }
        let roles =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples/plugin-user.yaml");
        let apply = ["apply", "--server-side", "-f", roles.to_str().unwrap()];
        control_plane.kubectl(&apply).await.unwrap();
        folder
    });
    folder.await
}

/// What a command has said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Somebody at a terminal.
struct Person {
    kubeconfig: PathBuf,
    folder: &'static Path,
}

impl Person {
    /// Somebody who has that role in the whole cluster, or none.
    async fn with(corner: &Corner, name: &str, role: Option<&str>) -> Self {
        let control_plane = &corner.world.control_plane;
        let folder = installed(control_plane).await;
        let metadata = json!({"name": name, "namespace": corner.namespace});
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": metadata})).unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(corner.client.clone(), &corner.namespace);
        let params = PostParams::default();
        accounts.create(&params, &account).await.unwrap();
        if let Some(role) = role {
            let binding = json!({
                "metadata": {"name": format!("{}-{name}", corner.name)},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": corner.namespace}],
            });
            let binding: ClusterRoleBinding = serde_json::from_value(binding).unwrap();
            let bindings = Api::<ClusterRoleBinding>::all(corner.client.clone());
            bindings.create(&params, &binding).await.unwrap();
        }
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(name, &params, &request).await;
        let token = answer.unwrap().status.unwrap().token;
        let file = format!("{}-{name}", corner.name);
        let kubeconfig = control_plane.kubeconfig_with_token(&file, &token).unwrap();
        Self { kubeconfig, folder }
    }

    /// Somebody on call.
    async fn on_call(corner: &Corner) -> Self {
        let person = Self::with(corner, "on-call", Some(DRAIN)).await;
        // Roles are heard of by watches.
        within(async {
            while person.run(&["history"]).await.code != 0 {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        })
        .await;
        person
    }

    /// The command of the plugin with these words.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join("kubectl-nodetermination"));
        command
            .args(words)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, words: &[&str]) -> Said {
        said(self.command(words)).await
    }

    /// Runs it, and it ends so.
    async fn ends(&self, code: i32, words: &[&str]) -> Said {
        let said = self.run(words).await;
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        said
    }

    /// Starts it, its lines at hand.
    fn start(&self, words: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut command = self.command(words);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }
}

async fn said(mut command: Command) -> Said {
    let output = within(async { Ok(command.output().await?) }).await;
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The next line that holds the text.
async fn line_with(lines: &mut Lines<BufReader<ChildStdout>>, text: &str) -> String {
    within(async {
        while let Some(line) = lines.next_line().await? {
            if line.contains(text) {
                return Ok(line);
            }
        }
        anyhow::bail!("no line says {text}")
    })
    .await
}

/// A corner whose node has two pods that their budget does not let go.
async fn blocked(name: &str) -> (Corner, Person) {
    let corner = Corner::new(name, 1, json!({})).await;
    corner.make_pods(&corner.nodes[0], 2, web()).await;
    keep(&corner, "pdb", 2).await;
    let person = Person::on_call(&corner).await;
    (corner, person)
}

#[tokio::test]
async fn a_node_is_drained_followed_given_back_and_drained_again() {
    let corner = Corner::new("plugin", 1, json!({})).await;
    let node = &corner.nodes[0].name;
    corner.make_pods(&corner.nodes[0], 2, web()).await;
    let person = Person::on_call(&corner).await;
    let drain = ["drain", node, "--wait", "--reason", "replace the disk"];
    let said = person.ends(0, &drain).await;
    let lines: Vec<&str> = said.out.lines().collect();
    let made = format!("nodetermination.nodetermination.dev/{node} created: {node} is drained");
    assert!(lines[0].starts_with(&made), "{said:?}");
    let last = lines.last().unwrap();
    assert!(
        last.contains("Released") && last.contains("2/2 pods have gone"),
        "{said:?}"
    );
    assert!(lines.len() < 10 && said.err.is_empty(), "{said:?}");
    let incident = corner.incident(node).await.unwrap();
    assert_eq!(
        incident.annotations()["nodetermination.dev/reason"],
        "replace the disk"
    );
    assert_eq!(corner.evictions().len(), 2);

    let again = person.ends(0, &["drain", node, "--wait"]).await;
    assert!(
        again
            .out
            .contains("already (Manual, Released): nothing was made"),
        "{again:?}"
    );
    let why = person.ends(0, &["why", node]).await.out;
    assert!(why.contains(" Manual: replace the disk\n"), "{why}");
    assert!(
        why.contains(&format!(
            "`kubectl nodetermination cancel {node}` opens the node again"
        )),
        "{why}"
    );

    let canceled = person.ends(0, &["cancel", node]).await;
    assert!(
        canceled.out.contains("canceled: what was put on"),
        "{canceled:?}"
    );
    corner.await_node(&corner.nodes[0], is_untouched).await;
    corner.await_phase(node, Phase::Canceled).await;
    let over = person.ends(3, &["cancel", node]).await;
    assert!(over.err.contains("is over (Canceled)"), "{over:?}");

    person.ends(0, &["drain", node, "--wait"]).await;
    let history = person
        .ends(0, &["history", "--node", node, "--since", "1h"])
        .await
        .out;
    let rows: Vec<&str> = history.lines().collect();
    assert!(
        rows[0].starts_with("NAME ") && rows[0].ends_with("AGE"),
        "{history}"
    );
    assert!(
        rows[1].starts_with(node.as_str()) && rows[1].contains("Canceled"),
        "{history}"
    );
    assert!(
        rows[2].starts_with(&format!("{node}-2 ")) && rows[2].contains("Released"),
        "{history}"
    );
    let listed = person
        .ends(0, &["history", "--node", node, "-o", "json"])
        .await
        .out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_drain_that_lasts_longer_than_the_wait_goes_on_and_is_held_and_released() {
    let (corner, person) = blocked("plugin-held").await;
    let node = &corner.nodes[0].name;
    let said = person
        .ends(5, &["drain", node, "--wait", "--timeout", "1s"])
        .await;
    assert!(
        said.err.contains("the time is over; the drain of"),
        "{said:?}"
    );
    corner
        .await_incident(node, |i| status(i).blocked.len() == 2)
        .await;
    let why = person.ends(0, &["why", node]).await.out;
    let budget = format!("BudgetUnsatisfiable   {}/pdb", corner.namespace);
    assert!(why.contains(&budget), "{why}");
    assert!(why.contains("told to end whatever holds it"), "{why}");

    let held = person.ends(0, &["hold", node]).await;
    assert!(held.out.contains("held: no pod of"), "{held:?}");
    corner.await_phase(node, Phase::Waiting).await;
    let already = person.ends(0, &["hold", &format!("nt/{node}")]).await;
    assert!(already.out.contains("is held already"), "{already:?}");
    let why = person.ends(0, &["why", node]).await.out;
    assert!(
        why.contains("held by spec.hold") && why.contains("release"),
        "{why}"
    );
    let joined = person.ends(0, &["drain", node]).await;
    assert!(joined.out.contains("it is held, and"), "{joined:?}");

    let (mut child, mut lines) = person.start(&["drain", node, "--wait", "-o", "name"]);
    let released = person.ends(0, &["release", node, "-o", "yaml"]).await;
    assert!(
        released.out.contains("kind: List") && released.out.contains("hold: false"),
        "{released:?}"
    );
    corner.await_phase(node, Phase::Draining).await;
    keep_only(&corner, "pdb", 0).await;
    let name = line_with(&mut lines, "nodetermination.nodetermination.dev/").await;
    assert!(
        name.ends_with(&format!("/{node}")),
        "the object alone stands in the output: {name}"
    );
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(corner.evictions().len(), 2);
}

#[tokio::test]
async fn ctrl_c_ends_the_wait_and_a_cancellation_ends_it_as_a_drain_that_failed() {
    let (corner, person) = blocked("plugin-ctrl-c").await;
    let node = &corner.nodes[0].name;
    let (child, mut lines) = person.start(&["drain", node, "--wait"]);
    line_with(&mut lines, "Draining").await;
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().await;
    assert!(sent.unwrap().success());
    let output = within(async { Ok(child.wait_with_output().await?) }).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.contains(&format!("interrupted; the drain of {node} goes on")),
        "{said}"
    );
    corner.await_node(&corner.nodes[0], is_cordoned).await;

    let (mut child, mut lines) = person.start(&["drain", node, "--wait"]);
    line_with(&mut lines, "Draining").await;
    person.ends(0, &["cancel", node]).await;
    line_with(&mut lines, "Canceled").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(4));
    corner.await_node(&corner.nodes[0], is_untouched).await;
    assert!(corner.evictions().is_empty());
}

#[tokio::test]
async fn a_drain_of_a_node_that_is_only_observed_warns_and_does_not_say_that_it_is_done() {
    let corner = Corner::new("plugin-observe", 1, json!({"mode": "Observe"})).await;
    let node = &corner.nodes[0].name;
    let person = Person::on_call(&corner).await;
    let said = person.ends(4, &["drain", node, "--wait"]).await;
    assert!(said.err.contains("only observes"), "{said:?}");
    corner.await_node(&corner.nodes[0], is_untouched).await;
}

#[tokio::test]
async fn a_node_that_aws_takes_is_joined_and_of_several_drains_none_is_canceled_unasked() {
    let (corner, person) = blocked("plugin-several").await;
    let (node, instance) = (&corner.nodes[0].name, &corner.nodes[0].instance_id);
    corner.interrupt(&corner.nodes[0]);
    corner.await_phase(instance, Phase::Draining).await;
    let joined = person.ends(0, &["drain", node]).await;
    assert!(
        joined
            .out
            .contains("(SpotInterruption, Draining): nothing was made"),
        "{joined:?}"
    );

    let another = format!("{}-another", corner.name);
    by_hand(&corner, &corner.nodes[0], &another, &json!({})).await;
    let refused = person.ends(1, &["cancel", node]).await;
    for name in [&another, instance] {
        assert!(refused.err.contains(&format!("nt/{name} (")), "{refused:?}");
    }
    for name in [&another, instance] {
        assert!(!corner.incident(name).await.unwrap().spec.cancel, "{name}");
    }
    let listed = person
        .ends(0, &["cancel", node, "--all", "-o", "name"])
        .await;
    assert_eq!(listed.out.lines().count(), 2, "{listed:?}");
    corner.await_node(&corner.nodes[0], is_untouched).await;
}

/// What Git has: a NodeTermination for the node, with these fields beside.
async fn by_hand(corner: &Corner, node: &TestNode, name: &str, fields: &Value) -> PathBuf {
    let mut object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": name},
        "spec": {"nodeName": node.name},
    });
    let spec = object["spec"].as_object_mut().unwrap();
    spec.extend(fields.as_object().unwrap().clone());
    let file = corner.world.control_plane.folder();
    let file = file.join(format!("{}-{name}.json", corner.name));
    fs::write(&file, object.to_string()).unwrap();
    sync(corner, &file).await.unwrap();
    file
}

/// What Argo CD does again and again: a server-side apply that forces nothing.
async fn sync(corner: &Corner, file: &Path) -> anyhow::Result<String> {
    let file = file.to_str().unwrap();
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=argocd-controller",
        "-f",
        file,
    ];
    corner.world.control_plane.kubectl(&apply).await
}

/// Whether the object is another one than the manifest makes it. The operator may write between the two looks of one
/// comparison; a drift stays.
async fn drifts(corner: &Corner, file: &Path) -> bool {
    let manager = "--field-manager=argocd-controller";
    let diff = [
        "diff",
        "--server-side",
        manager,
        "-f",
        file.to_str().unwrap(),
    ];
    for _ in 0..5 {
        if corner.world.control_plane.kubectl(&diff).await.is_ok() {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn what_the_plugin_changes_is_no_drift_from_a_manifest_that_does_not_name_it() {
    let (corner, person) = blocked("plugin-gitops").await;
    let node = &corner.nodes[0];
    let file = by_hand(&corner, node, &node.name, &json!({})).await;
    corner.await_phase(&node.name, Phase::Draining).await;
    for (command, phase) in [
        ("hold", Phase::Waiting),
        ("release", Phase::Draining),
        ("cancel", Phase::Canceled),
    ] {
        let said = person.ends(0, &[command, &node.name]).await;
        assert_eq!(said.err, "", "{command} warns of nobody");
        corner.await_phase(&node.name, phase).await;
        assert!(!drifts(&corner, &file).await, "{command}");
        sync(&corner, &file).await.unwrap();
    }

    let named = format!("{}-named", corner.name);
    by_hand(&corner, node, &named, &json!({"hold": true})).await;
    let said = person.ends(0, &["release", &format!("nt/{named}")]).await;
    let warned = "stands in a manifest that argocd-controller applies, which may set it back";
    assert!(said.err.contains(warned), "{said:?}");
}

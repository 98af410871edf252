//! Every `kubectl` command of the documents is typed, with real names put in: what looks is answered, and what changes
//! something is accepted as a trial. What is typed in earnest stands in the files beside this one.

use std::collections::BTreeSet;
use std::fs;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use testbed::aws::events;
use testbed::binaries::Binaries;
use testbed::cluster::{self, Budget, PodOptions, map};

use crate::site::Site;
use crate::text::{Document, guide, section};

/// What only looks.
const LOOKS: [&str; 5] = ["get", "describe", "explain", "events", "auth"];
/// What changes something, and can be tried without.
const CHANGES: [&str; 9] = [
    "annotate", "apply", "cordon", "create", "delete", "label", "patch", "taint", "uncordon",
];
/// A command that is spoken of and not meant to be typed.
const SPOKEN_OF: [&str; 6] = [
    "kubectl apply",
    "kubectl apply -k",
    "kubectl delete",
    "kubectl explain",
    "kubectl get -o json",
    "kubectl uncordon",
];
/// What is typed in earnest elsewhere, has no end, is the kubelet's to answer, or goes on over several lines.
const ELSEWHERE: [&str; 6] = [
    "secret",
    "-k production",
    "--watch",
    " logs ",
    "/proxy/",
    "<<",
];

/// The verb of a command: the first word that is no option.
fn verb(command: &str) -> Option<&str> {
    let mut words = command.strip_prefix("kubectl ")?.split_whitespace();
    match words.next()? {
        "-n" => words.nth(1),
        word => Some(word),
    }
}

/// A command as it is typed here; `None` if it is not.
fn typed(command: &str) -> Option<String> {
    let command = command.split(" #").next().unwrap().trim();
    let verb = verb(command)?;
    if SPOKEN_OF.contains(&command) || ELSEWHERE.iter().any(|part| command.contains(part)) {
        return None;
    }
    if CHANGES.contains(&verb) {
        return Some(format!("{command} --dry-run=server"));
    }
    LOOKS.contains(&verb).then(|| command.to_owned())
}

/// Puts a real name where the document has a word in capitals.
fn put(command: &str, word: &str, name: &str) -> String {
    let mut parts = command.split(word);
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let alone = !text.ends_with(|c: char| goes_on(c) || c == '$')
            && !part.starts_with(|c: char| goes_on(c) || c == ':' || c == '=');
        text += if alone { name } else { word };
        text += part;
    }
    text
}

#[test]
fn a_word_in_capitals_is_replaced_where_it_stands_for_a_name() {
    let command =
        "kubectl get nt NAME -o custom-columns='NAME:.metadata.name' \"$NAME\" nt/NAME NAMES";
    let put = put(command, "NAME", "x");
    assert_eq!(
        put,
        "kubectl get nt x -o custom-columns='NAME:.metadata.name' \"$NAME\" nt/x NAMES"
    );
}

#[tokio::test]
async fn every_kubectl_command_of_the_documents_is_understood() {
    let site = Site::new().await;
    apply_monitoring_kinds(&site).await;
    make_secret(&site).await;
    let _operator = site.operator().await;
    site.policy().await;
    let (namespace, pod) = blocked(&site).await;
    let incident = site.node.instance_id.as_str();
    let names = [
        ("NAMESPACE", namespace.as_str()),
        ("NAME", incident),
        ("INSTANCE", incident),
        ("NODE", site.node.name.as_str()),
        ("POLICY", "default"),
        ("POD", pod.as_str()),
    ];
    let exports = names.map(|(word, name)| format!("{word}='{name}'"));
    let exports = exports.join(" ");
    // A search that finds nothing is no failure.
    let search = "grep() { command grep \"$@\" || [ $? = 1 ]; }";
    let documents = guide();
    let commands = documents.iter().flat_map(Document::commands);
    let commands: BTreeSet<String> = commands.filter_map(|command| typed(&command)).collect();
    assert!(commands.len() >= 60, "{}", commands.len());
    for command in commands {
        let put = |text: String, (word, name): &(&str, &str)| put(&text, word, name);
        let command = names.iter().fold(command, put);
        let script = format!("{exports}; set -o pipefail\n{search}\n{command}");
        site.sh(&script).await;
    }
}

/// The Secret of a notification, which is found by the label without which it is not read.
async fn make_secret(site: &Site) {
    let [make] = &section("docs/notifications.md", "Notifications", "sh")[..] else {
        panic!("one block")
    };
    site.sh(make).await;
    let found = "kubectl get secrets -n node-termination-operator -l nodetermination.dev/notification=true -o name";
    assert_eq!(site.sh(found).await.trim(), "secret/chat");
}

/// A drain that a budget blocks, which has the name that a document would put in for it; its namespace and one of its
/// pods.
async fn blocked(site: &Site) -> (String, String) {
    let namespace = cluster::namespace(&site.client, "guide").await.unwrap();
    let options = PodOptions::default().stuck().label("app", "web");
    let pods = cluster::make_pods(&site.client, &namespace, &site.node.name, 2, &options);
    let pods = pods.await.unwrap();
    let one = Budget::MinAvailable(IntOrString::Int(1));
    let name = &site.node.instance_id;
    cluster::make_pdb(&site.client, &namespace, name, &map(&[("app", "web")]), one)
        .await
        .unwrap();
    let notice = events::spot_interruption(name, site.aws.now());
    site.queue.send(notice).unwrap();
    site.await_incident(|incident| {
        let status = incident.and_then(|i| i.status.as_ref());
        status.is_some_and(|s| !s.blocked.is_empty())
    })
    .await;
    (namespace, pods[0].metadata.name.clone().unwrap())
}

/// The kinds of the Prometheus operator, from its own module.
async fn apply_monitoring_kinds(site: &Site) {
    let module = "github.com/prometheus-operator/prometheus-operator";
    let files = Binaries::module_files("prometheus-operator", module).unwrap();
    let kinds = site.clone_of_ours().join("monitoring-kinds");
    fs::create_dir(&kinds).unwrap();
    for kind in ["servicemonitors", "podmonitors", "prometheusrules"] {
        let name = format!("monitoring.coreos.com_{kind}.yaml");
        let file = files.join("example/prometheus-operator-crd").join(&name);
        fs::copy(file, kinds.join(name)).unwrap();
    }
    site.sh("kubectl apply --server-side -f monitoring-kinds")
        .await;
    site.sh("kubectl wait --for=condition=Established -f monitoring-kinds")
        .await;
}

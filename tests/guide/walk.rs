//! What the documents tell people to apply is accepted, and the test of an installation does what they say.

use std::collections::BTreeSet;

use kube::Api;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::ApiResource;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::ControlPlane;
use testbed::cluster::{self, PodOptions};

use crate::site::Site;
use crate::text::{documents, section};

#[tokio::test]
async fn the_message_of_the_guide_has_a_node_drained_and_canceling_gives_it_back() {
    let site = Site::new().await;
    let _operator = site.operator().await;
    site.policy().await;
    let namespace = cluster::namespace(&site.client, "guide").await.unwrap();
    let options = PodOptions::default();
    let pods = cluster::make_pods(&site.client, &namespace, &site.node.name, 2, &options).await;
    let pods = pods.unwrap();
    let [send, cancel] = &section("docs/install.md", "See it work", "sh")[..] else {
        panic!("two blocks")
    };
    let printed = site.sh(send).await;
    assert!(printed.contains("SpotInterruption"), "{printed}");
    site.await_cordoned().await;
    let gone = cluster::await_pods_gone(&site.client, &namespace, &pods);
    gone.await.unwrap();
    let name = format!("export INSTANCE={}\n", site.node.instance_id);
    site.sh(&(name + cancel)).await;
    site.await_given_back().await;
}

#[tokio::test]
async fn a_node_that_is_named_by_hand_is_drained_and_given_back() {
    let site = Site::new().await;
    let _operator = site.operator().await;
    let [by_hand] = &section("docs/events.md", "By hand", "sh")[..] else {
        panic!("one block")
    };
    let shown = "ip-10-0-0-1.eu-west-1.compute.internal";
    assert!(by_hand.contains(shown), "{by_hand}");
    site.sh(&by_hand.replace(shown, &site.node.name)).await;
    site.await_cordoned().await;
    let released =
        "kubectl wait --for=jsonpath='{.status.phase}'=Released --timeout=60s nt/replace-disk";
    site.sh(released).await;
    site.sh("kubectl delete nt replace-disk --timeout=60s")
        .await;
    site.await_given_back().await;
}

#[tokio::test]
async fn every_object_of_ours_that_a_document_shows_is_accepted() {
    let control_plane = ControlPlane::start().await.unwrap();
    let installed = testbed::operator::install_kinds(&control_plane, crate::text::root()).await;
    installed.unwrap();
    let client = control_plane.client().await.unwrap();
    let mut tried = 0;
    for (place, object) in objects() {
        let kind = object["kind"].as_str().unwrap();
        let gvk = GroupVersionKind::gvk("nodetermination.dev", "v1alpha1", kind);
        let plural = format!("{}s", kind.to_lowercase()).replace("ys", "ies");
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let name = object["metadata"]["name"].as_str().unwrap();
        let params = PatchParams {
            dry_run: true,
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply("reader")
        };
        let answer = api.patch(name, &params, &Patch::Apply(&object)).await;
        assert!(answer.is_ok(), "{place}: {:?}", answer.err());
        tried += 1;
    }
    assert!(tried >= 11, "{tried}");
}

/// The objects of our kinds in the documents, and the policies of Helm values there.
fn objects() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for document in documents() {
        for block in document.blocks() {
            if block.language != "yaml" {
                continue;
            }
            let place = format!("{}:{}", document.name, block.line);
            for value in serde_yaml::Deserializer::from_str(&block.text) {
                let value = Value::deserialize(value).unwrap();
                let whole = value["apiVersion"] == "nodetermination.dev/v1alpha1";
                found.extend(whole.then(|| (place.clone(), value.clone())));
                let policies = value["policies"].as_array().into_iter().flatten();
                let policies = policies.map(|policy| policy["spec"].clone());
                for spec in policies.chain(part(&value)) {
                    found.push((place.clone(), policy(&spec)));
                }
            }
        }
    }
    found
}

/// The spec of a policy of which a document shows a part only.
fn part(value: &Value) -> Option<Value> {
    if value["apiVersion"].is_string() {
        return None;
    }
    let mut spec = json!({"sources": [{"name": "metadata", "imds": {}}]});
    if let Some(fields) = value["spec"].as_object() {
        spec.as_object_mut().unwrap().extend(fields.clone());
    } else if value["nodeSelector"].is_object() {
        spec["nodeSelector"] = value["nodeSelector"].clone();
    } else if value["template"].is_string() {
        let mut notification = value.clone();
        notification["name"] = json!("shown");
        notification["url"] = json!("https://example.com/");
        spec["notifications"] = json!([notification]);
    } else {
        return None;
    }
    Some(spec)
}

fn policy(spec: &Value) -> Value {
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": "shown"},
        "spec": spec,
    })
}

/// What follows a word of `kubectl`'s that takes a value of its own.
const WITH_VALUE: [&str; 9] = [
    "-n",
    "--namespace",
    "-o",
    "--output",
    "-l",
    "--selector",
    "-c",
    "-f",
    "-k",
];

#[test]
fn no_category_hides_a_kind_from_kubectl() {
    for crd in node_termination_operator::api::crds() {
        let names = crd.spec.names;
        let categories = names.categories.unwrap_or_default();
        // `kubectl get CATEGORY NAME` is refused, whatever kind has that name in the singular.
        assert!(
            !categories.contains(&names.singular.unwrap()),
            "{categories:?}"
        );
    }
}

#[tokio::test]
async fn every_kind_that_a_kubectl_command_of_a_document_names_exists() {
    let control_plane = ControlPlane::start().await.unwrap();
    let installed = testbed::operator::install_kinds(&control_plane, crate::text::root()).await;
    installed.unwrap();
    let table = control_plane
        .kubectl(&["api-resources", "--no-headers"])
        .await
        .unwrap();
    let known: BTreeSet<String> = table.lines().flat_map(names).collect();
    let mut checked = 0;
    for document in documents() {
        for block in document.blocks() {
            if block.language != "sh" {
                continue;
            }
            for named in kinds(&block.text) {
                if OF_OTHERS.contains(&named.as_str()) {
                    continue;
                }
                let place = format!("{}:{}", document.name, block.line);
                assert!(known.contains(&named), "{place}: kubectl knows no {named}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 15, "{checked}");
}

/// All names of a row of `kubectl api-resources`: plural, short, singular, and with its group.
fn names(row: &str) -> Vec<String> {
    let cells: Vec<&str> = row.split_whitespace().collect();
    let kind = cells[cells.len() - 1].to_lowercase();
    let short = if cells.len() == 5 { cells[1] } else { "" };
    let group = cells[cells.len() - 3]
        .rsplit_once('/')
        .map_or("", |(group, _)| group);
    let mut names = vec![cells[0].to_owned(), kind, format!("{}.{group}", cells[0])];
    names.extend(short.split(',').map(str::to_owned));
    names
}

/// Kinds that others bring: of the Prometheus operator.
const OF_OTHERS: [&str; 3] = ["servicemonitors", "podmonitors", "prometheusrules"];

/// The kinds that the `kubectl` commands of a script are about.
fn kinds(script: &str) -> Vec<String> {
    let script = script.replace("\\\n", " ");
    let commands = script.split("kubectl ").skip(1);
    let lists = commands.filter_map(|command| {
        let command = command.split(['\n', '|', ';', ')', '`']).next()?;
        if command.contains("--raw") {
            return None;
        }
        let mut words = Vec::new();
        let mut all = command.split_whitespace();
        while let Some(word) = all.next() {
            if WITH_VALUE.contains(&word) {
                all.next();
            } else if !word.starts_with('-') {
                words.push(word.trim_matches('"'));
            }
        }
        let of = match *words.first()? {
            "get" | "describe" | "delete" | "patch" | "wait" | "edit" | "annotate" | "label"
            | "taint" => 1,
            "rollout" => 2,
            "explain" => return Some(words.get(1)?.split('.').next()?.to_owned()),
            _ => return None,
        };
        words.get(of)?.split('/').next().map(str::to_owned)
    });
    lists
        .flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

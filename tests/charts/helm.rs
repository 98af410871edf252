//! Helm as a process with a home of its own, and what it renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use serde_json::Value;
use testbed::binaries::Binaries;

/// The chart of the operator and the one of its kinds.
pub const OPERATOR: &str = "charts/node-termination-operator";
pub const CRDS: &str = "charts/node-termination-operator-crds";
/// The namespace of every release, and of `manifests/`.
pub const NAMESPACE: &str = "node-termination-operator";

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// A path for a file of this run that no other test uses.
pub fn scratch(ending: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("charts");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}-{number}{ending}", std::process::id()))
}

/// What a command said: its output, or its error output if it failed.
pub type Said = Result<String, String>;

/// Helm's program.
pub fn program() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| Binaries::extra("helm").unwrap())
}

/// Runs helm in the repository.
pub fn helm(arguments: &[&str]) -> Said {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut helm = Command::new(program());
    helm.args(arguments).current_dir(root());
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(variable, &home);
    }
    helm.env_remove("KUBECONFIG");
    said(helm.output().unwrap())
}

/// What a process said.
pub fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// A file with these values; JSON is YAML.
pub fn values_file(values: &Value) -> String {
    let path = scratch(".yaml");
    fs::write(&path, values.to_string()).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// What a chart, or a package of one, renders, in the order in which Helm would install it.
pub fn render(chart: &str, values: &Value) -> Result<Vec<Value>, String> {
    let file = values_file(values);
    let name = Path::new(chart).file_name().unwrap().to_str().unwrap();
    let said = helm(&[
        "template",
        name,
        chart,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.33",
        "--values",
        &file,
    ]);
    fs::remove_file(file).unwrap();
    said.map(|text| objects(&text))
}

/// The objects of a text of several YAML documents.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

/// The one object of that kind and name.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

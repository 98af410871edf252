//! What is written down agrees: every right of the manifests with docs/security.md, versions with each other.

use std::collections::BTreeSet;
use std::fs;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_yaml::Value;

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// `resource.group: verbs` of each rule of the role in a file; the document after it is its binding.
fn granted(file: &str) -> BTreeSet<String> {
    let text = read(file);
    let documents = serde_yaml::Deserializer::from_str(&text);
    let roles = documents.map(|d| Value::deserialize(d).unwrap());
    let roles = roles.filter(|d| d["kind"].as_str().is_some_and(|k| k.ends_with("Role")));
    roles
        .flat_map(|d| serde_yaml::from_value::<Vec<PolicyRule>>(d["rules"].clone()).unwrap())
        .flat_map(|rule| lines(&rule))
        .collect()
}

fn lines(rule: &PolicyRule) -> Vec<String> {
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    let [group] = groups else {
        panic!("one group to a rule, so that a line can tell of it: {rule:?}")
    };
    let group = if group.is_empty() {
        String::new()
    } else {
        format!(".{group}")
    };
    let resources = rule.resources.iter().flatten();
    resources
        .map(|resource| format!("{resource}{group}: {}", rule.verbs.join(", ")))
        .collect()
}

/// The rows of the table that follows the file's name in docs/security.md, as [`granted`] writes them.
fn documented(file: &str) -> BTreeSet<String> {
    let text = read("docs/security.md");
    let after = text.split_once(&format!("`{file}`:\n")).expect(file).1;
    let table = after.lines().skip_while(|l| l.is_empty());
    let rows = table.take_while(|l| l.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            assert!(!cells[3].is_empty(), "{file}: what is {} for?", cells[1]);
            format!("{}: {}", cells[1], cells[2]).replace('`', "")
        })
        .collect()
}

#[test]
fn every_right_is_explained_and_no_other() {
    for file in [
        "manifests/base/cluster-role.yaml",
        "manifests/base/role.yaml",
        "manifests/agent/cluster-role.yaml",
    ] {
        let rights = granted(file);
        assert!(rights.len() >= 2, "{rights:?}");
        assert_eq!(documented(file), rights, "{file}");
    }
}

#[test]
fn the_image_is_built_with_the_toolchain_of_the_repository() {
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).unwrap();
    let wanted = format!(" rust:{version}-");
    assert!(read("Dockerfile").contains(&wanted), "{wanted}");
}

#[test]
fn every_action_of_the_workflows_is_pinned_by_its_commit() {
    let mut actions = 0;
    for file in ["ci.yaml", "release.yaml"] {
        let text = read(&format!(".github/workflows/{file}"));
        let used = text.lines().filter_map(|l| l.trim().split_once("uses: "));
        for (_, action) in used.filter(|(_, a)| !a.starts_with("./")) {
            let commit = action.split_once('@').unwrap().1;
            let (commit, version) = commit.split_once(" # v").expect(action);
            assert!(
                commit.len() == 40 && !version.is_empty(),
                "{file}: {action}"
            );
            actions += 1;
        }
        assert!(
            text.contains("\npermissions: {}\n"),
            "{file}: none but a job's own"
        );
    }
    assert!(actions > 3);
}

#[test]
fn the_manifests_name_the_version_of_the_package() {
    let version = env!("CARGO_PKG_VERSION");
    for file in ["base/deployment.yaml", "agent/daemon-set.yaml"] {
        let image = format!("image: node-termination-operator:{version}\n");
        assert!(
            read(&format!("manifests/{file}")).contains(&image),
            "{file}"
        );
    }
    for overlay in ["queue", "metadata", "both"] {
        let file = read(&format!("manifests/overlays/{overlay}/kustomization.yaml"));
        assert!(file.contains(&format!("newTag: {version}\n")), "{overlay}");
    }
}

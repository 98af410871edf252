//! What a release makes of the charts: packages that install that release, with nothing more to be said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::helm::{
    CRDS, OPERATOR, Said, find, helm, objects, program, render, root, said, scratch,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const IMAGE: &str = "registry.example.com:5000/team/node-termination-operator";
const SOURCE: &str = "https://git.example.com/team/node-termination-operator/blob/v1";

/// Runs `.ci/package` with helm where it looks for it.
fn package(image: &str, folder: &Path) -> Said {
    let path = std::env::var("PATH").unwrap();
    let tools = program().parent().unwrap().display().to_string();
    let output = Command::new(root().join(".ci/package"))
        .args([VERSION, image, folder.to_str().unwrap(), SOURCE])
        .env("PATH", format!("{tools}:{path}"))
        .output();
    said(output.unwrap())
}

fn of(chart: &str, folder: &Path) -> PathBuf {
    let name = Path::new(chart).file_name().unwrap().to_str().unwrap();
    folder.join(format!("{name}-{VERSION}.tgz"))
}

#[test]
fn the_packages_of_a_release_install_its_image_and_link_to_its_runbook() {
    let folder = scratch("-packages");
    let digest = format!("sha256:{}", "0a".repeat(32));
    package(&format!("{IMAGE}:{VERSION}@{digest}"), &folder).unwrap();

    let operator = of(OPERATOR, &folder);
    let operator = operator.to_str().unwrap();
    let values =
        json!({"agent": {"enabled": true}, "monitoring": {"prometheusRule": {"enabled": true}}});
    let rendered = render(operator, &values).unwrap();
    for (kind, name) in [
        ("Deployment", "node-termination-operator"),
        ("DaemonSet", "node-termination-operator-agent"),
    ] {
        let pod = &find(&rendered, kind, name).unwrap()["spec"]["template"]["spec"];
        let image = &pod["containers"][0]["image"];
        assert_eq!(*image, format!("{IMAGE}:{VERSION}"), "{kind}");
    }
    let rule = find(&rendered, "PrometheusRule", "node-termination-operator").unwrap();
    let link = format!("{SOURCE}/docs/runbook.md#nodetermination");
    let rule = rule.to_string();
    assert_eq!(
        rule.matches(&link).count(),
        rule.matches("runbook_url").count()
    );
    let readme = helm(&["show", "readme", operator]).unwrap();
    let row = format!("| image.repository | string | `\"{IMAGE}\"` |");
    assert!(readme.contains(&row), "{readme}");

    // The definitions, and not a link to them.
    let kinds = helm(&["template", "crds", of(CRDS, &folder).to_str().unwrap()]).unwrap();
    assert_eq!(objects(&kinds).len(), 2);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_image_with_another_tag_is_not_packaged_for_the_chart_would_not_name_it() {
    for image in [
        IMAGE.to_owned(),
        format!("{IMAGE}:0.0.9"),
        format!("{IMAGE}:v{VERSION}"),
    ] {
        let folder = scratch("-refused");
        let refused = package(&image, &folder).unwrap_err();
        let words = format!("a chart takes the tag {VERSION} of its image, which {image} does not");
        assert!(refused.contains(&words), "{refused}");
        assert!(!folder.exists());
    }
}

#[test]
fn a_folder_that_holds_no_release_is_not_emptied_for_one() {
    let folder = scratch("-mine");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("kept"), "mine").unwrap();
    let output = Command::new(root().join(".ci/dist"))
        .args([
            VERSION,
            &format!("{IMAGE}:{VERSION}"),
            folder.to_str().unwrap(),
        ])
        .output();
    let refused = said(output.unwrap()).unwrap_err();
    assert!(
        refused.contains("is not the folder of a release"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(folder.join("kept")).unwrap(), "mine");
    fs::remove_dir_all(folder).unwrap();
}

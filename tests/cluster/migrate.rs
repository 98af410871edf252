//! What `migrate` prints, as the API server takes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bare::bare;

/// The values files of the fixtures, without the policies beside them.
fn values() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nth-values");
    let files = std::fs::read_dir(folder).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| !path.to_str().unwrap().ends_with(".policy.yaml"))
        .collect();
    files.sort();
    files
}

fn migrate(arguments: &[&str], input: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_node-termination-operator"))
        .arg("migrate")
        .args(arguments)
        .env_remove("NTO_VALUES")
        .stdin(std::fs::File::open(input).unwrap())
        .output()
        .unwrap()
}

#[tokio::test]
async fn every_policy_that_migrate_prints_is_accepted_without_a_warning() {
    let control_plane = bare().await;
    let files = values();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let printed = migrate(&["--values", file.to_str().unwrap()], &file);
        assert!(printed.status.success(), "{}: {printed:?}", file.display());
        let name = file.file_name().unwrap();
        let policy = control_plane.folder().join(name);
        std::fs::write(&policy, &printed.stdout).unwrap();
        let apply = [
            "apply",
            "--warnings-as-errors",
            "--validate=strict",
            "--dry-run=server",
            "-f",
            policy.to_str().unwrap(),
        ];
        let said = control_plane.kubectl(&apply).await;
        said.unwrap_or_else(|said| panic!("{}: {said:#}", file.display()));
    }
}

#[test]
fn values_come_from_a_file_or_from_standard_input_and_bad_ones_end_with_the_reason() {
    let file = &values()[0];
    let of_file = migrate(&["--values", file.to_str().unwrap()], file);
    let of_input = migrate(&["--values", "-"], file);
    assert!(of_input.status.success() && of_input.stdout == of_file.stdout);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let bad = migrate(&["--values", "-"], &manifest);
    let said = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(bad.stdout.is_empty());
    assert!(
        said.contains("no YAML mapping") && said.contains("line"),
        "{said}"
    );
    let none = migrate(&["--values", "no-such-file.yaml"], &manifest);
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.contains("read no-such-file.yaml"), "{said}");
}

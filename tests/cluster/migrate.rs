//! What `migrate` prints, as the API server takes it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

fn migrate(values: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_node-termination-operator"))
        .args(["migrate", "--values", values])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Given a file it does not read this.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn every_policy_that_migrate_prints_is_accepted_without_a_warning() {
    let control_plane = bare().await;
    let files = values();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let printed = migrate(file.to_str().unwrap(), "");
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
    let text = std::fs::read_to_string(file).unwrap();
    let of_file = migrate(file.to_str().unwrap(), "");
    let of_input = migrate("-", &text);
    assert!(of_input.status.success() && of_input.stdout == of_file.stdout);
    for (values, input, reason) in [
        (
            "-",
            "a: [",
            "-: the values are no YAML: did not find expected node content at line 2",
        ),
        ("-", "- a", "-: the values are a list (line 1)"),
        ("no-such-file.yaml", "", "read no-such-file.yaml"),
    ] {
        let refused = migrate(values, input);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{input}");
        assert!(refused.stdout.is_empty(), "{input}");
        assert!(said.contains(reason), "{input}: {said}");
    }
}

//! What an on-call engineer goes by: metrics, alerts, runbook, dashboard and Events name only what there is, and each
//! alert fires when it should.
#![allow(clippy::unwrap_used)] // this binary is nothing but tests

mod alerts;
mod catalog;
mod dashboard;
mod documents;
mod prometheus;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The sources of the operator, without the files that hold only tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

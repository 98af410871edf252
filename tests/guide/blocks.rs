//! Blocks of code: each can be read by whom it is for.

use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::text::{Block, documents};

#[test]
fn every_block_of_code_can_be_read_in_its_language() {
    let mut read = 0;
    for document in documents() {
        for block in document.blocks() {
            let place = format!("{}:{}", document.name, block.line);
            read += usize::from(check(&block, &place));
        }
    }
    assert!(read > 20, "{read}");
}

/// Whether the block is in a language that can be checked: what has none is a drawing or an output.
fn check(block: &Block<'_>, place: &str) -> bool {
    let flaw = match block.language {
        "json" => lines_or_all(&block.text).err().map(|e| e.to_string()),
        "yaml" => serde_yaml::Deserializer::from_str(&block.text)
            .try_for_each(|document| serde_yaml::Value::deserialize(document).map(drop))
            .err()
            .map(|e| e.to_string()),
        "sh" | "bash" | "shell" => shell(&block.text),
        _ => return false,
    };
    assert_eq!(flaw, None, "{place}");
    true
}

/// One value, or one on each line.
fn lines_or_all(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<Value>(text).map(drop).or_else(|_| {
        let mut lines = text.lines().filter(|line| !line.is_empty());
        lines.try_for_each(|line| serde_json::from_str::<Value>(line).map(drop))
    })
}

/// What the shell finds wrong, without running anything.
fn shell(script: &str) -> Option<String> {
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = bash.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success() || !said.is_empty()).then_some(said)
}

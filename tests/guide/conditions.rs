//! Conditions and their reasons: each that the code states is told of.

use std::collections::BTreeSet;

use crate::text::{Document, files, guide, read, root};

/// The lines of the code below a folder, without its tests and its comments.
fn lines(folder: &str) -> Vec<String> {
    let mut paths = Vec::new();
    files(&root().join(folder), &mut paths);
    paths.retain(|path| !path.with_extension("").iter().any(|part| part == "tests"));
    let texts = paths.into_iter().map(read);
    let lines = texts.flat_map(|text| {
        let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
        code.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect()
}

/// The words in quotes that look like a condition or a reason.
fn stated(lines: &[String]) -> BTreeSet<&str> {
    let quoted = lines
        .iter()
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    quoted.filter(|text| is_word(text)).collect()
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphabetic())
        && text.chars().any(|c| c.is_ascii_lowercase())
}

#[test]
fn every_condition_and_every_reason_that_the_code_states_is_told_of() {
    let documents = guide();
    let quoted = documents.iter().flat_map(Document::quoted);
    let told: BTreeSet<String> = quoted.collect();
    let mut code = lines("src/lifecycle");
    code.extend(lines("src/controller/policy"));
    // Why a message can not be used.
    let of_messages = read("src/event.rs");
    code.extend(
        of_messages
            .lines()
            .map(str::to_owned)
            .filter(|l| l.contains("=> \"")),
    );
    let stated = stated(&code);
    assert!(stated.len() > 60, "{stated:?}");
    // What a condition's status is.
    let words = stated
        .into_iter()
        .filter(|word| !["True", "False"].contains(word));
    let untold: Vec<_> = words.filter(|word| !told.contains(*word)).collect();
    assert!(untold.is_empty(), "no document tells of {untold:?}");
}

/// What stands in backticks in the first cells below a heading.
fn named(document: &str, heading: &str) -> BTreeSet<String> {
    let text = read(document);
    let (_, section) = text.split_once(heading).unwrap();
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    cells.map(str::to_owned).collect()
}

#[test]
fn the_conditions_of_a_policy_are_the_same_in_the_code_in_its_fields_and_in_the_runbook() {
    let code = read("src/api/condition.rs");
    let constants = code.lines().filter(|line| line.starts_with("pub const "));
    let constants = constants.filter_map(|line| line.split('"').nth(1));
    let constants: BTreeSet<String> = constants.map(str::to_owned).collect();
    assert!(constants.len() >= 11, "{constants:?}");
    assert_eq!(
        named("docs/configuration.md", "\n### Policy conditions\n"),
        constants
    );
    assert_eq!(
        named(
            "docs/runbook.md",
            "\n## Conditions of a TerminationPolicy\n"
        ),
        constants
    );
}

#[test]
fn the_conditions_of_an_incident_are_the_same_where_the_record_is_explained_and_in_the_runbook() {
    let drain = read("docs/drain.md");
    let row = drain
        .lines()
        .find(|line| line.starts_with("| `conditions` |"))
        .unwrap();
    let meaning = row.splitn(3, '|').nth(2).unwrap();
    let explained = meaning
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| is_word(text));
    let explained: BTreeSet<String> = explained.map(str::to_owned).collect();
    assert!(explained.len() >= 14, "{explained:?}");
    let runbook = named("docs/runbook.md", "\n## Conditions of a NodeTermination\n");
    assert_eq!(runbook, explained);
}

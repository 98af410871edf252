//! Names: what a document writes in backticks is in the code, the manifests or the charts, or is known to be somebody
//! else's. The fields of our kinds have a file of their own.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::text::{code, files, guide, read, root};

/// What is written by people, and not ours: of Kubernetes, Karpenter, Flux, AWS and aws-node-termination-handler.
const OF_OTHERS: [&str; 12] = [
    "ASGLifecycle",
    "ApproximateAgeOfOldestMessage",
    "CancelDrain",
    "EvictionByEvictionAPI",
    "MirrorPrune",
    "OOMKilled",
    "PodEviction",
    "PostDrain",
    "PreDrain",
    "PutEvents",
    "ScheduledEvent",
    "Uncordon",
];

/// The words of what is not a document: the code, and what is applied.
fn ours() -> BTreeSet<String> {
    let applied = ["yaml", "tpl", "json", "lua"];
    let texts = [
        code("src", &["rs"]),
        code("manifests", &applied),
        code("charts", &applied),
        code("crds", &applied),
        code("docs/aws", &applied),
        code("docs/gitops", &applied),
    ];
    let texts = texts.concat();
    let words = texts.split(|c: char| !c.is_ascii_alphanumeric());
    words.map(str::to_owned).collect()
}

/// A condition, a reason, a kind, a value: one word that begins with a capital.
fn is_name(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphabetic())
        && text.chars().any(|c| c.is_ascii_lowercase())
}

#[test]
fn every_word_with_a_capital_is_one_of_ours_or_known_to_be_somebody_elses() {
    let ours = ours();
    let mut used = BTreeSet::new();
    let mut checked = 0;
    for document in guide() {
        for text in document.quoted().iter().filter(|text| is_name(text)) {
            if let Some(other) = OF_OTHERS.iter().find(|other| *other == text) {
                used.insert(*other);
            } else {
                let there = ours.contains(text) || root().join(text).is_file();
                assert!(there, "{}: {text}", document.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 500, "{checked}");
    let unused: Vec<_> = OF_OTHERS.iter().filter(|o| !used.contains(*o)).collect();
    assert!(unused.is_empty(), "no document names {unused:?}");
}

/// The paths of all files that a document may name.
fn repository() -> Vec<String> {
    let mut found = Vec::new();
    for folder in [
        "src",
        "tests",
        "docs",
        "manifests",
        "charts",
        "crds",
        "benches",
        "examples",
        ".ci",
        ".github",
    ] {
        files(&root().join(folder), &mut found);
    }
    let top = root()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    found.extend(top.filter(|path| path.is_file()));
    let below = found.iter().map(|path| path.strip_prefix(root()).unwrap());
    below.map(|path| path.display().to_string()).collect()
}

/// Whether the text is the path of a file of a sort that we have.
fn is_file(text: &str) -> bool {
    let ours = ["rs", "md", "yaml", "json", "lua", "toml", "sh"];
    let ending = Path::new(text).extension();
    ending.is_some_and(|ending| ours.iter().any(|o| ending == *o)) && is_path(text)
}

fn is_path(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

#[test]
fn every_file_and_folder_that_a_document_names_exists() {
    let all = repository();
    let mut checked = 0;
    for document in guide() {
        for text in document.quoted() {
            let named = format!("/{text}");
            let top = text.split('/').next().unwrap_or_default();
            if is_file(&text) {
                let found = all
                    .iter()
                    .any(|path| *path == text || path.ends_with(&named));
                assert!(found, "{}: there is no file {text}", document.name);
            } else if text.contains('/')
                && is_path(&text)
                && !top.is_empty()
                && root().join(top).is_dir()
            {
                assert!(root().join(&text).exists(), "{}: {text}", document.name);
            } else {
                continue;
            }
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked}");
}

/// What follows each `marker`, as far as its characters are those of a name.
fn after<'a>(text: &'a str, marker: &str) -> Vec<&'a str> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let parts = text.split(marker).skip(1);
    let names = parts.map(|rest| rest.split(|c| !of_name(c)).next().unwrap());
    names
        .map(|name| name.trim_end_matches('-'))
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_key_of_ours_and_every_variable_of_the_process_that_a_document_names_is_in_the_code() {
    let code = code("src", &["rs"]);
    let mut keys = BTreeSet::new();
    for document in guide() {
        for marker in ["nodetermination.dev/", "NTO_"] {
            for name in after(&document.text, marker) {
                let name = format!("{marker}{name}");
                // The object that the plugin made, as kubectl names it.
                if name != "nodetermination.dev/node-1" {
                    assert!(code.contains(&name), "{}: {name}", document.name);
                    keys.insert(name);
                }
            }
        }
    }
    assert!(keys.len() > 12, "{keys:?}");
}

#[test]
fn every_value_of_the_chart_that_a_document_names_exists() {
    let values: Value =
        serde_yaml::from_str(&read("charts/node-termination-operator/values.yaml")).unwrap();
    let mut checked = 0;
    for document in guide() {
        for text in document.quoted() {
            let path = text.split([':', ' ']).next().unwrap_or_default();
            let mut words = path.split('.');
            let group = &values[words.next().unwrap_or_default()];
            if path.contains('/')
                || !path.contains('.')
                || !group.is_object()
                || is_file(path)
                || !is_path(path)
            {
                continue;
            }
            let mut at = group;
            for word in words {
                let open = at.as_object().is_some_and(serde_json::Map::is_empty);
                assert!(open || at.get(word).is_some(), "{}: {text}", document.name);
                at = if open { at } else { &at[word] };
            }
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked}");
}

#[test]
fn every_recipe_of_just_and_every_test_that_is_called_exists() {
    let recipes = read("justfile");
    let source = [code("src", &["rs"]), code("tests", &["rs"])].concat();
    let mut checked = 0;
    for document in guide() {
        let name = &document.name;
        for command in document.commands() {
            if let Some(recipe) = after(&command, "just ").first()
                && (command.starts_with("just ") || command.contains("=42 just "))
            {
                let defined = |line: &str| line.split([' ', ':']).next() == Some(*recipe);
                assert!(recipes.lines().any(defined), "{name}: {command}");
                checked += 1;
            }
            for (option, folder) in [
                ("--test ", "tests"),
                ("--bench ", "benches"),
                ("--example ", "examples"),
            ] {
                for target in after(&command, option) {
                    let path = root().join(folder).join(target);
                    assert!(
                        path.is_dir() || path.with_extension("rs").is_file(),
                        "{name}: {command}"
                    );
                    checked += 1;
                }
            }
            for filter in after(&command, "cargo test --lib ") {
                let module = root().join("src").join(filter).is_dir();
                let named = |line: &str| line.contains("fn ") && line.contains(filter);
                assert!(module || source.lines().any(named), "{name}: {command}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}

/// The selectors of labels that follow `-l`.
fn selectors(command: &str) -> Vec<&str> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "-l");
    pairs.flat_map(|pair| pair[1].split(',')).collect()
}

/// What `grep` is to find in a log, each alternative for itself.
fn sought(command: &str) -> Vec<String> {
    let Some((_, grep)) = command
        .split_once(" logs ")
        .and_then(|(_, rest)| rest.split_once("| grep "))
    else {
        return Vec::new();
    };
    let words = grep.trim_start_matches(|c: char| "-iE ".contains(c));
    let words = words.trim_matches(['\'', ' ']);
    let each = words.split('|');
    each.map(|word| word.trim_matches('"').to_lowercase())
        .collect()
}

#[test]
fn the_labels_that_a_command_selects_by_are_on_our_pods_and_the_lines_that_it_seeks_are_logged() {
    let labels = code("manifests", &["yaml"]).replace(": ", "=");
    let log = code("src", &["rs"]).to_lowercase();
    let (mut selected, mut found) = (0, 0);
    for document in guide() {
        for command in document.commands() {
            for selector in selectors(&command) {
                assert!(labels.contains(selector), "{}: {command}", document.name);
                selected += 1;
            }
            for line in sought(&command) {
                assert!(log.contains(&line), "{}: {command}: {line}", document.name);
                found += 1;
            }
        }
    }
    assert!(selected >= 6 && found >= 20, "{selected} {found}");
}

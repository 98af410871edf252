//! The documents tell of all that there is: every field of a policy with its default, every kind of notice, every command
//! of the plugin; and of each behaviour the test. That they name nothing else is held in `tests/guide`.
#![allow(clippy::unwrap_used)] // this file is nothing but tests

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use node_termination_operator::api;
use node_termination_operator::plugin::{CALL, End, args};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The table row of a document whose first cell is `name` in backticks.
fn row<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let start = format!("| `{name}` |");
    document.lines().find(|line| line.starts_with(&start))
}

/// What a schema holds below `path`: each field with its default.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Option<String>)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let default = &field["default"];
        let plain = !default.is_null() && !default.is_object() && !default.is_array();
        let default = plain.then(|| default.to_string().trim_matches('"').to_owned());
        found.push((path.clone(), default));
        // What a label selector looks like is Kubernetes' own documentation.
        if !path.ends_with("elector") {
            fields(field, &path, found);
            fields(&field["items"], &format!("{path}[]"), found);
        }
    }
}

#[test]
fn every_field_of_a_policy_is_documented_with_its_default() {
    let crd = api::crds().remove(0);
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    fields(spec, "", &mut found);
    assert!(found.len() > 30, "{found:?}");
    let document = read("docs/configuration.md");
    for (path, default) in found {
        let row = row(&document, &path).unwrap_or_else(|| panic!("{path} is not documented"));
        let second = row.split('|').nth(2).unwrap();
        if let Some(default) = default {
            assert!(
                second.contains(&default),
                "{path}: default {default}, said: {second}"
            );
        }
    }
}

/// Every field of a kind's spec, as `spec.a.b[].c`.
fn spec_fields(crd: usize) -> Vec<String> {
    let crd = api::crds().remove(crd);
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    let mut found = Vec::new();
    let properties = &schema["openAPIV3Schema"]["properties"];
    fields(&properties["spec"], "spec", &mut found);
    found.into_iter().map(|(path, _)| path).collect()
}

/// What stands in backticks in a document, its blocks of code left out.
fn quoted(document: &str) -> Vec<&str> {
    let prose = document.split("```").step_by(2);
    prose
        .flat_map(|p| p.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_kind_of_signal_and_every_action_is_told_of() {
    let document = read("docs/events.md");
    let crd = api::crds().remove(1);
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
    let kinds = &spec["properties"]["signals"]["items"]["properties"]["kind"]["enum"];
    let kinds = kinds.as_array().unwrap();
    assert!(kinds.len() >= 7, "{kinds:?}");
    for kind in kinds {
        let kind = kind.as_str().unwrap();
        assert!(row(&document, kind).is_some(), "{kind} has no row");
    }
    let mut actions = spec_fields(0);
    actions.retain(|field| field.starts_with("spec.actions."));
    assert!(actions.len() >= 6, "{actions:?}");
    for action in actions {
        let action = action.trim_start_matches("spec.actions.");
        let told = document.lines().any(|line| {
            let cell = line.split('|').nth(3).unwrap_or_default().trim();
            cell.starts_with(&format!("`{action}`: `"))
        });
        assert!(told, "{action} has no default in the table of kinds");
    }
}

#[test]
fn every_setting_of_the_handler_that_is_replaced_has_its_row() {
    let document = read("docs/migrating-from-nth.md");
    let list = read("tests/fixtures/nth-settings.txt");
    let mut settings = 0;
    for line in list.lines().filter(|l| !l.starts_with('#')) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [_flag, variable, value] = cells[..] else {
            panic!("three cells: {line}")
        };
        let name = if value == "-" { variable } else { value };
        let row = row(&document, name).unwrap_or_else(|| panic!("{name} has no row"));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if value != "-" && variable != "-" {
            assert_eq!(cells[2], format!("`{variable}`"), "{name}");
        }
        assert!(!cells[3].is_empty(), "{name}: nothing is said of it");
        settings += 1;
    }
    assert!(settings > 100, "{settings}");
}

#[test]
fn the_examples_of_the_migration_are_what_the_command_prints() {
    let document = read("docs/migrating-from-nth.md");
    let blocks: Vec<&str> = document
        .split("```yaml\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    let [values, queue, metadata] = blocks[..] else {
        panic!("three blocks: {blocks:?}")
    };
    for (values, shown) in [(values, queue), ("", metadata)] {
        let printed = node_termination_operator::migrate::policy(values).unwrap();
        let bare = printed.lines().filter(|l| !l.starts_with('#'));
        assert_eq!(shown.lines().collect::<Vec<_>>(), bare.collect::<Vec<_>>());
    }
}

#[test]
fn every_stage_and_every_reason_of_a_notification_is_told_of() {
    let document = read("docs/notifications.md");
    for stage in api::policy::Stage::ALL {
        assert!(row(&document, stage.as_str()).is_some(), "{stage:?}");
    }
    let mut reasons = literals_after(&read("src/controller/notifier/settings.rs"), "trouble(")
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let post = read("src/notify/post.rs");
    let (_, words) = post.split_once("fn reason(&self)").unwrap();
    let words = words.split("\n    }\n").next().unwrap();
    reasons.extend(literals_after(words, "=> ").into_iter().map(str::to_owned));
    reasons.retain(|reason| reason.chars().all(char::is_alphanumeric));
    assert!(reasons.len() >= 9, "{reasons:?}");
    for reason in reasons {
        assert!(document.contains(&format!("`{reason}`")), "{reason}");
    }
}

/// The string literals that follow each `marker`.
fn literals_after<'a>(text: &'a str, marker: &str) -> Vec<&'a str> {
    text.split(marker)
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap())
        .collect()
}

#[test]
fn every_option_is_documented() {
    let document = read("docs/configuration.md");
    let arguments = read("src/args.rs");
    let variables = literals_after(&arguments, "env = ");
    assert!(variables.len() >= 6, "{variables:?}");
    for variable in variables {
        assert!(document.contains(&format!("`{variable}`")), "{variable}");
    }
}

/// The words of a command line, as a shell splits them.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('"').enumerate();
    let words = quoted.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    words.map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_plugin_that_is_shown_is_understood_and_none_is_untold() {
    let document = read("docs/kubectl-plugin.md");
    let typed = format!("    $ {CALL} ");
    let shown = document.lines().filter_map(|l| l.strip_prefix(&typed));
    let mut commands = 0;
    for line in shown {
        let line = [vec![CALL.to_owned()], words(line)].concat();
        args::Plugin::try_parse_from(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        commands += 1;
    }
    assert!(commands >= 6, "{commands}");
    let told = quoted(&document);
    let told = |name: &str| {
        told.iter()
            .any(|text| text.split(' ').any(|word| word == name))
    };
    let command = args::command();
    let subcommands = command.get_subcommands().filter(|c| c.get_name() != "help");
    for subcommand in subcommands {
        assert!(told(subcommand.get_name()), "{}", subcommand.get_name());
        for option in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
            let option = format!("--{option}");
            assert!(
                told(&option) || option == "--help" || option == "--version",
                "{option}"
            );
        }
    }
    for end in End::ALL {
        assert!(row(&document, &end.code().to_string()).is_some(), "{end:?}");
    }
}

/// Where a source file that a document names stands.
fn source(name: &str) -> PathBuf {
    let below = if name.starts_with("tests/") || name.starts_with("src/") {
        ""
    } else {
        "src"
    };
    root().join(below).join(name)
}

/// A sentence in the form of a function's name: what tests are called, and nothing else is.
fn is_sentence(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.matches('_').count() >= 3 && text.chars().all(of_name) && !text.starts_with("node_term")
}

/// Whether the code has a test of that name, and not just a function.
fn has_test(code: &str, name: &str) -> bool {
    let Some((before, _)) = code.split_once(&format!("fn {name}(")) else {
        return false;
    };
    let item = before.rsplit("\n\n").next().unwrap();
    item.contains("test]") || item.contains("#[tokio::test(")
}

#[test]
fn every_test_that_a_document_names_is_in_the_file_that_it_names_before() {
    for (name, least) in [("docs/drain.md", 50), ("docs/architecture.md", 15)] {
        let document = read(name);
        let (mut file, mut tests) = (None, 0);
        for text in quoted(&document) {
            if Path::new(text).extension().is_some_and(|e| e == "rs") {
                file = fs::read_to_string(source(text))
                    .ok()
                    .map(|code| (text, code));
            } else if is_sentence(text) {
                let (named, code) = file
                    .as_ref()
                    .unwrap_or_else(|| panic!("{name}: no file of {text}"));
                assert!(has_test(code, text), "{name}: {named} has no test {text}");
                tests += 1;
            }
        }
        assert!(tests >= least, "{name}: {tests}");
    }
}

#[test]
fn every_behaviour_of_the_drain_names_its_test() {
    let document = read("docs/drain.md");
    let (_, tables) = document
        .split_once("\n## Where each behaviour is tested\n")
        .unwrap();
    let rows = tables.lines().filter(|l| l.starts_with("| "));
    let rows = rows.filter(|l| !l.ends_with("| tests |"));
    let mut count = 0;
    for row in rows {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names = cell.split('`').filter(|text| is_sentence(text)).count();
        assert!(names > 0, "no test: {row}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn the_first_policy_of_the_readme_is_the_example() {
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let readme = read("README.md");
    let mut blocks = readme.split("```yaml\n").skip(1);
    let shown = blocks.find(|block| block.contains("kind: TerminationPolicy"));
    let shown = shown.unwrap().split("```").next().unwrap();
    assert_eq!(bare(shown), bare(&read("manifests/examples/policy.yaml")));
}

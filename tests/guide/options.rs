//! The command line: what `--help` says stands in `docs/configuration.md`, and what the documents type is understood.

use std::process::{Command, Output};

use clap::Parser;
use node_termination_operator::plugin::{CALL, args};

use crate::text::{guide, read};

/// Runs the binary to its end.
fn run(words: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_node-termination-operator");
    Command::new(binary).args(words).output().unwrap()
}

/// An option as `--help` shows it.
struct Shown {
    name: String,
    variable: Option<String>,
    default: Option<String>,
}

/// The options of a role.
fn options(role: &str) -> Vec<Shown> {
    let help = String::from_utf8(run(&[role, "--help"]).stdout).unwrap();
    let mut parts: Vec<String> = Vec::new();
    for line in help.lines().map(str::trim_start) {
        if line.starts_with("--") {
            parts.push(line.to_owned());
        } else if let Some(part) = parts.last_mut() {
            part.push(' ');
            *part += line;
        }
    }
    let between = |text: &str, start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        rest.split(end).next().map(str::to_owned)
    };
    let shown = parts.iter().map(|text| Shown {
        name: text.split([' ', '<']).next().unwrap().to_owned(),
        variable: between(text, "[env: ", "="),
        // A default may have brackets of its own.
        default: between(&format!("{text} "), "[default: ", "] "),
    });
    shown.filter(|shown| shown.name != "--help").collect()
}

#[test]
fn the_table_of_options_is_what_the_help_says_in_names_variables_and_defaults() {
    let document = read("docs/configuration.md");
    let rows = document.lines().filter(|line| line.starts_with("| `--"));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let options = options("controller");
    for row in &rows {
        let known = options
            .iter()
            .any(|shown| row[0] == format!("`{}`", shown.name));
        assert!(known, "the controller has no {}", row[0]);
    }
    assert_eq!(rows.len(), options.len());
    for Shown {
        name,
        variable,
        default,
    } in options
    {
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(row[1], format!("`{}`", variable.unwrap()), "{name}");
        if let Some(default) = default {
            assert_eq!(row[2], format!("`{default}`"), "{name}");
        }
    }
}

#[test]
fn the_agent_has_the_three_options_of_the_address_and_the_log() {
    let names: Vec<String> = options("agent")
        .into_iter()
        .map(|shown| shown.name)
        .collect();
    assert_eq!(names, ["--http-address", "--log-format", "--log-level"]);
}

#[test]
fn a_lease_outside_of_its_bounds_is_refused() {
    for seconds in ["4", "301"] {
        let output = run(&["controller", "--lease-duration-seconds", seconds]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("5..=300"), "{said}");
    }
}

#[test]
fn every_command_line_of_ours_that_a_document_shows_is_understood() {
    let (mut own, mut plugin) = (0, 0);
    for document in guide() {
        for command in document.commands() {
            let command = command.split(['#', '>']).next().unwrap();
            let words: Vec<&str> = command.split_whitespace().collect();
            match &words[..] {
                ["node-termination-operator", rest @ ..] if !rest.is_empty() => {
                    let known = rest.iter().filter(|word| **word != "COMMAND");
                    let words: Vec<&str> = known.copied().chain(["--help"]).collect();
                    let output = run(&words);
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(
                        output.status.success(),
                        "{}: {words:?}: {said}",
                        document.name
                    );
                    own += 1;
                }
                // Those with words in quotes are held by `tests/docs.rs`.
                ["kubectl", "nodetermination", rest @ ..] if !rest.is_empty() => {
                    let rest = rest.split(|word| *word == "--reason").next();
                    let words = [CALL].iter().chain(rest.unwrap_or_default());
                    if let Err(error) = args::Plugin::try_parse_from(words) {
                        panic!("{}: {rest:?}: {error}", document.name);
                    }
                    plugin += 1;
                }
                _ => {}
            }
        }
    }
    assert!(own >= 5 && plugin >= 8, "{own} {plugin}");
}

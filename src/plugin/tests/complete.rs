//! What kubectl's completion is offered.

use crate::plugin::complete::{Wanted, connection, text, wanted};

fn asked(line: &str) -> Wanted {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    wanted(&words)
}

fn offered(line: &str) -> Vec<String> {
    match asked(line) {
        Wanted::Words(words) => words.into_iter().map(|(word, _)| word).collect(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn each_place_of_the_command_line_is_offered_what_may_stand_there() {
    let commands = offered("");
    for command in [
        "drain",
        "cancel",
        "hold",
        "release",
        "why",
        "history",
        "completion",
    ] {
        assert!(commands.iter().any(|c| c == command), "{commands:?}");
    }
    for (line, wanted) in [
        ("drain ", Wanted::Node),
        ("drain no", Wanted::Node),
        ("--context prod drain ", Wanted::Node),
        ("drain --wait ", Wanted::Node),
        ("drain --timeout 5m ", Wanted::Node),
        ("history --node ", Wanted::Node),
        ("why ", Wanted::Target),
        ("cancel ", Wanted::Target),
        ("hold -o json ", Wanted::Target),
        ("release ", Wanted::Target),
        ("drain --context ", Wanted::Context),
        ("--kubeconfig ", Wanted::File),
        ("drain node-1 ", Wanted::Anything),
        ("drain --reason ", Wanted::Anything),
        ("history ", Wanted::Anything),
        ("fly ", Wanted::Anything),
    ] {
        assert_eq!(asked(line), wanted, "{line}");
    }
    assert_eq!(offered("why -o "), ["json", "yaml", "name"]);
    assert!(offered("completion ").contains(&"zsh".to_owned()));
    let options = offered("drain --");
    for option in [
        "--wait",
        "--timeout",
        "--reason",
        "--output",
        "--context",
        "--as",
    ] {
        assert!(options.iter().any(|o| o == option), "{options:?}");
    }
}

#[test]
fn candidates_are_those_that_begin_as_typed_and_the_directive_ends_them() {
    let words = [("node-1", "Draining"), ("other", "")].map(|(w, d)| (w.to_owned(), d.to_owned()));
    assert_eq!(text(&words, "no", false), "node-1\tDraining\n:4\n");
    assert_eq!(text(&words, "", false), "node-1\tDraining\nother\n:4\n");
    assert_eq!(text(&[], "x", true), ":0\n");
}

#[test]
fn the_cluster_that_is_asked_is_the_one_that_is_typed() {
    let words = [
        "--context=prod",
        "drain",
        "--kubeconfig",
        "/tmp/k",
        "--as",
        "jane",
        "x",
    ];
    let words: Vec<String> = words.map(str::to_owned).into();
    let connection = connection(&words);
    assert_eq!(connection.context.as_deref(), Some("prod"));
    assert_eq!(connection.kubeconfig.unwrap().to_str(), Some("/tmp/k"));
    assert_eq!(connection.impersonate.as_deref(), Some("jane"));
    assert_eq!(connection.user, None);
}

//! The arrows between the modules point from user to used, never back, and the pure modules stay pure.
//!
//! Every path that a module names outside its tests (`use crate::a::{b, c}`, `crate::a::f()`, `super::a`) is held
//! against [`ARROWS`] and [`PURE`]. To add a module, add its row; to add an arrow, first ask whether the thing that is
//! wanted should not be handed in as an argument.
#![allow(clippy::unwrap_used)] // this file is nothing but tests

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Which top-level module of `src` may use which others.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["args", "run", "api", "migrate", "plugin"]),
    (
        "run",
        &[
            "args",
            "controller",
            "source",
            "leader",
            "telemetry",
            "aws",
            "cluster",
            "api",
            "clock",
            "drain",
            "plugin",
        ],
    ),
    ("args", &["telemetry", "plugin"]),
    (
        "controller",
        &[
            "source",
            "lifecycle",
            "drain",
            "notify",
            "cluster",
            "aws",
            "api",
            "telemetry",
            "clock",
        ],
    ),
    (
        "source",
        &[
            "event",
            "api",
            "aws",
            "cluster",
            "drain",
            "telemetry",
            "clock",
        ],
    ),
    ("lifecycle", &["drain", "api"]),
    ("drain", &["api"]),
    ("event", &["api"]),
    ("migrate", &["api"]),
    ("notify", &["api"]),
    ("plugin", &["lifecycle", "drain", "api"]),
    ("cluster", &["api", "drain", "clock"]),
    ("aws", &["clock"]),
    ("clock", &[]),
    ("leader", &[]),
    ("telemetry", &[]),
    ("api", &[]),
];

/// The modules that call nobody and do not know what time it is: `now` is an argument there.
const PURE: &[&str] = &["api", "event", "drain", "lifecycle", "migrate", "plugin"];

/// The modules that may ask the machine what time it is: where the servers' time is made of it, and where no other
/// clock's times are compared with it. All others ask `clock`.
const OWN_CLOCK: &[&str] = &["clock", "leader"];

/// How the binary names the library.
const LIBRARY: &str = "node_termination_operator";

#[test]
fn every_module_uses_only_what_it_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = String::new();
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap();
        for fault in check(path, &fs::read_to_string(&file).unwrap()) {
            writeln!(faults, "src/{}: {fault}", path.display()).unwrap();
        }
    }
    assert!(
        faults.is_empty(),
        "\n{faults}The table is ARROWS in tests/architecture.rs."
    );
}

#[test]
fn the_drawing_of_the_arrows_in_the_documents_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let document = fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once("\n## The arrows\n").unwrap();
    let drawing = section.split("```").nth(1).unwrap();
    let mut drawn = BTreeSet::new();
    for line in drawing.lines().filter(|line| !line.trim().is_empty()) {
        let (users, used) = line.split_once(" ─► ").unwrap();
        // What follows two spaces is said of the module.
        let used = used.split("  ").next().unwrap().trim();
        let used: BTreeSet<&str> = used.split(", ").filter(|u| *u != "(none)").collect();
        let users = users.split(',').map(str::trim);
        drawn.extend(users.map(|user| (user, used.clone())));
    }
    let table = ARROWS.iter().map(|(user, used)| {
        let used: BTreeSet<&str> = used.iter().copied().collect();
        (*user, used)
    });
    assert_eq!(drawn, table.collect::<BTreeSet<_>>());
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What is wrong with one file, given by its path below `src`.
fn check(file: &Path, text: &str) -> BTreeSet<String> {
    // `a/b/c.rs` is module a::b::c, three levels below the crate.
    let path: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|p| p.to_str().unwrap().to_owned())
        .collect();
    let module = path[0].as_str();
    if module == "lib" || path.iter().skip(1).any(|p| p == "tests") {
        return BTreeSet::new();
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(m, _)| *m == module) else {
        return BTreeSet::from([format!(
            "{module} is a new module: give it a row in ARROWS that says what it may use, and add it to PURE if it \
             calls nobody"
        )]);
    };
    let mut faults = BTreeSet::new();
    for name in paths(without_tests(text)) {
        if let Some(used) = used_module(&name, path.len())
            && used != module
            && !allowed.contains(&used)
        {
            faults.insert(format!("{module} may not use {used}"));
        }
        if PURE.contains(&module) && is_effect(&name) {
            faults.insert(format!("{module} is pure and names {}", name.join("::")));
        } else if !OWN_CLOCK.contains(&module) && is_wall_clock(&name) {
            faults.insert(format!(
                "{module} reads the machine's clock: use clock::now"
            ));
        }
    }
    faults
}

/// The module of ours that a path begins in, if it begins at the crate's root.
fn used_module(path: &[String], depth: usize) -> Option<&str> {
    let ups = path.iter().take_while(|s| *s == "super").count();
    let root = match path.first()?.as_str() {
        "crate" | LIBRARY => 1,
        _ if ups > 0 && ups >= depth => ups,
        _ => return None,
    };
    path.get(root).map(String::as_str)
}

/// Whether a path leads to a client, a runtime, an SDK or a clock.
fn is_effect(path: &[String]) -> bool {
    let (first, rest) = (path[0].as_str(), &path[1..]);
    let client = |s: &String| ["Api", "Client", "client", "runtime"].contains(&s.as_str());
    first == "tokio"
        || first.starts_with("aws_")
        || (first == "kube" && rest.iter().any(client))
        || path.iter().any(|s| s == "SystemTime")
        // Timestamp::now, Instant::now, Zoned::now, under whatever name they were imported.
        || rest.last().is_some_and(|s| s == "now")
}

/// Whether a path reads the wall clock of the machine.
fn is_wall_clock(path: &[String]) -> bool {
    let clock = |s: &String| ["Timestamp", "SystemTime", "Zoned", "Utc"].contains(&s.as_str());
    path.last().is_some_and(|s| s == "now") && path.iter().any(clock)
}

/// The part before the tests, which stand at the end of a file.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ")
        .map_or(text, |end| &text[..end])
}

/// Every path of two segments or more, with the braces of `use` trees multiplied out.
fn paths(text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // The path being read, and for each open brace what stands before it in a `use` tree, else nothing.
    let (mut path, mut braces) = (Vec::new(), Vec::<Vec<String>>::new());
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |at| tokens[at].as_str());
        let continues = before == "::" && !path.is_empty();
        let outer = braces.last().cloned().unwrap_or_default();
        let renames = !outer.is_empty() && (token == "as" || before == "as");
        match token.as_str() {
            "::" => {}
            "{" if continues => braces.push(std::mem::take(&mut path)),
            word if is_segment(word) && continues => path.push(word.to_owned()),
            other => {
                let next = if is_segment(other) && !renames {
                    [outer, vec![other.to_owned()]].concat()
                } else {
                    Vec::new()
                };
                found.push(std::mem::replace(&mut path, next));
                match other {
                    "{" => braces.push(Vec::new()),
                    "}" => drop(braces.pop()),
                    _ => {}
                }
            }
        }
    }
    found.push(path);
    found.retain(|path| path.len() > 1);
    found
}

fn is_segment(token: &str) -> bool {
    token == "*" || token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single marks, without comments, strings and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => raw_string(rest),
            '\'' => character(rest),
            ':' if rest.starts_with("::") => 2,
            c if c.is_alphanumeric() || c == '_' => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let token = &rest[..length];
        let meaningless = token.starts_with("//")
            || token.starts_with("/*")
            || token.contains('"')
            || token.starts_with('\'')
            || token.trim().is_empty();
        if !meaningless {
            found.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    found
}

/// The length of the string literal that the text begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal, with at most one `#`, that the text begins with.
fn raw_string(text: &str) -> usize {
    let (open, close) = if text.starts_with("r#") {
        (3, "\"#")
    } else {
        (2, "\"")
    };
    text[open..]
        .find(close)
        .map_or(text.len(), |end| open + end + close.len())
}

/// The length of the character literal that the text begins with, or 1 for the tick of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[2..].find('\'').map_or(1, |end| end + 3).max(4),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

fn faults(file: &str, text: &str) -> Vec<String> {
    check(Path::new(file), text).into_iter().collect()
}

#[test]
fn a_broken_arrow_is_found_however_it_is_written() {
    let text = "use crate::{api::{Condition as C, condition}, source::sqs, aws as cloud};\nfn f() { g(crate::cluster::nodes::cordon()) }";
    assert_eq!(
        faults("drain/plan.rs", text),
        [
            "drain may not use aws",
            "drain may not use cluster",
            "drain may not use source"
        ]
    );
    assert_eq!(
        faults("event.rs", "use super::drain::plan;"),
        ["event may not use drain"]
    );
    assert_eq!(
        faults("event/a.rs", "use super::super::drain;"),
        ["event may not use drain"]
    );
    assert_eq!(
        faults("api.rs", "pub use crate::event::identity;"),
        ["api may not use event"]
    );
    assert_eq!(
        faults("main.rs", "use node_termination_operator::{drain, api};"),
        ["main may not use drain"]
    );
    assert_eq!(faults("aws/sqs.rs", "use crate::*;"), ["aws may not use *"]);
}

#[test]
fn allowed_arrows_a_modules_own_parts_comments_strings_and_tests_are_no_fault() {
    let text = "//! See crate::source.\nuse crate::{api, drain::plan};\nuse super::super::lifecycle::view;\n\
        use super::effect;\nfn f<'a>(s: &'a str) -> char { let _ = \"crate::aws \\\" crate::aws\"; let _ = r#\"crate::\"aws\"#; '\"' }\n\
        /* tokio::spawn */ fn g() { let now = f(now); view.now() }\n#[cfg(test)]\nmod tests { use crate::source::sqs; }";
    assert_eq!(faults("lifecycle/decide.rs", text), [""; 0]);
    assert_eq!(faults("event/tests.rs", "use crate::source::sqs;"), [""; 0]);
}

#[test]
fn a_clock_a_client_and_a_runtime_are_found_in_pure_modules_only() {
    let text = "use jiff::Timestamp as T; use kube::{Api, ResourceExt, runtime::watcher};\n\
        fn f() { T::now(); std::time::SystemTime::UNIX_EPOCH; tokio::spawn(g()); aws_sdk_sqs::Client::new() }";
    assert_eq!(
        faults("drain.rs", text),
        [
            "drain is pure and names T::now",
            "drain is pure and names aws_sdk_sqs::Client::new",
            "drain is pure and names kube::Api",
            "drain is pure and names kube::runtime::watcher",
            "drain is pure and names std::time::SystemTime::UNIX_EPOCH",
            "drain is pure and names tokio::spawn",
        ]
    );
    assert_eq!(faults("cluster/nodes.rs", text), [""; 0]);
}

#[test]
fn the_machines_clock_is_read_in_one_place() {
    let text = "fn f() { jiff::Timestamp::now(); clock::now(); Instant::now() }";
    assert_eq!(
        faults("source/sqs.rs", text),
        ["source reads the machine's clock: use clock::now"]
    );
    assert_eq!(faults("clock.rs", text), [""; 0]);
}

#[test]
fn a_module_without_a_row_is_told_what_to_do() {
    let [fault] = &faults("utils.rs", "")[..] else {
        panic!("one fault")
    };
    assert!(fault.contains("give it a row in ARROWS"), "{fault}");
}

#[test]
fn the_table_has_no_circle_and_pure_modules_use_pure_ones_only() {
    for (module, uses) in ARROWS {
        let mut reached = BTreeSet::new();
        reach(module, &mut reached);
        assert!(!reached.contains(module), "{module} uses itself");
        if PURE.contains(module) {
            assert!(uses.iter().all(|m| PURE.contains(m)), "{module}");
        }
    }
}

/// Adds every module that one uses, and what those use.
fn reach(module: &str, reached: &mut BTreeSet<&str>) {
    let (_, uses) = ARROWS.iter().find(|(m, _)| *m == module).unwrap();
    for used in *uses {
        if reached.insert(used) {
            reach(used, reached);
        }
    }
}

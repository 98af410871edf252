//! What may stand next on the command line, as kubectl's shell completion asks for it.
//!
//! kubectl calls `kubectl_complete-nodetermination` with all words behind the plugin's name, the last one being typed, and
//! reads a line for each candidate, a tab before its description, and the directive of cobra in the last line.

use clap::Command as Clap;

use super::args::{self, Connection};

/// The directive: what follows is no file's name (cobra's `ShellCompDirectiveNoFileComp`).
const NO_FILES: &str = ":4\n";
/// The directive: the shell is to complete names of files.
const FILES: &str = ":0\n";

/// A candidate and what it is.
pub type Word = (String, String);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One of these words.
    Words(Vec<Word>),
    /// The name of a node.
    Node,
    /// The name of a node with an open NodeTermination, or that of one.
    Target,
    /// The name of a context of the kubeconfig.
    Context,
    /// The name of a file.
    File,
    /// Anything: nothing can be offered.
    Anything,
}

/// What the last word may be.
#[must_use]
pub fn wanted(words: &[String]) -> Wanted {
    let Some((typed, before)) = words.split_last() else {
        return Wanted::Anything;
    };
    let root = args::command();
    let (mut command, mut named, mut given, mut option) = (&root, false, 0, None);
    for word in before {
        if option.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            option = value_of(command, word);
        } else if !named {
            let Some(found) = command.find_subcommand(word) else {
                return Wanted::Anything;
            };
            (command, named) = (found, true);
        } else {
            given += 1;
        }
    }
    match option {
        Some(option) => value(command, &option),
        None if typed.starts_with('-') => Wanted::Words(options(command)),
        None if !named => Wanted::Words(commands(&root)),
        None if given > 0 => Wanted::Anything,
        None => match command.get_name() {
            "help" => Wanted::Words(commands(&root)),
            "completion" => value(command, "shell"),
            "drain" => Wanted::Node,
            "cancel" | "hold" | "release" | "why" => Wanted::Target,
            _ => Wanted::Anything,
        },
    }
}

/// The option that the word is, if its value is the next word.
fn value_of(command: &Clap, word: &str) -> Option<String> {
    let is = |arg: &&clap::Arg| {
        let long = arg.get_long().is_some_and(|l| word == format!("--{l}"));
        long || arg.get_short().is_some_and(|s| word == format!("-{s}"))
    };
    let arg = command.get_arguments().find(is)?;
    let takes = arg.get_action().takes_values();
    takes.then(|| arg.get_id().to_string())
}

fn value(command: &Clap, id: &str) -> Wanted {
    match id {
        "context" => return Wanted::Context,
        "kubeconfig" => return Wanted::File,
        "node" => return Wanted::Node,
        _ => {}
    }
    let arg = command.get_arguments().find(|a| a.get_id() == id);
    let values = arg.map(clap::Arg::get_possible_values).unwrap_or_default();
    let words: Vec<Word> = values
        .iter()
        .map(|v| {
            let help = v.get_help().map(ToString::to_string);
            (v.get_name().to_owned(), help.unwrap_or_default())
        })
        .collect();
    if words.is_empty() {
        Wanted::Anything
    } else {
        Wanted::Words(words)
    }
}

fn options(command: &Clap) -> Vec<Word> {
    let options = command.get_arguments().filter_map(|arg| {
        let help = arg.get_help().map(ToString::to_string);
        Some((format!("--{}", arg.get_long()?), help.unwrap_or_default()))
    });
    options.collect()
}

fn commands(root: &Clap) -> Vec<Word> {
    let commands = root.get_subcommands().map(|command| {
        let about = command.get_about().map(ToString::to_string);
        (command.get_name().to_owned(), about.unwrap_or_default())
    });
    commands.collect()
}

/// The options of the connection among the words: what is listed is listed there.
#[must_use]
pub fn connection(words: &[String]) -> Connection {
    let said = |name: &str| {
        let long = format!("--{name}");
        let mut values = words.iter().enumerate().filter_map(|(at, word)| {
            let rest = word.strip_prefix(&long)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None if rest.is_empty() => words.get(at + 1).cloned(),
                None => None,
            }
        });
        values.next()
    };
    Connection {
        kubeconfig: said("kubeconfig").map(Into::into),
        context: said("context"),
        cluster: said("cluster"),
        user: said("user"),
        impersonate: said("as"),
        impersonate_groups: said("as-group").into_iter().collect(),
    }
}

/// What kubectl reads: the candidates that begin as what was typed, and the directive.
#[must_use]
pub fn text(words: &[Word], typed: &str, files: bool) -> String {
    let mut text = String::new();
    for (word, what) in words.iter().filter(|(word, _)| word.starts_with(typed)) {
        text.push_str(word);
        if let Some(line) = what.lines().next() {
            text.push('\t');
            text.push_str(line);
        }
        text.push('\n');
    }
    text + if files { FILES } else { NO_FILES }
}

//! What the reader of the policy must know and no field of it can say: the comments above it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The longest line of a comment, in characters.
const WIDTH: usize = 118;
/// The longest name that is quoted from a values file, in characters.
const NAME_MAX: usize = 80;

/// What a note is about; in this order they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The policy does as NTH does, where a new policy would do otherwise.
    Kept,
    /// It was taken over, but means something else here.
    Differs,
    /// It is set somewhere else.
    Elsewhere,
    /// There is nothing like it.
    Nowhere,
    /// NTH itself does not look at it.
    Unread,
    /// It is no setting of NTH.
    Unknown,
}

impl About {
    fn heading(self) -> &'static str {
        match self {
            Self::Kept => "As in NTH, and not the default here:",
            Self::Differs => "Taken over, with a difference:",
            Self::Elsewhere => "Not in a policy:",
            Self::Nowhere => "Without an equivalent:",
            Self::Unread => "Without effect in NTH:",
            Self::Unknown => "Unknown, and left out:",
        }
    }
}

/// All notes about one values file.
#[derive(Clone, Debug, Default)]
pub struct Notes(BTreeMap<(About, String), String>);

impl Notes {
    /// Adds a note about a setting or a field. A second one about the same is joined to the first.
    pub fn add(&mut self, about: About, name: &str, text: &str) {
        let noted = self.0.entry((about, plain(name))).or_default();
        if !noted.is_empty() {
            noted.push_str("; ");
        }
        noted.push_str(&text.replace(char::is_control, " "));
    }

    /// The notes as YAML comments: groups in their order, each sorted by name.
    pub fn comments(&self) -> String {
        let mut text = String::new();
        let mut group = None;
        for ((about, name), note) in &self.0 {
            if group != Some(about) {
                let _ = writeln!(text, "#\n# {}", about.heading());
                group = Some(about);
            }
            wrap(&mut text, &format!("{name}: {note}"));
        }
        text
    }
}

/// A name as one line of a comment can hold it: a values file may have any text for a key.
fn plain(name: &str) -> String {
    let name = name.replace(char::is_control, " ");
    match name.char_indices().nth(NAME_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

fn wrap(text: &mut String, note: &str) {
    let mut line = "# -".to_owned();
    for word in note.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            "#  ".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::{About, Notes};

    #[test]
    fn notes_are_grouped_and_sorted_and_no_line_leaves_the_comment() {
        let mut notes = Notes::default();
        notes.add(About::Unknown, "b\nspec: {}", "what?");
        notes.add(About::Nowhere, "z", &"word ".repeat(60));
        notes.add(About::Nowhere, "a", "one\r\ntwo");
        notes.add(About::Nowhere, "a", "three");
        notes.add(About::Unknown, &"x".repeat(500), "long");
        let text = notes.comments();
        assert!(
            text.lines().all(|l| l.starts_with('#') && l.len() < 125),
            "{text}"
        );
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(at("Without an equivalent:") < at("- a: one two; three"));
        assert!(at("- a: one") < at("- z: word") && at("- z: word") < at("Unknown"));
        assert!(at("- b spec: {}: what?") < at("- xxx"));
    }
}

//! The Markdown files, and their parts.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One Markdown file.
pub struct Document {
    /// Its path in the repository.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// Every Markdown file of the repository, in the order of their names.
pub fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    for folder in [".", "docs", "charts", "manifests", ".github"] {
        find(&root().join(folder), folder != ".", &mut paths);
    }
    paths.sort();
    let documents = paths.into_iter().map(|path| Document {
        text: read(&path),
        name: path.strip_prefix(root()).unwrap().display().to_string(),
    });
    documents.collect()
}

fn find(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && deep {
            find(&path, deep, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path.components().collect());
        }
    }
}

/// A block between two fences.
pub struct Block<'a> {
    /// The word behind the first fence, such as `yaml`; empty if there is none.
    pub language: &'a str,
    /// What stands between them, indented as the fences are.
    pub text: String,
    /// The line of the first fence, from 1.
    pub line: usize,
}

impl Document {
    /// The fenced blocks in their order.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let (mut blocks, mut open) = (Vec::new(), None::<(Block<'_>, usize)>);
        for (number, line) in self.text.lines().enumerate() {
            let bare = line.trim_start();
            let indent = line.len() - bare.len();
            match (&mut open, bare.strip_prefix("```")) {
                (None, Some(language)) => {
                    let block = Block {
                        language,
                        text: String::new(),
                        line: number + 1,
                    };
                    open = Some((block, indent));
                }
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
                (Some((block, indent)), None) => {
                    block.text += line.get(*indent..).unwrap_or_default();
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.name);
        blocks
    }

    /// The lines outside of fences; those within are empty.
    pub fn prose(&self) -> impl Iterator<Item = &str> {
        let mut fenced = false;
        self.text.lines().map(move |line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            if fenced || fence { "" } else { line }
        })
    }

    /// What stands in backticks outside of fences. A backtick too many spoils its own paragraph only.
    pub fn quoted(&self) -> Vec<String> {
        let prose = self.prose().collect::<Vec<_>>().join("\n");
        let paragraphs = prose.split("\n\n");
        let quoted = paragraphs.flat_map(|text| text.split('`').skip(1).step_by(2));
        quoted.map(|text| text.replace('\n', " ")).collect()
    }

    /// The commands that the document shows, each on one line: those of its scripts, and those in backticks or indented.
    pub fn commands(&self) -> Vec<String> {
        let blocks = self.blocks().into_iter();
        let scripts = blocks.filter(|block| ["", "sh"].contains(&block.language));
        let mut text: String = scripts.map(|block| block.text).collect();
        for line in self.prose().filter(|line| line.starts_with("    ")) {
            text += line.trim_start();
            text.push('\n');
        }
        text += &self.quoted().join("\n");
        let joined = text.replace("\\\n", " ");
        let lines = joined.lines().map(|line| line.trim_start_matches("$ "));
        lines.map(|line| line.trim().to_owned()).collect()
    }
}

/// Every document but the history of changes, which also names what there was.
pub fn guide() -> Vec<Document> {
    let all = documents().into_iter();
    all.filter(|document| document.name != "CHANGELOG.md")
        .collect()
}

/// The text of all files below a folder that end so.
pub fn code(folder: &str, endings: &[&str]) -> String {
    let mut paths = Vec::new();
    files(&root().join(folder), &mut paths);
    paths.retain(|path| {
        path.extension()
            .is_some_and(|e| endings.iter().any(|x| e == *x))
    });
    paths.into_iter().map(read).collect()
}

/// All files below a folder.
pub fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        // A link may lead up again.
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The blocks of a language below a heading of a document, up to the next heading of any level.
pub fn section(name: &str, heading: &str, language: &str) -> Vec<String> {
    let text = read(name);
    let lines: Vec<&str> = text.lines().collect();
    let is_heading = |line: &str| line.starts_with('#') && line.contains("# ");
    let document = Document {
        name: name.to_owned(),
        text: text.clone(),
    };
    // A comment of a script looks like a heading: only what stands outside of fences is one.
    let prose: Vec<&str> = document.prose().collect();
    let begins = |line: &&str| is_heading(line) && line.trim_start_matches('#').trim() == heading;
    let start = prose.iter().position(begins);
    let start = start.unwrap_or_else(|| panic!("{name} has no heading {heading}"));
    let rest = prose[start + 1..].iter().position(|line| is_heading(line));
    let end = rest.map_or(lines.len(), |rest| start + 1 + rest);
    let part = Document {
        name: name.to_owned(),
        text: lines[start..end].join("\n"),
    };
    let blocks = part.blocks().into_iter();
    let blocks = blocks.filter(|block| block.language == language);
    blocks.map(|block| block.text).collect()
}

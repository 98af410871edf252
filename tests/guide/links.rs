//! Links.

use crate::text::{Document, documents, root};

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let all = documents();
    let mut checked = 0;
    for document in &all {
        for target in targets(document) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if path.contains("://") || path.starts_with("mailto:") {
                assert!(is_address(target), "{}: {target}", document.name);
                continue;
            }
            let folder = root().join(&document.name);
            let file = match path {
                "" => folder,
                path => folder.parent().unwrap().join(path),
            };
            let file = file.canonicalize();
            let file = file.unwrap_or_else(|e| panic!("{}: {target}: {e}", document.name));
            assert!(file.starts_with(root()), "{}: {target}", document.name);
            let within = file.strip_prefix(root()).unwrap().display().to_string();
            let linked = all.iter().find(|document| document.name == within);
            assert!(
                anchor.is_empty() || linked.is_some_and(|linked| has_anchor(linked, anchor)),
                "{}: {target}: no such heading",
                document.name
            );
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

/// Where the links of a document lead: `[text](target)` and `[name]: target`.
fn targets(document: &Document) -> Vec<&str> {
    let lines: Vec<&str> = document.prose().collect();
    let inline = lines.iter().flat_map(|line| {
        let ends = line.split("](").skip(1);
        ends.map(|rest| rest.split(')').next().unwrap())
    });
    let named = lines.iter().filter_map(|line| {
        let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
        (!name.contains(']')).then(|| target.split(' ').next().unwrap())
    });
    inline.chain(named).collect()
}

/// Whether the address of another site can be one: it is not asked, for tests need no network.
fn is_address(target: &str) -> bool {
    let uri = target.parse::<http::Uri>();
    uri.is_ok_and(|uri| {
        let host = uri.host().unwrap_or_default();
        uri.scheme_str() == Some("https") && host.contains('.') && !host.ends_with('.')
    })
}

/// Whether a document has a heading that forges make this anchor of.
fn has_anchor(document: &Document, anchor: &str) -> bool {
    let headings = document.prose().filter(|line| line.starts_with('#'));
    headings.map(slug).any(|slug| slug == anchor)
}

/// The anchor of a heading: lower case, punctuation left out, spaces as hyphens.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn an_anchor_is_made_as_forges_make_it() {
    assert_eq!(
        slug("## What about `hostNetwork`?"),
        "what-about-hostnetwork"
    );
    assert_eq!(
        slug("# Install: EKS, from nothing"),
        "install-eks-from-nothing"
    );
}

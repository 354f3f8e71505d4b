//! What changes of interfaces ask for: a word in the changelog, and at a release the right version.

use super::listing::{Listing, split};
use std::collections::{BTreeSet, HashSet};

/// What of a crate's changes since the last release is not told, or does not fit the version.
pub(super) fn check(name: &str, version: &str, listing: &Listing, changelog: &str) -> Vec<String> {
    let is_release = listing.version() != version;
    let title = if is_release { version } else { "Unreleased" };
    let notes = notes(changelog, title);
    let told = |line: &str, is_breaking: bool| {
        let of_crate = notes.iter().filter(|note| note.crates.contains(name));
        of_crate.filter(|note| !is_breaking || note.is_breaking).any(|note| note.names(line))
    };
    let breaking = listing.breaking();
    let mut broken = Vec::new();
    if is_release && !suffices(listing.version(), version, !breaking.is_empty()) {
        let what = if breaking.is_empty() { "more" } else { "what breaks others" };
        broken.push(format!(
            "{name}: {version} is too little after {}, for there is {what}",
            listing.version()
        ));
    }
    for line in breaking.iter().filter(|line| !told(line, true)) {
        broken.push(format!(
            "{name}: breaks others and no **breaking ({name}):** in `## {title}` of CHANGELOG.md names it: {line}"
        ));
    }
    let untold: BTreeSet<_> =
        listing.added().into_iter().filter(|line| !told(line, false)).map(owner).collect();
    for path in untold {
        broken.push(format!(
            "{name}: `## {title}` of CHANGELOG.md says nothing of what is new: {path}"
        ));
    }
    broken
}

/// Errors somebody may match on, which then could never get a case more.
pub(super) fn errors_that_cannot_grow(name: &str, shown: &BTreeSet<String>) -> Vec<String> {
    let is_error = |path: &str| {
        shown.iter().map(|line| split(line)).any(|(own, kind)| {
            own == path && kind.contains(&format!(" std::error::Error for {path}"))
        })
    };
    let enums = shown.iter().map(|line| split(line));
    enums
        .filter(|(path, kind)| kind.starts_with("enum") && is_error(path))
        .map(|(path, _)| format!("{name}: the error {path} has to be #[non_exhaustive]"))
        .collect()
}

/// One `**kind (crates):** text` of the changelog.
struct Note {
    is_breaking: bool,
    crates: HashSet<String>,
    words: HashSet<String>,
}

impl Note {
    /// Whether it speaks of the thing of this line, or of what that belongs to.
    fn names(&self, line: &str) -> bool {
        let (path, _) = split(line);
        let mut names = path.rsplit("::");
        let own = names.next().unwrap_or(path);
        let is_type = |name: &&str| name.starts_with(char::is_uppercase);
        [Some(own), names.next().filter(is_type)]
            .into_iter()
            .flatten()
            .any(|name| self.words.contains(name))
    }
}

/// The item that has to be spoken of: a type for its members and implementations.
fn owner(line: &str) -> String {
    let (path, _) = split(line);
    let names: Vec<_> = path.split("::").collect();
    let is_type = |name: &&str| name.starts_with(char::is_uppercase);
    match names.iter().position(is_type) {
        Some(place) => names[..=place].join("::"),
        None => path.to_owned(),
    }
}

/// What a section of the changelog says.
fn notes(changelog: &str, title: &str) -> Vec<Note> {
    let is_title = |line: &str| {
        let rest = line.strip_prefix("## ");
        rest.and_then(|rest| rest.split_whitespace().next()).map(|own| own.trim_matches(['[', ']']))
            == Some(title)
    };
    let mut lines = changelog.lines().skip_while(|line| !is_title(line)).skip(1);
    let section: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("## ")).collect();
    let mut notes = Vec::new();
    for entry in entries(&section) {
        let mut crates = HashSet::new();
        // Every second part is bold.
        let parts: Vec<_> = entry.split("**").collect();
        for pair in parts[1..].chunks(2) {
            let (head, text) = (pair[0], pair.get(1).copied().unwrap_or_default());
            let mut halves = head.splitn(2, '(');
            let kind = halves.next().unwrap_or_default();
            // One that names no crate goes on about those before it.
            if let Some(named) = halves.next() {
                crates = words(named).collect();
            }
            notes.push(Note {
                is_breaking: kind.trim_start().starts_with("breaking"),
                crates: crates.clone(),
                words: text
                    .split(|one: char| !(one.is_alphanumeric() || one == '_'))
                    .map(str::to_owned)
                    .collect(),
            });
        }
    }
    notes
}

/// The points of a list, each as one line.
fn entries(section: &[&str]) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in section {
        match line.strip_prefix("- ") {
            Some(line) => entries.push(line.to_owned()),
            None => {
                if let Some(entry) = entries.last_mut() {
                    entry.push(' ');
                    entry.push_str(line.trim());
                }
            }
        }
    }
    entries
}

/// The names of crates, which have hyphens.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|one: char| !(one.is_alphanumeric() || one == '-' || one == '_')).map(str::to_owned)
}

/// Whether a version may follow another: before 1.0 what breaks others takes the next minor version, from then on the next
/// major one.
fn suffices(before: &str, after: &str, breaks: bool) -> bool {
    let numbers = |version: &str| -> Vec<u64> {
        let release = version.split(['-', '+']).next().unwrap_or_default();
        release.split('.').map(|part| part.parse().unwrap_or_default()).collect()
    };
    let (before, after) = (numbers(before), numbers(after));
    // A prerelease of the next version counts as that version.
    let kept = match before.first() {
        _ if !breaks => return after > before,
        Some(0) => 2,
        _ => 1,
    };
    after.get(..kept) > before.get(..kept)
}

//! The record of one crate: what it showed at the last release, and what changed since.

use anyhow::{Context as _, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// A line against the last release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Kept,
    Added,
    Gone,
}

/// The lines of a crate. In the file two columns come first: blanks, `+ ` or `- `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    version: String,
    lines: BTreeMap<String, Mark>,
}

impl Listing {
    /// What a release shows.
    pub(super) fn of(version: &str, shown: &BTreeSet<String>) -> Self {
        let lines = shown.iter().map(|line| (line.clone(), Mark::Kept)).collect();
        Self { version: version.to_owned(), lines }
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let version = lines
            .next()
            .and_then(|head| head.strip_prefix("# ")?.split(" since ").nth(1))
            .and_then(|rest| rest.split(',').next())
            .context("the first line names no version")?;
        let mut listing = Self { version: version.to_owned(), lines: BTreeMap::new() };
        for line in lines {
            let (mark, line) = match line.split_at_checked(2) {
                Some(("  ", line)) => (Mark::Kept, line),
                Some(("+ ", line)) => (Mark::Added, line),
                Some(("- ", line)) => (Mark::Gone, line),
                _ => bail!("no record: {line}"),
            };
            listing.lines.insert(line.to_owned(), mark);
        }
        Ok(listing)
    }

    pub(super) fn to_text(&self, name: &str) -> String {
        let mut text = format!(
            "# What {name} shows since {}, as `cargo xtask api --write` finds it.\n",
            self.version
        );
        for (line, mark) in &self.lines {
            let mark = match mark {
                Mark::Kept => "  ",
                Mark::Added => "+ ",
                Mark::Gone => "- ",
            };
            let _ = writeln!(text, "{mark}{line}");
        }
        text
    }

    /// Of the last release.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The same release, with what is shown now.
    pub(super) fn updated(&self, shown: &BTreeSet<String>) -> Self {
        let mut lines: BTreeMap<_, _> =
            shown.iter().map(|line| (line.clone(), Mark::Added)).collect();
        for line in self.released() {
            let mark = if shown.contains(line) { Mark::Kept } else { Mark::Gone };
            lines.insert(line.to_owned(), mark);
        }
        Self { version: self.version.clone(), lines }
    }

    fn released(&self) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(|(_, mark)| **mark != Mark::Added);
        lines.map(|(line, _)| line.as_str())
    }

    fn marked(&self, mark: Mark) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |(_, own)| **own == mark);
        lines.map(|(line, _)| line.as_str())
    }

    /// What this record, which is of earlier, does not say: a line for each.
    pub(super) fn told(&self, now: &Self) -> Vec<String> {
        let showed = |one: &Self| -> BTreeSet<String> {
            one.lines
                .iter()
                .filter(|(_, mark)| **mark != Mark::Gone)
                .map(|(line, _)| line.clone())
                .collect()
        };
        let (before, after) = (showed(self), showed(now));
        let gone: Vec<_> = before.difference(&after).collect();
        let mut come: Vec<_> = after.difference(&before).collect();
        let mut told = Vec::new();
        for old in gone {
            match come.iter().position(|new| is_same(old, new)) {
                Some(place) => {
                    let (path, new) = split(come.remove(place));
                    told.push(format!("changed: {path}: {} -> {new}", split(old).1));
                }
                None => told.push(format!("vanished: {old}")),
            }
        }
        told.extend(come.into_iter().map(|line| format!("added: {line}")));
        // Written by hand, or merged: every line is right but for its mark.
        if told.is_empty() && self != now {
            told.push("marked wrongly".to_owned());
        }
        told
    }

    /// The lines since the release that break who depends on the crate.
    pub(super) fn breaking(&self) -> Vec<&str> {
        let eased = |old: &str| self.marked(Mark::Added).any(|new| is_eased(old, new));
        let gone = self.marked(Mark::Gone).filter(|line| !eased(line));
        let demanding = self.marked(Mark::Added).filter(|line| self.demands(line));
        gone.chain(demanding).collect()
    }

    /// The lines since the release that are only more.
    pub(super) fn added(&self) -> Vec<&str> {
        let changes = |new: &str| self.marked(Mark::Gone).any(|old| is_same(old, new));
        self.marked(Mark::Added).filter(|line| !self.demands(line) && !changes(line)).collect()
    }

    /// Whether what was added asks something of code that was there before.
    fn demands(&self, line: &str) -> bool {
        let (path, kind) = split(line);
        let Some((owner, _)) = path.rsplit_once("::") else { return false };
        let is_kind = |wanted: &str| {
            self.released().any(|old| {
                let (path, kind) = split(old);
                path == owner && kind.split([' ', ':', '<', ',']).any(|word| word == wanted)
            })
        };
        let can_grow = |wanted: &str| {
            self.released().any(|old| {
                let (path, kind) = split(old);
                path == owner
                    && kind.starts_with(wanted)
                    && (kind.contains("not made outside") || kind.contains("#[non_exhaustive]"))
            })
        };
        let kind = kind.strip_prefix("#[non_exhaustive] ").unwrap_or(kind);
        match kind.split([' ', '(']).next().unwrap_or_default() {
            // Who implements the trait has to write it.
            "required" => is_kind("trait") && !self.was(path, "provided"),
            // Who matches has to say what then.
            "variant" => is_kind("enum") && !can_grow("#[non_exhaustive]") && !self.was(path, ""),
            // Who writes the struct out has to say it.
            "field" => is_kind("struct") && !can_grow("") && !self.was(path, ""),
            _ => false,
        }
    }

    /// Whether the release had something of this path and kind: its change is told already.
    fn was(&self, path: &str, kind: &str) -> bool {
        self.released().any(|old| split(old).0 == path && split(old).1.starts_with(kind))
    }
}

/// Where, and what.
pub(super) fn split(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or((line, ""))
}

/// Whether two lines are of one thing: types have many implementations, and everything else is there once.
fn is_same(old: &str, new: &str) -> bool {
    let is_impl = |kind: &str| kind.starts_with("impl") || kind.starts_with("derive");
    let ((old, was), (new, is)) = (split(old), split(new));
    old == new && !is_impl(was) && !is_impl(is)
}

/// Whether whoever wrote for the old line can go on with the new one.
fn is_eased(old: &str, new: &str) -> bool {
    let ((old, was), (new, is)) = (split(old), split(new));
    let provided = was.strip_prefix("required").zip(is.strip_prefix("provided"));
    let opened = was.strip_suffix(", not made outside") == Some(is)
        || was.strip_prefix("#[non_exhaustive] ") == Some(is);
    old == new && (opened || provided.is_some_and(|(was, is)| was == is))
}

//! Transactions as nft reads them.

use crate::ruleset::{Chain, Map, Ruleset, Set, TABLE};
use std::{collections::BTreeMap, fmt::Write};

/// One atomic transaction, and what it leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) text: String,
    /// Chains that are empty now and no longer used. The kernel may hold a deleted map element's chain for a moment
    /// (before 6.2), so they are deleted later.
    pub(crate) stale: Vec<String>,
}

impl Transaction {
    /// Replaces whatever the table holds.
    pub(crate) fn full(rules: &Ruleset) -> Self {
        let mut transaction = Self { text: removal(rules), ..Self::default() };
        transaction.line(&format!("add table {}", table(rules)));
        transaction.changes(&Ruleset::new(rules.family), rules);
        transaction
    }

    /// Turns one set of rules into another; empty when they are the same.
    pub(crate) fn between(old: &Ruleset, new: &Ruleset) -> Self {
        let mut transaction = Self::default();
        transaction.changes(old, new);
        transaction
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn changes(&mut self, old: &Ruleset, new: &Ruleset) {
        let table = table(new);
        self.containers(&table, old, new);
        self.elements(&table, old, new, "delete");
        for (name, chain) in &new.chains {
            self.chain(&table, name, old.chains.get(name), chain);
        }
        self.elements(&table, old, new, "add");
        for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
            self.line(&format!("flush chain {table} {name}"));
            self.stale.push(name.clone());
        }
        for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
            self.line(&format!("delete set {table} {name}"));
        }
    }

    /// Sets, maps and chains come first, since rules and elements name them.
    fn containers(&mut self, table: &str, old: &Ruleset, new: &Ruleset) {
        for (name, Set { definition, .. }) in
            new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name))
        {
            self.line(&format!("add set {table} {name} {{ {definition} }}"));
        }
        for (name, Map { definition, .. }) in
            new.maps.iter().filter(|(name, _)| !old.maps.contains_key(*name))
        {
            self.line(&format!("add map {table} {name} {{ {definition} }}"));
        }
        for (name, chain) in new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            let hook = chain.hook.map(|hook| format!(" {{ {hook} }}")).unwrap_or_default();
            self.line(&format!("add chain {table} {name}{hook}"));
        }
    }

    fn chain(&mut self, table: &str, name: &str, old: Option<&Chain>, new: &Chain) {
        if old.is_some_and(|old| old.rules == new.rules) {
            return;
        }
        // Also for a chain that seems new: it may be a stale one that is used again.
        self.line(&format!("flush chain {table} {name}"));
        for rule in &new.rules {
            self.line(&format!("add rule {table} {name} {rule}"));
        }
    }

    fn elements(&mut self, table: &str, old: &Ruleset, new: &Ruleset, action: &str) {
        let (from, to) = if action == "delete" { (old, new) } else { (new, old) };
        for (name, set) in &from.sets {
            // A set that goes takes its elements with it.
            if action == "delete" && !to.sets.contains_key(name) {
                continue;
            }
            let other = to.sets.get(name).map(|set| &set.members);
            let different =
                set.members.iter().filter(|one| !other.is_some_and(|other| other.contains(*one)));
            self.element_lines(action, table, name, different.map(String::as_str));
        }
        let none = BTreeMap::new();
        for (name, map) in &from.maps {
            let other = to.maps.get(name).map_or(&none, |map| &map.verdicts);
            let different =
                map.verdicts.iter().filter(|(key, verdict)| other.get(*key) != Some(verdict));
            let written: Vec<_> = different
                .map(|(key, verdict)| match action {
                    "delete" => key.clone(),
                    _ => format!("{key} : {verdict}"),
                })
                .collect();
            self.element_lines(action, table, name, written.iter().map(String::as_str));
        }
    }

    fn element_lines<'a>(
        &mut self,
        action: &str,
        table: &str,
        container: &str,
        elements: impl Iterator<Item = &'a str>,
    ) {
        let elements: Vec<_> = elements.collect();
        for some in elements.chunks(256) {
            self.line(&format!("{action} element {table} {container} {{ {} }}", some.join(", ")));
        }
    }
}

/// The transaction that deletes chains left behind.
pub(crate) fn deletion(rules: &Ruleset, stale: impl Iterator<Item = impl AsRef<str>>) -> String {
    let table = table(rules);
    let mut text = String::new();
    for name in stale {
        let _ = writeln!(text, "delete chain {table} {}", name.as_ref());
    }
    text
}

/// The transaction that deletes the table, whether it exists or not.
pub(crate) fn removal(rules: &Ruleset) -> String {
    let table = table(rules);
    format!("add table {table}\ndelete table {table}\n")
}

fn table(rules: &Ruleset) -> String {
    format!("{} {TABLE}", rules.family.word())
}

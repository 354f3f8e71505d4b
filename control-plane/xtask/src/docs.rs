//! The check of first pages: each published crate shows a diagram, an example that is compiled, and the contract of every
//! trait that others implement.

use crate::api;
use crate::workspace::{self, Packages};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{fs, path::Path};

/// Whose first page needs no example: what it is of cannot be compiled without the crate that depends on it.
const WITHOUT_EXAMPLE: &[&str] = &["kubeplane-macros"];

/// Fails when the first page of a published crate lacks its diagram, its example or a contract.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = workspace::metadata(Packages::Own)?;
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        // Published nowhere is an empty list.
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let Some(path) = root(package) else { continue };
        let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
        broken.extend(
            lacks(&text, !WITHOUT_EXAMPLE.contains(&name)).map(|what| format!("{path}: {what}")),
        );
        let untold = untold(&text, api::contracts(Path::new(path))?);
        broken.extend(untold.map(|name| format!("{path}: no word below `# Contract` of {name}")));
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("first pages:\n  {}", broken.join("\n  "))
}

/// The first file of a package's library.
fn root(package: &Value) -> Option<&str> {
    let targets = package["targets"].as_array()?;
    let is_library = |target: &&Value| {
        let kinds = target["kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib" || kind == "proc-macro"))
    };
    targets.iter().find(is_library)?["src_path"].as_str()
}

/// What is not there.
fn lacks(text: &str, example: bool) -> impl Iterator<Item = &'static str> {
    let page = text.lines().map_while(|line| line.strip_prefix("//!"));
    let blocks: Vec<_> =
        page.filter_map(|line| line.trim().strip_prefix("```")).step_by(2).collect();
    let diagram = blocks.contains(&"text");
    // What needs another process or a right of root is compiled at least.
    let shown = blocks.iter().any(|words| matches!(*words, "" | "rust" | "no_run"));
    let no_diagram = (!diagram).then_some("no diagram (a block of `text`)");
    let no_example = (example && !shown).then_some("no example that is compiled");
    no_diagram.into_iter().chain(no_example)
}

/// The traits that the first page says nothing of where it tells contracts.
fn untold(text: &str, traits: Vec<String>) -> impl Iterator<Item = String> {
    let page = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let section: String = page
        .skip_while(|line| !matches!(*line, "# Contract" | "# Contracts"))
        .skip(1)
        .take_while(|line| !line.starts_with("# "))
        .collect();
    traits.into_iter().filter(move |path| {
        let name = path.rsplit("::").next().unwrap_or(path);
        !section.contains(&format!("[`{name}`]"))
    })
}

#[cfg(test)]
mod tests {
    use super::{lacks, untold};

    #[test]
    fn contracts_are_told_by_name() {
        let page = "//! A crate, with [`C`].\n//! # Contracts\n//! * [`A`]: never.\n//! # Example\n//! [`B`]\nmod a;";
        let traits = ["A", "b::B", "C"].map(str::to_owned).to_vec();
        assert_eq!(untold(page, traits).collect::<Vec<_>>(), ["b::B", "C"]);
        assert_eq!(untold("//! Nothing.", Vec::new()).count(), 0);
    }

    #[test]
    fn a_page_has_a_diagram_and_an_example() {
        let diagram = "//! A crate.\n//! ```text\n//! a -> b\n//! ```\n";
        let example = "//! ```\n//! a();\n//! ```\n";
        let lacking = |text: &str| lacks(text, true).count();
        assert_eq!(lacking(&[diagram, example].concat()), 0);
        assert_eq!((lacking(diagram), lacking(example), lacking("mod a;")), (1, 1, 2));
        let ignored = "//! ```ignore\n//! a();\n//! ```\n";
        assert_eq!(lacking(&[diagram, ignored].concat()), 1);
        assert_eq!(lacking(&[diagram, "mod a;\n", example].concat()), 1, "it is no first page");
        assert_eq!(lacks(diagram, false).count(), 0);
    }
}

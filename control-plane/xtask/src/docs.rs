//! The check of first pages: each published crate shows a diagram, an example that is compiled, and the contract of every
//! trait that others implement. No example anywhere consists of tests alone: rustdoc compiles without `--test`, so that
//! nothing of them is left.

use crate::api;
use crate::workspace::{self, Packages};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use syn::{Attribute, Block, Expr, Item, Stmt};

/// Whose first page needs no example: what it is of cannot be compiled without the crate that depends on it.
const WITHOUT_EXAMPLE: &[&str] = &["kubeplane-macros"];

/// Fails when the first page of a published crate lacks its diagram, its example or a contract, or an example shows what
/// is neither compiled nor run.
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
        let mut files = Vec::new();
        sources(Path::new(path).parent().context("no folder")?, &mut files)?;
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            broken.extend(fences(text.lines()).filter(Fence::is_left_out).map(|fence| {
                format!("{}:{}: only tests, which rustdoc leaves out", file.display(), fence.line)
            }));
        }
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

/// The files of a library that people write.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("generated") {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// A block of code in the documentation.
struct Fence {
    /// Where it begins, counted from one.
    line: usize,
    /// What it is said to be.
    words: String,
    /// With what a reader does not see.
    code: String,
}

/// What stands between fences in comments that document something.
fn fences<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Fence> {
    let mut all: Vec<Fence> = Vec::new();
    let mut is_open = false;
    for (number, line) in lines.enumerate() {
        let line = line.trim_start();
        let Some(line) = line.strip_prefix("//!").or(line.strip_prefix("///")) else {
            is_open = false;
            continue;
        };
        let line = line.trim();
        if let Some(words) = line.strip_prefix("```") {
            is_open = !is_open;
            if is_open {
                let words = words.trim().to_owned();
                all.push(Fence { line: number + 1, words, code: String::new() });
            }
        } else if is_open && let Some(fence) = all.last_mut() {
            let shown = if line == "#" { "" } else { line.strip_prefix("# ").unwrap_or(line) };
            fence.code.extend([shown, "\n"]);
        }
    }
    all.into_iter()
}

impl Fence {
    /// What needs another process or a right of root is compiled at least.
    fn is_compiled(&self) -> bool {
        matches!(self.words.as_str(), "" | "rust" | "no_run" | "should_panic")
    }

    /// Whether it is to be compiled, and nothing of it is.
    fn is_left_out(&self) -> bool {
        let mut held = Held::default();
        // What does not parse is refused by the compiler.
        if let Ok(block) = syn::parse_str::<Block>(&format!("{{{}}}", self.code)) {
            held.look(&block);
        }
        self.is_compiled() && held.tests && !held.others
    }
}

/// What an example consists of, imports aside.
#[derive(Default)]
struct Held {
    tests: bool,
    others: bool,
}

impl Held {
    fn look(&mut self, block: &Block) {
        for statement in &block.stmts {
            match statement {
                Stmt::Item(Item::Use(_)) => {}
                Stmt::Item(Item::Fn(function)) if function.attrs.iter().any(is_test) => {
                    self.tests = true;
                }
                Stmt::Item(Item::Fn(function)) if function.sig.ident == "main" => {
                    self.look(&function.block);
                }
                Stmt::Expr(Expr::Block(inner), _) => self.look(&inner.block),
                _ => self.others = true,
            }
        }
    }
}

/// `#[test]`, and whatever becomes one, such as `#[tokio::test]`.
fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "test")
}

/// What is not there.
fn lacks(text: &str, example: bool) -> impl Iterator<Item = &'static str> {
    let page = text.lines().take_while(|line| line.starts_with("//!"));
    let fences: Vec<_> = fences(page).collect();
    let diagram = fences.iter().any(|fence| fence.words == "text");
    let shown = fences.iter().any(|fence| fence.is_compiled() && !fence.is_left_out());
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
    use super::{Fence, fences, lacks, untold};

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

    #[test]
    fn an_example_of_nothing_but_tests_is_none() {
        let only = [
            "#[kubeplane::test]\nasync fn it(c: C) {\n    c.go();\n}",
            "use a::B;\n\n#[kubeplane::test(controllers)]\nasync fn it() {}\n#[test]\nfn that() {}",
            "# #[cfg(feature = \"testing\")] {\n#[tokio::test]\nasync fn it() {}\n# }",
            "# fn main() {\n#[tokio::test]\nasync fn it() {}\n# }",
        ];
        let other = [
            "use a::B;",
            "a();",
            "#[tokio::main]\nasync fn main() {\n    a().await;\n}",
            "# fn main() {\n#[test]\nfn it() {}\nit();\n# }",
            "struct A;\n#[test]\nfn it() {}",
            "#![no_std]\n#[test]\nfn it() {}",
        ];
        let page = |code: &str, fence: &str| {
            let lines = code.lines().map(|line| format!("//! {line}\n"));
            format!(
                "//! ```text\n//! a -> b\n//! ```\n//! {fence}\n{}//! ```\n",
                lines.collect::<String>()
            )
        };
        let left_out = |page: &str| fences(page.lines()).filter(Fence::is_left_out).count();
        for code in only {
            let text = page(code, "```");
            assert_eq!((left_out(&text), lacks(&text, true).count()), (1, 1), "{text}");
            assert_eq!(left_out(&page(code, "```ignore")), 0, "nobody takes it for more");
        }
        for code in other {
            let text = page(code, "```");
            assert_eq!((left_out(&text), lacks(&text, true).count()), (0, 0), "{text}");
        }
        let inner =
            "    /// ```\n    /// #[a::test]\n    /// fn it() {}\n    /// ```\n    fn a() {}\n";
        assert_eq!(fences(inner.lines()).map(|fence| fence.line).collect::<Vec<_>>(), [1]);
        assert_eq!(left_out(inner), 1, "also on other pages");
    }
}

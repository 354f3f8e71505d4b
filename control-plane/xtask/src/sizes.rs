//! The size check: files and functions that have grown too large (CONTRIBUTING.md, "Size").

use anyhow::bail;
use std::{fs, path::Path, process::Command};
use syn::{spanned::Spanned, visit::Visit};

const FILE_LIMIT: usize = 800;
/// Of an example that is one file.
const EXAMPLE_LIMIT: usize = 100;
const FILE_NOTE: usize = 500;
const FUNCTION_LIMIT: usize = 100;
const FUNCTION_NOTE: usize = 60;

/// Names what is large; fails on what is too large. Tests and generated code do not count.
pub(crate) fn run(verbose: bool) -> anyhow::Result<()> {
    let listed =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard", "*.rs"]).output()?;
    let mut notes = Vec::new();
    let mut broken = Vec::new();
    for path in String::from_utf8_lossy(&listed.stdout).lines() {
        if !is_exempt(path) && Path::new(path).exists() {
            measure(path, &mut notes, &mut broken)?;
        }
    }
    if verbose {
        eprintln!("large:\n  {}", notes.join("\n  "));
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("size check:\n  {}", broken.join("\n  "))
}

fn is_exempt(path: &str) -> bool {
    path.contains("/generated/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/benches/")
}

fn measure(path: &str, notes: &mut Vec<String>, broken: &mut Vec<String>) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)?;
    let parsed = syn::parse_file(&text)?;
    let tests: usize = parsed.items.iter().map(test_lines).sum();
    let lines = text.lines().count().saturating_sub(tests);
    let is_example = path.strip_prefix("examples/").is_some_and(|name| !name.contains('/'));
    let limit = if is_example { EXAMPLE_LIMIT } else { FILE_LIMIT };
    match lines {
        _ if lines >= limit => broken.push(format!("{path}: {lines} lines (less than {limit})")),
        FILE_NOTE.. => notes.push(format!("{path}: {lines} lines")),
        _ => {}
    }
    let mut functions = Functions { path, notes, broken };
    functions.visit_file(&parsed);
    Ok(())
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

fn test_lines(item: &syn::Item) -> usize {
    match item {
        syn::Item::Mod(module) if is_test(&module.attrs) => lines_of(module),
        _ => 0,
    }
}

fn lines_of(node: &impl Spanned) -> usize {
    let span = node.span();
    span.end().line + 1 - span.start().line
}

struct Functions<'a> {
    path: &'a str,
    notes: &'a mut Vec<String>,
    broken: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, name: &syn::Ident, node: &impl Spanned) {
        let lines = lines_of(node);
        let row = format!("{}: fn {name} has {lines} lines", self.path);
        match lines {
            FUNCTION_LIMIT.. => self.broken.push(format!("{row} (at most {FUNCTION_LIMIT})")),
            FUNCTION_NOTE.. => self.notes.push(row),
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

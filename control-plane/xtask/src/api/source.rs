//! The modules of a crate, as they are written.

use anyhow::Context as _;
use proc_macro2::{TokenStream, TokenTree};
use std::path::{Path, PathBuf};
use syn::{Attribute, Expr, ImplItem, Item, ItemImpl, TraitItem, TraitItemFn, UseTree, Visibility};

/// Every module; the first is the crate's root.
pub(super) struct Source {
    pub(super) modules: Vec<Module>,
}

/// What one module holds, tests left out.
#[derive(Default)]
pub(super) struct Module {
    /// From the root, which has none.
    pub(super) path: Vec<String>,
    pub(super) is_generated: bool,
    pub(super) items: Vec<Named>,
    pub(super) imports: Vec<Import>,
    /// What `use a::*` names.
    pub(super) globs: Vec<Import>,
    pub(super) impls: Vec<ItemImpl>,
}

/// An item that has a name.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) is_public: bool,
    pub(super) what: What,
}

pub(super) enum What {
    Item(Box<Item>),
    /// The module of this number.
    Module(usize),
    /// A macro of the same file makes it; the call.
    Made(String),
}

/// One name that `use` brings.
#[derive(Debug)]
pub(super) struct Import {
    /// Under which it is known here; empty for `*`.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) is_public: bool,
}

/// Reads a file; `None` where there is none.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl Source {
    /// Reads a crate from its first file on.
    pub(super) fn read(root: &Path, read: Read<'_>) -> anyhow::Result<Self> {
        let mut source = Self { modules: Vec::new() };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        source.file(root, Vec::new(), folder, read)?;
        Ok(source)
    }

    fn file(
        &mut self,
        file: &Path,
        path: Vec<String>,
        folder: PathBuf,
        read: Read<'_>,
    ) -> anyhow::Result<usize> {
        let is_generated = file.parent().is_some_and(|parent| parent.ends_with("generated"));
        // Large, and nobody looks into it.
        let items = if is_generated {
            Vec::new()
        } else {
            let text = read(file).with_context(|| format!("{} is not there", file.display()))?;
            syn::parse_file(&text).with_context(|| file.display().to_string())?.items
        };
        let number = self.module(path, items, folder, read)?;
        self.modules[number].is_generated = is_generated;
        Ok(number)
    }

    /// `folder` is where its submodules stand.
    fn module(
        &mut self,
        path: Vec<String>,
        items: Vec<Item>,
        folder: PathBuf,
        read: Read<'_>,
    ) -> anyhow::Result<usize> {
        let number = self.modules.len();
        self.modules.push(Module { path: path.clone(), ..Module::default() });
        for item in items {
            match item {
                item if is_left_out(attributes(&item)) => {}
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let below: Vec<_> = path.iter().cloned().chain([name.clone()]).collect();
                    let within = folder.join(&name);
                    let child = match module.content {
                        Some((_, items)) => self.module(below, items, within, read)?,
                        None => {
                            let file = folder.join(format!("{name}.rs"));
                            self.file(&file, below, within, read)?
                        }
                    };
                    let is_public = is_public(&module.vis);
                    let what = What::Module(child);
                    self.modules[number].items.push(Named { name, is_public, what });
                }
                Item::Use(one) => {
                    let is_public = is_public(&one.vis);
                    self.modules[number].import(&one.tree, Vec::new(), is_public);
                }
                Item::Impl(mut block) => {
                    block.items.iter_mut().for_each(empty_method);
                    self.modules[number].impls.push(block);
                }
                item => self.modules[number].items.extend(named(emptied(item))),
            }
        }
        Ok(number)
    }
}

impl Module {
    fn import(&mut self, tree: &UseTree, mut path: Vec<String>, is_public: bool) {
        match tree {
            UseTree::Path(one) => {
                path.push(one.ident.to_string());
                self.import(&one.tree, path, is_public);
            }
            UseTree::Group(group) => {
                for one in &group.items {
                    self.import(one, path.clone(), is_public);
                }
            }
            UseTree::Name(one) => {
                // `use a::{self}` brings `a`.
                if one.ident != "self" {
                    path.push(one.ident.to_string());
                }
                let name = path.last().cloned().unwrap_or_default();
                self.imports.push(Import { name, path, is_public });
            }
            UseTree::Rename(one) => {
                if one.ident != "self" {
                    path.push(one.ident.to_string());
                }
                self.imports.push(Import { name: one.rename.to_string(), path, is_public });
            }
            UseTree::Glob(_) => self.globs.push(Import { name: String::new(), path, is_public }),
        }
    }
}

/// The item without what it does: that is shown to nobody.
fn emptied(mut item: Item) -> Item {
    match &mut item {
        Item::Fn(one) => one.block.stmts.clear(),
        Item::Const(one) => *one.expr = Expr::Verbatim(TokenStream::new()),
        Item::Static(one) => *one.expr = Expr::Verbatim(TokenStream::new()),
        Item::Trait(one) => {
            for own in &mut one.items {
                if let TraitItem::Fn(TraitItemFn { default: Some(block), .. }) = own {
                    block.stmts.clear();
                }
            }
        }
        _ => {}
    }
    item
}

fn empty_method(item: &mut ImplItem) {
    match item {
        ImplItem::Fn(one) => one.block.stmts.clear(),
        ImplItem::Const(one) => one.expr = Expr::Verbatim(TokenStream::new()),
        _ => {}
    }
}

fn named(item: Item) -> Option<Named> {
    let (name, visibility) = match &item {
        Item::Const(one) => (&one.ident, &one.vis),
        Item::Enum(one) => (&one.ident, &one.vis),
        Item::Fn(one) => (&one.sig.ident, &one.vis),
        Item::Static(one) => (&one.ident, &one.vis),
        Item::Struct(one) => (&one.ident, &one.vis),
        Item::Trait(one) => (&one.ident, &one.vis),
        Item::Type(one) => (&one.ident, &one.vis),
        Item::Union(one) => (&one.ident, &one.vis),
        Item::Macro(one) => return made(one),
        _ => return None,
    };
    let (name, is_public) = (name.to_string(), is_public(visibility));
    Some(Named { name, is_public, what: What::Item(Box::new(item)) })
}

/// An exported macro, or what a call of one makes: the first name in it.
fn made(item: &syn::ItemMacro) -> Option<Named> {
    if let Some(name) = &item.ident {
        let is_public = item.attrs.iter().any(|one| one.path().is_ident("macro_export"));
        let what = What::Item(Box::new(Item::Macro(item.clone())));
        return Some(Named { name: name.to_string(), is_public, what });
    }
    let call = without_docs(item.mac.tokens.clone());
    let name = call.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    })?;
    let by = item.mac.path.segments.last()?.ident.to_string();
    let what = What::Made(format!("made by {by}!({})", super::text::of(call)));
    Some(Named { name, is_public: true, what })
}

/// The tokens without attributes.
fn without_docs(tokens: TokenStream) -> TokenStream {
    let mut rest = tokens.into_iter().peekable();
    let mut kept = Vec::new();
    while let Some(token) = rest.next() {
        let is_mark = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#');
        if is_mark && matches!(rest.peek(), Some(TokenTree::Group(_))) {
            rest.next();
        } else {
            kept.push(token);
        }
    }
    kept.into_iter().collect()
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether this is of tests, or hidden and so no part of what is promised.
pub(super) fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Ok(list) = attribute.meta.require_list() else { return false };
        let words: Vec<_> = list.tokens.to_string().split(' ').map(str::to_owned).collect();
        let has = |word: &str| words.iter().any(|one| one.trim_matches(['(', ')', ',']) == word);
        let of_tests = list.path.is_ident("cfg") && (words == ["test"] || is_all_with_test(list));
        of_tests || list.path.is_ident("doc") && has("hidden")
    })
}

/// `all(test, …)`.
fn is_all_with_test(list: &syn::MetaList) -> bool {
    let text: String = list.tokens.to_string().split_whitespace().collect();
    text.starts_with("all(test,")
        || text.starts_with("all(") && (text.contains(",test,") || text.ends_with(",test)"))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(one) => &one.attrs,
        Item::Enum(one) => &one.attrs,
        Item::Fn(one) => &one.attrs,
        Item::Impl(one) => &one.attrs,
        Item::Macro(one) => &one.attrs,
        Item::Mod(one) => &one.attrs,
        Item::Static(one) => &one.attrs,
        Item::Struct(one) => &one.attrs,
        Item::Trait(one) => &one.attrs,
        Item::Type(one) => &one.attrs,
        Item::Union(one) => &one.attrs,
        Item::Use(one) => &one.attrs,
        _ => &[],
    }
}

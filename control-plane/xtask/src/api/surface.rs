//! What a crate shows, a line each: where it is, and what.
//!
//! ```text
//!   Store: trait: Send + Sync
//!   Store::get: required async fn(&self, &Key) -> Result<Option<Entry>>
//!   Error: #[non_exhaustive] enum
//!   Error: impl std::error::Error for Error
//! ```

use super::{
    names::{Names, Shown, Target},
    source::{Named, Source, What, is_left_out, is_public},
    text,
};
use quote::ToTokens as _;
use std::collections::BTreeSet;
use syn::{
    Attribute, Fields, FnArg, GenericParam, Generics, ImplItem, Item, ReturnType, Signature,
    TraitItem, Type, visit_mut::VisitMut as _,
};

/// The lines of a crate, sorted.
pub(super) fn lines(source: &Source, is_macros: bool) -> anyhow::Result<BTreeSet<String>> {
    let (names, shown) = Names::of(source)?;
    let mut surface = Surface { source, names: &names, lines: BTreeSet::new() };
    for one in &shown {
        surface.shown(one, is_macros);
    }
    for (module, one) in source.modules.iter().enumerate() {
        if one.is_generated {
            continue;
        }
        for item in &one.items {
            surface.exported(item);
        }
        for block in &one.impls {
            surface.block(module, block.clone());
        }
    }
    Ok(surface.lines)
}

struct Surface<'a> {
    source: &'a Source,
    names: &'a Names<'a>,
    lines: BTreeSet<String>,
}

impl Surface<'_> {
    fn say(&mut self, path: &str, what: impl AsRef<str>) {
        self.lines.insert(format!("{path}: {}", what.as_ref()));
    }

    fn shown(&mut self, one: &Shown, is_macros: bool) {
        let path = one.path.as_str();
        match (&one.target, &one.again) {
            (_, Some(again)) if again == path => {}
            (_, Some(again)) => self.say(path, format!("use {again}")),
            (Target::Outside(from), None) => self.say(path, format!("use {}", from.join("::"))),
            (Target::Module(module), None) => {
                let is_generated = self.source.modules[*module].is_generated;
                self.say(path, if is_generated { "mod, generated" } else { "mod" });
            }
            (Target::Item(module, place), None) => {
                match &self.source.modules[*module].items[*place].what {
                    What::Item(item) if is_macros => self.macros(path, item),
                    What::Item(item) => {
                        let mut item = item.clone();
                        self.names.rewrite(*module).visit_item_mut(&mut item);
                        self.item(path, *module, &item);
                    }
                    What::Made(call) => self.say(path, call),
                    What::Module(_) => {}
                }
            }
        }
    }

    /// A crate of macros shows nothing else.
    fn macros(&mut self, path: &str, item: &Item) {
        let Item::Fn(function) = item else { return };
        for attribute in &function.attrs {
            match attribute.path().to_token_stream().to_string().as_str() {
                "proc_macro_attribute" => self.say(path, "attribute macro"),
                "proc_macro" => self.say(path, "macro"),
                "proc_macro_derive" => self.say(path, "derive macro"),
                _ => {}
            }
        }
    }

    /// Macros for others stand at the root.
    fn exported(&mut self, item: &Named) {
        if let What::Item(one) = &item.what
            && matches!(**one, Item::Macro(_))
            && item.is_public
        {
            self.say(&item.name, "macro");
        }
    }

    fn item(&mut self, path: &str, module: usize, item: &Item) {
        match item {
            Item::Const(one) => self.say(path, format!("const {}", text::of(&one.ty))),
            Item::Static(one) => self.say(path, format!("static {}", text::of(&one.ty))),
            Item::Type(one) => {
                let kind = format!("type{} = {}", generics(&one.generics), text::of(&one.ty));
                self.say(path, kind);
            }
            Item::Fn(one) => self.say(path, signature(&one.sig)),
            Item::Struct(one) => {
                let is_open = one.fields.iter().all(|field| is_public(&field.vis));
                let closed =
                    if is_open && !is_growing(&one.attrs) { "" } else { ", not made outside" };
                let kind = format!("struct{}{closed}", generics(&one.generics));
                self.say(path, marked(&one.attrs, &kind));
                self.fields(path, &one.fields);
                self.derives(path, module, &one.attrs, &one.generics);
            }
            Item::Enum(one) => {
                self.say(path, marked(&one.attrs, &format!("enum{}", generics(&one.generics))));
                for variant in one.variants.iter().filter(|one| !is_left_out(&one.attrs)) {
                    let kind = marked(&variant.attrs, &format!("variant{}", held(&variant.fields)));
                    self.say(&format!("{path}::{}", variant.ident), kind);
                    self.conversion(path, &variant.fields);
                }
                self.derives(path, module, &one.attrs, &one.generics);
            }
            Item::Union(one) => self.say(path, format!("union{}", generics(&one.generics))),
            Item::Trait(one) => self.contract(path, one),
            _ => {}
        }
    }

    fn fields(&mut self, path: &str, fields: &Fields) {
        for (place, field) in fields.iter().enumerate() {
            if is_public(&field.vis) && !is_left_out(&field.attrs) {
                let name = field.ident.as_ref().map_or(place.to_string(), ToString::to_string);
                self.say(&format!("{path}::{name}"), format!("field {}", text::of(&field.ty)));
            }
        }
    }

    /// `#[from]`, as thiserror reads it.
    fn conversion(&mut self, path: &str, fields: &Fields) {
        let is_from = |one: &&syn::Field| one.attrs.iter().any(|own| own.path().is_ident("from"));
        if let Some(field) = fields.iter().find(is_from) {
            self.say(path, format!("impl From<{}> for {path}", text::of(&field.ty)));
        }
    }

    fn derives(&mut self, path: &str, module: usize, attributes: &[Attribute], with: &Generics) {
        let by = if with.params.is_empty() { "impl" } else { "derive" };
        for attribute in attributes.iter().filter(|one| one.path().is_ident("derive")) {
            let _ = attribute.parse_nested_meta(|derived| {
                let mut written = derived.path;
                self.names.rewrite(module).visit_path_mut(&mut written);
                for name in derived_traits(&text::of(&written)) {
                    self.say(path, format!("{by} {name} for {path}"));
                }
                Ok(())
            });
        }
    }

    fn contract(&mut self, path: &str, one: &syn::ItemTrait) {
        let is_async = one.attrs.iter().any(|attribute| {
            attribute.path().segments.last().is_some_and(|last| last.ident == "async_trait")
        });
        let bounds = match one.supertraits.is_empty() {
            true => String::new(),
            false => format!(": {}", text::of(&one.supertraits)),
        };
        let boxed = if is_async { "#[async_trait] " } else { "" };
        self.say(path, format!("{boxed}trait{}{bounds}", generics(&one.generics)));
        for item in &one.items {
            match item {
                TraitItem::Fn(method) if !is_left_out(&method.attrs) => {
                    let duty = if method.default.is_some() { "provided" } else { "required" };
                    let kind = format!("{duty} {}", signature(&method.sig));
                    self.say(&format!("{path}::{}", method.sig.ident), kind);
                }
                TraitItem::Type(own) => {
                    let duty = if own.default.is_some() { "provided" } else { "required" };
                    let kind = format!("{duty} type: {}", text::of(&own.bounds));
                    self.say(&format!("{path}::{}", own.ident), kind.trim_end_matches(": "));
                }
                TraitItem::Const(own) => {
                    let duty = if own.default.is_some() { "provided" } else { "required" };
                    let kind = format!("{duty} const {}", text::of(&own.ty));
                    self.say(&format!("{path}::{}", own.ident), kind);
                }
                _ => {}
            }
        }
    }

    /// What belongs to a type, wherever in the crate it is written.
    fn block(&mut self, module: usize, mut block: syn::ItemImpl) {
        block.attrs.clear();
        if self.is_hidden(module, &block.self_ty) {
            return;
        }
        let own = self.owner(module, &block.self_ty).or_else(|| self.told_about(module, &block));
        let contract = block.trait_.as_ref().map(|(_, path, _)| self.visible(module, path));
        self.names.rewrite(module).visit_item_impl_mut(&mut block);
        match (contract, own) {
            (None, Some(path)) => self.methods(&path, &block),
            // A trait that cannot be named cannot be used either.
            (Some(None), _) | (None, None) => {}
            (Some(Some(own_trait)), path) => {
                let Some(path) = path.or(own_trait) else { return };
                self.implemented(&path, &block);
            }
        }
    }

    /// The public path of the type something is implemented for; `None` if it is of others, or hidden.
    fn owner(&self, module: usize, own: &Type) -> Option<String> {
        match own {
            Type::Path(one) => self.public(module, &one.path),
            Type::Reference(one) => self.owner(module, &one.elem),
            _ => None,
        }
    }

    /// Of `impl From<Ours> for Theirs`, ours.
    fn told_about(&self, module: usize, block: &syn::ItemImpl) -> Option<String> {
        let (_, contract, _) = block.trait_.as_ref()?;
        let syn::PathArguments::AngleBracketed(list) = &contract.segments.last()?.arguments else {
            return None;
        };
        list.args.iter().find_map(|argument| match argument {
            syn::GenericArgument::Type(own) => self.owner(module, own),
            _ => None,
        })
    }

    /// Whether the type is one of this crate's that nobody outside can name.
    fn is_hidden(&self, module: usize, own: &Type) -> bool {
        let Type::Path(one) = own else { return false };
        let found = self.names.resolve(module, &written(&one.path), None);
        let is_ours = |target: &Target| matches!(target, Target::Item(..));
        let ours = || found.iter().map(|(target, _)| target).filter(|target| is_ours(target));
        ours().next().is_some() && ours().all(|target| self.names.public(target).is_none())
    }

    fn public(&self, module: usize, path: &syn::Path) -> Option<String> {
        let found = self.names.resolve(module, &written(path), None);
        found.iter().find_map(|(target, _)| self.names.public(target)).map(str::to_owned)
    }

    /// Whether a trait can be named from outside, and where if it is of this crate.
    fn visible(&self, module: usize, path: &syn::Path) -> Option<Option<String>> {
        let found = self.names.resolve(module, &written(path), None);
        let is_ours = found.iter().any(|(target, _)| matches!(target, Target::Item(..)));
        match self.public(module, path) {
            Some(path) => Some(Some(path)),
            None if is_ours => None,
            None => Some(None),
        }
    }

    fn methods(&mut self, path: &str, block: &syn::ItemImpl) {
        let within = match block.generics.params.is_empty() {
            true => String::new(),
            false => format!(", of impl{} {}", generics(&block.generics), text::of(&block.self_ty)),
        };
        for item in &block.items {
            match item {
                ImplItem::Fn(one) if is_public(&one.vis) && !is_left_out(&one.attrs) => {
                    let kind = format!("{}{within}", signature(&one.sig));
                    self.say(&format!("{path}::{}", one.sig.ident), kind);
                }
                ImplItem::Const(one) if is_public(&one.vis) && !is_left_out(&one.attrs) => {
                    let kind = format!("const {}{within}", text::of(&one.ty));
                    self.say(&format!("{path}::{}", one.ident), kind);
                }
                _ => {}
            }
        }
    }

    fn implemented(&mut self, path: &str, block: &syn::ItemImpl) {
        let Some((negative, contract, _)) = &block.trait_ else { return };
        let not = if negative.is_some() { "!" } else { "" };
        let mut kind = format!(
            "impl{} {not}{} for {}",
            generics(&block.generics),
            text::of(contract),
            text::of(&block.self_ty)
        );
        for item in &block.items {
            if let ImplItem::Type(own) = item {
                kind.push_str(&format!(", {} = {}", own.ident, text::of(&own.ty)));
            }
        }
        self.say(path, kind);
    }
}

fn written(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|one| one.ident.to_string()).collect()
}

/// What a derive implements.
fn derived_traits(name: &str) -> Vec<&str> {
    match name {
        "Error" | "thiserror::Error" => vec!["std::error::Error", "Display"],
        name => vec![name],
    }
}

fn is_growing(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| one.path().is_ident("non_exhaustive"))
}

fn marked(attributes: &[Attribute], kind: &str) -> String {
    format!("{}{kind}", if is_growing(attributes) { "#[non_exhaustive] " } else { "" })
}

/// With its bounds and conditions.
fn generics(generics: &Generics) -> String {
    let mut generics = generics.clone();
    for parameter in &mut generics.params {
        match parameter {
            GenericParam::Type(one) => one.attrs.clear(),
            GenericParam::Lifetime(one) => one.attrs.clear(),
            GenericParam::Const(one) => one.attrs.clear(),
        }
    }
    let conditions = generics.where_clause.take();
    let own = text::of(&generics);
    match conditions.filter(|one| !one.predicates.is_empty()) {
        Some(conditions) => format!("{own} {}", text::of(&conditions)),
        None => own,
    }
}

/// What a variant holds.
fn held(fields: &Fields) -> String {
    let kind = |field: &syn::Field| text::of(&field.ty);
    match fields {
        Fields::Unit => String::new(),
        Fields::Unnamed(fields) => {
            format!("({})", fields.unnamed.iter().map(kind).collect::<Vec<_>>().join(", "))
        }
        Fields::Named(fields) => {
            let one = |field: &syn::Field| {
                let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{name}: {}", kind(field))
            };
            format!(" {{{}}}", fields.named.iter().map(one).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Without the names of what is passed: they are nobody's concern outside.
fn signature(signature: &Signature) -> String {
    let words = [
        signature.constness.map(|_| "const "),
        signature.asyncness.map(|_| "async "),
        signature.unsafety.map(|_| "unsafe "),
    ];
    let passed: Vec<_> = signature.inputs.iter().map(passed).collect();
    let mut own = signature.generics.clone();
    let conditions = own.where_clause.take();
    let answer = match &signature.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, kind) => format!(" -> {}", text::of(kind)),
    };
    let conditions = conditions
        .filter(|one| !one.predicates.is_empty())
        .map(|one| format!(" {}", text::of(&one)))
        .unwrap_or_default();
    let words: String = words.into_iter().flatten().collect();
    format!("{words}fn{}({}){answer}{conditions}", generics(&own), passed.join(", "))
}

fn passed(argument: &FnArg) -> String {
    match argument {
        FnArg::Typed(one) => text::of(&one.ty),
        FnArg::Receiver(one) => {
            let mut own = one.clone();
            own.attrs.clear();
            // `mut self` is a matter of the body.
            if own.reference.is_none() {
                own.mutability = None;
            }
            if own.colon_token.is_none() {
                return match (&own.reference, &own.mutability) {
                    (None, _) => "self".to_owned(),
                    (Some(_), mutability) => {
                        let life =
                            own.lifetime().map(|life| format!("{life} ")).unwrap_or_default();
                        format!("&{life}{}self", if mutability.is_some() { "mut " } else { "" })
                    }
                };
            }
            format!("self: {}", text::of(&own.ty))
        }
    }
}

//! What a path means: where in the crate it leads, or out of it.

use super::source::{Import, Source, What};
use std::collections::{HashMap, HashSet};
use syn::visit_mut::VisitMut;

/// How often an import may lead to another.
const DEPTH: usize = 16;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// The item of this number in the module of that.
    Item(usize, usize),
    Module(usize),
    /// To another crate.
    Outside(Vec<String>),
}

/// The paths by which a crate's user reaches its items.
pub(super) struct Names<'a> {
    source: &'a Source,
    public: HashMap<Target, String>,
}

/// One way to an item.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) path: String,
    pub(super) target: Target,
    /// The path under which it is listed, if that is another.
    pub(super) again: Option<String>,
}

impl<'a> Names<'a> {
    /// Goes through what can be reached from the root, the shortest path first.
    pub(super) fn of(source: &'a Source) -> anyhow::Result<(Self, Vec<Shown>)> {
        let mut names = Self { source, public: HashMap::new() };
        let mut shown = Vec::new();
        let mut waiting = std::collections::VecDeque::from([(0, String::new())]);
        while let Some((number, path)) = waiting.pop_front() {
            let below = |name: &str| match path.as_str() {
                "" => name.to_owned(),
                path => format!("{path}::{name}"),
            };
            for (name, target) in names.exports(number)? {
                let path = below(&name);
                let again = names.public.get(&target).cloned();
                match (&target, &again) {
                    (Target::Module(child), None) => {
                        names.public.insert(target.clone(), path.clone());
                        if !source.modules[*child].is_generated {
                            waiting.push_back((*child, path.clone()));
                        }
                    }
                    (Target::Item(..), None) => {
                        names.public.insert(target.clone(), path.clone());
                    }
                    _ => {}
                }
                shown.push(Shown { path, target, again });
            }
        }
        Ok((names, shown))
    }

    /// What a module shows.
    fn exports(&self, number: usize) -> anyhow::Result<Vec<(String, Target)>> {
        let module = &self.source.modules[number];
        let mut found = Vec::new();
        for (place, item) in module.items.iter().enumerate() {
            // Exported macros stand at the root, wherever they are written.
            let is_macro =
                matches!(&item.what, What::Item(one) if matches!(**one, syn::Item::Macro(_)));
            if item.is_public && !is_macro {
                let target = match item.what {
                    What::Module(child) => Target::Module(child),
                    _ => Target::Item(number, place),
                };
                found.push((item.name.clone(), target));
            }
        }
        for import in module.imports.iter().filter(|import| import.is_public) {
            let targets = self.resolve(number, &import.path, Some(import));
            found.extend(targets.into_iter().map(|(target, _)| (import.name.clone(), target)));
        }
        if let Some(glob) = module.globs.iter().find(|glob| glob.is_public) {
            anyhow::bail!(
                "`pub use {}::*` hides what is shown: name the items",
                glob.path.join("::")
            );
        }
        Ok(found)
    }

    /// Everything of this name, with what of the path is left behind an item.
    pub(super) fn resolve(
        &self,
        module: usize,
        path: &[String],
        asking: Option<&Import>,
    ) -> Vec<(Target, Vec<String>)> {
        self.lead(module, path, asking, DEPTH)
    }

    fn lead(
        &self,
        module: usize,
        path: &[String],
        asking: Option<&Import>,
        depth: usize,
    ) -> Vec<(Target, Vec<String>)> {
        let (Some(first), Some(depth)) = (path.first(), depth.checked_sub(1)) else {
            return Vec::new();
        };
        let rest = &path[1..];
        let starts = match first.as_str() {
            "crate" => vec![Target::Module(0)],
            "self" => vec![Target::Module(module)],
            "super" => self.parent(module).map(Target::Module).into_iter().collect(),
            name => {
                let found = self.named(module, name, asking, depth);
                if found.is_empty() { vec![Target::Outside(vec![name.to_owned()])] } else { found }
            }
        };
        let on = |start| self.follow(start, rest, depth);
        let mut seen = HashSet::new();
        let found: Vec<_> = starts.into_iter().flat_map(on).collect();
        found.into_iter().filter(|one| seen.insert(one.clone())).collect()
    }

    fn follow(&self, start: Target, rest: &[String], depth: usize) -> Vec<(Target, Vec<String>)> {
        match (start, rest) {
            (Target::Module(module), [name, rest @ ..]) if name == "super" => {
                let parent = self.parent(module).map(Target::Module);
                parent.map(|parent| self.follow(parent, rest, depth)).unwrap_or_default()
            }
            (Target::Module(module), [name, rest @ ..]) => {
                let found = self.named(module, name, None, depth).into_iter();
                found.flat_map(|next| self.follow(next, rest, depth)).collect()
            }
            (Target::Outside(mut path), rest) => {
                path.extend_from_slice(rest);
                vec![(Target::Outside(path), Vec::new())]
            }
            (target, rest) => vec![(target, rest.to_vec())],
        }
    }

    /// What a name is inside a module.
    fn named(
        &self,
        module: usize,
        name: &str,
        asking: Option<&Import>,
        depth: usize,
    ) -> Vec<Target> {
        let own = &self.source.modules[module];
        let items = own.items.iter().enumerate().filter(|(_, item)| item.name == name);
        let mut found: Vec<_> = items
            .map(|(place, item)| match item.what {
                What::Module(child) => Target::Module(child),
                _ => Target::Item(module, place),
            })
            .collect();
        let is_asking = |import: &Import| asking.is_some_and(|one| std::ptr::eq(one, import));
        for import in &own.imports {
            if import.name == name && !is_asking(import) {
                let led = self.lead(module, &import.path, Some(import), depth);
                // An item behind an item is a variant: what it belongs to has to do.
                found.extend(led.into_iter().map(|(target, _)| target));
            }
        }
        if found.is_empty() {
            for glob in &own.globs {
                for (target, _) in self.lead(module, &glob.path, Some(glob), depth) {
                    if let Target::Module(from) = target
                        && from != module
                    {
                        found.extend(self.named(from, name, None, depth.saturating_sub(1)));
                    }
                }
            }
        }
        found
    }

    fn parent(&self, module: usize) -> Option<usize> {
        let path = &self.source.modules[module].path;
        let (_, parent) = path.split_last()?;
        self.source.modules.iter().position(|one| one.path == parent)
    }

    /// The path of what a path of the sources means, as a user of the crate writes it.
    pub(super) fn spelled(&self, module: usize, path: &[String]) -> Option<Vec<String>> {
        let mut found = self.resolve(module, path, None);
        // Of several the one that is a type: functions stand in no signature.
        let place = found.iter().position(|(target, _)| self.is_type(target)).unwrap_or(0);
        if found.is_empty() {
            return None;
        }
        let (target, rest) = found.swap_remove(place);
        let mut spelled = match &target {
            Target::Outside(path) => short(path),
            target => match self.public.get(target) {
                Some(path) => path.split("::").map(str::to_owned).collect(),
                None => self.hidden(target),
            },
        };
        spelled.extend(rest);
        Some(spelled)
    }

    /// The public path of an item, if it has one.
    pub(super) fn public(&self, target: &Target) -> Option<&str> {
        self.public.get(target).map(String::as_str)
    }

    fn is_type(&self, target: &Target) -> bool {
        match target {
            Target::Item(module, place) => match &self.source.modules[*module].items[*place].what {
                What::Item(item) => {
                    use syn::Item::{Enum, Struct, Trait, Type, Union};
                    matches!(**item, Enum(_) | Struct(_) | Trait(_) | Type(_) | Union(_))
                }
                What::Made(_) => true,
                What::Module(_) => false,
            },
            _ => false,
        }
    }

    fn hidden(&self, target: &Target) -> Vec<String> {
        let (module, name) = match target {
            Target::Item(module, place) => {
                (*module, Some(self.source.modules[*module].items[*place].name.clone()))
            }
            Target::Module(module) => (*module, None),
            Target::Outside(path) => return path.clone(),
        };
        let start = ["crate".to_owned()];
        start.iter().chain(&self.source.modules[module].path).cloned().chain(name).collect()
    }

    /// The same syntax with paths as users write them.
    pub(super) fn rewrite(&self, module: usize) -> Rewrite<'_> {
        Rewrite { names: self, module }
    }
}

/// What is of the standard library is known by its last name, but for names that others have, too.
fn short(path: &[String]) -> Vec<String> {
    let is_standard = path
        .first()
        .is_some_and(|first| path.len() > 1 && matches!(first.as_str(), "std" | "core" | "alloc"));
    match path {
        [_, rest @ .., last] if is_standard && !matches!(last.as_str(), "Error" | "Result") => {
            // Associated constants and the like need their type.
            let is_of_type = rest.last().is_some_and(|one| one.starts_with(char::is_uppercase));
            let from = if is_of_type { rest.len() } else { rest.len() + 1 };
            path[from..].to_vec()
        }
        [_, rest @ ..] if is_standard => {
            ["std".to_owned()].into_iter().chain(rest.iter().cloned()).collect()
        }
        path => path.to_vec(),
    }
}

/// Writes paths out.
pub(super) struct Rewrite<'a> {
    names: &'a Names<'a>,
    module: usize,
}

impl VisitMut for Rewrite<'_> {
    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        syn::visit_mut::visit_path_mut(self, path);
        let written: Vec<_> = path.segments.iter().map(|one| one.ident.to_string()).collect();
        if written.first().is_some_and(|first| first == "Self") {
            return;
        }
        let spelled = if path.leading_colon.is_some() {
            Some(short(&written))
        } else {
            self.names.spelled(self.module, &written)
        };
        let Some(spelled) = spelled.filter(|spelled| *spelled != written) else { return };
        // Arguments stand behind the last names, of which there are as many as before or fewer.
        let arguments: Vec<_> =
            path.segments.iter().rev().map(|one| one.arguments.clone()).collect();
        path.leading_colon = None;
        path.segments = spelled
            .iter()
            .enumerate()
            .map(|(place, name)| syn::PathSegment {
                ident: identifier(name),
                arguments: arguments
                    .get(spelled.len() - 1 - place)
                    .cloned()
                    .unwrap_or(syn::PathArguments::None),
            })
            .collect();
    }

    /// `<T as Trait>::Name`: only the trait is looked up.
    fn visit_type_path_mut(&mut self, path: &mut syn::TypePath) {
        let Some(own) = path.qself.as_mut() else {
            return self.visit_path_mut(&mut path.path);
        };
        self.visit_type_mut(&mut own.ty);
        let mut segments: Vec<_> = path.path.segments.iter().cloned().collect();
        let rest = segments.split_off(own.position.min(segments.len()));
        let mut named = syn::Path {
            leading_colon: path.path.leading_colon.take(),
            segments: segments.into_iter().collect(),
        };
        if !named.segments.is_empty() {
            self.visit_path_mut(&mut named);
        }
        own.position = named.segments.len();
        path.path.segments = named.segments.into_iter().chain(rest).collect();
    }

    fn visit_attribute_mut(&mut self, _: &mut syn::Attribute) {}
}

fn identifier(name: &str) -> syn::Ident {
    let here = proc_macro2::Span::call_site();
    match name.strip_prefix("r#") {
        Some(raw) => syn::Ident::new_raw(raw, here),
        None => syn::Ident::new(name, here),
    }
}

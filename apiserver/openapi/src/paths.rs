//! The REST paths of a group version.

use crate::{
    operations::{Action, Target},
    parameters,
    schemas::{list_name, open_name, subresource_name},
};
use kubeplane_core::{
    Definition, GroupVersion,
    definition::{Subresource, Verb},
    schema::SchemaRef,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// All paths of these kinds, which are of one group version.
pub(crate) fn of_version(
    version: &GroupVersion,
    definitions: &[Arc<Definition>],
) -> Map<String, Value> {
    let mut paths = Map::new();
    for definition in definitions {
        let root = Root::new(version, definition);
        root.collections(&mut paths);
        root.item(&mut paths);
        for subresource in &definition.subresources {
            root.subresource(subresource, &mut paths);
        }
    }
    paths
}

struct Root<'a> {
    definition: &'a Definition,
    base: String,
    words: String,
    tag: String,
}

impl<'a> Root<'a> {
    fn new(version: &GroupVersion, definition: &'a Definition) -> Self {
        let base = match &*version.group {
            "" => format!("/api/{}", version.version),
            group => format!("/apis/{group}/{}", version.version),
        };
        let group = words(&version.group);
        let words = format!("{group}{}", capital(&version.version));
        let mut tag = format!("{group}_{}", version.version);
        tag[..1].make_ascii_lowercase();
        Self { definition, base, words, tag }
    }

    fn target(&self) -> Target<'a> {
        let kind = &self.definition.kind;
        Target {
            kind,
            schema: Some(open_name(self.definition)),
            list: list_name(self.definition),
            id: format!("{}{}{}", self.words, self.scope(), kind.kind),
            tag: self.tag.clone(),
            builtin: matches!(self.definition.schema, SchemaRef::Static(_)),
            noun: kind.kind.to_string(),
        }
    }

    fn scope(&self) -> &'static str {
        if self.definition.is_namespaced() { "Namespaced" } else { "" }
    }

    fn collection(&self) -> String {
        let plural = &self.definition.plural;
        match self.definition.is_namespaced() {
            true => format!("{}/namespaces/{{namespace}}/{plural}", self.base),
            false => format!("{}/{plural}", self.base),
        }
    }

    fn can(&self, verb: Verb) -> bool {
        self.definition.verbs.contains(&verb)
    }

    fn collections(&self, paths: &mut Map<String, Value>) {
        let target = self.target();
        let mut item = Map::new();
        if self.can(Verb::List) {
            item.insert("get".into(), target.operation(Action::List, &target.id));
        }
        if self.can(Verb::Create) {
            item.insert("post".into(), target.operation(Action::Post, &target.id));
        }
        if self.can(Verb::DeleteCollection) {
            let id = format!("{}Collection{}{}", self.words, self.scope(), target.kind.kind);
            item.insert("delete".into(), target.operation(Action::DeleteCollection, &id));
        }
        self.insert(paths, self.collection(), item, false);
        let list_id = format!("{}List", target.id);
        if self.can(Verb::Watch) {
            let watch = [("get".to_owned(), target.operation(Action::WatchList, &list_id))];
            let path = self.watched(&self.collection());
            self.insert(paths, path, watch.into_iter().collect(), true);
        }
        if !self.definition.is_namespaced() || !self.can(Verb::List) {
            return;
        }
        let everywhere = format!("{}/{}", self.base, self.definition.plural);
        let id = format!("{}{}ForAllNamespaces", self.words, target.kind.kind);
        let list = [("get".to_owned(), target.operation(Action::ListEverywhere, &id))];
        self.insert(paths, everywhere.clone(), list.into_iter().collect(), false);
        if self.can(Verb::Watch) {
            let id = format!("{}{}ListForAllNamespaces", self.words, target.kind.kind);
            let watch = [("get".to_owned(), target.operation(Action::WatchList, &id))];
            self.insert(paths, self.watched(&everywhere), watch.into_iter().collect(), true);
        }
    }

    fn item(&self, paths: &mut Map<String, Value>) {
        let target = self.target();
        let path = format!("{}/{{name}}", self.collection());
        let mut item = Map::new();
        for (verb, method, action) in [
            (Verb::Get, "get", Action::Get),
            (Verb::Update, "put", Action::Put),
            (Verb::Patch, "patch", Action::Patch),
            (Verb::Delete, "delete", Action::Delete),
        ] {
            if self.can(verb) {
                item.insert(method.into(), target.operation(action, &target.id));
            }
        }
        self.insert(paths, path.clone(), item, false);
        if self.can(Verb::Watch) {
            let watch = [("get".to_owned(), target.operation(Action::Watch, &target.id))];
            self.insert(paths, self.watched(&path), watch.into_iter().collect(), true);
        }
    }

    fn subresource(&self, subresource: &Subresource, paths: &mut Map<String, Value>) {
        let connects = ["ExecOptions", "AttachOptions", "PortForwardOptions", "ProxyOptions"]
            .iter()
            .any(|suffix| subresource.kind.kind.ends_with(suffix));
        let mut target = self.target();
        target.kind = &subresource.kind;
        target.schema = match &*subresource.name {
            "log" => None,
            _ => subresource_name(self.definition, subresource),
        };
        target.id.push_str(&capital(&subresource.name));
        target.noun =
            format!("{} of the specified {}", subresource.name, self.definition.kind.kind);
        let mut item = Map::new();
        for (verb, method, action) in [
            (Verb::Get, "get", Action::Get),
            (Verb::Create, "post", Action::Post),
            (Verb::Update, "put", Action::Put),
            (Verb::Patch, "patch", Action::Patch),
            (Verb::Delete, "delete", Action::Delete),
        ] {
            if !subresource.verbs.contains(&verb) {
                continue;
            }
            let operation = if connects {
                target.operation(Action::Connect, &format!("{}{}", capital(method), target.id))
            } else {
                target.operation(action, &target.id)
            };
            item.insert(method.into(), operation);
        }
        let path = format!("{}/{{name}}/{}", self.collection(), subresource.name);
        self.insert(paths, path, item, false);
    }

    fn watched(&self, path: &str) -> String {
        format!("{}/watch{}", self.base, &path[self.base.len()..])
    }

    fn insert(
        &self,
        paths: &mut Map<String, Value>,
        path: String,
        mut item: Map<String, Value>,
        watch: bool,
    ) {
        if item.is_empty() {
            return;
        }
        let mut parameters = Vec::new();
        if path.contains("{name}") {
            let text = format!("name of the {}", self.definition.kind.kind);
            parameters.push(parameters::in_path("name", &text));
        }
        if path.contains("{namespace}") {
            parameters
                .push(parameters::in_path("namespace", "the namespace of the object or objects"));
        }
        parameters.push(parameters::pretty());
        if watch {
            parameters.extend(parameters::query(parameters::Query::List));
        }
        item.insert("parameters".into(), json!(parameters));
        paths.insert(path, item.into());
    }
}

/// A group in operation ids: `core`, `apps`, `rbac.authorization` run together in capitals.
fn words(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    group.trim_end_matches(".k8s.io").split(['.', '-']).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

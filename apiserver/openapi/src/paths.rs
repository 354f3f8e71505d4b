//! The REST paths of a group version.

use crate::{
    beside,
    operations::{Action, Target},
    parameters::{self, Query},
    schemas::{list_name, open_name, subresource_name},
};
use kubeplane_core::{
    Definition, GroupVersion,
    definition::{Subresource, Verb},
    schema::SchemaRef,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What is done to one object or a part of it.
const METHODS: [(Verb, &str, Action); 5] = [
    (Verb::Get, "get", Action::Get),
    (Verb::Create, "post", Action::Post),
    (Verb::Update, "put", Action::Put),
    (Verb::Patch, "patch", Action::Patch),
    (Verb::Delete, "delete", Action::Delete),
];

/// All paths of these kinds, which are of one group version.
pub(crate) fn of_version(
    version: &GroupVersion,
    definitions: &[Arc<Definition>],
) -> Map<String, Value> {
    let mut paths = Map::new();
    let group = words(&version.group);
    let resources = beside::Get {
        tag: &tag(version),
        id: &format!("get{group}{}APIResources", capital(&version.version)),
        text: "what is served of this group version",
        schema: "APIResourceList",
    };
    paths.insert(format!("{}/", base(version)), resources.item());
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
        let words = format!("{}{}", words(&version.group), capital(&version.version));
        Self { definition, base: base(version), words, tag: tag(version) }
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
        self.insert(paths, self.collection(), item, Vec::new());
        let list_id = format!("{}List", target.id);
        if self.can(Verb::Watch) {
            let watch = [("get".to_owned(), target.operation(Action::WatchList, &list_id))];
            let path = self.watched(&self.collection());
            self.insert(paths, path, watch.into_iter().collect(), parameters::query(Query::List));
        }
        if !self.definition.is_namespaced() || !self.can(Verb::List) {
            return;
        }
        let everywhere = format!("{}/{}", self.base, self.definition.plural);
        let id = format!("{}{}ForAllNamespaces", self.words, target.kind.kind);
        let list = [("get".to_owned(), target.operation(Action::ListEverywhere, &id))];
        self.insert(paths, everywhere.clone(), list.into_iter().collect(), Vec::new());
        if self.can(Verb::Watch) {
            let id = format!("{}{}ListForAllNamespaces", self.words, target.kind.kind);
            let watch = [("get".to_owned(), target.operation(Action::WatchList, &id))];
            let options = parameters::query(Query::List);
            self.insert(paths, self.watched(&everywhere), watch.into_iter().collect(), options);
        }
    }

    fn item(&self, paths: &mut Map<String, Value>) {
        let target = self.target();
        let path = format!("{}/{{name}}", self.collection());
        let mut item = Map::new();
        for (verb, method, action) in METHODS {
            if verb != Verb::Create && self.can(verb) {
                item.insert(method.into(), target.operation(action, &target.id));
            }
        }
        self.insert(paths, path.clone(), item, Vec::new());
        if self.can(Verb::Watch) {
            let watch = [("get".to_owned(), target.operation(Action::Watch, &target.id))];
            let options = parameters::query(Query::List);
            self.insert(paths, self.watched(&path), watch.into_iter().collect(), options);
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
        if connects {
            self.connections(subresource, &target, paths);
            return;
        }
        let mut item = Map::new();
        for (verb, method, action) in METHODS {
            if subresource.verbs.contains(&verb) {
                item.insert(method.into(), target.operation(action, &target.id));
            }
        }
        let path = format!("{}/{{name}}/{}", self.collection(), subresource.name);
        let options = if subresource.name == "log" { "PodLogOptions" } else { "" };
        self.insert(paths, path, item, parameters::of_options(options));
    }

    /// Connections; those of proxies also to what is behind them.
    fn connections(
        &self,
        subresource: &Subresource,
        target: &Target<'_>,
        paths: &mut Map<String, Value>,
    ) {
        let proxies = subresource.name == "proxy";
        let listed = METHODS.iter().filter(|(verb, ..)| subresource.verbs.contains(verb));
        let more = ["head", "options"].into_iter().filter(|_| proxies);
        let methods: Vec<_> = listed.map(|(_, method, _)| *method).chain(more).collect();
        let path = format!("{}/{{name}}/{}", self.collection(), subresource.name);
        let what = capital(&subresource.name);
        let what = format!("{}{}{what}", self.scope(), self.definition.kind.kind);
        for (below, suffix) in [("", ""), ("/{path}", "WithPath")] {
            if !below.is_empty() && !proxies {
                continue;
            }
            let operation = |method: &&str| {
                let id = format!("{}{}{what}{suffix}", self.words, capital(method));
                ((*method).to_owned(), target.operation(Action::Connect, &id))
            };
            let item = methods.iter().map(operation).collect();
            let options = parameters::of_options(&subresource.kind.kind);
            self.insert(paths, format!("{path}{below}"), item, options);
        }
    }

    fn watched(&self, path: &str) -> String {
        format!("{}/watch{}", self.base, &path[self.base.len()..])
    }

    fn insert(
        &self,
        paths: &mut Map<String, Value>,
        path: String,
        mut item: Map<String, Value>,
        more: Vec<Value>,
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
        if path.contains("{path}") {
            parameters.push(parameters::in_path("path", "the path behind the proxy"));
        }
        if !item.values().any(|operation| operation["x-kubernetes-action"] == "connect") {
            parameters.push(parameters::pretty());
        }
        parameters.extend(more);
        item.insert("parameters".into(), json!(parameters));
        paths.insert(path, item.into());
    }
}

/// What all paths of a group version begin with.
fn base(version: &GroupVersion) -> String {
    match &*version.group {
        "" => format!("/api/{}", version.version),
        group => format!("/apis/{group}/{}", version.version),
    }
}

fn tag(version: &GroupVersion) -> String {
    format!("{}_{}", group_tag(&version.group), version.version)
}

/// The tag of a group: `core`, `rbacAuthorization`.
pub(crate) fn group_tag(group: &str) -> String {
    let mut tag = words(group);
    tag[..1].make_ascii_lowercase();
    tag
}

/// A group in operation ids: `core`, `apps`, `rbac.authorization` run together in capitals.
pub(crate) fn words(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    group.trim_end_matches(".k8s.io").split(['.', '-']).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

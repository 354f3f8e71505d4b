//! A kind as one row of constants.

use crate::{metadata, storage};
use kubeplane_core::{
    Definition, GroupVersionKind, Scope, Strategy,
    definition::{Column, Form, Subresource, Verb},
    schema::{Kind, Schema, SchemaRef},
};
use std::{borrow::Cow, sync::Arc};

/// What a definition holds, in the short form the kinds are written in.
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) scope: Scope,
    pub(crate) short: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) verbs: &'static [Verb],
    /// Names, with `+` before those of `-o wide` and the type behind a colon where it is no string.
    pub(crate) columns: &'static [&'static str],
    pub(crate) parts: &'static [Part],
    pub(crate) fields: &'static [&'static str],
    pub(crate) create_on_update: bool,
    pub(crate) unconditional_update: bool,
    pub(crate) ttl_seconds: Option<u64>,
}

/// A subresource in the short form.
pub(crate) enum Part {
    /// `status`, read, patched and updated.
    Status,
    /// Another part of the object with these verbs.
    Of(&'static str, &'static [Verb]),
    /// Scale over `spec.replicas` and `status.replicas`, with a selector at this path.
    Scale(&'static str),
    /// Served by a handler: name, group, version, kind, verbs.
    Handler(&'static str, &'static str, &'static str, &'static str, &'static [Verb]),
}

pub(crate) const CREATE: &[Verb] = &[Verb::Create];
pub(crate) const READ_PATCH_UPDATE: &[Verb] = &[Verb::Get, Verb::Patch, Verb::Update];
pub(crate) const PROXY: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];

impl Row {
    /// A namespaced kind with all verbs.
    pub(crate) const NAMESPACED: Self = Self {
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        scope: Scope::Namespaced,
        short: &[],
        categories: &[],
        verbs: Verb::ALL,
        columns: &["Name", "Age"],
        parts: &[],
        fields: &[],
        create_on_update: false,
        unconditional_update: true,
        ttl_seconds: None,
    };

    /// A kind of the cluster with all verbs.
    pub(crate) const CLUSTER: Self = Self { scope: Scope::Cluster, ..Self::NAMESPACED };

    pub(crate) fn define(&self, strategy: impl Strategy) -> Definition {
        self.defined(Arc::new(strategy))
    }

    fn defined(&self, strategy: Arc<dyn Strategy>) -> Definition {
        let kind = GroupVersionKind::new(self.group, self.version, self.kind);
        Definition {
            plural: self.plural.into(),
            singular: self.kind.to_lowercase().into(),
            list_kind: format!("{}List", self.kind).into(),
            scope: self.scope,
            short_names: texts(self.short),
            categories: texts(self.categories),
            verbs: self.verbs.into(),
            subresources: self.parts.iter().map(|part| self.part(part)).collect(),
            schema: schema(&kind),
            columns: self.columns.iter().map(|text| column(text)).collect(),
            selectable_fields: texts(self.fields),
            storage_version: self.version.into(),
            storage_path: storage::path(self.group, self.plural).map(Into::into),
            create_on_update: self.create_on_update,
            unconditional_update: self.unconditional_update,
            ttl_seconds: self.ttl_seconds,
            metadata: metadata::rules(self.group, self.plural),
            strategy,
            kind,
        }
    }

    fn part(&self, part: &Part) -> Subresource {
        let own = GroupVersionKind::new(self.group, self.version, self.kind);
        match *part {
            Part::Status => subresource("status", own, READ_PATCH_UPDATE, Form::Part),
            Part::Of(name, verbs) => subresource(name, own, verbs, Form::Part),
            Part::Scale(selector) => {
                let form = Form::Scale {
                    spec_replicas: "spec.replicas".into(),
                    status_replicas: "status.replicas".into(),
                    selector: Some(selector.into()),
                };
                subresource(
                    "scale",
                    GroupVersionKind::new("autoscaling", "v1", "Scale"),
                    READ_PATCH_UPDATE,
                    form,
                )
            }
            Part::Handler(name, group, version, kind, verbs) => {
                subresource(name, GroupVersionKind::new(group, version, kind), verbs, Form::Handler)
            }
        }
    }
}

fn subresource(
    name: &'static str,
    kind: GroupVersionKind,
    verbs: &'static [Verb],
    form: Form,
) -> Subresource {
    Subresource { name: name.into(), kind, verbs: verbs.into(), form }
}

fn texts(list: &[&'static str]) -> Vec<Cow<'static, str>> {
    list.iter().map(|text| Cow::Borrowed(*text)).collect()
}

fn column(text: &'static str) -> Column {
    let (text, priority) = text.strip_prefix('+').map_or((text, 0), |rest| (rest, 1));
    let (name, kind) = text.split_once(':').unwrap_or((text, "string"));
    let format = if name == "Name" { "name" } else { "" };
    Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        description: description(name).into(),
        priority,
    }
}

fn description(name: &'static str) -> &'static str {
    match name {
        "Name" => "The name, unique among objects of the kind in the namespace.",
        "Age" | "Created At" => "When the object was made.",
        "Ready" => "How many are ready, out of how many there are to be.",
        "Status" => "The state as a whole.",
        "Selector" | "Pod-Selector" => "Which pods belong to it.",
        "Containers" => "The names of the containers.",
        "Images" => "The images of the containers.",
        "Desired" => "How many there are to be.",
        "Current" => "How many there are.",
        other => other,
    }
}

/// The generated table of the kind; anything at all where the tables know no such type.
pub(crate) fn schema(kind: &GroupVersionKind) -> SchemaRef {
    static ANY: Schema = Schema::anonymous(Kind::Any);
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    let name = format!("io.k8s.api.{group}.{}.{}", kind.version, kind.kind);
    kubeplane_core::schema::builtin(&name).unwrap_or(SchemaRef::Static(&ANY))
}

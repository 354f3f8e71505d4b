//! A kind: a [`Definition`] of plain data and a [`Strategy`] of hooks. Handlers know no kind.

mod metadata;
mod strategy;

pub use metadata::{MetadataChecks, MetadataRules, NameRule, StatusMetadata};
pub use strategy::{Context, Converter, Deletion, Strategy};

use crate::{
    GroupKind, GroupResource, GroupVersion, GroupVersionKind, Object,
    schema::{self, SchemaRef},
    status::ApiResult,
};
use std::{borrow::Cow, sync::Arc};

type Text = Cow<'static, str>;

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster as a whole.
    Cluster,
}

/// What can be done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// POST.
    Create,
    /// DELETE of one.
    Delete,
    /// DELETE of many.
    DeleteCollection,
    /// GET of one.
    Get,
    /// GET of many.
    List,
    /// PATCH.
    Patch,
    /// PUT.
    Update,
    /// GET with `watch=true`.
    Watch,
}

impl Verb {
    /// All of them, in the order discovery prints them.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];

    /// As in requests and discovery.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }
}

/// A column of the table form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: Text,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: Text,
    /// `name` for the name column; mostly empty.
    pub format: Text,
    /// What it shows.
    pub description: Text,
    /// Zero for columns always shown, more for `-o wide`.
    pub priority: i32,
}

impl Column {
    /// The name, which every table begins with.
    #[must_use]
    pub fn name() -> Self {
        Self { format: "name".into(), ..Self::new("Name", "string", "Name of the object") }
    }

    /// A column that is always shown.
    #[must_use]
    pub fn new(name: impl Into<Text>, kind: impl Into<Text>, description: impl Into<Text>) -> Self {
        let (name, kind, description) = (name.into(), kind.into(), description.into());
        Self { name, kind, format: "".into(), description, priority: 0 }
    }
}

/// A subresource that is a part of the object itself or a view of it.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// Its name, as in `status`.
    pub name: Text,
    /// What is read and written through it, as in `autoscaling/v1, Kind=Scale`.
    pub kind: GroupVersionKind,
    /// What can be done with it.
    pub verbs: Cow<'static, [Verb]>,
    /// How it is served.
    pub form: Form,
}

/// How a subresource is served.
#[derive(Debug, Clone)]
pub enum Form {
    /// A write that changes only `status` (or what the strategy keeps for this subresource).
    Part,
    /// An `autoscaling/v1` Scale; the paths are dotted, as in `spec.replicas`.
    Scale {
        /// Where the wanted count stands.
        spec_replicas: Text,
        /// Where the counted count stands.
        status_replicas: Text,
        /// Where the selector stands, as text or as a LabelSelector.
        selector: Option<Text>,
    },
    /// By a handler of its own that the API server registers under this resource and name.
    Handler,
}

/// A kind as data.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// The plural, lower-case name, as in paths.
    pub plural: Text,
    /// The singular, lower-case name.
    pub singular: Text,
    /// The kind of a list, as in `PodList`.
    pub list_kind: Text,
    /// Where objects live.
    pub scope: Scope,
    /// Short names for command lines.
    pub short_names: Vec<Text>,
    /// Categories, as in `all`.
    pub categories: Vec<Text>,
    /// What can be done with it.
    pub verbs: Cow<'static, [Verb]>,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// The shape of its objects.
    pub schema: SchemaRef,
    /// The columns of its table form.
    pub columns: Vec<Column>,
    /// The fields a field selector may name, beside `metadata.name` and `metadata.namespace`. Dotted.
    pub selectable_fields: Vec<Text>,
    /// The version objects are stored in; versions of one resource share a store prefix.
    pub storage_version: Text,
    /// Where objects are kept below the store's root, as in `services/specs`; `None` for `group/plural`.
    pub storage_path: Option<Text>,
    /// An object's name may be chosen by a PUT that finds none.
    pub create_on_update: bool,
    /// A PUT without `resourceVersion` replaces whatever is stored.
    pub unconditional_update: bool,
    /// Dropped from the store this many seconds after each write, as events are; `None` for never.
    pub ttl_seconds: Option<u64>,
    /// How the kind's own rules look at metadata.
    pub metadata: MetadataRules,
    /// The hooks.
    pub strategy: Arc<dyn Strategy>,
}

impl Definition {
    /// A kind in namespaces, with all verbs, a shape of anything at all, no subresources and a name as its only column.
    /// Whatever differs is set on it.
    #[must_use]
    pub fn new(
        kind: GroupVersionKind,
        plural: impl Into<Text>,
        strategy: Arc<dyn Strategy>,
    ) -> Self {
        Self {
            plural: plural.into(),
            singular: kind.kind.to_lowercase().into(),
            list_kind: format!("{}List", kind.kind).into(),
            scope: Scope::Namespaced,
            short_names: Vec::new(),
            categories: Vec::new(),
            verbs: Cow::Borrowed(Verb::ALL),
            subresources: Vec::new(),
            schema: schema::of_object(Vec::new(), true),
            columns: vec![Column::name()],
            selectable_fields: Vec::new(),
            storage_version: kind.version.clone(),
            storage_path: None,
            create_on_update: false,
            unconditional_update: false,
            ttl_seconds: None,
            metadata: MetadataRules::OTHER,
            strategy,
            kind,
        }
    }

    /// Group and version.
    #[must_use]
    pub fn group_version(&self) -> GroupVersion {
        self.kind.group_version()
    }

    /// Group and kind.
    #[must_use]
    pub fn group_kind(&self) -> GroupKind {
        self.kind.group_kind()
    }

    /// Group and plural name.
    #[must_use]
    pub fn resource(&self) -> GroupResource {
        GroupResource { group: self.kind.group.clone(), resource: self.plural.clone() }
    }

    /// The subresource of this name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Where objects are kept below the store's root, as in `services/specs` or `example.com/widgets`.
    #[must_use]
    pub fn storage_path(&self) -> Text {
        match &self.storage_path {
            Some(path) => path.clone(),
            None if self.kind.group.is_empty() => self.plural.clone(),
            None => format!("{}/{}", self.kind.group, self.plural).into(),
        }
    }

    /// Objects of any version of this resource in another of its versions, by the [`Converter`] where there is one.
    ///
    /// # Errors
    /// What the converter says.
    pub async fn converted(
        &self,
        objects: Vec<Object>,
        to: &GroupVersion,
    ) -> ApiResult<Vec<Object>> {
        let mut converted = match self.strategy.converter() {
            Some(converter) => converter.convert(objects, to).await?,
            None => objects.into_iter().map(|object| self.strategy.convert(object, to)).collect(),
        };
        let version = to.to_string();
        for object in &mut converted {
            object.set(&["apiVersion"], version.as_str());
        }
        Ok(converted)
    }

    /// Whether objects live in namespaces.
    #[must_use]
    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

//! A kind: a [`Definition`] of plain data and a [`Strategy`] of hooks. Handlers know no kind.

use crate::{
    GroupKind, GroupResource, GroupVersion, GroupVersionKind, Object,
    admission::Warnings,
    apply::Filter,
    auth::UserInfo,
    features::Features,
    field,
    schema::{self, SchemaRef},
    status::ApiResult,
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::{borrow::Cow, fmt::Debug, sync::Arc};

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

/// How a kind's own rules look at metadata, after those of all kinds have. What they find once more is told once
/// more, as the original does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataRules {
    /// Metadata of a new object is checked with the rest of it. Otherwise names may be anything that can stand in a
    /// path, and are looked at only when the rest is right.
    pub own: bool,
    /// Finalizers must be the system's or name a domain.
    pub qualified_finalizers: bool,
    /// Checks of an update of the whole.
    pub update: MetadataChecks,
    /// Checks of an update of the status, and of other parts that are no spec.
    pub status: MetadataChecks,
    /// What a write of the status does with metadata.
    pub in_status: StatusMetadata,
}

/// How often metadata is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataChecks {
    /// As that of a new object.
    pub whole: u8,
    /// As a change.
    pub change: u8,
}

/// What a write of the status does with metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMetadata {
    /// Changes it.
    Changes,
    /// Changes all but these fields.
    Keeps(&'static [&'static str]),
    /// Keeps it.
    Fixed,
    /// Changes it, and nobody comes to own the change.
    Unowned,
}

impl MetadataRules {
    /// Those of most kinds of the core: an update is checked once more, as a change.
    pub const CORE: Self = Self {
        own: true,
        qualified_finalizers: true,
        update: MetadataChecks { whole: 0, change: 1 },
        status: MetadataChecks { whole: 0, change: 1 },
        in_status: StatusMetadata::Changes,
    };

    /// Those of kinds from elsewhere.
    pub const OTHER: Self = Self { qualified_finalizers: false, ..Self::CORE };

    /// With this many checks of an update of the whole: as of a new object, and as a change.
    #[must_use]
    pub const fn update(self, whole: u8, change: u8) -> Self {
        Self { update: MetadataChecks { whole, change }, ..self }
    }

    /// With this many checks of an update of the status: as of a new object, and as a change.
    #[must_use]
    pub const fn status(self, whole: u8, change: u8) -> Self {
        Self { status: MetadataChecks { whole, change }, ..self }
    }

    /// The checks of an update of this subresource, or of the whole.
    #[must_use]
    pub fn checks(&self, subresource: &str) -> MetadataChecks {
        match subresource {
            "status" | "approval" | "finalize" => self.status,
            _ => self.update,
        }
    }
}

/// What a hook may know of the write it is part of.
#[derive(Debug)]
pub struct Context<'a> {
    /// The wall time of the request.
    pub now: Timestamp,
    /// Who writes.
    pub user: &'a UserInfo,
    /// The subresource written, or the empty text.
    pub subresource: &'a str,
    /// Warnings to the client.
    pub warnings: &'a Warnings,
    /// The gates of the cluster.
    pub features: &'a Features,
}

/// How an object is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// At once (finalizers still hold it).
    Immediate,
    /// After this many seconds, by whoever runs it.
    Graceful {
        /// The seconds.
        seconds: i64,
    },
}

/// The hooks of a kind.
///
/// # Contract
/// Hooks are pure: same input, same output, no I/O. The handlers do what is the same for all kinds:
/// metadata (name, uid, timestamps, generation steps asked for here, managed fields), the check that
/// the subresource changes only its part, optimistic concurrency. Order of a create: decode against the
/// schema, `default`, `prepare_create`, mutating admission (and `default` again), `validate`, validating
/// admission, store. Order of an update: the same with `prepare_update` and `validate_update` (which runs
/// after the handler's own checks of metadata).
pub trait Strategy: Debug + Send + Sync + 'static {
    /// Fills in what the user left out; runs on every write and on objects read from older versions.
    fn default(&self, _object: &mut Object) {}

    /// Clears what a creator may not set (status, mostly) and sets the generation.
    fn prepare_create(&self, _context: &Context<'_>, _object: &mut Object) {}

    /// Keeps what an updater may not change, by copying it from `old`, and steps the generation. For a
    /// write to a subresource (named in the context) it keeps all but the subresource's part.
    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Object, _old: &Object) {}

    /// Checks an object about to be created. Metadata is checked by the handler, names by [`name_rule`](Self::name_rule).
    fn validate(&self, _context: &Context<'_>, _object: &Object) -> field::Errors {
        Vec::new()
    }

    /// Checks a change.
    fn validate_update(
        &self,
        _context: &Context<'_>,
        _object: &Object,
        _old: &Object,
    ) -> field::Errors {
        Vec::new()
    }

    /// The fields a write of this subresource (or of the whole, for the empty text) cannot change and so not come to
    /// own; `None` for what is usual: `status` in a write of the whole, all else in a write of the status.
    fn reset_fields(&self, _subresource: &str) -> Option<Filter> {
        None
    }

    /// What clients of this version are warned with on every request, when it should no longer be used.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// What names are allowed.
    fn name_rule(&self) -> NameRule {
        NameRule::DnsSubdomain
    }

    /// The cells of a table row, one for each column of the definition (the first is the name).
    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value>;

    /// The value of a selectable field of the definition. For the index of a cache the object holds only its labels,
    /// the scalars of its two uppermost levels, and what the definition's selectable fields name or begin, whole.
    fn field(&self, object: &Object, path: &str) -> String {
        let keys: Vec<_> = path.split('.').collect();
        match object.at(&keys) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// How a delete goes about; `grace` is what the client asked for.
    fn deletion(&self, _object: &Object, _grace: Option<i64>) -> Deletion {
        Deletion::Immediate
    }

    /// Brings an object as it was stored, in whatever version, up to what that version is today, before it is converted:
    /// the schema of a kind made at run time may be another one since. Whether it does; then no
    /// [`default`](Self::default) follows the conversion.
    fn restore(&self, _object: &mut Object) -> bool {
        false
    }

    /// Drops what the version of an object does not know, once it was converted for the store or out of it.
    fn prune(&self, _object: &mut Object) {}

    /// Whether objects stored in this very version may have to be [restored](Self::restore). Reading costs more where they
    /// have.
    fn outdated(&self) -> bool {
        false
    }

    /// Converts an object of one version of this resource into another of its versions.
    fn convert(&self, object: Object, _to: &GroupVersion) -> Object {
        object
    }

    /// Who converts between versions in place of [`convert`](Self::convert), where that takes more than a pure function.
    fn converter(&self) -> Option<&dyn Converter> {
        None
    }
}

/// Converts objects between versions by asking someone else, as the webhook of a CustomResourceDefinition.
#[async_trait]
pub trait Converter: Debug + Send + Sync + 'static {
    /// Converts objects of any versions of one resource; those of the wanted version come back as they are. There are as
    /// many objects afterwards, in the same order.
    ///
    /// # Errors
    /// When one of them cannot be converted; sent to the client as a Status.
    ///
    /// # Cancellation
    /// No effect.
    async fn convert(&self, objects: Vec<Object>, to: &GroupVersion) -> ApiResult<Vec<Object>>;
}

/// Which names objects of a kind may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 bytes.
    DnsSubdomain,
    /// RFC 1123 label, up to 63 bytes.
    DnsLabel,
    /// RFC 1035 label, up to 63 bytes.
    Dns1035Label,
    /// Anything that can stand in a path segment (RBAC names).
    PathSegment,
    /// As [`DnsSubdomain`](Self::DnsSubdomain), in the words of the newer rules, which do not look at what names are
    /// generated from.
    LongName,
    /// An IP address in its canonical form.
    IpAddress,
}

//! The kind `CustomResourceDefinition` itself.

mod conversion;
mod validation;

pub(crate) use conversion::has_invalid_authorities;
pub(crate) use validation::{may_be_nonstructural, note_structure};

use crate::conditions;
use async_trait::async_trait;
use jiff::Timestamp;
use kubeplane_apiserver::WriteHook;
use kubeplane_core::{
    Definition, GroupResource, GroupVersion, GroupVersionKind, Object, Scope, Strategy, decode,
    definition::{Column, Context, Form, MetadataRules, StatusMetadata, Subresource, Verb},
    field::Errors,
    schema::{Kind, Schema, SchemaRef, builtin},
};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// Holds a definition back until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const OPENAPI_NAME: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";

/// `customresourcedefinitions.apiextensions.k8s.io`.
#[must_use]
pub fn resource() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// The kind CustomResourceDefinition, to be served with [`CustomResourceDefinitionDeletion`] as its hook.
#[must_use]
pub fn definition() -> Definition {
    static ANY: Schema = Schema::anonymous(Kind::Any);
    let kind = GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let column = |name: &'static str,
                  kind: &'static str,
                  format: &'static str,
                  description: &'static str| Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        description: description.into(),
        priority: 0,
    };
    Definition {
        plural: "customresourcedefinitions".into(),
        singular: "customresourcedefinition".into(),
        list_kind: "CustomResourceDefinitionList".into(),
        scope: Scope::Cluster,
        short_names: vec!["crd".into(), "crds".into()],
        categories: vec!["api-extensions".into()],
        verbs: Cow::Borrowed(Verb::ALL),
        subresources: vec![Subresource {
            name: "status".into(),
            kind: kind.clone(),
            verbs: Cow::Borrowed(&[Verb::Get, Verb::Patch, Verb::Update]),
            form: Form::Part,
        }],
        schema: builtin(OPENAPI_NAME).unwrap_or(SchemaRef::Static(&ANY)),
        columns: vec![
            column("Name", "string", "name", "The name, unique among objects of the kind."),
            column("Created At", "date", "", "When the object was made."),
        ],
        selectable_fields: Vec::new(),
        storage_version: "v1".into(),
        storage_path: None,
        create_on_update: false,
        unconditional_update: false,
        ttl_seconds: None,
        metadata: MetadataRules {
            own: false,
            in_status: StatusMetadata::Unowned,
            ..MetadataRules::OTHER
        },
        strategy: Arc::new(CustomResourceDefinitions),
        kind,
    }
}

#[derive(Debug)]
struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    fn default(&self, object: &mut Object) {
        let kind = object.text(&["spec", "names", "kind"]).to_owned();
        let mut fill = |field: &str, value: String| {
            if object.text(&["spec", "names", field]).is_empty() && !value.is_empty() {
                object.set(&["spec", "names", field], value);
            }
        };
        fill("singular", kind.to_lowercase());
        fill("listKind", if kind.is_empty() { String::new() } else { format!("{kind}List") });
        if object.at(&["spec", "conversion"]).is_none_or(Value::is_null) {
            object.set(&["spec", "conversion"], json!({"strategy": "None"}));
        }
        let service = ["spec", "conversion", "webhook", "clientConfig", "service"];
        if let Some(Value::Object(service_map)) = object.at(&service)
            && service_map.get("port").is_none_or(Value::is_null)
        {
            object.map_at_mut(&service).insert("port".into(), 443.into());
        }
        if stored_versions(object).is_empty() {
            store_current_version(object);
        }
    }

    fn convert(&self, object: Object, _to: &GroupVersion) -> Object {
        crate::beta::to_v1(object)
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        let empty =
            builtin(OPENAPI_NAME).and_then(|schema| schema.child("status").map(decode::zero));
        object.set(&["status"], empty.unwrap_or_else(|| json!({})));
        object.set(&["metadata", "generation"], 1);
        store_current_version(object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return copy(object, old, "spec");
        }
        copy(object, old, "status");
        if object.at(&["spec"]) != old.at(&["spec"]) {
            object.set(&["metadata", "generation"], old.generation() + 1);
        }
        store_current_version(object);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        for format in validation::unrecognized_formats(object) {
            context.warnings.add(format!("unrecognized format {format:?}"));
        }
        validation::create(object)
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return validation::status(object);
        }
        let known = validation::unrecognized_formats(old);
        for format in validation::unrecognized_formats(object)
            .into_iter()
            .filter(|format| !known.contains(format))
        {
            context.warnings.add(format!("unrecognized format {format:?}"));
        }
        validation::update(object, old)
    }

    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        let time = object.text(&["metadata", "creationTimestamp"]);
        vec![object.name().into(), if time.is_empty() { Value::Null } else { time.into() }]
    }
}

fn copy(object: &mut Object, old: &Object, field: &str) {
    match old.at(&[field]) {
        Some(value) => object.set(&[field], value.clone()),
        None => drop(object.remove(&[field])),
    }
}

/// The versions of a definition.
pub(crate) fn versions(crd: &Object) -> &[Value] {
    crd.at(&["spec", "versions"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The name of the version objects are stored in.
pub(crate) fn storage_version(crd: &Object) -> Option<&str> {
    let stored =
        versions(crd).iter().find(|version| version.get("storage") == Some(&Value::Bool(true)))?;
    stored.get("name").and_then(Value::as_str)
}

fn stored_versions(crd: &Object) -> &[Value] {
    crd.at(&["status", "storedVersions"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Notes that objects may be stored in the present storage version.
fn store_current_version(object: &mut Object) {
    let Some(current) = storage_version(object).map(Value::from) else { return };
    let mut stored = stored_versions(object).to_vec();
    if !stored.contains(&current) {
        stored.push(current);
        object.set(&["status", "storedVersions"], stored);
    }
}

/// Makes the deletion of a definition wait for that of its objects, which [`CustomResources`](crate::CustomResources)
/// does.
#[derive(Debug)]
pub struct CustomResourceDefinitionDeletion;

#[async_trait]
impl WriteHook for CustomResourceDefinitionDeletion {
    fn mark_deleting(&self, object: &mut Object) {
        object.remove(&["metadata", "deletionGracePeriodSeconds"]);
        let mut finalizers: Vec<Value> = object.finalizers().into_iter().map(Value::from).collect();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            if conditions::status(object, "Terminating") == Some("False") {
                return;
            }
            finalizers.push(FINALIZER.into());
            object.set(&["metadata", "finalizers"], finalizers);
        }
        let time = object.text(&["metadata", "deletionTimestamp"]).to_owned();
        if conditions::status(object, "Terminating").is_none() {
            conditions::set_at(
                object,
                "Terminating",
                "True",
                "InstanceDeletionPending",
                "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
                &time,
            );
        }
    }

    /// The first request to delete always finds something to wait for.
    fn holds(&self, object: &Object) -> bool {
        !object.is_deleting()
    }
}

//! The kinds that definitions define.

use crate::{
    columns::Columns,
    conditions, embedded,
    forms::{Forms, VersionForm},
    kind::{storage_version, versions},
    lists,
    rules::Rules,
    value,
};
use jiff::Timestamp;
use kubeplane_apiserver::version_rank;
use kubeplane_core::{
    Definition, GroupVersion, GroupVersionKind, Object, Scope, Strategy,
    definition::{Context, Converter, Form, MetadataRules, StatusMetadata, Subresource, Verb},
    field::{Error, ErrorKind, Errors, Path},
    names,
    patch::strategic::as_go,
    schema::SchemaRef,
};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// The kind that a CustomResourceDefinition defines in one of its versions, with the names it was given.
///
/// # Errors
/// When there is no such version, or its names are missing.
pub fn definition_of(crd: &Object, version: &str) -> Result<Definition, Errors> {
    convertible(crd, version, &Forms::of(crd), None)
}

/// As [`definition_of`], with the forms of all its versions and who converts between them.
pub(crate) fn convertible(
    crd: &Object,
    version: &str,
    forms: &Arc<Forms>,
    converter: Option<Arc<dyn Converter>>,
) -> Result<Definition, Errors> {
    let spec = versions(crd)
        .iter()
        .find(|found| found.get("name").and_then(Value::as_str) == Some(version));
    let spec = spec.ok_or_else(|| vec![Error::not_found(&Path::new("spec.versions"), version)])?;
    let accepted = !crd.text(&["status", "acceptedNames", "plural"]).is_empty();
    let names = if accepted { ["status", "acceptedNames"] } else { ["spec", "names"] };
    let name = |field: &str| crd.text(&[names[0], names[1], field]).to_owned();
    let list = |field: &str| {
        let list = crd.at(&[names[0], names[1], field]).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|text| text.to_owned().into())
            .collect::<Vec<_>>()
    };
    if name("plural").is_empty() || name("kind").is_empty() {
        return Err(vec![Error::required(&Path::new("spec.names"), "")]);
    }
    let kind = GroupVersionKind {
        group: crd.text(&["spec", "group"]).to_owned().into(),
        version: version.to_owned().into(),
        kind: name("kind").into(),
    };
    let terminating = conditions::is_true(crd, "Terminating");
    let verbs = Verb::ALL.iter().copied().filter(|verb| !(terminating && *verb == Verb::Create));
    let (columns, cells) = Columns::of(spec);
    let own = forms.of_version(&kind.group_version().to_string()).cloned();
    let own = own.ok_or_else(|| vec![Error::not_found(&Path::new("spec.versions"), version)])?;
    let mut resource = Resource::of(spec, own, forms.clone(), cells);
    resource.deprecation = deprecation(crd, spec);
    resource.converter = converter;
    Ok(Definition {
        plural: name("plural").into(),
        singular: name("singular").into(),
        list_kind: name("listKind").into(),
        scope: match crd.text(&["spec", "scope"]) {
            "Namespaced" => Scope::Namespaced,
            _ => Scope::Cluster,
        },
        short_names: list("shortNames"),
        categories: list("categories"),
        verbs: Cow::Owned(verbs.collect()),
        subresources: subresources(spec, &kind, &resource),
        schema: resource.own.shape.clone(),
        columns,
        selectable_fields: selectable_fields(spec),
        storage_version: storage_version(crd).unwrap_or(version).to_owned().into(),
        storage_path: None,
        create_on_update: false,
        unconditional_update: false,
        ttl_seconds: None,
        metadata: MetadataRules { in_status: StatusMetadata::Fixed, ..MetadataRules::OTHER },
        strategy: Arc::new(resource),
        kind,
    })
}

/// What clients of a deprecated version are told: the definition's own words, or which version to use.
fn deprecation(crd: &Object, version: &Value) -> Option<String> {
    let is = |version: &Value, flag: &str| version.get(flag) == Some(&Value::Bool(true));
    if !is(version, "deprecated") {
        return None;
    }
    if let Some(own) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(own.to_owned());
    }
    let name = |version: &Value| version.get("name").and_then(Value::as_str).map(str::to_owned);
    let this = name(version)?;
    let (group, kind) = (crd.text(&["spec", "group"]), crd.text(&["spec", "names", "kind"]));
    let warning = format!("{group}/{this} {kind} is deprecated");
    let better = versions(crd)
        .iter()
        .filter(|other| is(other, "served") && !is(other, "deprecated"))
        .filter_map(name)
        .filter(|other| version_rank(other) > version_rank(&this))
        .max_by_key(|other| version_rank(other));
    Some(match better {
        Some(better) => format!("{warning}; use {group}/{better} {kind}"),
        None => warning,
    })
}

fn subresources(spec: &Value, kind: &GroupVersionKind, resource: &Resource) -> Vec<Subresource> {
    let verbs = || Cow::Borrowed(&[Verb::Get, Verb::Patch, Verb::Update][..]);
    let mut out = Vec::new();
    if resource.has_status {
        out.push(Subresource {
            name: "status".into(),
            kind: kind.clone(),
            verbs: verbs(),
            form: Form::Part,
        });
    }
    if let Some(scale) = spec.pointer("/subresources/scale").filter(|scale| scale.is_object()) {
        let path = |field: &str| {
            let text = scale.get(field).and_then(Value::as_str).unwrap_or_default();
            text.trim_start_matches('.').to_owned()
        };
        let selector = Some(path("labelSelectorPath")).filter(|path| !path.is_empty());
        let form = Form::Scale {
            spec_replicas: path("specReplicasPath").into(),
            status_replicas: path("statusReplicasPath").into(),
            selector: selector.map(Into::into),
        };
        let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
        out.push(Subresource { name: "scale".into(), kind, verbs: verbs(), form });
    }
    out
}

fn selectable_fields(spec: &Value) -> Vec<Cow<'static, str>> {
    let fields = spec.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    let paths = fields.filter_map(|field| field.get("jsonPath").and_then(Value::as_str));
    paths.map(|path| Cow::Owned(path.trim_start_matches('.').to_owned())).collect()
}

/// One version of a custom resource.
#[derive(Debug)]
struct Resource {
    own: Arc<VersionForm>,
    /// Of all versions.
    forms: Arc<Forms>,
    rules: Option<Rules>,
    cells: Columns,
    has_status: bool,
    scale: Option<Value>,
    /// What its clients are warned with.
    deprecation: Option<String>,
    /// Who converts between versions, when they differ in more than their name.
    converter: Option<Arc<dyn Converter>>,
}

impl Resource {
    fn of(spec: &Value, own: Arc<VersionForm>, forms: Arc<Forms>, cells: Columns) -> Self {
        let json = spec.pointer("/schema/openAPIV3Schema").filter(|schema| schema.is_object());
        let set = |path: &str| spec.pointer(path).filter(|value| !value.is_null());
        Self {
            rules: json
                .zip(own.schema.as_ref())
                .and_then(|(json, schema)| Rules::of(json, schema, true)),
            has_status: set("/subresources/status").is_some(),
            scale: set("/subresources/scale").cloned(),
            deprecation: None,
            converter: None,
            own,
            forms,
            cells,
        }
    }

    /// What is wrong beside the values themselves: embedded resources, repeated items, rules.
    fn invariants(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: Option<&Value>,
        status: bool,
        mut errors: Errors,
    ) -> Errors {
        let root = Path::root();
        let Some(schema) = &self.own.schema else { return errors };
        if !status {
            errors.extend(embedded::validate(schema, object, &root));
        }
        // Lists that had repeated items before may keep them.
        if old.is_none_or(|old| lists::validate(schema, old, &root).is_empty()) {
            errors.extend(lists::validate(schema, object, &root));
        }
        let Some(rules) = &self.rules else { return errors };
        if errors.iter().any(is_blocking) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(Error::invalid(&root, Value::Null, detail));
        } else {
            errors.extend(rules.validate(schema, object, old, &root, context.warnings));
        }
        errors
    }

    fn scale(&self, object: &Object, with_spec: bool) -> Errors {
        let Some(scale) = &self.scale else { return Vec::new() };
        let text = |field: &str| scale.get(field).and_then(Value::as_str).unwrap_or_default();
        let mut errors = Vec::new();
        let counts: &[&str] = match with_spec {
            true => &["specReplicasPath", "statusReplicasPath"],
            false => &["statusReplicasPath"],
        };
        for field in counts {
            let path = Path::new(text(field));
            let found = match at(object, text(field)) {
                Ok(found) => found,
                Err(detail) => {
                    errors.push(Error::invalid(&path, 0, detail));
                    continue;
                }
            };
            let detail = match found.map(|found| (found, found.as_i64())) {
                None => continue,
                Some((other, None)) => wrong_type(text(field), other, "int64"),
                Some((_, Some(count))) if count < 0 => {
                    "should be a non-negative integer".to_owned()
                }
                Some((_, Some(count))) if count > i64::from(i32::MAX) => {
                    format!("should be less than or equal to {}", i32::MAX)
                }
                Some(_) => continue,
            };
            let shown = found.and_then(Value::as_i64).unwrap_or_default();
            errors.push(Error::invalid(&path, shown, detail));
        }
        let selector = text("labelSelectorPath");
        if selector.is_empty() {
            return errors;
        }
        let wrong = match at(object, selector) {
            Ok(found) => found
                .filter(|found| !found.is_string())
                .map(|other| wrong_type(selector, other, "string")),
            Err(detail) => Some(detail),
        };
        errors.extend(wrong.map(|detail| Error::invalid(&Path::new(selector), "", detail)));
        errors
    }
}

/// The value at a path, which may end early with nothing, but not in what is no map.
fn at<'a>(object: &'a Object, path: &str) -> Result<Option<&'a Value>, String> {
    let keys: Vec<_> = path.trim_start_matches('.').split('.').collect();
    let mut found: Option<&'a Value> = None;
    for (index, key) in keys.iter().enumerate() {
        found = match found {
            _ if index == 0 => object.map().get(*key),
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(map)) => map.get(*key),
            Some(other) => {
                let reached = keys[..=index].join(".");
                return Err(wrong_type(&reached, other, "map[string]interface{}"));
            }
        };
    }
    Ok(found)
}

fn wrong_type(path: &str, found: &Value, wanted: &str) -> String {
    let kind = match found {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = as_go(found);
    let path = if path.starts_with('.') { path.to_owned() } else { format!(".{path}") };
    format!("{path} accessor error: {shown} is of the type {kind}, expected {wanted}")
}

/// Rules are not run over values of the wrong type or size.
fn is_blocking(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::NotSupported
            | ErrorKind::Required
            | ErrorKind::TooLong
            | ErrorKind::TooMany
            | ErrorKind::TypeInvalid
    )
}

fn whole(object: &Object) -> Value {
    Value::Object(object.map().clone())
}

impl Strategy for Resource {
    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn default(&self, object: &mut Object) {
        self.own.default(object);
    }

    fn restore(&self, object: &mut Object) -> bool {
        self.forms.restore(object);
        true
    }

    fn prune(&self, object: &mut Object) {
        // What a webhook made was pruned where it came in.
        if self.converter.is_none()
            && let Some(form) = self.forms.of_version(object.api_version())
        {
            form.prune(object);
        }
    }

    fn outdated(&self) -> bool {
        self.forms.changed()
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        if self.has_status {
            object.remove(&["status"]);
        }
        object.set(&["metadata", "generation"], 1);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            let (status, managed) =
                (object.remove(&["status"]), object.remove(&["metadata", "managedFields"]));
            *object = old.clone();
            for (path, value) in
                [(&["status"][..], status), (&["metadata", "managedFields"][..], managed)]
            {
                match value {
                    Some(value) => object.set(path, value),
                    None => drop(object.remove(path)),
                }
            }
            return;
        }
        if self.has_status {
            match old.at(&["status"]) {
                Some(status) => object.set(&["status"], status.clone()),
                None => drop(object.remove(&["status"])),
            }
        }
        let content = |object: &Object| {
            let fields = object.map().iter().filter(|(key, _)| *key != "metadata");
            fields.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        if content(object) != content(old) {
            object.set(&["metadata", "generation"], old.generation() + 1);
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        warn_finalizers(context, object, None);
        let value = whole(object);
        let mut errors = Vec::new();
        if let Some(schema) = &self.own.schema {
            errors.extend(value::validate(schema, &value, &Path::root()));
        }
        errors.extend(self.scale(object, true));
        let mut errors = self.invariants(context, &value, None, false, errors);
        errors.truncate(value::MOST);
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let (new, before) = (whole(object), whole(old));
        let mut errors = Vec::new();
        let status = context.subresource == "status";
        match (&self.own.schema, status) {
            (None, _) => {}
            (Some(schema), false) => {
                warn_finalizers(context, object, Some(old));
                errors.extend(value::validate_update(schema, &new, Some(&before), &Path::root()));
            }
            (Some(schema), true) => {
                if let (Some(schema), Some(status)) =
                    (schema.properties.get("status"), new.get("status"))
                {
                    let path = Path::new("status");
                    errors.extend(value::validate_update(
                        schema,
                        status,
                        before.get("status"),
                        &path,
                    ));
                }
            }
        }
        errors.extend(self.scale(object, !status));
        let mut errors = self.invariants(context, &new, Some(&before), status, errors);
        errors.truncate(value::MOST);
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        self.cells.row(object, now)
    }

    fn shape_in(&self, version: &GroupVersion) -> Option<SchemaRef> {
        self.forms.of_version(&version.to_string()).map(|form| form.shape.clone())
    }

    fn converter(&self) -> Option<&dyn Converter> {
        self.converter.as_deref()
    }

    /// Versions differ in nothing but their name, until they are stored or read.
    fn convert(&self, mut object: Object, to: &GroupVersion) -> Object {
        object.set(&["apiVersion"], to.to_string());
        object
    }
}

/// Finalizers without a domain and a path may meet those of others.
fn warn_finalizers(context: &Context<'_>, object: &Object, old: Option<&Object>) {
    let known = old.map(Object::finalizers).unwrap_or_default();
    let mut added: Vec<_> =
        object.finalizers().into_iter().filter(|finalizer| !known.contains(finalizer)).collect();
    added.sort_unstable();
    for finalizer in added {
        let warn = |what: &str| {
            context.warnings.add(format!("metadata.finalizers: {finalizer:?}: {what}"))
        };
        names::is_qualified_name(finalizer).iter().for_each(|wrong| warn(wrong));
        if finalizer.contains('/')
            || matches!(finalizer, "orphan" | "foregroundDeletion" | "kubernetes")
        {
            continue;
        }
        let path = if finalizer.contains('.') { " including a path (/)" } else { "" };
        warn(&format!(
            "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        ));
    }
}

//! What a list or watch picks, tested against index rows alone.

use crate::cache::Row;
use kubeplane_core::{
    Definition,
    schema::SchemaRef,
    selector::{FieldSelector, LabelSelector},
    status::{ApiError, ApiResult},
};

/// A namespace, a label selector and a field selector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// The namespace, or the empty text for all.
    pub(crate) namespace: String,
    labels: LabelSelector,
    fields: Vec<FieldTest>,
}

#[derive(Debug, Clone)]
struct FieldTest {
    of: Field,
    value: String,
    equal: bool,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Name,
    Namespace,
    /// The definition's selectable field of this index.
    Indexed(usize),
}

impl Filter {
    pub(crate) fn new(
        namespace: &str,
        labels: LabelSelector,
        fields: FieldSelector,
        definition: &Definition,
    ) -> ApiResult<Self> {
        let mut namespace = namespace.to_owned();
        let mut tests = Vec::new();
        for requirement in fields.requirements() {
            let of = match requirement.field.as_str() {
                "metadata.name" => Field::Name,
                "metadata.namespace" if has_namespace(definition) => Field::Namespace,
                other => {
                    let at = definition.selectable_fields.iter().position(|field| field == other);
                    let index = at.ok_or_else(|| unsupported(definition, other))?;
                    Field::Indexed(index)
                }
            };
            if matches!(of, Field::Namespace) && requirement.equal && namespace.is_empty() {
                namespace.clone_from(&requirement.value);
            }
            let value = requirement.value.clone();
            tests.push(FieldTest { of, value, equal: requirement.equal });
        }
        Ok(Self { namespace, labels, fields: tests })
    }

    /// Whether a row is picked.
    pub(crate) fn matches(&self, row: &Row) -> bool {
        (self.namespace.is_empty() || row.namespace() == self.namespace)
            && self.fields.iter().all(|test| {
                let found = match test.of {
                    Field::Name => row.name(),
                    Field::Namespace => row.namespace(),
                    Field::Indexed(index) => row.field(index),
                };
                (found == test.value) == test.equal
            })
            && self.labels.matches(|key| row.label(key))
    }

    /// Whether every object of the namespace is picked.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// The one name picked, if the selector says so.
    pub(crate) fn name(&self) -> Option<&str> {
        let test = self.fields.iter().find(|test| test.equal && matches!(test.of, Field::Name))?;
        Some(&test.value)
    }
}

/// Clusterwide kinds with selectable fields of their own, and those made at run time, know no namespace.
fn has_namespace(definition: &Definition) -> bool {
    let builtin = matches!(definition.schema, SchemaRef::Static(_));
    definition.is_namespaced() || builtin && definition.selectable_fields.is_empty()
}

fn unsupported(definition: &Definition, field: &str) -> ApiError {
    let (group, kind) = (definition.kind.group.as_ref(), &definition.kind.kind);
    let builtin = matches!(definition.schema, SchemaRef::Static(_));
    ApiError::bad_request(match group {
        _ if builtin && definition.selectable_fields.is_empty() => format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
        "batch" => format!("field label {field:?} not supported for {kind}"),
        "resource.k8s.io" => format!(
            "field label not supported for {}, Kind={kind}: {field}",
            definition.group_version()
        ),
        _ => format!("field label not supported: {field}"),
    })
}

use super::refuse;
use crate::query::Query;
use kubeplane_core::{
    Object,
    metadata::validate_delete_options,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

/// What happens to an object's dependents when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They stay, and lose the owner reference.
    Orphan,
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
}

/// What must be true of an object for it to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Its uid.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

/// The options of a delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Change nothing.
    pub dry_run: bool,
    /// The seconds the object gets to end by itself.
    pub grace_period: Option<i64>,
    /// What happens to dependents.
    pub propagation: Option<Propagation>,
    /// The older form of the same.
    pub orphan_dependents: Option<bool>,
    /// What must be true.
    pub preconditions: Preconditions,
}

impl DeleteOptions {
    /// Reads the options from the body, or from the query when there is none.
    pub(crate) fn parse(query: &Query, body: Option<Object>) -> ApiResult<Self> {
        let Some(body) = body else { return Self::checked(&from_query(query)?) };
        let known = matches!(body.kind(), "" | "DeleteOptions");
        if !known {
            return Err(ApiError::bad_request(
                "decoded object cannot be converted to DeleteOptions",
            ));
        }
        Self::checked(&body)
    }

    /// Reads options that stand in another object, as those of an eviction do.
    ///
    /// # Errors
    /// 400 for a field of the wrong type, 422 for values that are not allowed.
    pub fn from_object(sent: &Object) -> ApiResult<Self> {
        Self::checked(sent)
    }

    fn checked(sent: &Object) -> ApiResult<Self> {
        let dry_runs = sent.at(&["dryRun"]).and_then(Value::as_array);
        let dry_runs: Vec<_> = dry_runs.into_iter().flatten().filter_map(Value::as_str).collect();
        let orphan_dependents = typed(sent, "orphanDependents", Value::as_bool)?;
        let policy = typed(sent, "propagationPolicy", |value| value.as_str().map(str::to_owned))?;
        refuse("DeleteOptions", &validate_delete_options(&Value::Object(sent.map().clone())))?;
        let propagation = match policy.as_deref() {
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            _ => None,
        };
        let text =
            |key| sent.at(&["preconditions", key]).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            dry_run: !dry_runs.is_empty(),
            grace_period: typed(sent, "gracePeriodSeconds", Value::as_i64)?,
            propagation,
            orphan_dependents,
            preconditions: Preconditions {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            },
        })
    }

    /// As admission sees them.
    pub(crate) fn sent(&self) -> Object {
        let mut sent = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            sent["dryRun"] = json!(["All"]);
        }
        if let Some(grace) = self.grace_period {
            sent["gracePeriodSeconds"] = grace.into();
        }
        if let Some(propagation) = self.propagation {
            sent["propagationPolicy"] = format!("{propagation:?}").into();
        }
        if let Some(orphan) = self.orphan_dependents {
            sent["orphanDependents"] = orphan.into();
        }
        let Preconditions { uid, resource_version } = &self.preconditions;
        for (key, wanted) in [("uid", uid), ("resourceVersion", resource_version)] {
            if let Some(wanted) = wanted {
                sent["preconditions"][key] = wanted.as_str().into();
            }
        }
        Object::from_value(sent).unwrap_or_default()
    }
}

fn typed<T>(sent: &Object, key: &str, read: impl Fn(&Value) -> Option<T>) -> ApiResult<Option<T>> {
    match sent.at(&[key]) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| {
            ApiError::bad_request(format!(
                "json: cannot unmarshal {value} into Go struct field DeleteOptions.{key}"
            ))
        }),
    }
}

fn from_query(query: &Query) -> ApiResult<Object> {
    let mut sent = Object::default();
    let dry_runs: Vec<_> = query.all("dryRun").collect();
    if !dry_runs.is_empty() {
        sent.set(&["dryRun"], dry_runs);
    }
    if let Some(grace) = query.integer("gracePeriodSeconds")? {
        sent.set(&["gracePeriodSeconds"], grace);
    }
    if let Some(orphan) = query.flag("orphanDependents") {
        sent.set(&["orphanDependents"], orphan);
    }
    if let Some(policy) = query.first("propagationPolicy") {
        sent.set(&["propagationPolicy"], policy);
    }
    for key in ["uid", "resourceVersion"] {
        let wanted = query.text(key);
        if !wanted.is_empty() {
            sent.set(&["preconditions", key], wanted);
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_is_shown_what_must_be_true() {
        let wanted = json!({"uid": "u", "resourceVersion": "7"});
        let body = json!({"gracePeriodSeconds": 3, "preconditions": wanted});
        let sent = Object::from_value(body).unwrap();
        let shown = DeleteOptions::from_object(&sent).unwrap().sent();
        assert_eq!(shown.at(&["preconditions"]), Some(&wanted));
        assert_eq!(shown.at(&["gracePeriodSeconds"]), Some(&json!(3)));
        let query = Query::parse("uid=u&resourceVersion=7");
        let shown = DeleteOptions::parse(&query, None).unwrap().sent();
        assert_eq!(shown.at(&["preconditions"]), Some(&wanted));
        assert!(DeleteOptions::parse(&Query::parse("propagationPolicy="), None).is_err());
        assert_eq!(DeleteOptions::default().sent().at(&["preconditions"]), None);
    }
}

//! What objects take of a ResourceQuota: shared by admission, which charges, and by whoever counts anew.

mod claims;
mod devices;
mod pods;
mod services;

use crate::resources::Resources;
use jiff::Timestamp;
use kubeplane_core::{
    GroupResource, Object,
    admission::Operation,
    quantity::{Format, Quantity},
};
use serde_json::Value;

/// Resources of the core group that had a name of their own before `count/` came.
const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// One scope that a quota is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope<'a> {
    /// As in `PriorityClass`.
    pub name: &'a str,
    /// As in `In`; `Exists` for those of `spec.scopes`.
    pub operator: &'a str,
    /// The values of `In` and `NotIn`.
    pub values: Vec<&'a str>,
}

impl Scope<'_> {
    /// Whether an object with these values of the scope (none: without it) is in it.
    fn picks<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> bool {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return matches!(self.operator, "NotIn" | "DoesNotExist");
        }
        values.any(|value| match self.operator {
            "In" => self.values.contains(&value),
            "NotIn" => !self.values.contains(&value),
            "Exists" => true,
            _ => false,
        })
    }
}

/// The scopes of a quota.
#[must_use]
pub fn scopes(quota: &Object) -> Vec<Scope<'_>> {
    let plain = quota.at(&["spec", "scopes"]).and_then(Value::as_array).into_iter().flatten();
    let plain = plain.filter_map(Value::as_str).map(|name| Scope {
        name,
        operator: "Exists",
        values: Vec::new(),
    });
    let selected = quota.at(&["spec", "scopeSelector", "matchExpressions"]);
    let selected = selected.and_then(Value::as_array).into_iter().flatten().map(|one| Scope {
        name: one["scopeName"].as_str().unwrap_or_default(),
        operator: one["operator"].as_str().unwrap_or_default(),
        values: one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    });
    plain.chain(selected).collect()
}

/// Knows what objects of one resource take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluator {
    count: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Pods,
    Services,
    Claims,
    Devices,
    Count(Option<String>),
}

impl Evaluator {
    /// That of a resource; `None` for what quotas never count.
    #[must_use]
    pub fn of(resource: &GroupResource) -> Option<Self> {
        let (group, plural) = (resource.group.as_ref(), resource.resource.as_ref());
        let count = match group {
            "" => format!("count/{plural}"),
            _ => format!("count/{plural}.{group}"),
        };
        let kind = match (group, plural) {
            ("", "bindings" | "componentstatuses" | "events") | ("events.k8s.io", "events") => {
                return None;
            }
            ("authentication.k8s.io" | "authorization.k8s.io", _) => return None,
            ("", "pods") => Kind::Pods,
            ("", "services") => Kind::Services,
            ("", "persistentvolumeclaims") => Kind::Claims,
            ("resource.k8s.io", "resourceclaims") => Kind::Devices,
            ("", plural) => Kind::Count(ALIASES.contains(&plural).then(|| plural.to_owned())),
            _ => Kind::Count(None),
        };
        Some(Self { count, kind })
    }

    /// Whether such a write may change what is taken.
    #[must_use]
    pub fn handles(
        &self,
        operation: Operation,
        subresource: &str,
        object: Option<&Object>,
        old: Option<&Object>,
    ) -> bool {
        let create = operation == Operation::Create;
        let written = create || operation == Operation::Update;
        let both = object.zip(old);
        match (&self.kind, subresource) {
            (Kind::Pods, "") => {
                let moved = |(new, old)| pods::is_terminating(new) != pods::is_terminating(old);
                create || (written && both.is_some_and(moved))
            }
            (Kind::Pods, "resize") => operation == Operation::Update,
            (Kind::Claims, "status") => {
                both.is_some_and(|(new, old)| claims::is_to_be_counted_anew(new, old))
            }
            (Kind::Services | Kind::Claims | Kind::Devices, "") => written,
            (Kind::Count(_), "") => create,
            _ => false,
        }
    }

    /// Whether a name in a quota is about this resource.
    #[must_use]
    pub fn counts(&self, name: &str) -> bool {
        name == self.count
            || match &self.kind {
                Kind::Pods => pods::counts(name),
                Kind::Services => services::counts(name),
                Kind::Claims => claims::counts(name),
                Kind::Devices => devices::counts(name),
                Kind::Count(alias) => alias.as_deref() == Some(name),
            }
    }

    /// Whether a quota limits this resource, by its `status.hard`, and the object is in all its scopes.
    #[must_use]
    pub fn matches(&self, quota: &Object, object: &Object) -> bool {
        let hard = quota.at(&["status", "hard"]).and_then(Value::as_object);
        hard.into_iter().flatten().any(|(name, _)| self.counts(name))
            && self.in_scopes(&scopes(quota), object)
    }

    /// Whether the object is in all these scopes.
    #[must_use]
    pub fn in_scopes(&self, scopes: &[Scope<'_>], object: &Object) -> bool {
        scopes.iter().all(|scope| match self.kind {
            Kind::Pods => pods::is_in(scope, object),
            Kind::Claims => claims::is_in(scope, object),
            _ => false,
        })
    }

    /// Holds that an object says the amounts a quota limits, where it must.
    ///
    /// # Errors
    /// What it does not say.
    pub fn check(&self, limited: &[&str], object: &Object) -> Result<(), String> {
        match self.kind {
            Kind::Pods => pods::check(limited, object),
            _ => Ok(()),
        }
    }

    /// What an object takes at this time.
    #[must_use]
    pub fn usage(&self, object: &Object, now: Timestamp) -> Resources {
        let mut usage = match &self.kind {
            Kind::Pods => pods::usage(object, now),
            Kind::Services => services::usage(object),
            Kind::Claims => claims::usage(object),
            Kind::Devices => devices::usage(object),
            Kind::Count(alias) => alias.iter().map(|alias| (alias.clone(), number(1))).collect(),
        };
        usage.insert(self.count.clone(), number(1));
        usage
    }

    /// What all these objects take of a quota: only names it limits, zero included.
    pub fn total<'o>(
        &self,
        quota: &Object,
        objects: impl IntoIterator<Item = &'o Object>,
        now: Timestamp,
    ) -> Resources {
        let hard = quota.at(&["spec", "hard"]).and_then(Value::as_object);
        let names = hard.into_iter().flatten().map(|(name, _)| name);
        let mut total: Resources =
            names.filter(|name| self.counts(name)).map(|name| (name.clone(), number(0))).collect();
        let scopes = scopes(quota);
        for object in objects.into_iter().filter(|object| self.in_scopes(&scopes, object)) {
            for (name, amount) in self.usage(object, now) {
                if let Some(sum) = total.get_mut(&name) {
                    sum.add(&amount);
                }
            }
        }
        total
    }
}

fn number(value: i64) -> Quantity {
    Quantity::new(value, Format::DecimalSi)
}

/// The amounts at a path; what does not parse is zero.
#[must_use]
pub fn amounts(object: &Object, path: &[&str]) -> Resources {
    let list = object.at(path).and_then(Value::as_object).into_iter().flatten();
    list.map(|(name, amount)| (name.clone(), Quantity::from_json(amount).unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests;

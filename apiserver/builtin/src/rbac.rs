//! Roles and their bindings, of namespaces and of the cluster.

use crate::{
    defaulting::{map, maps_in, text},
    look::{Look, sub},
    row::Row,
    table::{age, created_at},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    definition::{Context, NameRule},
    field::Errors,
};
use serde_json::{Map, Value};

mod validation;

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

const ROLE: Row = Row {
    group: GROUP,
    columns: &["Name", "Created At:date"],
    create_on_update: true,
    ..Row::NAMESPACED
};

const BINDING: Row =
    Row { columns: &["Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"], ..ROLE };

pub(crate) fn role() -> Definition {
    Row { kind: "Role", plural: "roles", ..ROLE }.define(Roles { cluster: false })
}

pub(crate) fn cluster_role() -> Definition {
    let scope = Row::CLUSTER.scope;
    Row { kind: "ClusterRole", plural: "clusterroles", scope, ..ROLE }
        .define(Roles { cluster: true })
}

pub(crate) fn role_binding() -> Definition {
    Row { kind: "RoleBinding", plural: "rolebindings", ..BINDING }
        .define(Bindings { cluster: false })
}

pub(crate) fn cluster_role_binding() -> Definition {
    let scope = Row::CLUSTER.scope;
    Row { kind: "ClusterRoleBinding", plural: "clusterrolebindings", scope, ..BINDING }
        .define(Bindings { cluster: true })
}

#[derive(Debug)]
struct Roles {
    cluster: bool,
}

impl Strategy for Roles {
    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::role(object, self.cluster)
    }

    fn validate_update(&self, _context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        validation::role_update(object, old, self.cluster)
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), created_at(object)]
    }
}

#[derive(Debug)]
struct Bindings {
    cluster: bool,
}

impl Strategy for Bindings {
    fn default(&self, object: &mut Object) {
        text(map(object.map_mut(), "roleRef"), "apiGroup", GROUP);
        maps_in(object.map_mut(), "subjects").for_each(default_subject);
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::binding(object, self.cluster)
    }

    fn validate_update(&self, _context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = validation::binding(object, self.cluster);
        errors.extend(validation::role_ref_kept(object, old));
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let role = sub(object.map(), "roleRef");
        let subjects = sub(object.map(), "subjects").as_array().map_or(&[][..], Vec::as_slice);
        let names = |kind: &str, print: fn(&Value) -> String| -> Value {
            let names: Vec<_> =
                subjects.iter().filter(|subject| subject.text("kind") == kind).map(print).collect();
            names.join(", ").into()
        };
        let plain = |subject: &Value| subject.text("name").to_owned();
        vec![
            object.name().into(),
            format!("{}/{}", role.text("kind"), role.text("name")).into(),
            age(object, now),
            names("User", plain),
            names("Group", plain),
            names("ServiceAccount", |account| {
                format!("{}/{}", account.text("namespace"), account.text("name"))
            }),
        ]
    }
}

fn default_subject(subject: &mut Map<String, Value>) {
    if matches!(sub(subject, "kind").as_str(), Some("User" | "Group")) {
        text(subject, "apiGroup", GROUP);
    }
}

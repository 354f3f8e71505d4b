use super::{PolicyRule, rules_in};
use k8s_openapi::api::rbac::v1::{RoleRef, Subject};
use kubeplane_core::{Object, auth::UserInfo, reader::ObjectChange};
use serde::Deserialize;
use std::{collections::HashMap, fmt, sync::Arc};

type Rules = Arc<[PolicyRule]>;

/// All roles and bindings of a cluster, by who they are bound to.
#[derive(Debug, Default)]
pub(super) struct Policy {
    cluster_roles: HashMap<String, Rules>,
    roles: HashMap<(String, String), Rules>,
    /// Bindings by namespace (empty for cluster-wide ones), then by subject.
    bindings: HashMap<String, HashMap<Holder, Vec<Grant>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    User(String),
    Group(String),
}

/// One binding of one role to one subject, as reasons print it.
#[derive(Debug)]
pub(super) struct Grant {
    binding: String,
    namespace: String,
    role: RoleRef,
    subject: String,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", self.binding.clone())
        } else {
            ("RoleBinding", format!("{}/{}", self.binding, self.namespace))
        };
        write!(f, "{kind} {name:?} of {} {:?} to {}", self.role.kind, self.role.name, self.subject)
    }
}

impl Policy {
    /// Takes a change of one object of a resource.
    pub(super) fn note(&mut self, resource: &str, change: &ObjectChange<'_>) {
        self.remove(resource, change.namespace, change.name);
        if let Some(object) = (change.object)() {
            self.add(resource, &object);
        }
    }

    /// Puts all objects of a resource in the place of those that were there.
    pub(super) fn replace(&mut self, resource: &str, with: Self) {
        match resource {
            "clusterroles" => self.cluster_roles = with.cluster_roles,
            "roles" => self.roles = with.roles,
            _ => {
                let cluster_wide = resource == "clusterrolebindings";
                self.bindings.retain(|namespace, _| namespace.is_empty() != cluster_wide);
                self.bindings.extend(with.bindings);
            }
        }
    }

    /// Adds an object that is not there yet.
    pub(super) fn add(&mut self, resource: &str, object: &Object) {
        let (name, namespace) = (object.name().to_owned(), object.namespace().to_owned());
        match resource {
            "clusterroles" => drop(self.cluster_roles.insert(name, rules_in(object).into())),
            "roles" => drop(self.roles.insert((namespace, name), rules_in(object).into())),
            _ => self.bind(&name, &namespace, object),
        }
    }

    fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        match resource {
            "clusterroles" => drop(self.cluster_roles.remove(name)),
            "roles" => drop(self.roles.remove(&(namespace.to_owned(), name.to_owned()))),
            _ => {
                let Some(here) = self.bindings.get_mut(namespace) else { return };
                here.retain(|_, grants| {
                    grants.retain(|grant| grant.binding != name);
                    !grants.is_empty()
                });
                if here.is_empty() {
                    self.bindings.remove(namespace);
                }
            }
        }
    }

    fn bind(&mut self, name: &str, namespace: &str, binding: &Object) {
        let Some(Ok(role)) = binding.at(&["roleRef"]).map(RoleRef::deserialize) else { return };
        let subjects = binding.at(&["subjects"]).map(Option::<Vec<Subject>>::deserialize);
        let Ok(subjects) = subjects.transpose() else { return };
        let subjects: Vec<_> = subjects.flatten().into_iter().flatten().collect();
        if subjects.is_empty() {
            return;
        }
        let here = self.bindings.entry(namespace.to_owned()).or_default();
        for subject in subjects {
            let (holder, printed) = match subject.kind.as_str() {
                "User" => (Holder::User(subject.name.clone()), format!("User {:?}", subject.name)),
                "Group" => {
                    (Holder::Group(subject.name.clone()), format!("Group {:?}", subject.name))
                }
                "ServiceAccount" => {
                    let own = subject.namespace.as_deref().unwrap_or(namespace);
                    let user = format!("system:serviceaccount:{own}:{}", subject.name);
                    (
                        Holder::User(user),
                        format!("ServiceAccount {:?}", format!("{}/{own}", subject.name)),
                    )
                }
                _ => continue,
            };
            let grant = Grant {
                binding: name.to_owned(),
                namespace: namespace.to_owned(),
                role: role.clone(),
                subject: printed,
            };
            // In the order of names, whichever binding came first: reasons name the first one that allows.
            let grants = here.entry(holder).or_default();
            let at = grants.partition_point(|other| other.binding <= grant.binding);
            grants.insert(at, grant);
        }
    }

    /// The rules of a role named from a binding in `namespace`.
    pub(super) fn role(&self, kind: &str, name: &str, namespace: &str) -> Option<&Rules> {
        match kind {
            "ClusterRole" => self.cluster_roles.get(name),
            "Role" => self.roles.get(&(namespace.to_owned(), name.to_owned())),
            _ => None,
        }
    }

    /// Shows every rule that holds for the user, cluster-wide ones first, until `stop` says true.
    pub(super) fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        stop: &mut dyn FnMut(&Grant, &PolicyRule) -> bool,
    ) {
        let places = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
        for place in places {
            let Some(bindings) = self.bindings.get(place) else { continue };
            let holders = std::iter::once(Holder::User(user.name.clone()))
                .chain(user.groups.iter().cloned().map(Holder::Group));
            for grant in holders.filter_map(|holder| bindings.get(&holder)).flatten() {
                let rules = self.role(&grant.role.kind, &grant.role.name, place);
                if rules.into_iter().flat_map(|rules| rules.iter()).any(|rule| stop(grant, rule)) {
                    return;
                }
            }
        }
    }
}

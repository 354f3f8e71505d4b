use super::{GROUP, PolicyRule, RESOURCES};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef, Subject,
};
use kubeplane_core::{GroupResource, auth::UserInfo, reader::ObjectReader, status::ApiResult};
use std::{collections::HashMap, fmt, sync::Arc};

type Rules = Arc<[PolicyRule]>;

/// All roles and bindings of a cluster, by who they are bound to.
#[derive(Debug, Default)]
pub(super) struct Policy {
    cluster_roles: HashMap<String, Rules>,
    roles: HashMap<(String, String), Rules>,
    /// Bindings by namespace (empty for cluster-wide ones), then by subject.
    bindings: HashMap<String, HashMap<Holder, Vec<Arc<Grant>>>>,
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
    /// Reads everything, and says at which revisions.
    pub(super) async fn read(reader: &dyn ObjectReader) -> ApiResult<([u64; 4], Self)> {
        let mut policy = Self::default();
        let mut revisions = [0; 4];
        for (revision, name) in revisions.iter_mut().zip(RESOURCES) {
            let list = reader.list(&GroupResource::new(GROUP, name), "").await?;
            *revision = list.revision;
            for object in list.items {
                policy.add(name, &object);
            }
        }
        Ok((revisions, policy))
    }

    fn add(&mut self, resource: &str, object: &kubeplane_core::Object) {
        let (name, namespace) = (object.name().to_owned(), object.namespace().to_owned());
        match resource {
            "clusterroles" => {
                let role = object.decode::<ClusterRole>().unwrap_or_default();
                self.cluster_roles.insert(name, rules(role.rules));
            }
            "roles" => {
                let role = object.decode::<Role>().unwrap_or_default();
                self.roles.insert((namespace, name), rules(role.rules));
            }
            "clusterrolebindings" => {
                if let Ok(binding) = object.decode::<ClusterRoleBinding>() {
                    self.bind(&name, "", &binding.role_ref, binding.subjects.unwrap_or_default());
                }
            }
            _ => {
                if let Ok(binding) = object.decode::<RoleBinding>() {
                    self.bind(
                        &name,
                        &namespace,
                        &binding.role_ref,
                        binding.subjects.unwrap_or_default(),
                    );
                }
            }
        }
    }

    fn bind(&mut self, name: &str, namespace: &str, role: &RoleRef, subjects: Vec<Subject>) {
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
            here.entry(holder).or_default().push(Arc::new(grant));
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

fn rules(rules: Option<Vec<k8s_openapi::api::rbac::v1::PolicyRule>>) -> Rules {
    rules.into_iter().flatten().map(PolicyRule::from).collect()
}

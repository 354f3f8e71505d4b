//! Which requests a FlowSchema is about.

use crate::info::RequestInfo;
use kubeplane_core::auth::UserInfo;
use serde_json::Value;

const ACCOUNT: &str = "system:serviceaccount:";

/// Some requests of some subjects.
#[derive(Debug)]
pub(super) struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    Account { namespace: String, name: String },
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    cluster: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Names,
    paths: Vec<String>,
}

/// Names, or all there are.
#[derive(Debug)]
enum Names {
    All,
    These(Vec<String>),
}

impl Rule {
    pub(super) fn of(rule: &Value) -> Self {
        Self {
            subjects: items(rule, "subjects").filter_map(Subject::of).collect(),
            resources: items(rule, "resourceRules").map(ResourceRule::of).collect(),
            paths: items(rule, "nonResourceRules").map(PathRule::of).collect(),
        }
    }

    pub(super) fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.is_resource() {
                self.resources.iter().any(|rule| rule.matches(info))
            } else {
                self.paths.iter().any(|rule| rule.matches(info))
            }
    }
}

impl Subject {
    fn of(subject: &Value) -> Option<Self> {
        let text = |of: &str, key: &str| subject[of][key].as_str().map(str::to_owned);
        match subject["kind"].as_str()? {
            "User" => text("user", "name").map(Self::User),
            "Group" => text("group", "name").map(Self::Group),
            "ServiceAccount" => Some(Self::Account {
                namespace: text("serviceAccount", "namespace")?,
                name: text("serviceAccount", "name")?,
            }),
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.is_in(name),
            Self::Account { namespace, name } => {
                let account = user.name.strip_prefix(ACCOUNT).and_then(|own| own.split_once(':'));
                account.is_some_and(|(own_namespace, own)| {
                    own_namespace == namespace && (name == "*" || name == own)
                })
            }
        }
    }
}

impl ResourceRule {
    fn of(rule: &Value) -> Self {
        Self {
            verbs: Names::of(rule, "verbs"),
            groups: Names::of(rule, "apiGroups"),
            resources: Names::of(rule, "resources"),
            namespaces: Names::of(rule, "namespaces"),
            cluster: rule["clusterScope"] == true,
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.has(&info.verb)
            && self.resources.has_part(&info.resource, &info.subresource)
            && self.groups.has(&info.group)
            && match info.namespace.as_str() {
                "" => self.cluster,
                namespace => self.namespaces.has(namespace),
            }
    }
}

impl PathRule {
    fn of(rule: &Value) -> Self {
        Self { verbs: Names::of(rule, "verbs"), paths: texts(rule, "nonResourceURLs") }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let below = |path: &String| {
            let prefix = path.strip_suffix('*').unwrap_or(path);
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            *path == info.path
                || info.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        self.verbs.has(&info.verb) && self.paths.iter().any(|path| path == "*" || below(path))
    }
}

impl Names {
    fn of(rule: &Value, key: &str) -> Self {
        let names = texts(rule, key);
        if names == ["*"] { Self::All } else { Self::These(names) }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|own| own == name),
        }
    }

    /// Whether a resource, or a part of one as in `pods/status`, is among them.
    fn has_part(&self, resource: &str, part: &str) -> bool {
        match self {
            Self::These(names) if !part.is_empty() => {
                names.iter().any(|own| own.split_once('/') == Some((resource, part)))
            }
            _ => self.has(resource),
        }
    }
}

fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    items(value, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};
    use serde_json::json;

    fn matches(rule: &Value, method: Method, uri: &'static str, user: &UserInfo) -> bool {
        let info = RequestInfo::parse(&method, &Uri::from_static(uri)).unwrap();
        Rule::of(rule).matches(&info, user)
    }

    #[test]
    fn subjects_are_users_groups_and_accounts_of_a_namespace() {
        let nobody = Vec::<String>::new;
        let rule = json!({
            "subjects": [
                {"kind": "User", "user": {"name": "jane"}},
                {"kind": "Group", "group": {"name": "ops"}},
                {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube", "name": "*"}},
            ],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        });
        let asked = |user: &UserInfo| matches(&rule, Method::GET, "/version", user);
        assert!(asked(&UserInfo::new("jane", nobody())));
        assert!(asked(&UserInfo::new("joe", ["ops"])));
        assert!(asked(&UserInfo::new("system:serviceaccount:kube:any", nobody())));
        assert!(!asked(&UserInfo::new("system:serviceaccount:kube2:any", nobody())));
        assert!(!asked(&UserInfo::new("joe", ["dev"])));
    }

    #[test]
    fn resources_parts_namespaces_and_paths_are_told_apart() {
        let rule = json!({
            "subjects": [{"kind": "User", "user": {"name": "*"}}],
            "resourceRules": [
                {"verbs": ["update"], "apiGroups": [""], "resources": ["pods/status"], "namespaces": ["a"]},
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["nodes"], "clusterScope": true},
            ],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/livez", "/logs/*"]}],
        });
        let user = UserInfo::new("joe", Vec::<String>::new());
        for (method, uri, expected) in [
            (Method::PUT, "/api/v1/namespaces/a/pods/x/status", true),
            (Method::PUT, "/api/v1/namespaces/a/pods/x", false),
            (Method::PUT, "/api/v1/namespaces/b/pods/x/status", false),
            (Method::GET, "/api/v1/nodes", true),
            (Method::GET, "/api/v1/pods", false),
            (Method::GET, "/livez", true),
            (Method::GET, "/livez/ping", true),
            (Method::GET, "/livezz", false),
            (Method::GET, "/logs/kernel", true),
            (Method::POST, "/livez", false),
        ] {
            assert_eq!(matches(&rule, method, uri, &user), expected, "{uri}");
        }
    }
}

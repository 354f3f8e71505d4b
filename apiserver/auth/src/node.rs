use crate::{PolicyRule, bootstrap, rbac::rules_in};
use async_trait::async_trait;
use kubeplane_core::{
    GroupResource, Object,
    auth::{Attributes, Authorizer, Decision, UserInfo, UserRule},
    reader::{ObjectChange, ObjectReader},
};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Lets each kubelet do what the pods bound to its node need, and no more.
///
/// A node is a user `system:node:NAME` in the group `system:nodes`. It reads the secrets, config maps,
/// claims and service accounts its pods refer to; its other rights are those of the ClusterRole
/// `system:node`. What pods refer to is kept, and follows their changes.
#[derive(Debug)]
pub struct NodeAuthorizer {
    reader: Arc<dyn ObjectReader>,
    rules: Vec<PolicyRule>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Where to go on; `None` before the first look.
    through: Option<u64>,
    references: References,
}

/// What the pods of each node refer to.
#[derive(Debug, Default)]
struct References {
    /// Bound pods by namespace and name.
    pods: HashMap<(String, String), Bound>,
    /// How many pods of each node refer to something.
    nodes: HashMap<String, HashMap<Reference, usize>>,
}

#[derive(Debug)]
struct Bound {
    node: String,
    generation: i64,
    references: HashSet<Reference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reference {
    resource: &'static str,
    namespace: String,
    name: String,
}

impl References {
    /// A pod that is bound does not refer to anything else before its generation changes.
    fn note(&mut self, change: &ObjectChange<'_>) {
        let key = (change.namespace.to_owned(), change.name.to_owned());
        if let Some(known) = self.pods.get(&key) {
            if Some(known.generation) == change.generation {
                return;
            }
            self.forget(&key);
        }
        if let Some(pod) = (change.object)() {
            self.add(key, &pod);
        }
    }

    fn add(&mut self, key: (String, String), pod: &Object) {
        let node = pod.text(&["spec", "nodeName"]);
        // Nodes make mirror pods themselves: what those refer to gives no rights.
        if node.is_empty() || pod.annotation("kubernetes.io/config.mirror").is_some() {
            return;
        }
        let mut references = HashSet::new();
        collect(pod, &mut references);
        let own = self.nodes.entry(node.to_owned()).or_default();
        for reference in &references {
            *own.entry(reference.clone()).or_default() += 1;
        }
        let (node, generation) = (node.to_owned(), pod.generation());
        self.pods.insert(key, Bound { node, generation, references });
    }

    fn forget(&mut self, key: &(String, String)) {
        let Some(gone) = self.pods.remove(key) else { return };
        let Some(own) = self.nodes.get_mut(&gone.node) else { return };
        for reference in &gone.references {
            if let Some(count) = own.get_mut(reference) {
                *count -= 1;
                if *count == 0 {
                    own.remove(reference);
                }
            }
        }
        if own.is_empty() {
            self.nodes.remove(&gone.node);
        }
    }
}

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

impl NodeAuthorizer {
    /// Reads pods through `reader`.
    #[must_use]
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        let rules = bootstrap::cluster_role("system:node").as_ref().map(rules_in);
        Self { reader, rules: rules.unwrap_or_default(), kept: Mutex::default() }
    }

    /// Follows the pods; whether that was possible.
    fn follow(&self) -> bool {
        let Kept { through, references } = &mut *self.kept.lock();
        let go_on = |after, references: &mut References| {
            self.reader.changes(&pods(), after, &mut |change| references.note(&change))
        };
        let known = *through;
        *through = known.and_then(|after| go_on(Some(after), references));
        if through.is_none() {
            *references = References::default();
            *through = go_on(None, references);
        }
        through.is_some()
    }

    /// Looks at all pods, where they cannot be followed.
    async fn look(&self) {
        let Ok(list) = self.reader.list(&pods(), "").await else { return };
        let mut references = References::default();
        for pod in &list.items {
            references.add((pod.namespace().to_owned(), pod.name().to_owned()), pod);
        }
        self.kept.lock().references = references;
    }

    async fn related(&self, node: &str, resource: &'static str, request: &Attributes) -> Decision {
        if request.name.is_empty() {
            return Decision::NoOpinion("No Object name found".into());
        }
        let wanted = Reference {
            resource,
            namespace: request.namespace.clone(),
            name: request.name.clone(),
        };
        if self.refers(node, &wanted).await {
            return Decision::Allow(String::new());
        }
        // The pod may have come a moment ago: a node that was just told of it must not be refused.
        let caught_up = self.reader.catch_up(&pods()).await;
        if caught_up.is_ok() && self.refers(node, &wanted).await {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(format!("no relationship found between node '{node}' and this object"))
    }

    async fn refers(&self, node: &str, wanted: &Reference) -> bool {
        let followed =
            self.follow() || self.reader.catch_up(&pods()).await.is_ok() && self.follow();
        if !followed {
            self.look().await;
        }
        let kept = self.kept.lock();
        kept.references.nodes.get(node).is_some_and(|own| own.contains_key(wanted))
    }

    async fn read_related(
        &self,
        node: &str,
        resource: &'static str,
        request: &Attributes,
    ) -> Decision {
        let why = match () {
            () if !request.is_read_only() => "can only read resources of this type",
            () if !request.subresource.is_empty() => "cannot read subresource",
            () if request.namespace.is_empty() => "can only read namespaced object of this type",
            () => return self.related(node, resource, request).await,
        };
        Decision::NoOpinion(why.into())
    }

    async fn service_account(&self, node: &str, request: &Attributes) -> Decision {
        if request.verb == "get" && request.subresource.is_empty() {
            return self.read_related(node, "serviceaccounts", request).await;
        }
        let why = match () {
            () if request.verb != "create" || request.name.is_empty() => {
                "can only create tokens for individual service accounts"
            }
            () if request.subresource != "token" => {
                "can only create token subresource of serviceaccount"
            }
            () => return self.related(node, "serviceaccounts", request).await,
        };
        Decision::NoOpinion(why.into())
    }

    async fn pod(&self, node: &str, request: &Attributes) -> Decision {
        match (request.subresource.as_str(), request.verb.as_str()) {
            ("", "get") => self.related(node, "pods", request).await,
            ("", "list" | "watch") => {
                let own = format!("spec.nodeName={node}");
                if request.field_selector.split(',').any(|term| term.replace("==", "=") == own) {
                    Decision::Allow(String::new())
                } else if request.name.is_empty() {
                    Decision::NoOpinion(
                        "can only list/watch pods with spec.nodeName field selector".into(),
                    )
                } else {
                    self.related(node, "pods", request).await
                }
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Decision::Allow(String::new())
            }
            _ => Decision::NoOpinion(String::new()),
        }
    }
}

fn own_node(node: &str, request: &Attributes) -> Decision {
    match (request.subresource.as_str(), request.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => {
            Decision::Allow(String::new())
        }
        ("", "get" | "list" | "watch") if request.name == node => Decision::Allow(String::new()),
        ("", "get" | "list" | "watch") if request.name.is_empty() => {
            let own = format!("metadata.name={node}");
            if request.field_selector == own {
                return Decision::Allow(String::new());
            }
            Decision::NoOpinion(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            ))
        }
        ("", "get" | "list" | "watch") => Decision::NoOpinion(format!(
            "node '{node}' cannot read '{}', only its own Node object",
            request.name
        )),
        _ => Decision::NoOpinion(String::new()),
    }
}

fn own_lease(node: &str, request: &Attributes) -> Decision {
    let why = match () {
        () if !matches!(
            request.verb.as_str(),
            "get" | "create" | "update" | "patch" | "delete"
        ) =>
        {
            "can only get, create, update, patch, or delete a node lease"
        }
        () if request.namespace != "kube-node-lease" => {
            r#"can only access leases in the "kube-node-lease" system namespace"#
        }
        () if request.verb != "create" && request.name != node => {
            "can only access node lease with the same name as the requesting node"
        }
        () => return Decision::Allow(String::new()),
    };
    Decision::NoOpinion(why.into())
}

/// The node a user is, if it is one.
fn node_of(user: &UserInfo) -> Option<&str> {
    user.is_in("system:nodes").then(|| user.name.strip_prefix("system:node:").unwrap_or_default())
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, request: &Attributes) -> Decision {
        let Some(node) = node_of(&request.user) else { return Decision::NoOpinion(String::new()) };
        if node.is_empty() {
            return Decision::NoOpinion(format!("unknown node for user {:?}", request.user.name));
        }
        match (request.group.as_str(), request.resource.as_str()) {
            ("", "secrets") => self.read_related(node, "secrets", request).await,
            ("", "configmaps") => self.read_related(node, "configmaps", request).await,
            ("", "serviceaccounts") => self.service_account(node, request).await,
            ("", "persistentvolumeclaims") if request.verb == "get" => {
                self.related(node, "persistentvolumeclaims", request).await
            }
            ("", "pods") => self.pod(node, request).await,
            ("", "nodes") => own_node(node, request),
            ("coordination.k8s.io", "leases") => own_lease(node, request),
            _ if self.rules.iter().any(|rule| rule.allows(request)) => {
                Decision::Allow(String::new())
            }
            _ => Decision::NoOpinion(String::new()),
        }
    }

    /// What a node may do depends on its pods, so its list is never complete.
    async fn rules(&self, user: &UserInfo, _namespace: &str) -> (Vec<UserRule>, bool) {
        (Vec::new(), node_of(user).is_some())
    }
}

/// Adds everything a pod refers to.
fn collect(pod: &Object, found: &mut HashSet<Reference>) {
    let mut add = |resource, name: &str| {
        if !name.is_empty() {
            found.insert(Reference {
                resource,
                namespace: pod.namespace().to_owned(),
                name: name.to_owned(),
            });
        }
    };
    add("pods", pod.name());
    let account = pod.text(&["spec", "serviceAccountName"]);
    add("serviceaccounts", if account.is_empty() { "default" } else { account });
    for secret in items(pod.at(&["spec", "imagePullSecrets"])) {
        add("secrets", text(secret, &["name"]));
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(pod.at(&["spec", list])) {
            for source in items(container.get("envFrom")) {
                add("configmaps", text(source, &["configMapRef", "name"]));
                add("secrets", text(source, &["secretRef", "name"]));
            }
            for variable in items(container.get("env")) {
                add("configmaps", text(variable, &["valueFrom", "configMapKeyRef", "name"]));
                add("secrets", text(variable, &["valueFrom", "secretKeyRef", "name"]));
            }
        }
    }
    for volume in items(pod.at(&["spec", "volumes"])) {
        add("configmaps", text(volume, &["configMap", "name"]));
        add("secrets", text(volume, &["secret", "secretName"]));
        add("persistentvolumeclaims", text(volume, &["persistentVolumeClaim", "claimName"]));
        if volume.get("ephemeral").is_some() {
            let own = format!("{}-{}", pod.name(), text(volume, &["name"]));
            add("persistentvolumeclaims", &own);
        }
        for source in items(volume.pointer("/projected/sources")) {
            add("configmaps", text(source, &["configMap", "name"]));
            add("secrets", text(source, &["secret", "name"]));
        }
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter()
        .try_fold(value, |value, key| value.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_core::{reader::ObjectList, status::ApiResult};

    #[derive(Debug)]
    struct Pods(Vec<Arc<Object>>);

    #[async_trait]
    impl ObjectReader for Pods {
        fn revision(&self, _: &GroupResource) -> Option<u64> {
            Some(7)
        }

        async fn get(&self, _: &GroupResource, _: &str, _: &str) -> ApiResult<Option<Arc<Object>>> {
            Ok(None)
        }

        async fn list(&self, _: &GroupResource, _: &str) -> ApiResult<ObjectList> {
            Ok(ObjectList { revision: 7, items: self.0.clone() })
        }
    }

    fn ask(verb: &str, resource: &str, name: &str, selector: &str) -> Attributes {
        Attributes {
            user: Arc::new(UserInfo::new("system:node:n1", ["system:nodes"])),
            verb: verb.into(),
            namespace: if resource == "nodes" { String::new() } else { "default".into() },
            resource: resource.into(),
            name: name.into(),
            field_selector: selector.into(),
            ..Attributes::default()
        }
    }

    #[tokio::test]
    async fn a_node_reads_what_its_own_pods_refer_to() {
        let pod = |name: &str, node: &str, secret: &str| {
            let value = serde_json::json!({"metadata": {"name": name, "namespace": "default"}, "spec": {
                "nodeName": node, "volumes": [{"name": "v", "secret": {"secretName": secret}}],
                "containers": [{"name": "c", "env": [{"name": "A", "valueFrom":
                    {"configMapKeyRef": {"name": format!("{name}-env"), "key": "a"}}}]}]}});
            Arc::new(Object::from_value(value).unwrap())
        };
        let pods = Pods(vec![pod("a", "n1", "mine"), pod("b", "n2", "theirs")]);
        let node = NodeAuthorizer::new(Arc::new(pods));
        let cases = [
            (ask("get", "secrets", "mine", ""), true),
            (ask("get", "secrets", "theirs", ""), false),
            (ask("list", "secrets", "", ""), false),
            (ask("update", "secrets", "mine", ""), false),
            (ask("watch", "configmaps", "a-env", ""), true),
            (ask("get", "configmaps", "b-env", ""), false),
            (ask("list", "pods", "", "spec.nodeName=n1"), true),
            (ask("list", "pods", "", "spec.nodeName=n2"), false),
            (ask("get", "nodes", "n1", ""), true),
            (ask("get", "nodes", "n2", ""), false),
            (ask("list", "services", "", ""), true),
        ];
        for (request, allowed) in cases {
            let decision = node.authorize(&request).await;
            assert_eq!(
                matches!(decision, Decision::Allow(_)),
                allowed,
                "{request:?}: {decision:?}"
            );
        }
    }

    #[test]
    fn references_follow_the_generations_of_pods() {
        let pod = |generation: i64, secret: &str| {
            let value = serde_json::json!({"metadata": {"name": "a", "namespace": "d", "generation": generation},
                "spec": {"nodeName": "n", "volumes": [{"secret": {"secretName": secret}}]}});
            Object::from_value(value).unwrap()
        };
        let mut references = References::default();
        let mut tell = |generation: Option<i64>, object: Option<Object>| {
            let object = || object.clone();
            let (namespace, name) = ("d", "a");
            references.note(&ObjectChange { namespace, name, generation, object: &object });
            let own = references.nodes.get("n");
            let names = own.into_iter().flatten().filter(|(of, _)| of.resource == "secrets");
            names.map(|(of, _)| of.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(tell(Some(1), Some(pod(1, "one"))), ["one"]);
        // Nobody reads it: it cannot refer to anything else.
        assert_eq!(tell(Some(1), Some(pod(1, "other"))), ["one"]);
        assert_eq!(tell(Some(2), Some(pod(2, "two"))), ["two"]);
        assert!(tell(None, None).is_empty());
        assert!(references.pods.is_empty() && references.nodes.is_empty());
    }
}

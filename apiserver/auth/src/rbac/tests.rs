use super::*;
use kubeplane_core::{Object, reader::ObjectList, status::ApiError};
use parking_lot::Mutex;
use serde_json::json;

#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Vec<Object>);

#[async_trait]
impl ObjectReader for Fixed {
    fn revision(&self, _: &GroupResource) -> Option<u64> {
        Some(1)
    }

    async fn get(&self, _: &GroupResource, _: &str, _: &str) -> ApiResult<Option<Arc<Object>>> {
        Ok(None)
    }

    async fn list(&self, resource: &GroupResource, _: &str) -> ApiResult<ObjectList> {
        let kind =
            |object: &&Object| format!("{}s", object.kind().to_lowercase()) == resource.resource;
        let items = self.0.iter().filter(kind).cloned().map(Arc::new).collect();
        Ok(ObjectList { revision: 1, items })
    }
}

/// Tells of its changes, numbered from one: a resource, an object, and whether it is there.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(&'static str, Object, bool)>>);

impl Told {
    fn tell(&self, resource: &'static str, object: serde_json::Value, there: bool) {
        self.0.lock().push((resource, Object::from_value(object).unwrap(), there));
    }
}

#[async_trait]
impl ObjectReader for Told {
    fn revision(&self, resource: &GroupResource) -> Option<u64> {
        let log = self.0.lock();
        let last = log.iter().rposition(|(own, ..)| *own == resource.resource);
        Some(last.map_or(0, |at| at as u64 + 1))
    }

    async fn get(&self, _: &GroupResource, _: &str, _: &str) -> ApiResult<Option<Arc<Object>>> {
        Ok(None)
    }

    async fn list(&self, _: &GroupResource, _: &str) -> ApiResult<ObjectList> {
        Err(ApiError::no_such_path())
    }

    fn changes(
        &self,
        resource: &GroupResource,
        after: Option<u64>,
        told: &mut dyn FnMut(ObjectChange<'_>),
    ) -> Option<u64> {
        let log = self.0.lock();
        for (at, (own, object, there)) in log.iter().enumerate() {
            let (namespace, name) = (object.namespace(), object.name());
            let replaced = log[at + 1..].iter().any(|(other, next, _)| {
                other == own && (next.namespace(), next.name()) == (namespace, name)
            });
            let new = after.map_or(*there && !replaced, |after| at as u64 >= after);
            if *own == resource.resource && new {
                let generation = there.then_some(0);
                let object = &|| there.then(|| object.clone());
                told(ObjectChange { namespace, name, generation, object });
            }
        }
        Some(log.len() as u64)
    }
}

fn request(user: &str, groups: &[&str], verb: &str, resource: &str, namespace: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        user: Arc::new(UserInfo::new(user, groups.to_vec())),
        verb: verb.into(),
        namespace: namespace.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        ..Attributes::default()
    }
}

fn cluster() -> Rbac {
    let role = json!({"kind": "Role", "metadata": {"name": "logs", "namespace": "a"},
        "rules": [{"apiGroups": [""], "resources": ["pods", "*/log"], "verbs": ["get", "list"]}]});
    let binding = json!({"kind": "RoleBinding", "metadata": {"name": "logs", "namespace": "a"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "logs"},
        "subjects": [{"kind": "ServiceAccount", "name": "web"}, {"kind": "Group", "name": "dev"}]});
    let mut objects: Vec<_> = [role, binding].into_iter().filter_map(Object::from_value).collect();
    objects.extend(crate::bootstrap::policy());
    Rbac::new(Arc::new(Fixed(objects)))
}

#[tokio::test]
async fn a_role_holds_in_its_namespace_for_its_subjects_only() {
    let rbac = cluster();
    let web = "system:serviceaccount:a:web";
    let allowed = |decision: Decision| matches!(decision, Decision::Allow(_));
    assert!(allowed(rbac.authorize(&request(web, &[], "get", "pods", "a")).await));
    assert!(allowed(rbac.authorize(&request(web, &[], "get", "pods/log", "a")).await));
    assert!(allowed(rbac.authorize(&request("eve", &["dev"], "list", "pods", "a")).await));
    assert!(!allowed(rbac.authorize(&request(web, &[], "get", "pods", "b")).await));
    assert!(!allowed(rbac.authorize(&request(web, &[], "get", "pods", "")).await));
    assert!(!allowed(rbac.authorize(&request(web, &[], "delete", "pods", "a")).await));
    assert!(!allowed(rbac.authorize(&request(web, &[], "get", "pods/exec", "a")).await));
}

#[tokio::test]
async fn changes_are_followed_and_nothing_is_listed() {
    let told = Arc::new(Told::default());
    let rbac = Rbac::new(told.clone());
    let role = |verb: &str| {
        json!({"metadata": {"name": "r", "namespace": "a"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    };
    let binding = |name: &str, user: &str| {
        json!({"metadata": {"name": name, "namespace": "a"},
            "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": user}]})
    };
    let may = async |user: &str, verb: &str| match rbac
        .authorize(&request(user, &[], verb, "pods", "a"))
        .await
    {
        Decision::Allow(why) => why,
        other => format!("{other:?}"),
    };
    let no = "NoOpinion(\"\")";
    assert_eq!(may("eve", "get").await, no);
    told.tell("roles", role("get"), true);
    told.tell("rolebindings", binding("m", "eve"), true);
    assert!(may("eve", "get").await.contains("RoleBinding \"m/a\""));
    assert_eq!(may("eve", "list").await, no);

    told.tell("roles", role("list"), true);
    assert_eq!(may("eve", "get").await, no);
    assert!(may("eve", "list").await.contains("\"m/a\""));

    told.tell("rolebindings", binding("b", "eve"), true);
    assert!(may("eve", "list").await.contains("\"b/a\""), "the first by name, as on a new start");
    told.tell("rolebindings", binding("b", "bob"), true);
    assert!(may("eve", "list").await.contains("\"m/a\""));
    told.tell("rolebindings", binding("m", "eve"), false);
    assert_eq!(may("eve", "list").await, no);
    assert!(may("bob", "list").await.contains("\"b/a\""));

    let anew = Rbac::new(told.clone());
    let bob = anew.authorize(&request("bob", &[], "list", "pods", "a")).await;
    assert!(matches!(bob, Decision::Allow(_)), "{bob:?}");
    // The store was put back to when there was only the first role.
    told.0.lock().truncate(2);
    assert!(may("eve", "get").await.contains("\"m/a\""));
    assert_eq!(may("bob", "get").await, no);
}

#[tokio::test]
async fn the_bootstrap_policy_lets_components_do_their_work_and_no_more() {
    let rbac = cluster();
    let scheduler = "system:kube-scheduler";
    let bind = request(scheduler, &[], "create", "pods/binding", "any");
    let reason = match rbac.authorize(&bind).await {
        Decision::Allow(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason,
        "RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of ClusterRole \
         \"system:kube-scheduler\" to User \"system:kube-scheduler\""
    );
    let secrets = request(scheduler, &[], "get", "secrets", "any");
    assert_eq!(rbac.authorize(&secrets).await, Decision::NoOpinion(String::new()));
    let mut version = request("system:anonymous", &["system:unauthenticated"], "get", "", "");
    version.path = "/version".into();
    assert!(matches!(rbac.authorize(&version).await, Decision::Allow(_)));
    version.path = "/api".into();
    assert!(matches!(rbac.authorize(&version).await, Decision::NoOpinion(_)));
}

#[test]
fn rules_cover_what_they_grant() {
    let wide = PolicyRule {
        verbs: vec!["*".into()],
        api_groups: vec!["*".into()],
        resources: vec!["*".into()],
        ..PolicyRule::default()
    };
    let narrow = PolicyRule {
        verbs: vec!["get".into(), "list".into()],
        api_groups: vec!["".into()],
        resources: vec!["pods".into(), "pods/log".into()],
        resource_names: vec!["a".into()],
        ..PolicyRule::default()
    };
    assert_eq!(narrow.pieces().len(), 4);
    assert!(narrow.pieces().iter().all(|piece| wide.covers(piece)));
    assert!(!wide.pieces().iter().any(|piece| narrow.covers(piece)));
    assert_eq!(
        narrow.pieces()[0].to_string(),
        r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}"#
    );
}

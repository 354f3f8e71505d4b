use super::*;
use kubeplane_core::{Object, reader::ObjectList, status::ApiResult};
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

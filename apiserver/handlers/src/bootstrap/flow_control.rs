//! The priority levels and flow schemas every server starts with.

use super::Bootstrap;
use futures::{StreamExt, future::try_join_all};
use http::StatusCode;
use kubeplane_apiserver::DeleteOptions;
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{BoxWatcher, ListOptions};
use serde_json::{Value, json};
use std::time::Duration;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Who says whether the levels of schemas are there.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
/// After a failed watch.
const PAUSE: Duration = Duration::from_secs(1);
/// Says of an object whether servers bring back its spec.
const KEEP: &str = "apf.kubernetes.io/autoupdate-spec";
/// Those whose spec servers bring back whatever is said.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// Name, shares, percent that can be lent, and queues with the hand dealt from them (none: refuse at once).
type Level = (&'static str, i64, i64, Option<(i64, i64)>);

const LEVELS: [Level; 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("node-high", 40, 25, Some((64, 6))),
    ("system", 30, 33, Some((64, 6))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
];
const QUEUE_LENGTH: i64 = 50;

fn levels() -> Vec<Value> {
    let exempt = json!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt",
        "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}});
    let limited = LEVELS.iter().map(|(name, shares, lent, queues)| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({"type": "Queue", "queuing": {"queues": queues,
                "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}}),
        };
        json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lent,
            "limitResponse": response}}})
    });
    std::iter::once(exempt).chain(limited).collect()
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn accounts(name: &str) -> Value {
    json!([{"kind": "ServiceAccount",
        "serviceAccount": {"name": name, "namespace": "kube-system"}}])
}

/// Everything there is.
fn all(subjects: Value) -> Value {
    json!([{"subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
            "clusterScope": true, "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}])
}

fn leases() -> Value {
    let mut subjects = users(&["system:kube-controller-manager", "system:kube-scheduler"]);
    if let (Value::Array(all), Value::Array(more)) = (&mut subjects, accounts("*")) {
        all.extend(more);
    }
    json!([{"subjects": subjects, "resourceRules": [{"verbs": ["get", "create", "update"],
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]}]}])
}

fn node_work() -> Value {
    json!([{"subjects": groups(&["system:nodes"]), "resourceRules": [
        {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"],
            "clusterScope": true, "namespaces": ["*"]},
        {"verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "namespaces": ["*"]}]}])
}

fn schemas() -> Vec<Value> {
    const EVERYONE: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
    let probes = json!([{"subjects": groups(&EVERYONE), "nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}]);
    let accounts_of_all = groups(&["system:serviceaccounts"]);
    let rows = [
        ("catch-all", 10_000, "catch-all", "ByUser", all(groups(&EVERYONE))),
        ("exempt", 1, "exempt", "", all(groups(&["system:masters"]))),
        ("global-default", 9900, "global-default", "ByUser", all(groups(&EVERYONE))),
        (
            "kube-controller-manager",
            800,
            "workload-high",
            "ByNamespace",
            all(users(&["system:kube-controller-manager"])),
        ),
        (
            "kube-scheduler",
            800,
            "workload-high",
            "ByNamespace",
            all(users(&["system:kube-scheduler"])),
        ),
        ("kube-system-service-accounts", 900, "workload-high", "ByNamespace", all(accounts("*"))),
        ("probes", 2, "exempt", "", probes),
        ("service-accounts", 9000, "workload-low", "ByUser", all(accounts_of_all)),
        ("system-leader-election", 100, "leader-election", "ByUser", leases()),
        ("system-node-high", 400, "node-high", "ByUser", node_work()),
        ("system-nodes", 500, "system", "ByUser", all(groups(&["system:nodes"]))),
    ];
    let schema = |(name, precedence, level, method, rules): (&str, i64, &str, &str, Value)| {
        let mut value = json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": level}, "rules": rules}});
        if !method.is_empty() {
            value["spec"]["distinguisherMethod"] = json!({"type": method});
        }
        value
    };
    rows.into_iter().map(schema).collect()
}

impl Bootstrap {
    /// Makes what is missing, brings back what nobody claimed for themselves, and deletes what other versions left.
    pub(super) async fn ensure_flow_control(&self) -> ApiResult<()> {
        let kinds = [("prioritylevelconfigurations", levels()), ("flowschemas", schemas())];
        for (plural, values) in &kinds {
            let resource = GroupResource::new(GROUP, *plural);
            let made = values.iter().cloned();
            let made = made.map(|value| self.ensure_configuration(&resource, value));
            try_join_all(made).await?;
        }
        for (plural, values) in &kinds {
            let resource = GroupResource::new(GROUP, *plural);
            for object in self.api.list_stored(&resource, "").await? {
                let wanted = values.iter().any(|value| value["metadata"]["name"] == object.name());
                if !wanted && is_kept(&object) == Some(true) {
                    self.remove(&resource, object.name()).await?;
                }
            }
        }
        Ok(())
    }

    async fn ensure_configuration(&self, resource: &GroupResource, value: Value) -> ApiResult<()> {
        let mut wanted = Object::from_value(value).unwrap_or_default();
        wanted.set(&["metadata", "annotations", KEEP], "true");
        let name = wanted.name().to_owned();
        let current = match self.api.get(resource, "", &name).await {
            Ok(current) => current,
            Err(error) if error.code() == StatusCode::NOT_FOUND => {
                return self.create(resource, "", wanted).await.map(|_| ());
            }
            Err(error) => return Err(error),
        };
        self.api.resource(resource)?.definition().strategy.default(&mut wanted);
        if revised(&current, &wanted).is_none() {
            return Ok(());
        }
        let change = |object: &mut Object| {
            if let Some(better) = revised(object, &wanted) {
                *object = better;
            }
            Ok::<_, ApiError>(())
        };
        match self.api.write(resource, "", &name, change).await {
            // It is looked at again soon.
            Err(error) if matches!(error.code(), StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    async fn remove(&self, resource: &GroupResource, name: &str) -> ApiResult<()> {
        match self.api.delete(resource, "", name, DeleteOptions::default()).await {
            Err(error) if error.code() == StatusCode::NOT_FOUND => Ok(()),
            other => other.map(drop),
        }
    }

    /// Keeps what is said of schemas true.
    pub(super) async fn watch_flow_control(&self) {
        loop {
            if let Err(error) = self.follow_flow_control().await {
                tracing::warn!(%error, "flow schemas could not be looked at; trying again");
            }
            self.api.clock().sleep(PAUSE).await;
        }
    }

    async fn follow_flow_control(&self) -> ApiResult<()> {
        let mut schemas = self.watch("flowschemas").await?;
        let mut levels = self.watch("prioritylevelconfigurations").await?;
        loop {
            self.mark_schemas().await?;
            let changed = tokio::select! {
                biased;
                batch = schemas.next() => batch,
                batch = levels.next() => batch,
            };
            if !matches!(changed, Some(Ok(_))) {
                return Ok(());
            }
        }
    }

    async fn watch(&self, plural: &'static str) -> ApiResult<BoxWatcher> {
        let range = self.api.resource(&GroupResource::new(GROUP, plural))?.range("");
        let now = ListOptions { limit: Some(1), ..ListOptions::default() };
        let now = self.api.store().list(&range, now).await.map_err(ApiError::internal)?.revision;
        self.api.store().watch(&range, now).await.map_err(ApiError::internal)
    }

    /// Says of each schema whether the level it names is there.
    pub(super) async fn mark_schemas(&self) -> ApiResult<()> {
        let levels = GroupResource::new(GROUP, "prioritylevelconfigurations");
        let levels = self.api.list_stored(&levels, "").await?;
        let schemas = GroupResource::new(GROUP, "flowschemas");
        for schema in self.api.list_stored(&schemas, "").await? {
            let wanted = schema.text(&["spec", "priorityLevelConfiguration", "name"]);
            let found = levels.iter().any(|level| level.name() == wanted);
            let status = if found { "False" } else { "True" };
            if dangling(&schema) == Some(status) {
                continue;
            }
            let condition = self.condition(wanted, found);
            let mut applied = Object::default();
            applied.set(&["apiVersion"], schema.api_version());
            applied.set(&["kind"], schema.kind());
            applied.set(&["metadata", "name"], schema.name());
            applied.set(&["status", "conditions"], json!([condition]));
            match self.api.apply_status(&schemas, schema.name(), MANAGER, &applied).await {
                Err(error) if error.code() != StatusCode::NOT_FOUND => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn condition(&self, level: &str, found: bool) -> Value {
        let now = self.api.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (status, reason, end) = match found {
            true => ("False", "Found", "and it exists"),
            false => ("True", "NotFound", "but there is no such object"),
        };
        let message = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}"
        );
        json!({"type": "Dangling", "status": status, "reason": reason,
            "lastTransitionTime": now, "message": message})
    }
}

/// Whether servers bring back its spec, if it says so in a way that the original reads.
fn is_kept(object: &Object) -> Option<bool> {
    match object.annotation(KEEP)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The object as servers want it; `None` where it is so. The spec is theirs until somebody says or does otherwise.
fn revised(current: &Object, wanted: &Object) -> Option<Object> {
    let said = is_kept(current);
    let kept =
        MANDATORY.contains(&current.name()) || said.unwrap_or_else(|| current.generation() == 1);
    let differs = kept && !is_as_wanted(current, wanted);
    if said == Some(kept) && !differs {
        return None;
    }
    let mut revised = current.clone();
    if let Some(spec) = wanted.at(&["spec"]).filter(|_| differs) {
        revised.set(&["spec"], spec.clone());
    }
    if said != Some(kept) {
        revised.set(&["metadata", "annotations", KEEP], kept.to_string());
    }
    Some(revised)
}

fn is_as_wanted(current: &Object, wanted: &Object) -> bool {
    let (Some(found), Some(spec)) = (current.at(&["spec"]), wanted.at(&["spec"])) else {
        return false;
    };
    let mut spec = spec.clone();
    // How much the exempt have and lend is for administrators to say.
    if let (Some(own), Some(said)) = (spec.get_mut("exempt"), found.get("exempt")) {
        *own = said.clone();
    }
    spec == *found
}

fn dangling(schema: &Object) -> Option<&str> {
    let conditions = schema.at(&["status", "conditions"])?.as_array()?;
    conditions.iter().find(|one| one["type"] == "Dangling")?["status"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str, said: Option<&str>, generation: i64, spec: &Value) -> Object {
        let mut value = json!({"metadata": {"name": name, "generation": generation}, "spec": spec});
        if let Some(said) = said {
            value["metadata"]["annotations"] = json!({KEEP: said});
        }
        Object::from_value(value).unwrap_or_default()
    }

    /// What is said of it afterwards, and whether its spec was brought back; `None` where nothing changes.
    fn after(current: &Object, wanted: &Value) -> Option<(String, bool)> {
        let revised = revised(current, &level(current.name(), Some("true"), 0, wanted))?;
        let said = revised.annotation(KEEP).unwrap_or_default().to_owned();
        Some((
            said,
            revised.at(&["spec"]) == Some(wanted) && revised.at(&["spec"]) != current.at(&["spec"]),
        ))
    }

    #[test]
    fn a_spec_comes_back_until_an_administrator_claims_it() {
        let (wanted, other) = (
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 20}}),
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 7}}),
        );
        let answer = |said: &str, spec: bool| Some((said.to_owned(), spec));
        let suggested =
            |said, generation, spec| after(&level("system", said, generation, spec), &wanted);
        assert_eq!(suggested(Some("true"), 1, &wanted), None);
        assert_eq!(suggested(Some("true"), 9, &other), answer("true", true));
        assert_eq!(suggested(Some("false"), 1, &other), None);
        assert_eq!(suggested(None, 1, &other), answer("true", true));
        assert_eq!(suggested(None, 2, &other), answer("false", false));
        assert_eq!(suggested(Some("perhaps"), 2, &wanted), answer("false", false));
        let mandatory = |said, spec| after(&level("catch-all", said, 3, spec), &wanted);
        assert_eq!(mandatory(Some("false"), &wanted), answer("true", false));
        assert_eq!(mandatory(Some("false"), &other), answer("true", true));
        let exempt =
            |shares: i64| json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": shares}});
        assert_eq!(after(&level("exempt", Some("true"), 2, &exempt(5)), &exempt(0)), None);
    }
}

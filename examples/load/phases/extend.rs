//! What extending the API costs: objects of a large definition with rules, many definitions, and a policy or a webhook on
//! writes.

mod webhook;

pub(crate) use webhook::hooked;

use super::super::{
    connection::Call,
    fixture::{self, configmaps, path},
    meter::{Sample, each, measure},
    server::Server,
};
use super::Plan;
use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
/// The group of everything here.
const GROUP: &str = "load.example.com";
/// How long something may take to be in force.
const DEADLINE: Duration = Duration::from_secs(120);

fn widgets() -> String {
    path(&format!("apis/{GROUP}/v1"), "widgets")
}

fn definition(plural: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

/// So many properties of all sorts.
fn properties(count: usize) -> Map<String, Value> {
    let one = |index: usize| match index % 6 {
        0 => json!({"type": "string", "maxLength": 64, "pattern": "^[a-z0-9-]*$"}),
        1 => json!({"type": "integer", "minimum": 0, "maximum": 100_000}),
        2 => json!({"type": "boolean"}),
        3 => json!({"type": "array", "maxItems": 8, "items": {"type": "string", "maxLength": 32}}),
        4 => {
            json!({"type": "object", "additionalProperties": {"type": "string", "maxLength": 32}, "maxProperties": 8})
        }
        _ => json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 63},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535}}}),
    };
    (0..count).map(|index| (format!("field{index}"), one(index))).collect()
}

/// 300 properties and ten rules.
fn large() -> Value {
    let rules = [
        "self.field1 <= self.field7",
        "!has(self.field0) || self.field0.startsWith('a')",
        "self.field3.all(x, x.size() > 0)",
        "self.field3.exists(x, x == 'one')",
        "self.field4.all(k, k != 'forbidden')",
        "has(self.field5.port) && self.field5.port > 1024",
        "self.field2 || self.field8",
        "size(self.field9) <= 8",
        "self.field0 in ['a1', 'a2', 'a3']",
        "self.field6.matches('^a[0-9]+$')",
    ];
    let rules: Vec<Value> = rules.iter().map(|rule| json!({"rule": rule})).collect();
    let spec =
        json!({"type": "object", "properties": properties(300), "x-kubernetes-validations": rules});
    definition("widgets", "Widget", spec)
}

fn widget(index: usize) -> String {
    let value = |index: usize| match index % 6 {
        0 => json!("a1"),
        1 => json!(index),
        2 => json!(true),
        3 => json!(["one", "two", "three"]),
        4 => json!({"a": "b", "c": "d"}),
        _ => json!({"name": "n", "port": 8080}),
    };
    let spec: Map<String, Value> =
        (0..300).map(|index| (format!("field{index}"), value(index))).collect();
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget",
        "metadata": {"name": format!("widget-{index}")}, "spec": spec})
    .to_string()
}

/// Installs the large definition and waits until it is served.
pub(crate) async fn prepare(server: &Server) -> Result<()> {
    let connection = server.connection();
    let made = connection.send(Call::post(DEFINITIONS, large().to_string())).await?;
    let began = Instant::now();
    while connection.send(Call::get(widgets())).await?.status >= 300 {
        if began.elapsed() > DEADLINE {
            bail!("the definition is not served");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if made.status == 201 {
        let millis = began.elapsed().as_millis();
        eprintln!("{:<24} {:<10} {millis} ms until a new definition is served", "", server.name);
    }
    Ok(())
}

pub(crate) async fn create(server: &Server, plan: &Plan) -> Result<Sample> {
    each(server, plan.objects, plan.concurrency, |connection, index| async move {
        connection.succeed(Call::post(widgets(), widget(index))).await.map(drop)
    })
    .await
}

pub(crate) async fn delete(server: &Server, plan: &Plan) -> Result<Sample> {
    each(server, plan.objects, plan.concurrency, |connection, index| async move {
        connection.succeed(Call::delete(format!("{}/widget-{index}", widgets()))).await.map(drop)
    })
    .await
}

/// Installs many definitions: an operation is one that is established. The memory at the end is with all of them.
pub(crate) async fn install(server: &Server, plan: &Plan) -> Result<Sample> {
    let before = server.resident();
    let sample = measure(server, async {
        each(server, plan.definitions, plan.concurrency, |connection, index| async move {
            let spec = json!({"type": "object", "properties": properties(60)});
            let one = definition(&format!("things{index}"), &format!("Thing{index}"), spec);
            connection.succeed(Call::post(DEFINITIONS, one.to_string())).await.map(drop)
        })
        .await?;
        let began = Instant::now();
        while established(server).await? < plan.definitions {
            if began.elapsed() > DEADLINE {
                bail!("not all definitions are established");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok((plan.definitions, Vec::new()))
    })
    .await;
    let each = server.resident().saturating_sub(before) / plan.definitions.max(1) as u64 / 1024;
    eprintln!("{:<24} {:<10} {each} KiB for each definition", "", server.name);
    sample
}

/// How many of the plan's are established.
async fn established(server: &Server) -> Result<usize> {
    let answer = server.connection().read(Call::get(DEFINITIONS)).await?;
    let list: Value = serde_json::from_slice(&answer)?;
    let is_established = |crd: &&Value| {
        let conditions = crd["status"]["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
        })
    };
    let own = |crd: &&Value| {
        crd["spec"]["names"]["plural"].as_str().unwrap_or_default().starts_with("things")
    };
    Ok(list["items"].as_array().into_iter().flatten().filter(own).filter(is_established).count())
}

/// Removes them again.
pub(crate) async fn remove(server: &Server, plan: &Plan) -> Result<Sample> {
    each(server, plan.definitions, plan.concurrency, |connection, index| async move {
        let path = format!("{DEFINITIONS}/things{index}.{GROUP}");
        connection.succeed(Call::delete(path)).await.map(drop)
    })
    .await
}

fn configmap(index: usize) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("config-{index}"), "labels": {"app": "load"}},
        "data": {"key": "value", "other": "text"}})
    .to_string()
}

/// Creates what no policy is about.
pub(crate) async fn free(server: &Server, plan: &Plan) -> Result<Sample> {
    govern(server, false).await?;
    configs(server, plan).await
}

/// Creates the same under a policy of three validations and a variable.
pub(crate) async fn governed(server: &Server, plan: &Plan) -> Result<Sample> {
    govern(server, true).await?;
    let sample = configs(server, plan).await;
    govern(server, false).await?;
    sample
}

async fn configs(server: &Server, plan: &Plan) -> Result<Sample> {
    let sample = each(server, plan.objects, plan.concurrency, |connection, index| async move {
        connection.succeed(Call::post(configmaps(), configmap(index))).await.map(drop)
    })
    .await?;
    fixture::empty(server).await?;
    Ok(sample)
}

/// Puts the policy in force, or takes it away, and waits until that shows.
async fn govern(server: &Server, wanted: bool) -> Result<()> {
    let connection = server.connection();
    let (policies, bindings) = (
        format!("{ADMISSION}/validatingadmissionpolicies"),
        format!("{ADMISSION}/validatingadmissionpolicybindings"),
    );
    if wanted {
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "load"}, "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
                "variables": [{"name": "labels", "expression": "has(object.metadata.labels) ? object.metadata.labels : {}"}],
                "validations": [
                    {"expression": "'app' in variables.labels"},
                    {"expression": "object.data.all(k, object.data[k].size() < 1000)"},
                    {"expression": "!object.metadata.name.startsWith('refused-')"}]}});
        connection.send(Call::post(policies, policy.to_string())).await?;
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "load"}, "spec": {"policyName": "load", "validationActions": ["Deny"]}});
        connection.send(Call::post(bindings, binding.to_string())).await?;
    } else {
        connection.send(Call::delete(format!("{bindings}/load"))).await?;
        connection.send(Call::delete(format!("{policies}/load"))).await?;
    }
    let probe = configmap(0).replace("config-0", "refused-probe");
    let began = Instant::now();
    loop {
        let dry = format!("{}?dryRun=All", configmaps());
        let status = connection.send(Call::post(dry, probe.clone())).await?.status;
        if (status == 422) == wanted {
            return Ok(());
        }
        if began.elapsed() > DEADLINE {
            bail!("the policy is not what it should be: {status}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

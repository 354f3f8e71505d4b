//! A kind of your own, and the controller that makes a ConfigMap for each of its objects, here or where `KUBECONFIG` leads.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResource, CustomResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use kubeplane::{
    client::{ObjectKey, controller_ref},
    controllers::{Context, Error},
    prelude::*,
    testing::TestCluster,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[kube(group = "example.com", version = "v1", kind = "Greeting", namespaced)]
struct GreetingSpec {
    whom: String,
}

struct Greeter;

#[async_trait]
impl Controller for Greeter {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "greeter"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<Greeting>();
        sources.for_owner::<Greeting, ConfigMap>();
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let greetings = context.informers().of::<Greeting>();
        let Some(greeting) = greetings.get(&key.namespace, &key.name) else {
            return Ok(Action::Done); // What it owned, the garbage collector deletes.
        };
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": key.name, "ownerReferences": [controller_ref(&*greeting)]},
            "data": {"text": format!("hello, {}", greeting.spec.whom)},
        });
        let maps: Api<ConfigMap> = Api::namespaced(context.client(), &key.namespace);
        maps.patch(&key.name, &PatchParams::apply("greeter").force(), &Patch::Apply(map)).await?;
        Ok(Action::Done)
    }
}

/// Runs the controller on a cluster in this process; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let cluster = TestCluster::start().await?;
    on(cluster.client()).await
}

/// Runs the controller on any cluster as long as `show` takes.
pub(crate) async fn on(client: Client) -> anyhow::Result<Vec<String>> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &Greeting::crd()).await?;
    await_condition(crds, Greeting::crd_name(), is_crd_established()).await?;
    let manager = Manager::builder(client.clone()).add(Greeter).build()?;
    let mut shown = Ok(Vec::new());
    ControlPlane::new().with(manager).run_until(async { shown = show(client).await }).await?;
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let greetings: Api<Greeting> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let greeting = Greeting::new("first", GreetingSpec { whom: "world".to_owned() });
    greetings.create(&PostParams::default(), &greeting).await?;
    let mut lines = vec![format!("made: {}", text(&maps).await?)];
    maps.delete("first", &DeleteParams::default()).await?;
    lines.push(format!("deleted and made again: {}", text(&maps).await?));
    Ok(lines)
}

async fn text(maps: &Api<ConfigMap>) -> anyhow::Result<String> {
    let made = await_condition(maps.clone(), "first", |map: Option<&ConfigMap>| map.is_some());
    Ok(made.await?.and_then(|map| map.data?.remove("text")).unwrap_or_default())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let elsewhere = std::env::var_os("KUBECONFIG").is_some();
    let shown = if elsewhere { on(Client::try_default().await?).await } else { run().await };
    shown?.iter().for_each(|line| println!("{line}"));
    Ok(())
}

//! kube-rs: a Controller and a reflector over the socket, on a kind of their own.

use crate::{cluster::Ground, kubectl::SOON};
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, CustomResource, CustomResourceExt, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        finalizer::{Event, finalizer},
        reflector,
        wait::{await_condition, conditions},
        watcher,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{future::Future, path::Path, sync::Arc, time::Duration};

const MANAGER: &str = "shipyard";

#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "shipyard.example.com", version = "v1", kind = "Ship", namespaced)]
#[kube(status = "ShipStatus", derive = "PartialEq")]
struct ShipSpec {
    masts: i32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct ShipStatus {
    built: i32,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error(transparent)]
    Finalizer(#[from] Box<kube::runtime::finalizer::Error<kube::Error>>),
}

/// A ship has a ConfigMap that says its masts, and a finalizer that must be honoured.
async fn reconcile(ship: Arc<Ship>, client: Arc<Client>) -> Result<Action, Trouble> {
    let ships: Api<Ship> = Api::default_namespaced((*client).clone());
    let done = finalizer(&ships, "shipyard.example.com/scrap", ship, |event| async {
        match event {
            Event::Apply(ship) => build(&client, &ship).await,
            Event::Cleanup(ship) => scrap(&client, &ship).await,
        }
    });
    done.await.map_err(|error| Trouble::Finalizer(Box::new(error)))
}

async fn build(client: &Client, ship: &Ship) -> Result<Action, kube::Error> {
    let plans: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let plan = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ship.name_any(), "ownerReferences": [ship.controller_owner_ref(&())]},
        "data": {"masts": ship.spec.masts.to_string()},
    });
    let apply = PatchParams::apply(MANAGER).force();
    plans.patch(&ship.name_any(), &apply, &Patch::Apply(plan)).await?;
    let ships: Api<Ship> = Api::default_namespaced(client.clone());
    let status = json!({"status": {"built": ship.spec.masts}});
    let merge = PatchParams::default();
    ships.patch_status(&ship.name_any(), &merge, &Patch::Merge(status)).await?;
    Ok(Action::await_change())
}

async fn scrap(client: &Client, ship: &Ship) -> Result<Action, kube::Error> {
    let logs: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let log = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "scrapped"},
        "data": {ship.name_any(): "yes"},
    });
    // One manager a ship: what another has applied stays.
    let apply = PatchParams::apply(&ship.name_any());
    logs.patch("scrapped", &apply, &Patch::Apply(log)).await?;
    Ok(Action::await_change())
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Looks until a look gives something.
async fn soon<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, looking)
        .await
        .unwrap_or_else(|_| panic!("{what} not within {SOON:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_and_a_reflector_follow_a_kind() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let client = client(&cluster.kubeconfig).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = Patch::Apply(Ship::crd());
    let name = "ships.shipyard.example.com";
    definitions.patch(name, &PatchParams::apply(MANAGER), &definition).await.unwrap();
    let established = await_condition(definitions, name, conditions::is_crd_established());
    tokio::time::timeout(SOON, established).await.unwrap().unwrap();

    let ships: Api<Ship> = Api::default_namespaced(client.clone());
    let plans: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let make = |name: &str, masts| Ship::new(name, ShipSpec { masts });
    // One is there before anybody looks.
    ships.create(&PostParams::default(), &make("bark", 3)).await.unwrap();

    let controller = Controller::new(ships.clone(), watcher::Config::default())
        .owns(plans.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(client))
        .for_each(|_| std::future::ready(()));
    let controller = tokio::spawn(controller);
    let (store, writer) = reflector::store();
    let streaming = watcher::Config::default().streaming_lists();
    let reflecting = reflector(writer, watcher(ships.clone(), streaming).default_backoff())
        .applied_objects()
        .for_each(|_| std::future::ready(()));
    let reflecting = tokio::spawn(reflecting);
    tokio::time::timeout(SOON, store.wait_until_ready()).await.unwrap().unwrap();

    ships.create(&PostParams::default(), &make("brig", 2)).await.unwrap();
    let built = |name: &'static str, masts: i32| {
        let store = store.clone();
        let plans = plans.clone();
        async move {
            let status = Some(ShipStatus { built: masts });
            let ship = store.find(|ship| ship.name_any() == name && ship.status == status)?;
            assert_eq!(ship.meta().finalizers.iter().flatten().count(), 1);
            let plan = plans.get_opt(name).await.unwrap()?;
            (plan.data?["masts"] == masts.to_string()).then_some(plan.metadata.uid)
        }
    };
    soon("the first is built", || built("bark", 3)).await;
    let plan = soon("the second is built", || built("brig", 2)).await;
    let more = Patch::Merge(json!({"spec": {"masts": 4}}));
    ships.patch("brig", &PatchParams::default(), &more).await.unwrap();
    assert_eq!(soon("it is rebuilt", || built("brig", 4)).await, plan);
    plans.delete("brig", &DeleteParams::default()).await.unwrap();
    let again = soon("what it owns is there again", || async {
        built("brig", 4).await.filter(|uid| *uid != plan)
    });
    again.await;

    for name in ["bark", "brig"] {
        ships.delete(name, &DeleteParams::default()).await.unwrap();
    }
    soon("all are scrapped", || async {
        let log = plans.get_opt("scrapped").await.unwrap()?;
        (log.data?.len() == 2 && store.state().is_empty()).then_some(())
    })
    .await;
    soon("what they owned is collected", || async {
        plans.get_opt("brig").await.unwrap().is_none().then_some(())
    })
    .await;
    controller.abort();
    reflecting.abort();
}

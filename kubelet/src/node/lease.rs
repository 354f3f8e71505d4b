use crate::{Result, api::is_status, host::Host};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::api::{Api, PostParams};
use std::{sync::Arc, time::Duration};

const NAMESPACE: &str = "kube-node-lease";
const DURATION: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// Renews the lease that shows that the node is alive.
pub(crate) async fn keep(host: Arc<Host>) {
    let mut lease: Option<Lease> = None;
    let mut wait = RETRY;
    loop {
        match renew(&host, lease.take()).await {
            Ok(renewed) => {
                lease = Some(renewed);
                wait = RETRY;
                host.clock.sleep(RENEW).await;
            }
            Err(error) => {
                tracing::debug!(%error, "failed to renew the lease of the node");
                host.clock.sleep(wait).await;
                wait = (wait * 2).min(RENEW);
            }
        }
    }
}

async fn renew(host: &Host, known: Option<Lease>) -> Result<Lease> {
    let api = Api::<Lease>::namespaced(host.client.clone(), NAMESPACE);
    let name = host.config.node_name.clone();
    let known = match known {
        Some(known) => Some(known),
        None => api.get_opt(&name).await?,
    };
    let params = PostParams::default();
    let Some(mut lease) = known else {
        return Ok(api.create(&params, &fresh(host)).await?);
    };
    let own = fresh(host);
    lease.spec = own.spec;
    if lease.metadata.owner_references.is_none() {
        lease.metadata.owner_references = own.metadata.owner_references;
    }
    match api.replace(&name, &params, &lease).await {
        Ok(lease) => Ok(lease),
        // Someone else wrote it, so it is read anew next time.
        Err(error) if is_status(&error, 409) => Ok(api.get(&name).await?),
        Err(error) => Err(error.into()),
    }
}

fn fresh(host: &Host) -> Lease {
    let name = host.config.node_name.clone();
    let owner = host.node().and_then(|node| node.metadata.uid.clone()).map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid,
        ..OwnerReference::default()
    });
    Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(DURATION),
            renew_time: Some(MicroTime(host.clock.now())),
            ..LeaseSpec::default()
        }),
    }
}

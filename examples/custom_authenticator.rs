//! An authenticator of your own: a key in a header says who asks.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use http::{HeaderValue, Request, request::Parts};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::ListParams, client::Body};
use kubeplane::{
    builtin,
    core::status::{ApiError, ApiResult},
    prelude::*,
};
use std::{collections::BTreeMap, sync::Arc};
use tower::{ServiceBuilder, ServiceExt};

const HEADER: &str = "x-api-key";

/// Knows users by their keys.
#[derive(Debug)]
struct ApiKeys(BTreeMap<&'static str, UserInfo>);

#[async_trait]
impl Authenticator for ApiKeys {
    async fn authenticate(&self, request: &Parts) -> ApiResult<Option<UserInfo>> {
        // Without the header it is for others to say: the next authenticator is asked.
        let Some(key) = request.headers.get(HEADER) else { return Ok(None) };
        let user = key.to_str().ok().and_then(|key| self.0.get(key));
        user.cloned().map(Some).ok_or_else(ApiError::unauthorized)
    }
}

/// Runs a server with the authenticator as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let users = [
        ("open-sesame", UserInfo::new("ali", ["system:masters"])),
        ("please", UserInfo::new("cassim", ["thieves"])),
    ];
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(builtin::all())
        .authenticate(ApiKeys(users.into()))
        .authorize(Masters)
        .build()?;
    // Clients the server makes itself are who they are said to be; these come from outside and have to show it.
    let outside = server.service();
    let client = |key: Option<&'static str>| {
        let with_key = move |mut request: Request<Body>| {
            if let Some(key) = key {
                request.headers_mut().insert(HEADER, HeaderValue::from_static(key));
            }
            request
        };
        let service = ServiceBuilder::new().map_request(with_key).service(outside.clone());
        Client::new(service.boxed(), "default")
    };
    let keys = [Some("open-sesame"), Some("please"), Some("abracadabra"), None];
    let clients = keys.map(|key| (key, client(key)));
    let mut shown = Ok(Vec::new());
    ControlPlane::new()
        .with(server)
        .run_until(async { shown = show(clients.into()).await })
        .await?;
    shown
}

async fn show(clients: Vec<(Option<&str>, Client)>) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (key, client) in clients {
        let key = key.unwrap_or("no key");
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        lines.push(match maps.list(&ListParams::default()).await {
            Ok(list) => format!("{key}: {} found", list.items.len()),
            Err(kube::Error::Api(status)) => format!("{key}: {} {}", status.code, status.message),
            Err(other) => return Err(other.into()),
        });
    }
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}

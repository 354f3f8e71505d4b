//! Where the Service `kubernetes` leads: to every API server that is there. Each says so in an entry of the store that
//! expires, as the original does, so that servers of both makes find each other.
//!
//! ```text
//!   masterleases/192.0.2.10 ─┐
//!   masterleases/192.0.2.11 ─┴─> Endpoints kubernetes ─> EndpointSlice kubernetes
//! ```

use super::Bootstrap;
use crate::services::ports::beside_resources;
use bytes::Bytes;
use http::StatusCode;
use kubeplane_apiserver::DeleteOptions;
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{Error, Key, KeyRange, ListOptions, ReadAt, WriteOptions};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// How often a server says that it is there.
const REFRESH: Duration = Duration::from_secs(10);
/// How long it counts as there after it said so.
const LASTS: Duration = Duration::from_secs(15);
/// How long it may take to say that it is there no more.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often a write of its entry is tried again because another came between.
const TRIES: usize = 8;
const ENTRIES: &str = "masterleases/";
const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";

impl Bootstrap {
    /// Where pods reach the server; `None` where they do not: no endpoint may be a loopback address.
    pub(super) async fn reachable(&self) -> ApiResult<Option<SocketAddr>> {
        let address = self.address().await?;
        self.api.advertise(address);
        let nowhere = address.ip().is_loopback() || address.ip().is_unspecified();
        Ok((!nowhere).then_some(address))
    }

    /// Says again and again that the server is there.
    pub(super) async fn stay_reachable(&self, address: SocketAddr) {
        loop {
            self.api.clock().sleep(REFRESH).await;
            let kept = async {
                self.ensure_service().await?;
                self.be_reachable(address, false).await
            };
            if let Err(error) = kept.await {
                tracing::warn!(%error, "the Service `kubernetes` could not be kept; trying again");
            }
        }
    }

    /// Says that the server is there, and lets the Service lead to all servers that are. Ports are put right only where
    /// the server is `new`: those of another server may be others.
    pub(super) async fn be_reachable(&self, address: SocketAddr, new: bool) -> ApiResult<()> {
        let servers = if self.api.store().capabilities().ttl {
            self.announce(address.ip()).await?;
            self.servers().await?
        } else {
            vec![address.ip().to_string()]
        };
        let led = |endpoints: &mut Object| lead(endpoints, &servers, address.port(), new);
        let made = json!({"metadata": {"name": NAME, "namespace": NAMESPACE}});
        let mut made = Object::from_value(made).unwrap_or_default();
        led(&mut made);
        if self.create(&endpoints(), NAMESPACE, made.clone()).await? {
            return self.mirror(&made).await;
        }
        self.lead(led).await
    }

    /// Lets the Service lead to the other servers: this one is there no more.
    pub(super) async fn leave(&self, address: SocketAddr) {
        let left = async {
            self.withdraw(address.ip()).await?;
            let servers = self.servers().await?;
            self.lead(|endpoints| lead(endpoints, &servers, address.port(), false)).await
        };
        match kubeplane_clock::timeout(self.api.clock().as_ref(), FAREWELL, left).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "the Service `kubernetes` may still lead to this server");
            }
            None => tracing::warn!("the Service `kubernetes` may still lead to this server"),
        }
    }

    async fn announce(&self, address: IpAddr) -> ApiResult<()> {
        let (store, key) = (self.api.store(), self.entry(address)?);
        let value = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {},
            "subsets": [{"addresses": [{"ip": address.to_string()}]}]});
        let value = Bytes::from(value.to_string());
        let options = WriteOptions { ttl: Some(LASTS) };
        let read = store.get(&key, ReadAt::Latest).await.map_err(ApiError::internal)?;
        let mut found = read.entry;
        for _ in 0..TRIES {
            let written = match &found {
                Some(entry) => store.update(&key, value.clone(), entry.revision, options).await,
                None => store.create(&key, value.clone(), options).await,
            };
            found = match written {
                Ok(_) => return Ok(()),
                Err(Error::Exists { current, .. }) => Some(current),
                Err(Error::Conflict { current, .. }) => current,
                Err(error) => return Err(ApiError::internal(error)),
            };
        }
        Err(ApiError::internal("what says that the server is there changes too fast"))
    }

    async fn withdraw(&self, address: IpAddr) -> ApiResult<()> {
        let (store, key) = (self.api.store(), self.entry(address)?);
        let read = store.get(&key, ReadAt::Latest).await.map_err(ApiError::internal)?;
        let mut found = read.entry;
        for _ in 0..TRIES {
            let Some(entry) = found else { return Ok(()) };
            found = match store.delete(&key, entry.revision).await {
                Ok(_) => return Ok(()),
                Err(Error::Conflict { current, .. }) => current,
                Err(error) => return Err(ApiError::internal(error)),
            };
        }
        Err(ApiError::internal("what says that the server is there changes too fast"))
    }

    fn entry(&self, address: IpAddr) -> ApiResult<Key> {
        beside_resources(&self.api, &format!("{ENTRIES}{address}"))
    }

    /// The addresses of all servers that are there, in the order of their texts.
    async fn servers(&self) -> ApiResult<Vec<String>> {
        let directory = beside_resources(&self.api, ENTRIES)?;
        let options = ListOptions { keys_only: true, ..ListOptions::default() };
        let range = KeyRange::prefix(directory.as_bytes().clone());
        let page = self.api.store().list(&range, options).await.map_err(ApiError::internal)?;
        let name = |key: &[u8]| {
            let name = key.get(directory.as_bytes().len()..)?;
            String::from_utf8(name.to_vec()).ok()
        };
        Ok(page.keys.iter().filter_map(|listed| name(listed.key)).collect())
    }

    /// Changes the Endpoints, if they are there and differ, and what mirrors them.
    async fn lead(&self, change: impl Fn(&mut Object) + Send + Sync) -> ApiResult<()> {
        let found = match self.api.get(&endpoints(), NAMESPACE, NAME).await {
            Ok(found) => found,
            Err(error) if error.code() == StatusCode::NOT_FOUND => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut led = found.clone();
        change(&mut led);
        if led.map() != found.map() {
            let change = |object: &mut Object| {
                change(object);
                Ok::<_, ApiError>(())
            };
            led = self.api.write(&endpoints(), NAMESPACE, NAME, change).await?;
        }
        self.mirror(&led).await
    }

    /// Brings the EndpointSlice in step with the Endpoints.
    async fn mirror(&self, endpoints: &Object) -> ApiResult<()> {
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        let wanted = slice(endpoints);
        if self.create(&slices, NAMESPACE, wanted.clone()).await? {
            return Ok(());
        }
        let found = self.api.get(&slices, NAMESPACE, NAME).await?;
        let differs = |path: &[&str]| found.at(path) != wanted.at(path);
        if differs(&["addressType"]) {
            // It cannot be changed.
            let options = DeleteOptions::default();
            self.api.delete(&slices, NAMESPACE, NAME, options).await?;
            return self.create(&slices, NAMESPACE, wanted).await.map(|_| ());
        }
        let fields: [&[&str]; 3] = [&["endpoints"], &["ports"], &["metadata", "labels"]];
        if !fields.iter().any(|path| differs(path)) {
            return Ok(());
        }
        let change = |object: &mut Object| {
            for path in fields {
                match wanted.at(path) {
                    Some(value) => object.set(path, value.clone()),
                    None => drop(object.remove(path)),
                }
            }
            Ok::<_, ApiError>(())
        };
        self.api.write(&slices, NAMESPACE, NAME, change).await.map(drop)
    }
}

fn endpoints() -> GroupResource {
    GroupResource::new("", "endpoints")
}

/// Lets Endpoints lead to these servers.
fn lead(endpoints: &mut Object, servers: &[String], port: u16, new: bool) {
    endpoints.set(&["metadata", "labels", SKIP_MIRROR], "true");
    if servers.is_empty() {
        endpoints.remove(&["subsets"]);
        return;
    }
    let own = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let found = endpoints.at(&["subsets"]).and_then(Value::as_array);
    let found = found.filter(|subsets| subsets.len() == 1).map(|subsets| subsets[0].clone());
    let mut subset = found.unwrap_or_else(|| json!({"ports": own}));
    let there: BTreeSet<&str> = ips(&subset).collect();
    if !there.into_iter().eq(servers.iter().map(String::as_str)) {
        subset["addresses"] = servers.iter().map(|ip| json!({"ip": ip})).collect();
    }
    if new {
        subset["ports"] = own;
    }
    endpoints.set(&["subsets"], json!([subset]));
}

fn ips(subset: &Value) -> impl Iterator<Item = &str> {
    subset["addresses"].as_array().into_iter().flatten().filter_map(|one| one["ip"].as_str())
}

/// What mirrors Endpoints: the addresses of one family, as a slice has but one.
fn slice(endpoints: &Object) -> Object {
    let subsets = endpoints.at(&["subsets"]).and_then(Value::as_array);
    let subset = subsets.and_then(|subsets| subsets.first()).cloned().unwrap_or_default();
    let six = ips(&subset).next().is_some() && ips(&subset).all(|ip| ip.contains(':'));
    let leads = ips(&subset).filter(|ip| ip.contains(':') == six);
    let leads: Value =
        leads.map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let mut slice = json!({
        "metadata": {"name": NAME, "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if six { "IPv6" } else { "IPv4" },
        "endpoints": leads,
    });
    if let Some(ports) = subset.get("ports") {
        slice["ports"] = ports.clone();
    }
    Object::from_value(slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(subsets: Value, servers: &[&str], new: bool) -> Value {
        let object = json!({"metadata": {"name": NAME}, "subsets": subsets});
        let mut object = Object::from_value(object).unwrap_or_default();
        let servers: Vec<_> = servers.iter().map(|ip| (*ip).to_owned()).collect();
        lead(&mut object, &servers, 6443, new);
        assert_eq!(object.label(SKIP_MIRROR), Some("true"));
        object.at(&["subsets"]).cloned().unwrap_or_default()
    }

    fn ports(port: u16) -> Value {
        json!([{"name": "https", "port": port, "protocol": "TCP"}])
    }

    #[test]
    fn endpoints_follow_the_servers_and_ports_a_new_one() {
        let both = json!([{"addresses": [{"ip": "192.0.2.10"}, {"ip": "192.0.2.9"}], "ports": ports(6443)}]);
        let servers = ["192.0.2.10", "192.0.2.9"];
        assert_eq!(led(Value::Null, &servers, false), both);
        // Their order, what else is said of them, and the ports stay.
        let other = json!([{"ports": ports(443),
            "addresses": [{"ip": "192.0.2.9"}, {"ip": "192.0.2.10", "nodeName": "a"}]}]);
        assert_eq!(led(other.clone(), &servers, false), other);
        assert_eq!(led(other.clone(), &servers, true)[0]["ports"], ports(6443));
        assert_eq!(
            led(other.clone(), &["192.0.2.9"], false)[0]["addresses"],
            json!([{"ip": "192.0.2.9"}])
        );
        assert_eq!(led(json!([other[0], other[0]]), &servers, false), both);
        assert_eq!(led(other, &[], false), Value::Null);
    }

    #[test]
    fn a_slice_has_addresses_of_one_family() {
        let of = |ips: &[&str]| {
            let addresses: Value = ips.iter().map(|ip| json!({"ip": ip})).collect();
            let object = json!({"subsets": [{"addresses": addresses, "ports": ports(6443)}]});
            let made = slice(&Object::from_value(object).unwrap_or_default());
            let leads = made.at(&["endpoints"]).and_then(Value::as_array).map(Vec::len);
            (made.text(&["addressType"]).to_owned(), leads.unwrap_or_default())
        };
        assert_eq!(of(&["192.0.2.1", "192.0.2.2"]), ("IPv4".to_owned(), 2));
        assert_eq!(of(&["2001:db8::1"]), ("IPv6".to_owned(), 1));
        assert_eq!(of(&["2001:db8::1", "192.0.2.1"]), ("IPv4".to_owned(), 1));
        assert_eq!(of(&[]), ("IPv4".to_owned(), 0));
    }
}

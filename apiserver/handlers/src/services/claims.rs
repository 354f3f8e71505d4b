use crate::services::addresses::{self, Taken};
use ipnet::IpNet;
use kubeplane_apiserver::Api;
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{Entry, Error, Key, ReadAt, WriteOptions};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};

/// A claim younger than this belongs to a write that may still be on its way.
pub(super) const PENDING_SECONDS: i64 = 60;
/// The most random tries before every value is tried in order.
const RANDOM_TRIES: usize = 16;

/// Whose claim it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Owner {
    pub(super) fn of(service: &Object) -> Self {
        Self { namespace: service.namespace().to_owned(), name: service.name().to_owned() }
    }
}

#[derive(Serialize, Deserialize)]
struct Claim {
    owner: Owner,
    since: i64,
}

/// The claims one write makes.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    api: Api,
    owner: Owner,
    dry_run: bool,
    made: Arc<Mutex<Vec<Made>>>,
}

/// Something claimed.
#[derive(Debug)]
enum Made {
    Address(IpAddr),
    Port(Key),
}

impl Claims {
    pub(super) fn new(api: Api, owner: Owner, dry_run: bool) -> Self {
        Self { api, owner, dry_run, made: Arc::default() }
    }

    /// Gives back what this write claimed.
    pub(super) async fn undo(&self) {
        let made = std::mem::take(&mut *self.made.lock());
        for made in made {
            match made {
                Made::Address(address) => self.release_address(address).await,
                Made::Port(key) => self.release(&key).await,
            }
        }
    }

    /// Claims an address by making its IPAddress; `false` when somebody else holds it.
    pub(super) async fn this_address(&self, address: IpAddr) -> ApiResult<bool> {
        if self.dry_run {
            return addresses::is_free(&self.api, address).await;
        }
        let taken = addresses::take(&self.api, &self.owner, address).await?;
        if taken == Taken::Now {
            self.made.lock().push(Made::Address(address));
        }
        Ok(taken == Taken::Now)
    }

    pub(super) async fn this_port(&self, port: u16) -> ApiResult<bool> {
        self.claim(&port_key(port)?).await
    }

    pub(super) async fn release_address(&self, address: IpAddr) {
        if !self.dry_run {
            addresses::release(&self.api, &self.owner, address).await;
        }
    }

    pub(super) async fn release_port(&self, port: u16) {
        if let Ok(key) = port_key(port) {
            self.release(&key).await;
        }
    }

    /// An address nobody chose, from the first range that has one left.
    pub(super) async fn any_address(&self, ranges: &[IpNet]) -> ApiResult<IpAddr> {
        for range in ranges {
            if let Some(address) = self.any_address_of(range).await? {
                return Ok(address);
            }
        }
        Err(ApiError::internal("failed to allocate a serviceIP: range is full"))
    }

    /// From the upper part of the range, which leaves the lower part to those who choose theirs (KEP-3070).
    async fn any_address_of(&self, range: &IpNet) -> ApiResult<Option<IpAddr>> {
        let size = size_of(range);
        let lower = (size / 16).clamp(16, 256).min(size / 2);
        for _ in 0..RANDOM_TRIES {
            let address = nth_address(range, lower + self.api.seed().below(size - lower));
            if self.this_address(address).await? {
                return Ok(Some(address));
            }
        }
        for offset in (lower..size).chain(1..lower) {
            let address = nth_address(range, offset);
            if self.this_address(address).await? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    pub(super) async fn any_port(&self, range: &RangeInclusive<u16>) -> ApiResult<u16> {
        let size = u64::from(range.end() - range.start()) + 1;
        let nth =
            |offset: u64| range.start().saturating_add(u16::try_from(offset).unwrap_or_default());
        for _ in 0..RANDOM_TRIES {
            let port = nth(self.api.seed().below(size));
            if self.this_port(port).await? {
                return Ok(port);
            }
        }
        for offset in 0..size {
            if self.this_port(nth(offset)).await? {
                return Ok(nth(offset));
            }
        }
        Err(ApiError::internal("failed to allocate a nodePort: range is full"))
    }

    /// Claims a key; `false` when another Service holds it.
    async fn claim(&self, key: &Key) -> ApiResult<bool> {
        let store = self.api.store();
        if self.dry_run {
            let read = store.get(key, ReadAt::Latest).await.map_err(ApiError::internal)?;
            return Ok(read.entry.is_none());
        }
        let claim = Claim { owner: self.owner.clone(), since: self.api.clock().now().as_second() };
        let value = serde_json::to_vec(&claim).map_err(ApiError::internal)?;
        let held = match store.create(key, value.clone().into(), WriteOptions::default()).await {
            Ok(_) => {
                self.made.lock().push(Made::Port(key.clone()));
                return Ok(true);
            }
            Err(Error::Exists { current, .. }) => current,
            Err(error) => return Err(ApiError::internal(error)),
        };
        if !self.is_stale(&held, key).await {
            return Ok(false);
        }
        match store.update(key, value.into(), held.revision, WriteOptions::default()).await {
            Ok(_) => {
                self.made.lock().push(Made::Port(key.clone()));
                Ok(true)
            }
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    /// Whether a claim's Service does not exist, or does not use what is claimed, and the claim is not new.
    async fn is_stale(&self, held: &Entry, key: &Key) -> bool {
        let Ok(claim) = serde_json::from_slice::<Claim>(&held.value) else { return true };
        if self.api.clock().now().as_second() - claim.since < PENDING_SECONDS {
            return false;
        }
        let services = GroupResource::new("", "services");
        let value =
            String::from_utf8_lossy(key.as_ref()).rsplit('/').next().unwrap_or_default().to_owned();
        match self.api.get(&services, &claim.owner.namespace, &claim.owner.name).await {
            Err(error) => error.code() == http::StatusCode::NOT_FOUND,
            Ok(service) => {
                !super::node_ports_of(&service).iter().any(|port| port.to_string() == value)
            }
        }
    }

    async fn release(&self, key: &Key) {
        if self.dry_run {
            return;
        }
        let Ok(read) = self.api.store().get(key, ReadAt::Latest).await else { return };
        let Some(entry) = read.entry else { return };
        let own = serde_json::from_slice::<Claim>(&entry.value)
            .is_ok_and(|claim| claim.owner == self.owner);
        if own && let Err(error) = self.api.store().delete(key, entry.revision).await {
            // The claim is taken over as stale when somebody wants it.
            tracing::debug!(%key, %error, "a claim was not released");
        }
    }
}

fn port_key(port: u16) -> ApiResult<Key> {
    key(&format!("/kubeplane/allocations/nodeports/{port}"))
}

fn key(text: &str) -> ApiResult<Key> {
    Key::new(text.to_owned()).ok_or_else(|| ApiError::internal("an allocation key is too long"))
}

/// How many offsets can be granted: neither the network's own address nor, for IPv4, the broadcast one.
fn size_of(range: &IpNet) -> u64 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(20);
    (1u64 << bits) - 1
}

pub(super) fn nth_address(range: &IpNet, offset: u64) -> IpAddr {
    match range.network() {
        IpAddr::V4(network) => IpAddr::V4(
            (u32::from(network).saturating_add(u32::try_from(offset).unwrap_or_default())).into(),
        ),
        IpAddr::V6(network) => {
            IpAddr::V6((u128::from(network).saturating_add(u128::from(offset))).into())
        }
    }
}

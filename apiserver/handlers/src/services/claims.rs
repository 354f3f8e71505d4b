//! Claims of addresses that one write makes.

use crate::services::addresses::{self, Taken};
use ipnet::IpNet;
use kubeplane_apiserver::Api;
use kubeplane_core::{Object, status::ApiResult};
use parking_lot::Mutex;
use std::{net::IpAddr, sync::Arc};

/// A claim younger than this belongs to a write that may still be on its way.
pub(super) const PENDING_SECONDS: i64 = 60;
/// The most random tries before every value is tried in order.
const RANDOM_TRIES: usize = 16;

/// Whose claim it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Owner {
    pub(super) fn of(service: &Object) -> Self {
        Self { namespace: service.namespace().to_owned(), name: service.name().to_owned() }
    }
}

/// The claims one write makes.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    api: Api,
    owner: Owner,
    dry_run: bool,
    made: Arc<Mutex<Vec<IpAddr>>>,
}

impl Claims {
    pub(super) fn new(api: Api, owner: Owner, dry_run: bool) -> Self {
        Self { api, owner, dry_run, made: Arc::default() }
    }

    /// Gives back what this write claimed.
    pub(super) async fn undo(&self) {
        let made = std::mem::take(&mut *self.made.lock());
        for address in made {
            self.release_address(address).await;
        }
    }

    /// Claims an address by making its IPAddress; `false` when somebody else holds it.
    pub(super) async fn this_address(&self, address: IpAddr) -> ApiResult<bool> {
        if self.dry_run {
            return addresses::is_free(&self.api, address).await;
        }
        let taken = addresses::take(&self.api, &self.owner, address).await?;
        if taken == Taken::Now {
            self.made.lock().push(address);
        }
        Ok(taken == Taken::Now)
    }

    pub(super) async fn release_address(&self, address: IpAddr) {
        if !self.dry_run {
            addresses::release(&self.api, &self.owner, address).await;
        }
    }

    /// An address nobody chose, from the first range that has one left.
    pub(super) async fn any_address(&self, ranges: &[IpNet]) -> ApiResult<Option<IpAddr>> {
        for range in ranges {
            if let Some(address) = self.any_address_of(range).await? {
                return Ok(Some(address));
            }
        }
        Ok(None)
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
}

/// How many offsets can be granted: neither the network's own address nor, for IPv4, the broadcast one.
fn size_of(range: &IpNet) -> u64 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(20);
    (1u64 << bits) - 1
}

/// Whether an address is of a range, and can be a host's.
pub(super) fn is_host(range: &IpNet, address: IpAddr) -> bool {
    let outer = address == range.network() || address.is_ipv4() && address == range.broadcast();
    range.contains(&address) && !outer
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

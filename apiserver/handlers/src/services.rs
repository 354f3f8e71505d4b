//! Cluster addresses and node ports of Services: claimed before a Service is written, given back after.

pub(crate) mod addresses;
mod claims;
pub(crate) mod ports;
mod range;

use crate::services::{
    claims::{Claims, Owner},
    ports::NodePorts,
};
use async_trait::async_trait;
use ipnet::IpNet;
use kubeplane_apiserver::{Api, DeleteOptions, Finish, WriteHook};
use kubeplane_core::{
    GroupKind, GroupResource, Object,
    field::{self, Path},
    names::address::parse_ip_sloppy,
    status::{ApiError, ApiResult},
};
use kubeplane_workload::services::{self, Family, Take};
use serde_json::{Value, json};
use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};

/// Why a [`ServiceAddresses`] could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceAddressesError {
    /// The range is too small.
    #[error("service range {0} must hold at least 8 addresses")]
    TooSmall(IpNet),
    /// Not one range, nor one of each family.
    #[error("service ranges must be one, or two of which one is IPv4 and one IPv6")]
    Families,
}

/// Gives Services their cluster addresses and node ports.
///
/// Each address in use is an IPAddress, and the node ports in use are one object in the store, in the
/// original's own form; both change atomically, so that several API servers (also the original's) never grant
/// one twice. An address whose Service never came to be is taken over after a minute, a port found by the
/// next repairs. Beside the ranges given here, those of all ready ServiceCIDRs of their families serve.
#[derive(Debug, Clone)]
pub struct ServiceAddresses {
    /// The first of `ranges`.
    range: IpNet,
    ranges: Vec<IpNet>,
    ports: Arc<NodePorts>,
}

impl ServiceAddresses {
    /// Addresses from `ranges`, one or two of different families, the first of which is what Services get by
    /// default; node ports from `ports` (the original's default is 30000 to 32767).
    ///
    /// # Errors
    /// When a range is too small, or they are not one or two of different families.
    pub fn new(
        ranges: impl IntoIterator<Item = IpNet>,
        ports: RangeInclusive<u16>,
    ) -> Result<Self, ServiceAddressesError> {
        let ranges: Vec<_> = ranges.into_iter().collect();
        let both = |a: &IpNet, b: &IpNet| a.addr().is_ipv4() != b.addr().is_ipv4();
        let range = match ranges.as_slice() {
            [first] => *first,
            [first, second] if both(first, second) => *first,
            _ => return Err(ServiceAddressesError::Families),
        };
        for range in &ranges {
            if range.max_prefix_len() - range.prefix_len() < 3 {
                return Err(ServiceAddressesError::TooSmall(*range));
            }
        }
        Ok(Self { range, ranges, ports: Arc::new(NodePorts::new(ports)) })
    }

    /// The ranges themselves.
    #[must_use]
    pub fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    /// The first address of the first range: that of the Service `kubernetes`.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        claims::nth_address(&self.range, 1)
    }

    fn families(&self) -> Vec<Family> {
        self.ranges.iter().map(|range| Family::of(range.addr())).collect()
    }

    async fn prepare(
        &self,
        api: &Api,
        service: &mut Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> ApiResult<Finish> {
        if let Some(old) = old {
            services::keep_allocated(service, old);
        }
        services::normalize(service, old);
        services::complete_families(service, old, &self.families())
            .map_err(|errors| invalid(service, &errors))?;
        let claims = Claims::new(api.clone(), Owner::of(service), dry_run);
        match self.claim(api, &claims, service, old, dry_run).await {
            Ok(finish) => Ok(finish),
            Err(error) => {
                claims.undo().await;
                Err(error)
            }
        }
    }

    async fn claim(
        &self,
        api: &Api,
        claims: &Claims,
        service: &mut Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> ApiResult<Finish> {
        let plan = services::plan(service, old);
        for take in &plan.take {
            self.address(api, claims, service, take).await?;
        }
        let granted = self.ports.assign(api, service, old, dry_run).await?;
        let dropped = old.map(|old| ports::dropped(service, old)).unwrap_or_default();
        if dry_run {
            return Ok(Finish::nothing());
        }
        let (undo, undo_ports, undo_api) = (claims.clone(), self.ports.clone(), api.clone());
        let (release, free_ports, free_api) = (claims.clone(), self.ports.clone(), api.clone());
        let finish = Finish::nothing()
            .on_failure(async move {
                undo.undo().await;
                undo_ports.release(&undo_api, granted).await;
            })
            .on_success(async move {
                for address in plan.release {
                    release.release_address(address).await;
                }
                free_ports.release(&free_api, dropped).await;
            });
        Ok(finish)
    }

    /// Claims one address of a Service, and writes it where it belongs.
    async fn address(
        &self,
        api: &Api,
        claims: &Claims,
        service: &mut Object,
        take: &Take,
    ) -> ApiResult<()> {
        let own = self.ranges.iter().find(|range| Family::of(range.addr()) == take.family);
        let ranges = addresses::ranges(api, own.copied(), take.family).await;
        let granted = if take.wanted.is_empty() {
            let found =
                claims.any_address(&ranges).await.map_err(|error| unclaimed(service, &error))?;
            let full = || {
                let name = service.name();
                let why =
                    format!("failed to allocate a serviceIP for Service {name:?}: range is full");
                ApiError::internal(why)
            };
            found.ok_or_else(full)?.to_string()
        } else {
            this_address(claims, service, &take.wanted, &ranges).await?;
            take.wanted.clone()
        };
        if take.index == 0 {
            service.set(&["spec", "clusterIP"], granted.as_str());
        }
        let list = service.map_at_mut(&["spec"]).entry("clusterIPs").or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.resize(list.len().max(take.index + 1), Value::from(""));
            list[take.index] = granted.into();
        }
        Ok(())
    }
}

/// Why no address could be claimed, where that is the Service's fault: one without a name, for instance.
fn unclaimed(service: &Object, error: &ApiError) -> ApiError {
    if error.reason() != "Invalid" {
        return error.clone();
    }
    let mut asked = services::cluster_ips(service);
    if asked.is_empty() {
        asked.push("");
    }
    let why = format!("failed to allocate IP: {}", error.message());
    let path = Path::new("spec").child("clusterIPs");
    invalid(service, &[field::Error::invalid(&path, json!(asked), why)])
}

async fn this_address(
    claims: &Claims,
    service: &Object,
    wanted: &str,
    ranges: &[IpNet],
) -> ApiResult<()> {
    let why = match parse_ip_sloppy(wanted) {
        None => return Err(ApiError::internal(format!("failed to parse service IP {wanted:?}"))),
        Some(address) if !ranges.iter().any(|range| claims::is_host(range, address)) => {
            "the provided network does not match the current range".to_owned()
        }
        Some(address) if claims.this_address(address).await? => return Ok(()),
        Some(_) => "provided IP is already allocated".to_owned(),
    };
    let path = Path::new("spec").child("clusterIPs");
    let asked = json!(services::cluster_ips(service));
    let error =
        field::Error::invalid(&path, asked, format!("failed to allocate IP {wanted}: {why}"));
    Err(invalid(service, &[error]))
}

fn invalid(service: &Object, errors: &[field::Error]) -> ApiError {
    ApiError::invalid(&GroupKind::new("", "Service"), service.name(), errors)
}

#[async_trait]
impl WriteHook for ServiceAddresses {
    async fn before_create(
        &self,
        api: &Api,
        object: &mut Object,
        dry_run: bool,
    ) -> ApiResult<Finish> {
        self.prepare(api, object, None, dry_run).await
    }

    async fn before_update(
        &self,
        api: &Api,
        object: &mut Object,
        old: &Object,
        dry_run: bool,
    ) -> ApiResult<Finish> {
        self.prepare(api, object, Some(old), dry_run).await
    }

    async fn after_delete(&self, api: &Api, object: &Object) {
        // A Service made again under this name must not find the endpoints of this one.
        let endpoints = GroupResource::new("", "endpoints");
        let (namespace, name) = (object.namespace(), object.name());
        if let Err(error) = api.delete(&endpoints, namespace, name, DeleteOptions::default()).await
            && error.code() != http::StatusCode::NOT_FOUND
        {
            tracing::debug!(namespace, name, %error, "endpoints of a Service were not deleted");
        }
        let claims = Claims::new(api.clone(), Owner::of(object), false);
        if services::needs_address(object) {
            for address in services::cluster_ips(object).into_iter().filter_map(parse_ip_sloppy) {
                claims.release_address(address).await;
            }
        }
        self.ports.release(api, services::node_ports(object)).await;
    }
}

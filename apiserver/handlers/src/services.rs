//! Cluster addresses and node ports of Services: claimed before a Service is written, given back after.

pub(crate) mod addresses;
mod claims;

use crate::services::claims::{Claims, Owner};
use async_trait::async_trait;
use ipnet::IpNet;
use kubeplane_apiserver::{Api, Finish, WriteHook};
use kubeplane_core::{
    GroupKind, Object,
    field::{self, Path},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::{collections::HashMap, net::IpAddr, ops::RangeInclusive};

/// Why a [`ServiceAddresses`] could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceAddressesError {
    /// The range is too small.
    #[error("service range {0} must hold at least 8 addresses")]
    TooSmall(IpNet),
}

/// Gives Services their cluster addresses and node ports.
///
/// Each address in use is an IPAddress and each port an entry of its own in the store, made atomically, so
/// that several API servers never grant one twice. A claim whose Service never came to be is taken over
/// after a minute. Beside the range given here, those of all ready ServiceCIDRs of its family serve.
#[derive(Debug, Clone)]
pub struct ServiceAddresses {
    range: IpNet,
    ports: RangeInclusive<u16>,
}

impl ServiceAddresses {
    /// Addresses from `range`, node ports from `ports` (the original's default is 30000 to 32767).
    ///
    /// # Errors
    /// When the range is too small.
    pub fn new(range: IpNet, ports: RangeInclusive<u16>) -> Result<Self, ServiceAddressesError> {
        if range.max_prefix_len() - range.prefix_len() < 3 {
            return Err(ServiceAddressesError::TooSmall(range));
        }
        Ok(Self { range, ports })
    }

    /// The range itself.
    #[must_use]
    pub fn range(&self) -> IpNet {
        self.range
    }

    /// The first address of the range: that of the Service `kubernetes`.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        claims::nth_address(&self.range, 1)
    }

    async fn prepare(
        &self,
        api: &Api,
        service: &mut Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> ApiResult<Finish> {
        let claims = Claims::new(api.clone(), Owner::of(service), dry_run);
        let mut finish = Finish::nothing();
        let outcome = async {
            finish = self.address(api, &claims, service, old, std::mem::take(&mut finish)).await?;
            finish = self.node_ports(&claims, service, old, std::mem::take(&mut finish)).await?;
            Ok(())
        }
        .await;
        match outcome {
            Ok(()) => Ok(finish),
            Err(error) => {
                claims.undo().await;
                Err(error)
            }
        }
    }

    async fn address(
        &self,
        api: &Api,
        claims: &Claims,
        service: &mut Object,
        old: Option<&Object>,
        finish: Finish,
    ) -> ApiResult<Finish> {
        let before = old.map(|old| cluster_ip(old).to_owned()).unwrap_or_default();
        if service.text(&["spec", "type"]) == "ExternalName" {
            return Ok(release_address(claims, finish, &before));
        }
        let wanted = cluster_ip(service).to_owned();
        if wanted == "None" {
            set_headless(service, &self.range);
            return Ok(finish);
        }
        if before.parse::<IpAddr>().is_ok() && (wanted.is_empty() || wanted == before) {
            set_addresses(service, &before, &self.range);
            return Ok(finish);
        }
        if !before.is_empty() {
            // The address of a Service cannot change; validation says so.
            return Ok(finish);
        }
        let granted = match wanted.parse::<IpAddr>() {
            Ok(address) => self.this_address(api, claims, service, address).await?,
            Err(_) if wanted.is_empty() => {
                claims.any_address(&addresses::ranges(api, self.range).await).await?
            }
            // What is no address at all is left to validation.
            Err(_) => return Ok(finish),
        };
        set_addresses(service, &granted.to_string(), &self.range);
        let undo = claims.clone();
        Ok(finish.on_failure(async move { undo.release_address(granted).await }))
    }

    async fn this_address(
        &self,
        api: &Api,
        claims: &Claims,
        service: &Object,
        address: IpAddr,
    ) -> ApiResult<IpAddr> {
        let wanted = &address.to_string();
        let path = Path::new("spec").child("clusterIPs");
        let refuse = |why: String| {
            let error = field::Error::invalid(&path, json!([wanted]), why);
            ApiError::invalid(&GroupKind::new("", "Service"), service.name(), &[error])
        };
        let ranges = addresses::ranges(api, self.range).await;
        if !ranges.iter().any(|range| range.contains(&address)) {
            let why = format!(
                "failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. \
                 The range of valid IPs is {}",
                self.range
            );
            return Err(refuse(why));
        }
        if claims.this_address(address).await? {
            Ok(address)
        } else {
            Err(refuse(format!("failed to allocate IP {wanted}: provided IP is already allocated")))
        }
    }

    async fn node_ports(
        &self,
        claims: &Claims,
        service: &mut Object,
        old: Option<&Object>,
        mut finish: Finish,
    ) -> ApiResult<Finish> {
        let held = old.map(node_ports_of).unwrap_or_default();
        let wants_ports = match service.text(&["spec", "type"]) {
            "NodePort" => true,
            "LoadBalancer" => service
                .at(&["spec", "allocateLoadBalancerNodePorts"])
                .and_then(Value::as_bool)
                .unwrap_or(true),
            _ => false,
        };
        if wants_ports {
            self.fill_ports(claims, service, old, &held).await?;
        } else {
            drop_inherited_ports(service, &held);
        }
        self.health_check_port(claims, service, old).await?;
        let kept = node_ports_of(service);
        for port in held.iter().copied().filter(|port| !kept.contains(port)) {
            let release = claims.clone();
            finish = finish.on_success(async move { release.release_port(port).await });
        }
        for port in kept.into_iter().filter(|port| !held.contains(port)) {
            let undo = claims.clone();
            finish = finish.on_failure(async move { undo.release_port(port).await });
        }
        Ok(finish)
    }

    async fn fill_ports(
        &self,
        claims: &Claims,
        service: &mut Object,
        old: Option<&Object>,
        held: &[u16],
    ) -> ApiResult<()> {
        let name = service.name().to_owned();
        let Some(Value::Array(ports)) = service.map_at_mut(&["spec"]).get_mut("ports") else {
            return Ok(());
        };
        let mut taken: Vec<u16> = Vec::new();
        // Protocols of one port share a number; what was asked for any of them counts.
        let mut shared: HashMap<u64, u16> = HashMap::new();
        for port in ports.iter().filter(|_| old.is_none()).rev() {
            let asked = port_number(port).filter(|number| self.ports.contains(number));
            shared.extend(port["port"].as_u64().zip(asked));
        }
        for (index, port) in ports.iter_mut().enumerate() {
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            let refuse = |value: u16, why: String| {
                ApiError::invalid(
                    &GroupKind::new("", "Service"),
                    &name,
                    &[field::Error::invalid(&path, value, why)],
                )
            };
            let own = port["port"].as_u64().filter(|_| old.is_none());
            let wanted = port_number(port)
                .or_else(|| inherited(port, old).filter(|number| !taken.contains(number)))
                .or_else(|| shared.get(&own?).copied());
            let granted = match wanted {
                // One number may serve TCP and UDP of the same Service.
                Some(number) if held.contains(&number) || taken.contains(&number) => number,
                Some(number) if !self.ports.contains(&number) => {
                    let why = format!(
                        "provided port is not in the valid range. The range of valid ports is {}-{}",
                        self.ports.start(),
                        self.ports.end()
                    );
                    return Err(refuse(number, why));
                }
                Some(number) if claims.this_port(number).await? => number,
                Some(number) => {
                    return Err(refuse(number, "provided port is already allocated".into()));
                }
                None => claims.any_port(&self.ports).await?,
            };
            taken.push(granted);
            if let Some(own) = own {
                shared.entry(own).or_insert(granted);
            }
            port["nodePort"] = granted.into();
        }
        Ok(())
    }

    /// The port where load balancers ask whether a node has endpoints, for Services that need one.
    async fn health_check_port(
        &self,
        claims: &Claims,
        service: &mut Object,
        old: Option<&Object>,
    ) -> ApiResult<()> {
        if !needs_health_check(service) {
            return Ok(());
        }
        let held = old.and_then(health_check_port_of);
        let wanted = health_check_port_of(service).or(held);
        let refuse = |number: u16, why: &str| {
            ApiError::internal(format!(
                "failed to allocate requested HealthCheck NodePort {number}: {why}"
            ))
        };
        let granted = match wanted {
            Some(number) if held == Some(number) => number,
            Some(number) if !self.ports.contains(&number) => {
                let (first, last) = (self.ports.start(), self.ports.end());
                let why = format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                );
                return Err(refuse(number, &why));
            }
            Some(number) if claims.this_port(number).await? => number,
            Some(number) => return Err(refuse(number, "provided port is already allocated")),
            None => claims.any_port(&self.ports).await?,
        };
        service.set(&["spec", "healthCheckNodePort"], granted);
        Ok(())
    }
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
        let claims = Claims::new(api.clone(), Owner::of(object), false);
        if let Ok(address) = cluster_ip(object).parse() {
            claims.release_address(address).await;
        }
        for port in node_ports_of(object) {
            claims.release_port(port).await;
        }
    }
}

fn cluster_ip(service: &Object) -> &str {
    let one = service.text(&["spec", "clusterIP"]);
    if !one.is_empty() {
        return one;
    }
    service
        .at(&["spec", "clusterIPs"])
        .and_then(|list| list.get(0))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn set_addresses(service: &mut Object, address: &str, range: &IpNet) {
    service.set(&["spec", "clusterIP"], address);
    service.set(&["spec", "clusterIPs"], json!([address]));
    let spec = service.map_at_mut(&["spec"]);
    let family = if range.addr().is_ipv4() { "IPv4" } else { "IPv6" };
    spec.entry("ipFamilies").or_insert_with(|| json!([family]));
    spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
}

/// A Service without an address of its own; one without a selector may have endpoints of both families.
fn set_headless(service: &mut Object, range: &IpNet) {
    let selects = service.at(&["spec", "selector"]).and_then(Value::as_object);
    if selects.is_none_or(serde_json::Map::is_empty) {
        let spec = service.map_at_mut(&["spec"]);
        spec.entry("ipFamilyPolicy").or_insert_with(|| "RequireDualStack".into());
        if spec["ipFamilyPolicy"] == "RequireDualStack" {
            let families = if range.addr().is_ipv4() { ["IPv4", "IPv6"] } else { ["IPv6", "IPv4"] };
            spec.entry("ipFamilies").or_insert_with(|| json!(families));
        }
    }
    set_addresses(service, "None", range);
}

fn release_address(claims: &Claims, finish: Finish, before: &str) -> Finish {
    match before.parse::<IpAddr>() {
        Ok(address) => {
            let release = claims.clone();
            finish.on_success(async move { release.release_address(address).await })
        }
        Err(_) => finish,
    }
}

fn port_number(port: &Value) -> Option<u16> {
    port["nodePort"]
        .as_u64()
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number != 0)
}

fn needs_health_check(service: &Object) -> bool {
    service.text(&["spec", "type"]) == "LoadBalancer"
        && service.text(&["spec", "externalTrafficPolicy"]) == "Local"
}

fn health_check_port_of(service: &Object) -> Option<u16> {
    let number = service.at(&["spec", "healthCheckNodePort"])?.as_u64()?;
    u16::try_from(number).ok().filter(|number| *number != 0 && needs_health_check(service))
}

fn node_ports_of(service: &Object) -> Vec<u16> {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array);
    let mut numbers: Vec<_> = ports.into_iter().flatten().filter_map(port_number).collect();
    numbers.extend(health_check_port_of(service));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The node port that the same port of the Service had before, so that an apply keeps it.
fn inherited(port: &Value, old: Option<&Object>) -> Option<u16> {
    let ports = old?.at(&["spec", "ports"])?.as_array()?;
    let same = ports
        .iter()
        .find(|own| own["port"] == port["port"] && own["protocol"] == port["protocol"])?;
    port_number(same)
}

/// A Service that no longer wants node ports loses those it held; others are left to validation.
fn drop_inherited_ports(service: &mut Object, held: &[u16]) {
    if let Some(Value::Array(ports)) = service.map_at_mut(&["spec"]).get_mut("ports") {
        for port in ports
            .iter_mut()
            .filter(|port| port_number(port).is_some_and(|number| held.contains(&number)))
        {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
}

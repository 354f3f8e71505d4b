//! Node ports: granted in one write of the object that all API servers of a cluster share.

use super::range::PortRange;
use bytes::Bytes;
use http::StatusCode;
use kubeplane_apiserver::Api;
use kubeplane_core::{
    GroupKind, GroupResource, Object,
    field::{self, Path},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{Entry, Error, Key, ReadAt, Revision, WriteOptions};
use kubeplane_workload::services;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
};
use tokio::sync::Mutex;

/// In how many repairs on end a port must be nobody's before it is free again: a Service may be on its way.
const LEAK_ROUNDS: u8 = 3;
/// How often a write is tried again because another server came between.
const TRIES: usize = 256;

/// Grants node ports, and gives them back.
#[derive(Debug)]
pub(crate) struct NodePorts {
    ports: RangeInclusive<u16>,
    /// The object as this server saw it last; its lock keeps this server's own grants in line.
    seen: Mutex<Option<Seen>>,
    /// Ports that no Service has, and for how many more repairs they are kept.
    leaks: Mutex<BTreeMap<u16, u8>>,
}

/// The object at a revision.
#[derive(Debug, Clone)]
struct Seen {
    value: Bytes,
    /// `None` when it is not there yet.
    revision: Option<Revision>,
    /// Not read just now: another server may have changed it since.
    old: bool,
}

impl From<Entry> for Seen {
    fn from(entry: Entry) -> Self {
        Self { value: entry.value, revision: Some(entry.revision), old: false }
    }
}

impl NodePorts {
    pub(crate) fn new(ports: RangeInclusive<u16>) -> Self {
        Self { ports, seen: Mutex::default(), leaks: Mutex::default() }
    }

    /// Gives a Service the node ports it lacks; returns those that it did not hold before.
    pub(super) async fn assign(
        &self,
        api: &Api,
        service: &mut Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> ApiResult<BTreeSet<u16>> {
        let wants = has_node_ports(service) || services::needs_health_check(service);
        if !wants {
            return Ok(BTreeSet::new());
        }
        if old.is_some_and(|old| is_served(service, old)) {
            return Ok(BTreeSet::new());
        }
        let below = |limit| api.seed().below(limit);
        let work = |range: &mut PortRange| {
            let before = range.used().clone();
            let mut changed = service.clone();
            let mut grant = Grant { range, below: &below, dry_run, last: 0 };
            match old {
                None => grant.create(&mut changed)?,
                Some(old) => grant.update(&mut changed, old)?,
            }
            if services::needs_health_check(&changed)
                && !old.is_some_and(services::needs_health_check)
            {
                grant.health_check(&mut changed)?;
            }
            Ok((changed, range.used().difference(&before).copied().collect()))
        };
        let (changed, granted) = self.change(api, dry_run, work).await?;
        *service = changed;
        Ok(granted)
    }

    /// Gives ports back; what cannot be given back now is found by a repair.
    pub(super) async fn release(&self, api: &Api, ports: BTreeSet<u16>) {
        if ports.is_empty() {
            return;
        }
        let work = |range: &mut PortRange| {
            ports.iter().for_each(|port| range.release(*port));
            Ok(())
        };
        if let Err(error) = self.change(api, false, work).await {
            tracing::debug!(?ports, %error, "node ports were not released");
        }
    }

    /// Notes the ports that Services hold, and frees those that none has had for a while.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) async fn repair(&self, api: &Api) -> ApiResult<()> {
        let mut leaks = self.leaks.lock().await;
        for _ in 0..TRIES {
            let seen = self.read(api).await?;
            let stored = PortRange::decode(&seen.value, &self.ports);
            let mut wanted = self.held(api).await?;
            let mut left = BTreeMap::new();
            let unknown = stored.iter().flat_map(|stored| stored.used());
            for port in unknown.copied().filter(|port| !wanted.used().contains(port)) {
                left.insert(
                    port,
                    leaks.get(&port).map_or(LEAK_ROUNDS - 1, |kept| kept.saturating_sub(1)),
                );
            }
            for (port, _) in left.iter().filter(|(_, kept)| **kept > 0) {
                wanted.take(*port);
            }
            left.retain(|_, kept| *kept > 0);
            let value = Bytes::from(wanted.encode());
            if seen.revision.is_some() && seen.value == value
                || self.write(api, &seen, value).await?.is_ok()
            {
                *leaks = left;
                return Ok(());
            }
        }
        Err(ApiError::internal("node ports change too fast to be repaired"))
    }

    /// The ports that Services hold.
    async fn held(&self, api: &Api) -> ApiResult<PortRange> {
        let mut range = PortRange::new(&self.ports);
        for service in api.list_stored(&GroupResource::new("", "services"), "").await? {
            for port in services::node_ports(&service) {
                range.take(port);
            }
        }
        Ok(range)
    }

    /// Changes the object, again and again until no other server came between.
    async fn change<T>(
        &self,
        api: &Api,
        dry_run: bool,
        mut work: impl FnMut(&mut PortRange) -> ApiResult<T>,
    ) -> ApiResult<T> {
        let mut last = self.seen.lock().await;
        for _ in 0..TRIES {
            let seen = match last.take() {
                Some(seen) => seen,
                None => self.read(api).await?,
            };
            let mut range = match PortRange::decode(&seen.value, &self.ports) {
                Some(range) => range,
                None => self.held(api).await?,
            };
            let before = range.clone();
            let outcome = match work(&mut range) {
                // Another server may have given back what is missed here.
                Err(_) if seen.old => continue,
                outcome => outcome,
            };
            if dry_run || outcome.is_err() || range == before && seen.revision.is_some() {
                *last = Some(Seen { old: true, ..seen });
                return outcome;
            }
            match self.write(api, &seen, range.encode().into()).await? {
                Ok(written) => {
                    *last = Some(Seen { old: true, ..written });
                    return outcome;
                }
                Err(current) => *last = current,
            }
        }
        Err(ApiError::internal("node ports change too fast"))
    }

    async fn read(&self, api: &Api) -> ApiResult<Seen> {
        let read = api.store().get(&key(api)?, ReadAt::Latest).await.map_err(ApiError::internal)?;
        Ok(read.entry.map_or(Seen { value: Bytes::new(), revision: None, old: false }, Seen::from))
    }

    /// Writes the object on what was seen; otherwise says what is there, if it was told.
    async fn write(
        &self,
        api: &Api,
        seen: &Seen,
        value: Bytes,
    ) -> ApiResult<Result<Seen, Option<Seen>>> {
        let (key, options) = (key(api)?, WriteOptions::default());
        let outcome = match seen.revision {
            Some(revision) => api.store().update(&key, value.clone(), revision, options).await,
            None => api.store().create(&key, value.clone(), options).await,
        };
        match outcome {
            Ok(revision) => Ok(Ok(Seen { value, revision: Some(revision), old: false })),
            Err(Error::Exists { current, .. }) => Ok(Err(Some(current.into()))),
            Err(Error::Conflict { current, .. }) => Ok(Err(current.map(Seen::from))),
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}

/// Where the original keeps it.
fn key(api: &Api) -> ApiResult<Key> {
    beside_resources(api, "ranges/servicenodeports")
}

/// The key of what the original keeps beside the objects of its resources.
pub(crate) fn beside_resources(api: &Api, name: &str) -> ApiResult<Key> {
    let services = api.resource(&GroupResource::new("", "services"))?;
    let own = format!("{}/", services.definition().storage_path());
    let root = services.prefix().strip_suffix(&own).unwrap_or("/registry/");
    Key::new(format!("{root}{name}")).ok_or_else(|| ApiError::internal("the key is too long"))
}

fn has_node_ports(service: &Object) -> bool {
    matches!(service.text(&["spec", "type"]), "NodePort" | "LoadBalancer")
}

/// The ports that a Service gives up in this write.
pub(super) fn dropped(service: &Object, old: &Object) -> BTreeSet<u16> {
    let held = services::node_ports(old);
    // What a type without node ports still names is taken out or refused later.
    let kept = Some(service).filter(|service| has_node_ports(service)).map(services::node_ports);
    held.difference(&kept.unwrap_or_default()).copied().collect()
}

/// Whether nothing about node ports changes.
fn is_served(service: &Object, old: &Object) -> bool {
    has_node_ports(old)
        && service.at(&["spec", "ports"]) == old.at(&["spec", "ports"])
        && services::needs_node_ports(service) == services::needs_node_ports(old)
        && (!services::needs_health_check(service) || services::needs_health_check(old))
}

/// One try to give a Service its ports.
struct Grant<'a> {
    range: &'a mut PortRange,
    below: &'a (dyn Fn(u64) -> u64 + Sync),
    dry_run: bool,
    /// The greatest port given in this try.
    last: u16,
}

/// Behind it lie the numbers that a dry run shows, as in the original.
const NEVER_GIVEN: u16 = 32768;

impl Grant<'_> {
    fn take(&mut self, port: u64) -> Result<u16, String> {
        // A dry run claims nothing, and the original does not look where it would be.
        if self.dry_run && !u16::try_from(port).is_ok_and(|number| self.range.contains(number)) {
            let number = u16::try_from(port).unwrap_or(u16::MAX);
            self.last = self.last.max(number);
            return Ok(number);
        }
        let number = u16::try_from(port).ok().filter(|number| self.range.contains(*number));
        let Some(number) = number else {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                self.range.text()
            ));
        };
        let free = self.range.take(number);
        self.last = self.last.max(number);
        free.then_some(number).ok_or_else(|| "provided port is already allocated".to_owned())
    }

    fn any(&mut self) -> Option<u16> {
        if self.dry_run {
            self.last = if self.last == 0 { NEVER_GIVEN } else { self.last }.saturating_add(1);
            return Some(self.last);
        }
        self.range.take_any(self.below)
    }

    fn any_for_port(&mut self) -> ApiResult<u16> {
        let full = || ApiError::internal("failed to allocate a nodePort: range is full");
        self.any().ok_or_else(full)
    }

    fn take_at(&mut self, name: &str, index: usize, port: u64) -> ApiResult<u16> {
        self.take(port).map_err(|why| {
            let path = Path::new("spec").child("ports").index(index).child("nodePort");
            let errors = [field::Error::invalid(&path, port, why)];
            ApiError::invalid(&GroupKind::new("", "Service"), name, &errors)
        })
    }

    /// Protocols of one port share a number; what was asked for any of them counts.
    fn create(&mut self, service: &mut Object) -> ApiResult<()> {
        if !has_node_ports(service) {
            return Ok(());
        }
        let (all, name) = (services::needs_node_ports(service), service.name().to_owned());
        let Some(Value::Array(ports)) = service.map_at_mut(&["spec"]).get_mut("ports") else {
            return Ok(());
        };
        let mut shared: HashMap<u64, u16> = HashMap::new();
        for index in 0..ports.len() {
            let asked = number(&ports[index]);
            let own = ports[index]["port"].as_u64().unwrap_or_default();
            if asked == 0 && !all {
                continue;
            }
            let granted = match shared.get(&own).copied() {
                None => {
                    let same = ports.iter().filter(|port| port["port"].as_u64() == Some(own));
                    let granted = match same.map(number).find(|number| *number != 0) {
                        Some(wanted) => self.take_at(&name, index, wanted)?,
                        None => self.any_for_port()?,
                    };
                    shared.insert(own, granted);
                    granted
                }
                Some(granted) if asked == 0 || asked == u64::from(granted) => granted,
                Some(_) => self.take_at(&name, index, asked)?,
            };
            if asked <= u64::from(u16::MAX) {
                ports[index]["nodePort"] = granted.into();
            }
        }
        Ok(())
    }

    fn update(&mut self, service: &mut Object, old: &Object) -> ApiResult<()> {
        if !has_node_ports(service) {
            return Ok(());
        }
        let (all, name) = (services::needs_node_ports(service), service.name().to_owned());
        let held: BTreeSet<u64> = ports_of(old).iter().map(number).collect();
        let Some(Value::Array(ports)) = service.map_at_mut(&["spec"]).get_mut("ports") else {
            return Ok(());
        };
        let (mut taken, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (index, port) in ports.iter_mut().enumerate() {
            let granted = match number(port) {
                0 if !all => continue,
                0 => u64::from(self.any_for_port()?),
                asked if held.contains(&asked) || taken.contains(&asked) => asked,
                asked => u64::from(self.take_at(&name, index, asked)?),
            };
            taken.insert(granted);
            port["nodePort"] = granted.into();
            let protocol = port["protocol"].as_str().unwrap_or_default().to_owned();
            if !seen.insert((protocol.clone(), granted)) {
                let why = format!("duplicate nodePort: {{{protocol} {granted}}}");
                return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why));
            }
        }
        Ok(())
    }

    /// The port where load balancers ask whether a node has endpoints.
    fn health_check(&mut self, service: &mut Object) -> ApiResult<()> {
        let asked = service.at(&["spec", "healthCheckNodePort"]).and_then(Value::as_u64);
        let granted = match asked.filter(|number| *number != 0) {
            Some(number) => self.take(number).map_err(|why| {
                format!("failed to allocate requested HealthCheck NodePort {number}: {why}")
            }),
            None => self.any().ok_or_else(|| {
                "failed to allocate a HealthCheck NodePort 0: range is full".to_owned()
            }),
        };
        service.set(&["spec", "healthCheckNodePort"], granted.map_err(ApiError::internal)?);
        Ok(())
    }
}

fn ports_of(service: &Object) -> &[Value] {
    service.at(&["spec", "ports"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(port: &Value) -> u64 {
    port["nodePort"].as_u64().unwrap_or_default()
}

use super::request::Request;
use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

/// What must hold among the devices of a claim.
#[derive(Debug)]
pub(super) struct Constraint<'a> {
    attribute: &'a str,
    /// The requests (or `request/subrequest`) it is about; all if there are none.
    requests: &'a [String],
    /// Whether values must differ; else they must be the same.
    distinct: bool,
    /// The value of each device that was added, with the request it is for.
    values: Vec<(&'a str, &'a DeviceAttribute)>,
}

impl<'a> Constraint<'a> {
    /// `None` for one of a kind that is not known.
    pub(super) fn new(own: &'a DeviceConstraint) -> Option<Self> {
        let (attribute, distinct) = match (&own.match_attribute, &own.distinct_attribute) {
            (Some(attribute), _) => (attribute, false),
            (None, Some(attribute)) => (attribute, true),
            (None, None) => return None,
        };
        let requests = own.requests.as_deref().unwrap_or_default();
        Some(Self { attribute, requests, distinct, values: Vec::new() })
    }

    fn concerns(&self, request: &Request<'_>) -> bool {
        let whole = request.full_name();
        self.requests.is_empty()
            || self.requests.iter().any(|own| *own == request.base_name() || *own == whole)
    }

    /// Takes a device in; `false` when it does not go with the others.
    pub(super) fn add(&mut self, request: &Request<'a>, driver: &str, device: &'a Device) -> bool {
        if !self.concerns(request) {
            return true;
        }
        let Some(value) = lookup(device, driver, self.attribute) else { return false };
        let goes = if self.distinct {
            is_known(value) && self.values.iter().all(|(_, other)| !same(value, other))
        } else {
            self.values.last().is_none_or(|(_, other)| same(value, other))
        };
        if goes {
            self.values.push((request.base_name(), value));
        }
        goes
    }

    /// Lets the device go that was added last for a request.
    pub(super) fn remove(&mut self, request: &Request<'a>) {
        if self.concerns(request) {
            self.values.pop();
        }
    }
}

/// The attribute of a full name; the driver's own may be named without the domain.
fn lookup<'a>(device: &'a Device, driver: &str, name: &str) -> Option<&'a DeviceAttribute> {
    let attributes = device.attributes.as_ref()?;
    attributes.get(name).or_else(|| {
        let (domain, id) = name.split_once('/')?;
        attributes.get(id).filter(|_| domain == driver)
    })
}

fn is_known(value: &DeviceAttribute) -> bool {
    value.string.is_some() || value.int.is_some() || value.bool.is_some() || value.version.is_some()
}

fn same(a: &DeviceAttribute, b: &DeviceAttribute) -> bool {
    if a.string.is_some() {
        a.string == b.string
    } else if a.int.is_some() {
        a.int == b.int
    } else if a.bool.is_some() {
        a.bool == b.bool
    } else {
        a.version.is_some() && a.version == b.version
    }
}

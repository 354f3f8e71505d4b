use super::request::Request;
use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};
use std::borrow::Cow;

/// What must hold among the devices of a claim.
#[derive(Debug)]
pub(super) struct Constraint<'a> {
    attribute: &'a str,
    /// The requests (or `request/subrequest`) it is about; all if there are none.
    requests: &'a [String],
    /// Whether values must differ; else they must be the same.
    distinct: bool,
    /// Whether attributes can be lists.
    lists: bool,
    /// Of each device that was added its values or, if all must be the same, those that it shares with all before it.
    values: Vec<Option<Values<'a>>>,
}

impl<'a> Constraint<'a> {
    /// `None` for one of a kind that is not known.
    pub(super) fn new(own: &'a DeviceConstraint, lists: bool) -> Option<Self> {
        let (attribute, distinct) = match (&own.match_attribute, &own.distinct_attribute) {
            (Some(attribute), _) => (attribute, false),
            (None, Some(attribute)) => (attribute, true),
            (None, None) => return None,
        };
        let requests = own.requests.as_deref().unwrap_or_default();
        Some(Self { attribute, requests, distinct, lists, values: Vec::new() })
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
        let Some(attribute) = lookup(device, driver, self.attribute) else { return false };
        let values = Values::of(attribute, self.lists);
        let taken = match self.values.last() {
            // The first goes with itself, also when its value is of a type that is not known.
            None => (values.is_some() || self.distinct || !self.lists).then_some(values),
            Some(_) if self.distinct => {
                let differ = |own: &Values<'a>| {
                    self.values.iter().flatten().all(|other| own.common(other).is_none())
                };
                values.filter(differ).map(Some)
            }
            Some(shared) => {
                let common = values.zip(shared.as_ref());
                common.and_then(|(own, shared)| own.common(shared)).map(Some)
            }
        };
        let goes = taken.is_some();
        self.values.extend(taken);
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

/// The values of an attribute; one that is no list has one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Values<'a> {
    Ints(Cow<'a, [i64]>),
    Bools(Cow<'a, [bool]>),
    Texts(Cow<'a, [String]>),
    Versions(Cow<'a, [String]>),
}

impl<'a> Values<'a> {
    /// `None` for an attribute of a type that is not known, as lists are not unless `lists` says so.
    fn of(own: &'a DeviceAttribute, lists: bool) -> Option<Self> {
        fn known<T: Clone>(values: &[T]) -> Option<Cow<'_, [T]>> {
            (!values.is_empty()).then_some(Cow::Borrowed(values))
        }
        let of_lists = || {
            let ints = known(own.ints.as_deref().unwrap_or_default()).map(Self::Ints);
            ints.or_else(|| known(own.bools.as_deref().unwrap_or_default()).map(Self::Bools))
                .or_else(|| known(own.strings.as_deref().unwrap_or_default()).map(Self::Texts))
                .or_else(|| known(own.versions.as_deref().unwrap_or_default()).map(Self::Versions))
        };
        let of_one = || {
            let int = known(own.int.as_slice()).map(Self::Ints);
            int.or_else(|| known(own.bool.as_slice()).map(Self::Bools))
                .or_else(|| known(own.string.as_slice()).map(Self::Texts))
                .or_else(|| known(own.version.as_slice()).map(Self::Versions))
        };
        if lists { of_lists().or_else(of_one) } else { of_one() }
    }

    /// What both have, if anything.
    fn common(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Ints(own), Self::Ints(other)) => common(own, other).map(Self::Ints),
            (Self::Bools(own), Self::Bools(other)) => common(own, other).map(Self::Bools),
            (Self::Texts(own), Self::Texts(other)) => common(own, other).map(Self::Texts),
            (Self::Versions(own), Self::Versions(other)) => common(own, other).map(Self::Versions),
            _ => None,
        }
    }
}

/// Nothing is copied when all of `own` is in `other`.
fn common<'a, T: Clone + PartialEq>(own: &Cow<'a, [T]>, other: &[T]) -> Option<Cow<'a, [T]>> {
    let count = own.iter().filter(|value| other.contains(value)).count();
    match count {
        0 => None,
        all if all == own.len() => Some(own.clone()),
        _ => Some(own.iter().filter(|value| other.contains(value)).cloned().collect()),
    }
}

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, ResourceSlice};
use kubeplane_cel::{Attribute, Device as Seen, DeviceSelector, Environment};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

/// How many compiled expressions are kept.
const KEPT: usize = 256;

type Compiled = Arc<Result<DeviceSelector, String>>;

/// Compiled expressions, kept from pod to pod.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    /// Whether attributes can be lists.
    lists: bool,
    /// Takes long to put together, and only pods with claims need it.
    environment: OnceLock<Environment>,
    compiled: Mutex<HashMap<String, Compiled>>,
}

impl Selectors {
    pub(super) fn new(lists: bool) -> Self {
        Self { lists, ..Self::default() }
    }

    fn environment(&self) -> &Environment {
        self.environment.get_or_init(Environment::new)
    }

    fn compiled(&self, source: &str) -> Compiled {
        if let Some(known) = self.compiled.lock().get(source) {
            return known.clone();
        }
        let made = DeviceSelector::compile(self.environment(), source);
        let made = Arc::new(made.map_err(|error| error.to_string()));
        let mut all = self.compiled.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(source.to_owned(), made.clone());
        made
    }

    /// Whether an expression selects a device.
    ///
    /// # Errors
    /// When it does not compile, or fails.
    pub(super) fn matches(
        &self,
        source: &str,
        device: &Result<Seen, String>,
    ) -> Result<bool, String> {
        let compiled = self.compiled(source);
        let selector =
            compiled.as_ref().as_ref().map_err(|why| format!("CEL compile error: {why}"))?;
        let device = device.as_ref().map_err(|why| format!("CEL runtime error: {why}"))?;
        let matches = selector.matches(self.environment(), device);
        matches.map_err(|error| format!("CEL runtime error: {error}"))
    }

    /// A device as expressions see it.
    pub(super) fn seen(&self, slice: &ResourceSlice, device: &Device) -> Result<Seen, String> {
        let mut attributes = Vec::new();
        for (name, own) in device.attributes.iter().flatten() {
            let value = self
                .value_of(own)
                .ok_or_else(|| format!("attribute {name}: unsupported attribute value"))?;
            attributes.push((name.as_str(), value));
        }
        let capacity = device.capacity.iter().flatten();
        let capacity = capacity.map(|(name, own)| (name.as_str(), own.value.0.as_str()));
        let shared = device.allow_multiple_allocations == Some(true);
        let seen = Seen::new(self.environment(), &slice.spec.driver, shared, attributes, capacity);
        seen.map_err(|error| error.to_string())
    }

    fn value_of<'a>(&self, own: &'a DeviceAttribute) -> Option<Attribute<'a>> {
        let list = || {
            let ints = own.ints.as_deref().map(Attribute::Ints);
            ints.or(own.bools.as_deref().map(Attribute::Bools))
                .or(own.strings.as_deref().map(Attribute::Texts))
                .or(own.versions.as_deref().map(Attribute::Versions))
        };
        self.lists
            .then(list)
            .flatten()
            .or(own.int.map(Attribute::Int))
            .or(own.bool.map(Attribute::Bool))
            .or(own.string.as_deref().map(Attribute::Text))
            .or(own.version.as_deref().map(Attribute::Version))
    }
}

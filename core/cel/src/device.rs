//! Selectors of devices: expressions over the variable `device`.

use crate::{
    activation::Activation,
    ast::{Expr, Kind, Literal, op},
    bound::Bound,
    environment::{Environment, Program},
    error::{Error, Result},
    fault::Fault,
    library::{function, map_of},
    shape::Shape,
    types::Type,
    value::{Key, Text, Value},
};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// The most one expression may cost, estimated and when it runs.
pub const DEVICE_COST_LIMIT: u64 = 1_000_000;

const ENTRIES_MAX: u64 = 32;
const VALUE_MAX: u64 = 64;

/// The schema of `device`, as of `resource.k8s.io/v1`.
#[must_use]
pub fn device_schema() -> Json {
    let value = json!({"x-kubernetes-int-or-string": true, "maxLength": VALUE_MAX});
    let by_name = |value: Json| json!({"type": "object", "additionalProperties": value, "maxProperties": ENTRIES_MAX});
    let by_domain = by_name(by_name(value));
    json!({"type": "object", "properties": {
        "driver": {"type": "string", "maxLength": VALUE_MAX - 1},
        "attributes": by_domain,
        "capacity": by_domain,
        "allowMultipleAllocations": {"type": "boolean"},
    }})
}

/// Compiles an expression over `device`.
///
/// # Errors
/// As [`Environment::compile`].
pub fn compile_device(source: &str) -> Result<Program> {
    let shape = Shape::of_schema(&device_schema(), false).map(Arc::new);
    let variables: Vec<_> = shape.iter().map(|shape| ("device", shape)).collect();
    Environment::new().with_binds().compile(source, &variables)
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// A number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// A semantic version.
    Version(&'a str),
}

type Domains = BTreeMap<String, BTreeMap<String, Value<'static>>>;

/// A device as expressions see it.
#[derive(Clone)]
pub struct Device {
    driver: String,
    shared: bool,
    attributes: Domains,
    capacity: Domains,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// What a function makes of a text.
fn converted(name: &str, text: &str) -> Result<Value<'static>> {
    let text = Value::from(text.to_owned());
    let made = function(name, "").map_or_else(|| Err(Fault::overload()), |of| of(&[text]));
    made.map_err(|fault| Error::Evaluate(fault.to_string()))
}

impl Device {
    /// A device of a driver: attributes and capacities by name, those without a domain are in the driver's.
    ///
    /// # Errors
    /// [`Error::Evaluate`] when a version or an amount is none.
    pub fn new<'a>(
        _environment: &Environment,
        driver: &str,
        shared: bool,
        attributes: impl IntoIterator<Item = (&'a str, Attribute<'a>)>,
        capacity: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let mut device = Self {
            driver: driver.to_owned(),
            shared,
            attributes: Domains::new(),
            capacity: Domains::new(),
        };
        for (name, attribute) in attributes {
            let value = match attribute {
                Attribute::Int(value) => Value::Int(value),
                Attribute::Bool(value) => Value::Bool(value),
                Attribute::Text(text) => Value::from(text.to_owned()),
                Attribute::Version(text) => converted("semver", text).map_err(|error| {
                    let why = format!("attribute {name}: parse semantic version: {error}");
                    Error::Evaluate(why)
                })?,
            };
            place(&mut device.attributes, driver, name, value);
        }
        for (name, amount) in capacity {
            place(&mut device.capacity, driver, name, converted("quantity", amount)?);
        }
        Ok(device)
    }

    /// The value of the variable. A domain that is asked for and not there is an empty one.
    fn bound(&self, asked: &BTreeSet<String>) -> Value<'static> {
        let key = |name: &str| Key::Text(Text::Shared(name.into()));
        let domains = |own: &Domains| {
            let known = own.iter().map(|(domain, values)| {
                let values = values.iter().map(|(id, value)| (key(id), value.clone()));
                (key(domain), map_of(values.collect()))
            });
            let asked = asked.iter().map(String::as_str).chain([self.driver.as_str()]);
            let missing = asked.filter(|domain| !own.contains_key(*domain));
            let missing = missing.map(|domain| (key(domain), map_of(Vec::new())));
            map_of(known.chain(missing).collect())
        };
        map_of(vec![
            (key("driver"), Value::from(self.driver.clone())),
            (key("allowMultipleAllocations"), Value::Bool(self.shared)),
            (key("attributes"), domains(&self.attributes)),
            (key("capacity"), domains(&self.capacity)),
        ])
    }
}

fn place(domains: &mut Domains, driver: &str, name: &str, value: Value<'static>) {
    let (domain, id) = name.split_once('/').unwrap_or((driver, name));
    domains.entry(domain.to_owned()).or_default().insert(id.to_owned(), value);
}

/// A compiled selector of devices.
///
/// ```
/// use kubeplane_cel::{Attribute, Device, DeviceSelector, Environment};
///
/// let environment = Environment::new();
/// let source = "device.attributes['gpu.example.com'].cores >= 4 && !has(device.attributes['other.com'].x)";
/// let selector = DeviceSelector::compile(&environment, source).unwrap();
/// let cores = [("cores", Attribute::Int(8))];
/// let device = Device::new(&environment, "gpu.example.com", false, cores, []).unwrap();
/// assert_eq!(selector.matches(&environment, &device), Ok(true));
/// ```
#[derive(Debug)]
pub struct DeviceSelector {
    program: Program,
    /// The domains that the expression names.
    domains: BTreeSet<String>,
}

impl DeviceSelector {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`Error::Compile`] also when it is certain that no truth value comes of it.
    pub fn compile(environment: &Environment, source: &str) -> Result<Self> {
        let environment = environment.with_binds();
        let program = compile_device(source).map_err(|error| match error {
            Error::Compile(why) => Error::Compile(format!("compilation failed: {why}")),
            other => other,
        })?;
        if !matches!(program.returns(), Type::Bool | Type::Dyn) {
            let why = "must evaluate to bool or the unknown type";
            return Err(Error::Compile(why.to_owned()));
        }
        let mut domains = BTreeSet::new();
        if let Some(expr) = environment.parsed(source) {
            named(&expr, &mut domains);
        }
        Ok(Self { program, domains })
    }

    /// Whether it selects the device.
    ///
    /// # Errors
    /// [`Error::Evaluate`] as for an attribute that is not there, [`Error::Budget`] when it costs too much.
    pub fn matches(&self, _environment: &Environment, device: &Device) -> Result<bool> {
        let device = Bound(device.bound(&self.domains));
        let activation = Activation::new().with("device", device);
        let result = self.program.run(&activation, DEVICE_COST_LIMIT).result?;
        result.as_bool().ok_or_else(|| {
            let kind = result.type_name();
            Error::Evaluate(format!(
                "CEL result of type {kind} could not be converted to bool: type conversion error from '{kind}' to 'bool'"
            ))
        })
    }
}

/// All texts by which something is looked up, and fields of attributes and capacities.
fn named(expr: &Expr, found: &mut BTreeSet<String>) {
    match &expr.kind {
        Kind::Call { function, args, .. } if matches!(&**function, op::INDEX | op::OPT_INDEX) => {
            if let Some(Kind::Literal(Literal::String(text))) = args.get(1).map(|key| &key.kind) {
                found.insert(text.to_string());
            }
        }
        Kind::Select { operand, field, .. } => {
            if let Kind::Select { field: inner, .. } = &operand.kind
                && matches!(&**inner, "attributes" | "capacity")
            {
                found.insert(field.to_string());
            }
        }
        _ => {}
    }
    expr.children().into_iter().for_each(|child| named(child, found));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(source: &str) -> Result<bool> {
        let environment = Environment::new();
        let attributes = [
            ("model", Attribute::Text("x1")),
            ("good", Attribute::Bool(true)),
            ("other.com/version", Attribute::Version("1.2.3")),
        ];
        let device =
            Device::new(&environment, "d.com", true, attributes, [("memory", "2Gi")]).unwrap();
        DeviceSelector::compile(&environment, source)?.matches(&environment, &device)
    }

    #[test]
    fn devices_are_seen_by_domain_with_the_drivers_as_default() {
        for source in [
            "device.driver == 'd.com' && device.allowMultipleAllocations",
            "device.attributes['d.com'].model == 'x1'",
            "device.attributes['d.com'].good",
            "device.attributes['other.com'].version.isGreaterThan(semver('1.0.0'))",
            "device.capacity['d.com'].memory.compareTo(quantity('1Gi')) > 0",
            "!('model' in device.attributes['nowhere.com'])",
            "!has(device.capacity['nowhere.com'].memory)",
            "cel.bind(d, device.attributes['d.com'], d.good && d.model.startsWith('x'))",
        ] {
            assert_eq!(selects(source), Ok(true), "{source}");
        }
        assert_eq!(selects("device.attributes['d.com'].model == 'x2'"), Ok(false));
    }

    #[test]
    fn what_is_wrong_is_told_as_the_original_does() {
        let missing = selects("device.attributes['d.com'].none == 1").unwrap_err();
        assert_eq!(missing.to_string(), "no such key: none");
        let text = selects("device.attributes['d.com'].model").unwrap_err();
        assert!(text.to_string().starts_with("CEL result of type string could not"), "{text}");
        assert!(selects("device.driver").is_err());
        assert!(selects("noSuchVar").unwrap_err().to_string().starts_with("compilation failed: "));
    }
}

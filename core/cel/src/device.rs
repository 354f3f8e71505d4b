//! Selectors of devices: expressions over the variable `device`.

use crate::{
    activation::Activation,
    ast::{Expr, Kind, Literal, op},
    bound::Bound,
    checker::Scope,
    environment::{Environment, Program},
    error::{Error, Result},
    estimate::Sizes,
    fault::Fault,
    library::{function, map_of},
    types::Type,
    value::{Key, Text, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// The most one expression may cost, estimated and when it runs.
pub const DEVICE_COST_LIMIT: u64 = 1_000_000;

/// The variable of selectors.
pub(crate) const DEVICE: &str = "device";

/// The most domains that a device has attributes or capacities of, and the most of one domain.
const ENTRIES_MAX: u64 = 32;
/// The most characters of a driver's name and of a domain.
const DOMAIN_MAX: u64 = 63;
/// The most characters of a name behind a domain.
const ID_MAX: u64 = 32;
/// The most characters of an attribute.
const VALUE_MAX: u64 = 64;

/// The type of `device`, as of `resource.k8s.io/v1`.
fn device_type() -> Type {
    let by_domain = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let fields = [
        ("driver", Type::String),
        ("allowMultipleAllocations", Type::Bool),
        ("attributes", by_domain(Type::Any)),
        ("capacity", by_domain(Type::opaque("kubernetes.Quantity"))),
    ];
    Type::object("kubernetes.DRADevice", fields.map(|(name, of)| (name.to_owned(), of)))
}

/// The most characters or entries of what lies at a place in a device; `None` where that is not known.
pub(crate) fn most_of_device(place: &[Arc<str>]) -> Option<u64> {
    fn values(part: &str) -> &str {
        if part == "@items" { "@values" } else { part }
    }
    let place: Vec<&str> = place.iter().map(|part| values(part)).collect();
    Some(match place.as_slice() {
        [] | ["capacity", "@values", "@values"] => 0,
        ["driver"] => DOMAIN_MAX,
        ["allowMultipleAllocations"] => 1,
        ["attributes" | "capacity"] | ["attributes" | "capacity", "@values"] => ENTRIES_MAX,
        ["attributes" | "capacity", "@keys"] => DOMAIN_MAX,
        ["attributes" | "capacity", "@values", "@keys"] => ID_MAX,
        // By its name, too.
        ["attributes", "@values", _] => VALUE_MAX,
        _ => return None,
    })
}

/// Compiles an expression over `device`, of which attributes are [`Type::Any`] and capacities quantities.
///
/// # Errors
/// As [`Environment::compile`].
pub fn compile_device(source: &str) -> Result<Program> {
    let scope = Scope::new().with(DEVICE, device_type());
    Environment::new().with_binds().compile_sized(source, &scope, Sizes::Device)
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
    /// Several numbers.
    Ints(&'a [i64]),
    /// Several truth values.
    Bools(&'a [bool]),
    /// Several texts.
    Texts(&'a [String]),
    /// Several semantic versions.
    Versions(&'a [String]),
}

impl Attribute<'_> {
    /// Fails for a version that is none.
    fn value(self) -> Result<Value<'static>> {
        let text = |text: &str| Value::from(text.to_owned());
        let version = |text: &str| converted("semver", text);
        let list = |values: Vec<Value<'static>>| Value::from(values);
        Ok(match self {
            Self::Int(value) => Value::Int(value),
            Self::Bool(value) => Value::Bool(value),
            Self::Text(value) => text(value),
            Self::Version(value) => version(value)?,
            Self::Ints(values) => list(values.iter().copied().map(Value::Int).collect()),
            Self::Bools(values) => list(values.iter().copied().map(Value::Bool).collect()),
            Self::Texts(values) => list(values.iter().map(|value| text(value)).collect()),
            Self::Versions(values) => {
                list(values.iter().map(|value| version(value)).collect::<Result<_>>()?)
            }
        })
    }
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
            let value = attribute.value().map_err(|error| {
                let why = format!("attribute {name}: parse semantic version: {error}");
                Error::Evaluate(why)
            })?;
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
        if !matches!(program.returns(), Type::Bool | Type::Any) {
            let other = program.returns().written();
            let why = format!("must evaluate to bool or the unknown type, not {other}");
            return Err(Error::Compile(why));
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
        let activation = Activation::new().with(DEVICE, device);
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
        let modes = ["slow".to_owned(), "fast".to_owned()];
        let attributes = [
            ("model", Attribute::Text("x1")),
            ("good", Attribute::Bool(true)),
            ("other.com/version", Attribute::Version("1.2.3")),
            ("numas", Attribute::Ints(&[0, 1])),
            ("modes", Attribute::Texts(&modes)),
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
            "device.attributes['d.com'].model.matches('^x[0-9]$')",
            "device.attributes['d.com'].model.split('x')[1] == '1'",
            "1 in device.attributes['d.com'].numas && !(2 in device.attributes['d.com'].numas)",
            "device.attributes['d.com'].modes.size() == 2",
            "device.attributes['d.com'].exists_one(x, x == 'good')",
            "device.capacity['d.com'].all(k, device.capacity['d.com'][k].isGreaterThan(quantity('1Gi')))",
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
        assert!(selects("noSuchVar").unwrap_err().to_string().starts_with("compilation failed: "));
        for (source, wanted) in [
            ("device.driver", "not string"),
            ("device", "not kubernetes.DRADevice"),
            ("device.attributes['d']", "not map(string, google.protobuf.Any)"),
            ("device.attributes['d'].x.foo", "not dyn"),
            ("device.capacity['d'].x", "not kubernetes.Quantity"),
        ] {
            let why = format!("must evaluate to bool or the unknown type, {wanted}");
            assert_eq!(selects(source).unwrap_err().to_string(), why, "{source}");
        }
        let any = "expression of type 'any' cannot be range of a comprehension (must be list, map, or dynamic)";
        for (source, wanted) in [
            ("device.attributes['d'].x.exists(x, x > 0)", format!("1:23: {any}")),
            (
                "device.capacity['d'].x > 5",
                "1:24: found no matching overload for '_>_' applied to '(kubernetes.Quantity, int)'"
                    .to_owned(),
            ),
            (
                "device.capacity['d'].x.foo",
                "1:23: unexpected failed resolution of 'kubernetes.Quantity'".to_owned(),
            ),
            (
                "device.attributes[1].x",
                "1:18: found no matching overload for '_[_]' applied to '(map(string, map(string, any)), int)'"
                    .to_owned(),
            ),
            ("device.foo", "1:7: undefined field 'foo'".to_owned()),
        ] {
            let told = selects(source).unwrap_err().to_string();
            let line = told.lines().next().unwrap_or_default();
            assert_eq!(line, format!("compilation failed: ERROR: <input>:{wanted}"), "{source}");
        }
    }

    /// What the original 1.36 says of each.
    #[test]
    fn the_most_that_selectors_cost_follows_from_what_devices_can_be() {
        let tens = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let mut nested = "int('1'.find('[0-9]*')) < 100".to_owned();
        for name in ["g", "f", "e", "d", "c", "b", "a"] {
            nested = format!("{tens}.all({name}, {nested})");
        }
        for (source, cost) in [
            ("true", 0),
            ("'no-such-domain' in device.attributes", 3),
            ("device.driver == ''", 2),
            ("device.driver == 'dra.example.com'", 4),
            ("device.allowMultipleAllocations == true", 3),
            ("device.attributes['dra.example.com'].name", 4),
            ("device.attributes['dra.example.com']['name']", 4),
            ("cel.bind(dra, device.attributes['dra.example.com'], dra.name)", 15),
            ("device.attributes['dra.example.com'].name > 0", 5),
            ("device.attributes['dra.example.com'].name == 'fish'", 5),
            ("device.attributes['dra.example.com'].name.isGreaterThan(semver('0.0.1'))", 6),
            ("device.capacity['dra.example.com'].name.isGreaterThan(quantity('1Ki'))", 6),
            (
                "!('name' in device.capacity['dra.example.com']) || device.capacity['dra.example.com'].name.isGreaterThan(quantity('1Ki'))",
                11,
            ),
            ("device.attributes.exists_one(x, x == 'dra.example.com')", 164),
            ("device.attributes['dra.example.com'].exists_one(x, x == 'services')", 133),
            ("device.attributes['dra.example.com'].services.split('example').size() >= 2", 19),
            ("device.attributes['dra.example.com'].services.matches('[^a]?sym')", 18),
            ("device.capacity.exists_one(x, x == 'dra.example.com')", 164),
            ("device.capacity['dra.example.com'].exists_one(x, x == 'memory')", 133),
            (nested.as_str(), 85_555_551),
        ] {
            assert_eq!(compile_device(source).unwrap().max_cost(), cost, "{source}");
        }
        // Types have no size.
        let of_types = compile_device("type(device.attributes['d'].x) == int").unwrap();
        assert!(of_types.max_cost() > DEVICE_COST_LIMIT);
    }
}

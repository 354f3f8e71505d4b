//! What calls cost when they are made, counted as the original does.

use crate::{
    ast::op,
    bounds::{Bounds, CHECK, LIST, TRAVERSAL, matching, scaled, selector},
    estimate::{is_comparison, is_nominal},
    value::{Extra, Value},
};

/// How the cost of a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// So much.
    Fixed(u64),
    /// Of the first argument as a whole.
    Traversal,
    /// Of the first argument, and of what is made of it.
    TraversalTwice,
    /// Of the whole tree of the first argument.
    Tree,
    Join,
    Find,
    Selector,
    Contained {
        cidr: bool,
        parsed: bool,
    },
    Validate,
    InList,
    Equality,
    Comparison,
    Concat,
    Contains,
    /// Of making a list as long as the result.
    Made,
    /// Of making a list as long as the first argument says.
    Range,
    Flatten,
    /// Of comparing all items of an argument with each other.
    Sorted(usize),
    /// Of comparing all items of two, so often.
    Sets(u64),
}

impl Charge {
    /// Of a function whose form is known, or else empty.
    pub(crate) fn of(name: &str, form: &str) -> Self {
        match form {
            "list_slice" | "list_reverse" => return Self::Made,
            "lists_range" => return Self::Range,
            "list_flatten" | "list_flatten_int" => return Self::Flatten,
            "list_distinct" => return Self::Sorted(0),
            "list_sets_contains_list" | "list_sets_intersects_list" => return Self::Sets(1),
            "list_sets_equivalent_list" => return Self::Sets(2),
            form if form.ends_with("_sort") => return Self::Sorted(0),
            form if form.ends_with("_sortByAssociatedKeys") => return Self::Sorted(1),
            _ => {}
        }
        match name {
            "check" => Self::Fixed(CHECK),
            "fieldSelector" | "labelSelector" => Self::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Self::Tree,
            "ip" if form == "cidr_ip" => Self::Fixed(1),
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "ip"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => Self::Traversal,
            "replace" | "split" | "ip.isCanonical" => Self::TraversalTwice,
            "join" => Self::Join,
            "find" | "findAll" => Self::Find,
            "containsIP" => {
                Self::Contained { cidr: false, parsed: form == "cidr_contains_ip_string" }
            }
            "containsCIDR" => {
                Self::Contained { cidr: true, parsed: form == "cidr_contains_cidr_string" }
            }
            "validate" => Self::Validate,
            op::EQUALS => Self::Equality,
            op::NOT_EQUALS => Self::Comparison,
            name if is_nominal(name) => Self::Fixed(1),
            _ => Self::of_language(form),
        }
    }

    fn of_language(form: &str) -> Self {
        match form {
            "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
            | "strings_quote" | "string_format" => Self::Traversal,
            "in_list" => Self::InList,
            "add_string" | "add_bytes" => Self::Concat,
            "matches_string" => Self::Find,
            "contains_string" => Self::Contains,
            form if is_comparison(form) => Self::Comparison,
            _ => Self::Fixed(1),
        }
    }

    /// Whether it is spent before the call, which would take long: it looks at pairs of items or makes a long list, and
    /// none of what it comes to counts.
    pub(crate) fn comes_first(self) -> bool {
        matches!(self, Self::Sorted(_) | Self::Sets(_) | Self::Range)
    }

    /// Whether what is made may be far larger than what is paid for.
    pub(crate) fn is_cheap(self, name: &str) -> bool {
        matches!(self, Self::TraversalTwice | Self::Join) || matches!(name, op::ADD | "format")
    }

    /// The cost of a call with these arguments; what failed counts as one.
    pub(crate) fn cost(self, args: &[Option<&Value<'_>>], result: Option<&Value<'_>>) -> u64 {
        let size = |index: usize| args.get(index).copied().flatten().map_or(1, Value::size);
        let inner = |index: usize| args.get(index).copied().flatten().map_or(1, Value::inner_size);
        match self {
            Self::Fixed(units) => units,
            Self::Traversal => scaled(size(0), TRAVERSAL),
            Self::TraversalTwice => scaled(size(0), 2.0 * TRAVERSAL),
            Self::Tree => args.first().copied().flatten().map_or(1, traversal),
            Self::Join => scaled(result.map_or(1, Value::size), 2.0 * TRAVERSAL),
            Self::Find => matching(size(0), size(1)),
            Self::Selector => selector(Bounds::exactly(size(1))).max,
            Self::Contained { cidr, parsed } => {
                let mut cost = scaled(size(0) * 2, TRAVERSAL);
                if cidr {
                    cost += scaled(size(0), TRAVERSAL) + 1;
                }
                if parsed {
                    cost += scaled(size(1), TRAVERSAL);
                }
                cost
            }
            Self::Validate => match args.first() {
                Some(Some(Value::Extra(Extra::Format(format)))) => {
                    matching(size(1), format.pattern_length())
                }
                _ => 1,
            },
            Self::InList => size(1),
            Self::Equality if matches!(args.first(), Some(Some(Value::Extra(_)))) => 1,
            Self::Equality | Self::Comparison => scaled(inner(0).min(inner(1)), TRAVERSAL),
            Self::Concat => scaled(size(0).saturating_add(size(1)), TRAVERSAL),
            Self::Made => made(result.map_or(1, Value::size)),
            Self::Range => made(match args.first() {
                Some(Some(Value::Int(count))) => u64::try_from(*count).unwrap_or_default(),
                _ => 1,
            }),
            Self::Flatten => match args.get(1) {
                Some(Some(Value::Int(depth))) => {
                    made(size(0).saturating_mul(u64::try_from(*depth).unwrap_or_default()))
                }
                _ => made(size(0)),
            },
            Self::Sorted(index) => {
                let first = match args.get(index) {
                    Some(Some(Value::List(list))) => list.get(0),
                    _ => None,
                };
                let pairs = size(index).saturating_mul(size(index));
                let is_text = matches!(first, Some(Value::String(_) | Value::Bytes(_)));
                made(pairs * 2 + if is_text { pairs / 10 } else { 0 })
            }
            Self::Sets(times) => 1 + size(0) * size(1) * times,
            Self::Contains => scaled(size(0), TRAVERSAL).saturating_mul(scaled(size(1), TRAVERSAL)),
        }
    }
}

/// The cost of making a list of a cost of its own.
fn made(own: u64) -> u64 {
    own.saturating_add(LIST + 1)
}

/// The cost of looking at all of a value.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => text.as_str().len() as u64 / 10,
        Value::Bytes(bytes) => bytes.len() as u64 / 10,
        Value::List(list) => list.iter().map(|item| traversal(&item)).sum(),
        Value::Map(map) if map.made_as().is_none() => {
            map.entries().map(|(key, value)| traversal(&key.value()) + traversal(&value)).sum()
        }
        _ => 1,
    }
}

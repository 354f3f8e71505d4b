//! The functions that expressions can call, with all forms they take.

use crate::types::Type;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

/// One form of a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    /// Whether it is called on its first argument.
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    /// The names of the types that stand for any.
    pub(crate) params: Vec<Arc<str>>,
}

/// A function: its overload, whether it is called on a value, arguments and result, separated by tabs.
const TABLE: &str = include_str!("declarations.tsv");

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in TABLE.lines() {
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let (name, id, member, args, result) = (next(), next(), next() == "member", next(), next());
        let overload = Overload::new(id, member, args, result);
        functions.entry(name).or_default().push(overload);
    }
    functions
});

impl Overload {
    fn new(id: &'static str, member: bool, args: &str, result: &str) -> Self {
        let args = Reader { rest: args }.types();
        let result = Reader { rest: result }.next();
        let mut params = BTreeSet::new();
        args.iter().chain([&result]).for_each(|of| params_of(of, &mut params));
        Self { id, member, args, result, params: params.into_iter().collect() }
    }
}

fn params_of(of: &Type, found: &mut BTreeSet<Arc<str>>) {
    if let Type::Param(name) = of {
        found.insert(name.clone());
    }
    of.params().into_iter().for_each(|part| params_of(part, found));
}

/// The forms of a function; `None` when there is no such function.
pub(crate) fn overloads(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

/// The type that such a name stands for, where it is a value.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "optional_type" => Type::optional(Type::Dyn),
        "net.IP"
        | "net.CIDR"
        | "kubernetes.Quantity"
        | "kubernetes.URL"
        | "kubernetes.Semver"
        | "kubernetes.NamedFormat" => Type::opaque(name),
        _ => return None,
    })
}

/// Reads types as they are printed.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn types(&mut self) -> Vec<Type> {
        let mut found = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with(')') {
            found.push(self.next());
            self.rest = self.rest.trim_start_matches([',', ' ']);
        }
        self.rest = self.rest.strip_prefix(')').unwrap_or(self.rest);
        found
    }

    fn next(&mut self) -> Type {
        let end = self.rest.find(['(', ')', ',']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let params = match rest.strip_prefix('(') {
            Some(rest) => {
                self.rest = rest;
                self.types()
            }
            None => Vec::new(),
        };
        let mut params = params.into_iter();
        let mut part = || params.next().unwrap_or(Type::Dyn);
        match name {
            "dyn" => Type::Dyn,
            "list" => Type::list(part()),
            "map" => Type::map(part(), part()),
            "type" => Type::Type(Arc::new(part())),
            "optional_type" => Type::optional(part()),
            "timestamp" => Type::Timestamp,
            "duration" => Type::Duration,
            name if name.len() == 1 => Type::Param(name.into()),
            name => type_named(name).unwrap_or_else(|| Type::opaque(name)),
        }
    }
}

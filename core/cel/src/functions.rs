//! The functions of the environment, and what they return.

use crate::{check::Type, shape::REQUEST_BYTES};

const BOOL: &[&str] = &[
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "hasValue",
    "containsCIDR",
    "containsIP",
    "isCIDR",
    "isIP",
    "isGlobalUnicast",
    "isGreaterThan",
    "isLessThan",
    "isInteger",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isQuantity",
    "isSemver",
    "isSorted",
    "isURL",
    "isUnspecified",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "ip.isCanonical",
    "math.isFinite",
    "math.isInf",
    "math.isNaN",
    "bool",
    // Of the variable `authorizer`, as the next ones.
    "allowed",
    "errored",
];
const INT: &[&str] = &[
    "size",
    "int",
    "indexOf",
    "lastIndexOf",
    "compareTo",
    "major",
    "minor",
    "patch",
    "prefixLength",
    "sign",
    "asInteger",
    "family",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];
const STRING: &[&str] = &[
    "string",
    "charAt",
    "find",
    "format",
    "getEscapedPath",
    "getHost",
    "getHostname",
    "getPort",
    "getScheme",
    "join",
    "jsonpatch.escapeKey",
    "lowerAscii",
    "upperAscii",
    "replace",
    "strings.quote",
    "substring",
    "trim",
    "error",
    "reason",
];
const STRINGS: &[&str] = &["findAll", "split"];
const OTHER: &[&str] = &[
    "max",
    "min",
    "bytes",
    "double",
    "uint",
    "dyn",
    "type",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "value",
    "or",
    "orValue",
    "optMap",
    "optFlatMap",
    "duration",
    "timestamp",
    "add",
    "sub",
    "asApproximateFloat",
    "cidr",
    "ip",
    "distinct",
    "first",
    "last",
    "flatten",
    "format.byte",
    "format.date",
    "format.datetime",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.uri",
    "format.uuid",
    "format.dns1123Label",
    "format.dns1123Subdomain",
    "format.dns1035Label",
    "format.dns1123LabelPrefix",
    "format.dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix",
    "getQuery",
    "lists.range",
    "masked",
    "math.abs",
    "math.bitAnd",
    "math.bitNot",
    "math.bitOr",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "math.bitXor",
    "math.ceil",
    "math.floor",
    "math.greatest",
    "math.least",
    "math.round",
    "math.sign",
    "math.sqrt",
    "math.trunc",
    "quantity",
    "reverse",
    "semver",
    "slice",
    "sort",
    "sortBy",
    "sum",
    "url",
    "validate",
    "base64.encode",
    "base64.decode",
    "strings.join",
    "path",
    "check",
    "group",
    "serviceAccount",
    "resource",
    "subresource",
    "namespace",
    "name",
    "fieldSelector",
    "labelSelector",
];

/// What a function returns; `None` when there is no such function.
pub(crate) fn returns(name: &str) -> Option<Type> {
    let among = |names: &[&str]| names.contains(&name);
    if among(BOOL) {
        Some(Type::Bool)
    } else if among(INT) {
        Some(Type::Int)
    } else if among(STRING) {
        Some(Type::String { max: REQUEST_BYTES })
    } else if among(STRINGS) {
        Some(Type::List(Box::new(Type::String { max: REQUEST_BYTES }), REQUEST_BYTES))
    } else if among(OTHER) {
        Some(Type::Dyn)
    } else {
        None
    }
}

/// Functions that look at every character or item of what they are called on.
pub(crate) fn traverses(name: &str) -> bool {
    matches!(
        name,
        "contains"
            | "startsWith"
            | "endsWith"
            | "matches"
            | "find"
            | "findAll"
            | "split"
            | "replace"
            | "lowerAscii"
            | "upperAscii"
            | "trim"
            | "substring"
            | "indexOf"
            | "lastIndexOf"
            | "join"
            | "format"
            | "isSorted"
            | "sum"
            | "min"
            | "max"
            | "distinct"
            | "sort"
            | "url"
            | "isURL"
            | "ip"
            | "isIP"
            | "cidr"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver"
            | "reverse"
    )
}

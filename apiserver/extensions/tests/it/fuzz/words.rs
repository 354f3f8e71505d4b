//! Schemas and expressions, and the words that they are made of.

use super::chance::Chance;
use serde_json::{Value, json};

pub(super) const SCHEMA_KEYS: &[&str] = &[
    "type",
    "properties",
    "items",
    "additionalProperties",
    "required",
    "object",
    "array",
    "string",
    "integer",
    "number",
    "boolean",
    "default",
    "nullable",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "^a+$",
    "(a|b)*c{1,1000}",
    "format",
    "date-time",
    "int32",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "x-kubernetes-validations",
    "rule",
    "self == oldSelf",
    "message",
    "messageExpression",
    "fieldPath",
    ".a",
    "reason",
    "optionalOldSelf",
    "x-kubernetes-list-type",
    "map",
    "set",
    "x-kubernetes-list-map-keys",
    "a",
    "b",
    "metadata",
    "spec",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-embedded-resource",
    "$ref",
    "uniqueItems",
    "minItems",
    "maxItems",
    "minProperties",
    "x-kubernetes-map-type",
    "atomic",
    "name",
    "status",
    "kind",
];

/// A schema that is mostly one.
pub(super) fn schema(chance: &mut Chance, depth: usize) -> Value {
    if depth == 0 || chance.one_in(12) {
        return chance.json(SCHEMA_KEYS, 2);
    }
    let kind =
        chance.pick(&["object", "object", "array", "string", "integer", "number", "boolean"]);
    let mut made = json!({"type": kind});
    match kind {
        "object" if chance.one_in(4) => made["additionalProperties"] = schema(chance, depth - 1),
        "object" => {
            let properties = (0..chance.below(4))
                .map(|_| (chance.pick(SCHEMA_KEYS).to_owned(), schema(chance, depth - 1)));
            made["properties"] = Value::Object(properties.collect());
        }
        "array" => made["items"] = schema(chance, depth - 1),
        _ => {}
    }
    for _ in 0..chance.below(3) {
        made[chance.pick(SCHEMA_KEYS)] = chance.json(SCHEMA_KEYS, 2);
    }
    if chance.one_in(3) {
        made["default"] = chance.json(SCHEMA_KEYS, 2);
    }
    if chance.one_in(3) {
        let mut rule = json!({"rule": expression(chance)});
        if chance.one_in(2) {
            rule["messageExpression"] = expression(chance).into();
        }
        if chance.one_in(3) {
            rule["fieldPath"] = chance.text(&[".", "a", "['b']", "[0]", "spec"], 4).into();
        }
        made["x-kubernetes-validations"] = json!([rule]);
    }
    made
}

const EXPRESSION: &[&str] = &[
    "self",
    "oldSelf",
    ".a",
    ".b",
    "[0]",
    "['a']",
    "==",
    "!=",
    "<",
    ">",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "!",
    "?",
    ":",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    "1",
    "2.5",
    "'x'",
    "\"y\"",
    "true",
    "null",
    "has(self.a)",
    ".size()",
    "in",
    ".all(x, x > 1)",
    ".exists(x, true)",
    ".map(x, x)",
    ".filter(x, x == x)",
    ".matches('a+')",
    ".split(',')",
    ".replace('a', 'bb')",
    "duration('1h')",
    "timestamp('2020-01-01T00:00:00Z')",
    "quantity('1Gi')",
    "ip('1.2.3.4')",
    "cidr('10.0.0.0/8')",
    "url('http://a')",
    "semver('1.2.3')",
    "optional.of(1)",
    ".orValue(2)",
    "cel.bind(a, self, a)",
    "9223372036854775807",
    "-9223372036854775808",
    "1u",
    "b'x'",
    "string(1)",
    "int('2')",
    "double(1)",
    "type(self)",
    "dyn(self)",
    ".startsWith('a')",
    ".join('-')",
    ".indexOf('a')",
    ".sum()",
    ".isSorted()",
    "sets.contains([1], [1])",
    "r'\\d'",
    ".findAll('a')",
    ".lowerAscii()",
    ".charAt(0)",
    ".?a",
    "[?0]",
    "'%d'.format([1])",
];

pub(super) fn expression(chance: &mut Chance) -> String {
    match chance.below(8) {
        0 => "!".repeat(chance.below(2000)) + "true",
        1 => format!("{}1{}", "(".repeat(chance.below(600)), ")".repeat(chance.below(600))),
        2 => vec!["self"; chance.below(3000) + 1].join(chance.pick(&["+", "&&", "||", "?", "."])),
        3 => format!("self{}", ".map(x, [x, x])".repeat(chance.below(12))),
        _ => chance.text(EXPRESSION, 24),
    }
}

//! What anybody can send, made up: schemas, expressions, patches, selectors and bodies. Nothing panics, and nothing takes
//! long.
//!
//! `KUBEPLANE_FUZZ_SECONDS` is how long each test goes on (12 s, a minute for all five), `KUBEPLANE_FUZZ_SEED` where it begins; a failure names the
//! seed of the input that made it.

use kubeplane_cel::{Activation, Environment, Shape};
use kubeplane_clock::Seed;
use kubeplane_core::{
    Object,
    decode::{self, FieldValidation, Format},
    patch,
    protobuf::Message,
    schema::{self, SchemaRef},
    selector::{FieldSelector, LabelSelector},
    yaml,
};
use serde_json::{Value, json};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long one input may take on a machine that does much else.
const LONG: Duration = Duration::from_secs(30);

/// Choices, the same from the same seed.
struct Chance(Seed);

impl Chance {
    fn next(&mut self) -> u64 {
        u64::from_le_bytes(self.0.bytes())
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.below(limit as u64)).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// A text of these pieces, with noise now and then.
    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        let mut out = String::new();
        for _ in 0..=self.below(most) {
            match self.below(12) {
                0 => out.push(char::from_u32(self.below(0x3000) as u32).unwrap_or('x')),
                1 => out.push_str(&"([{"[self.below(3)..][..1].repeat(self.below(300))),
                2 => out.push_str(&self.next().to_string()),
                _ => out.push_str(self.pick(pieces)),
            }
        }
        out
    }

    /// Bytes like these, damaged.
    fn damaged(&mut self, of: &[u8]) -> Vec<u8> {
        let mut bytes = of.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 => {
                    let part = bytes[at..bytes.len().min(at + self.below(40))].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                3 => drop(bytes.drain(at..bytes.len().min(at + self.below(20)))),
                _ if !bytes.is_empty() => bytes[at] = self.next() as u8,
                _ => {}
            }
        }
        bytes
    }

    fn json(&mut self, keys: &[&str], depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0 => Value::Null,
            1 => self.one_in(2).into(),
            2 => (self.next() as i64 >> self.below(60)).into(),
            3 => json!(f64::from_bits(self.next())),
            4 | 5 => self.pick(keys).into(),
            6 | 7 => (0..self.below(4)).map(|_| self.json(keys, below)).collect(),
            _ => {
                let members = (0..self.below(5))
                    .map(|_| (self.pick(keys).to_owned(), self.json(keys, below)));
                Value::Object(members.collect())
            }
        }
    }
}

/// Makes inputs until the time is over.
fn fuzz(mut one: impl FnMut(&mut Chance)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until =
        Instant::now() + Duration::from_secs(number("KUBEPLANE_FUZZ_SECONDS").unwrap_or(12));
    let mut seed = number("KUBEPLANE_FUZZ_SEED").unwrap_or(1);
    while Instant::now() < until {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| one(&mut Chance(Seed::new(seed)))));
        assert!(outcome.is_ok(), "an input panics: KUBEPLANE_FUZZ_SEED={seed}");
        let took = began.elapsed();
        assert!(took < LONG, "an input takes {took:?}: KUBEPLANE_FUZZ_SEED={seed}");
        seed += 1;
    }
}

const SCHEMA_KEYS: &[&str] = &[
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
fn schema(chance: &mut Chance, depth: usize) -> Value {
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

fn expression(chance: &mut Chance) -> String {
    match chance.below(8) {
        0 => "!".repeat(chance.below(2000)) + "true",
        1 => format!("{}1{}", "(".repeat(chance.below(600)), ")".repeat(chance.below(600))),
        2 => vec!["self"; chance.below(3000) + 1].join(chance.pick(&["+", "&&", "||", "?", "."])),
        3 => format!("self{}", ".map(x, [x, x])".repeat(chance.below(12))),
        _ => chance.text(EXPRESSION, 24),
    }
}

#[test]
fn schemas_and_their_objects() {
    let user = kubeplane_core::auth::UserInfo::default();
    let warnings = kubeplane_core::admission::Warnings::default();
    let features = kubeplane_core::features::Features::default();
    let context = kubeplane_core::definition::Context {
        now: kubeplane_clock::real().now(),
        user: &user,
        subresource: "",
        warnings: &warnings,
        features: &features,
    };
    let definitions = kubeplane_extensions::definition();
    fuzz(|chance| {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema(chance, 5)}}],
            },
        });
        let mut crd = Object::from_value(crd).unwrap();
        definitions.strategy.default(&mut crd);
        let _ = definitions.strategy.validate(&context, &crd);
        let Ok(made) = kubeplane_extensions::definition_of(&crd, "v1") else { return };
        for _ in 0..3 {
            let mut object = Object::from_value(chance.json(SCHEMA_KEYS, 4)).unwrap_or_default();
            let _ = decode::conform(&mut object, &made.schema);
            made.strategy.default(&mut object);
            let _ = made.strategy.validate(&context, &object);
            let mut old = Object::from_value(chance.json(SCHEMA_KEYS, 4)).unwrap_or_default();
            made.strategy.default(&mut old);
            let _ = made.strategy.validate_update(&context, &object, &old);
            let _ = made.strategy.table_row(&object, context.now);
            object.set(&["apiVersion"], "example.com/v1");
            made.strategy.restore(&mut object);
            made.strategy.prune(&mut object);
        }
    });
}

#[test]
fn expressions() {
    let shape = json!({"type": "object", "properties": {
        "a": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 10},
        "b": {"type": "object", "additionalProperties": {"type": "integer"}}, "c": {"type": "integer"}}});
    let shape = Arc::new(Shape::of_schema(&shape, false).unwrap());
    let environment = Environment::new();
    fuzz(|chance| {
        let source = expression(chance);
        let Ok(program) = environment.compile(&source, &[("self", &shape), ("oldSelf", &shape)])
        else {
            return;
        };
        let keys = ["a", "b", "c", "aaaa"];
        let [value, old] = [0; 2].map(|_| chance.json(&keys, 3));
        let seen =
            Activation::new().with("self", shape.bind(&value)).with("oldSelf", shape.bind(&old));
        let _ = program.run(&seen, 1_000_000);
    });
}

#[test]
fn patches() {
    let pod = schema::builtin("io.k8s.api.core.v1.Pod").unwrap();
    let keys = [
        "op",
        "path",
        "from",
        "value",
        "add",
        "remove",
        "replace",
        "move",
        "copy",
        "test",
        "/a",
        "/a/0",
        "/a/-",
        "/~1~0",
        "",
        "/spec/containers/0",
        "spec",
        "containers",
        "name",
        "image",
        "metadata",
        "labels",
        "$patch",
        "delete",
        "merge",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "finalizers",
        "volumes",
        "a",
    ];
    let live = json!({"a": [1, {"b": 2}], "metadata": {"name": "x", "labels": {"a": "b"}, "finalizers": ["a"]},
        "spec": {"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1}]}], "volumes": []}});
    fuzz(|chance| {
        let operations: Vec<Value> = (0..chance.below(5))
            .map(|_| {
                let mut operation = json!({"op": chance.pick(&keys[4..10]), "path": chance.text(&["/a", "/0", "/-", "/spec"], 4)});
                if chance.one_in(2) {
                    operation["value"] = chance.json(&keys, 3);
                    operation["from"] = chance.text(&["/a", "/0", "/spec"], 3).into();
                }
                operation
            })
            .collect();
        let operations = serde_json::to_vec(&operations).unwrap();
        let _ = patch::json_patch(live.clone(), &operations);
        let _ = patch::json_patch(live.clone(), &chance.damaged(&operations));
        let made = chance.json(&keys, 6);
        let _ = patch::merge_patch(live.clone(), made.to_string().as_bytes());
        let _ = patch::merge_patch(live.clone(), &chance.damaged(made.to_string().as_bytes()));
        let _ = patch::strategic::merge(live.clone(), made, &pod);
        let _ = patch::strategic::merge(chance.json(&keys, 5), chance.json(&keys, 5), &pod);
    });
}

#[test]
fn selectors() {
    let pieces = [
        "a",
        "b/c",
        "=",
        "==",
        "!=",
        "!",
        ",",
        " in ",
        " notin ",
        "(",
        ")",
        "x,y",
        ">",
        "<",
        "1",
        " ",
        "\\,",
        "metadata.name",
    ];
    fuzz(|chance| {
        let text = chance.text(&pieces, 20);
        if let Ok(selector) = LabelSelector::parse(&text) {
            let again = selector.to_string();
            assert!(LabelSelector::parse(&again).is_ok(), "{text:?} prints as {again:?}");
            let _ = selector.matches(|key| (key == "a").then_some("1"));
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            let _ = selector.matches(|field| field.to_owned());
        }
        let keys =
            ["matchLabels", "matchExpressions", "key", "operator", "values", "In", "Exists", "a"];
        let _ = LabelSelector::from_json(Some(&chance.json(&keys, 4)));
    });
}

#[test]
fn bodies() {
    let pod: SchemaRef = schema::builtin("io.k8s.api.core.v1.Pod").unwrap();
    let kind = kubeplane_core::GroupVersionKind::new("", "v1", "Pod");
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": "http"}}}]}});
    let message = Message::of_kind("v1", "Pod").unwrap();
    let json = body.to_string().into_bytes();
    let packed = message.encode(&json, None).unwrap();
    let text = yaml::print(&body).unwrap().into_bytes();
    let keys = [
        "metadata",
        "name",
        "spec",
        "containers",
        "image",
        "ports",
        "containerPort",
        "labels",
        "creationTimestamp",
        "10",
        "1Gi",
    ];
    fuzz(|chance| {
        let mut sent = vec![chance.damaged(&json), chance.damaged(&text)];
        sent.push(chance.json(&keys, 8).to_string().into_bytes());
        sent.push(
            chance
                .text(
                    &[
                        "a: ", "- ", "\n", "  ", "{", "}", "&a ", "*a ", "|", ">", "\"", "'", "[",
                        "]", "? ", "<<: *a", "---\n", "!!int ",
                    ],
                    40,
                )
                .into_bytes(),
        );
        for bytes in &sent {
            let _ = yaml::parse_reporting_duplicates(bytes);
            for format in [Format::Json, Format::Yaml] {
                let _ = decode::decode_as(bytes, format, &kind, &pod, FieldValidation::Strict);
            }
            let _ = decode::duplicates(bytes, &pod);
        }
        let damaged = chance.damaged(&packed);
        let _ = decode::decode_protobuf(&damaged, &kind, &pod);
        if let Ok(map) = message.decode(&damaged) {
            let _ = message.encode(&serde_json::to_vec(&map).unwrap(), Some("1"));
        }
    });
}

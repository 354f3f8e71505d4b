use super::*;
use serde_json::json;

fn errors(schema: Value, value: Value) -> Vec<String> {
    let found = validate(&Props::parse(&schema), &value, &Path::root());
    found.iter().map(ToString::to_string).collect()
}

/// One error about `spec`, without its path.
fn error(schema: Value, value: Value) -> String {
    let schema = json!({"type": "object", "properties": {"spec": schema}});
    let mut found = errors(schema, json!({"spec": value}));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).strip_prefix("spec: ").unwrap().to_owned()
}

#[test]
fn findings_have_the_originals_words() {
    let cases = [
        (
            json!({"type": "integer"}),
            json!("x"),
            r#"Invalid value: "string": spec in body must be of type integer: "string""#,
        ),
        (
            json!({"type": "string"}),
            json!(null),
            r#"Invalid value: "null": spec in body must be of type string: "null""#,
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"type": "string", "maxLength": 5}),
            json!("abcdef"),
            "Too long: may not be more than 5 bytes",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            r#"Invalid value: "a": spec in body should be at least 2 chars long"#,
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!("A"),
            r#"Invalid value: "A": spec in body should match '^[a-z]+$'"#,
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            r#"Unsupported value: "c": supported values: "a", "b""#,
        ),
        (
            json!({"type": "integer", "maximum": 10}),
            json!(11),
            "Invalid value: 11: spec in body should be less than or equal to 10",
        ),
        (
            json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            "Invalid value: 1: spec in body should be greater than 1",
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(1.3),
            "Invalid value: 1.3: spec in body should be a multiple of 0.5",
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
            json!([1, 2]),
            "Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "minItems": 1, "items": {"type": "integer"}}),
            json!([]),
            "Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "maxProperties": 0}),
            json!({"a": 1}),
            "Too many: 1: must have at most 0 items",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            r#"Invalid value: "x": spec in body must be of type date-time: "x""#,
        ),
        (json!({"type": "integer", "format": "int32"}), json!(3_000_000_000_i64), "<loose>"),
    ];
    for (schema, value, wanted) in cases {
        if wanted == "<loose>" {
            let root = json!({"type": "object", "properties": {"spec": schema}});
            let found = errors(root, json!({"spec": value}));
            assert_eq!(
                found,
                [
                    r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec"#
                ]
            );
            continue;
        }
        assert_eq!(error(schema, value), wanted);
    }
}

#[test]
fn places_are_named() {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["a"],
        "properties": {"list": {"type": "array", "items": {"type": "object", "required": ["b"]}}},
    }}});
    assert_eq!(errors(schema.clone(), json!({})), ["spec: Required value"]);
    let found = errors(schema, json!({"spec": {"list": [{}]}}));
    assert_eq!(found, ["spec.list[0].b: Required value", "spec.a: Required value"]);
}

#[test]
fn alternatives_tell_the_best_fit() {
    let one = json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"});
    let schema = json!({"type": "object", "properties": {"spec": one}});
    let found = errors(schema.clone(), json!({"spec": {"a": 1, "b": 1}}));
    let text = r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#;
    assert_eq!(found, [text]);
    let found = errors(schema, json!({"spec": {}}));
    assert_eq!(found.len(), 2);
    assert!(
        found[0].ends_with("Found none valid") && found[1] == "spec.a: Required value",
        "{found:?}"
    );
    let any = json!({"type": "object", "properties": {"spec": {"anyOf": [{"minimum": 5}, {"maximum": 1}], "type": "integer"}}});
    assert!(errors(any.clone(), json!({"spec": 7})).is_empty());
    assert!(
        errors(any, json!({"spec": 3}))[0]
            .contains("\"spec\" must validate at least one schema (anyOf)")
    );
    let not = json!({"type": "object", "properties": {"spec": {"not": {"enum": [1]}, "type": "integer"}}});
    assert!(
        errors(not, json!({"spec": 1}))[0].contains("\"spec\" must not validate the schema (not)")
    );
}

#[test]
fn what_did_not_change_may_stay() {
    let schema = Props::parse(&json!({"type": "object", "properties": {
        "a": {"type": "integer", "maximum": 5}, "b": {"type": "integer"},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
    }}));
    let old = json!({"a": 9, "b": 1, "list": [{"k": "x", "v": 5}, {"k": "y", "v": 1}]});
    let check = |new: Value| validate_update(&schema, &new, Some(&old), &Path::root()).len();
    assert_eq!(check(json!({"a": 9, "b": 2, "list": [{"k": "y", "v": 1}, {"k": "x", "v": 5}]})), 0);
    assert_eq!(check(json!({"a": 8, "b": 2})), 1);
    assert_eq!(check(json!({"a": 9, "list": [{"k": "x", "v": 6}]})), 1);
}

#[test]
fn formats_are_known() {
    let holds = |format: &str, text: &str| {
        errors(json!({"type": "string", "format": format}), json!(text)).is_empty()
    };
    for (format, good, bad) in [
        ("ipv4", "10.0.0.1", "10.0.0"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uuid", "d1c5ab1e-0f9c-4a0a-8f0b-0123456789ab", "x"),
        ("uri", "https://a/b", "a b"),
        ("email", "a@b.c", "a"),
        ("hostname", "a.example.com", "-"),
        ("mac", "01:02:03:04:05:06", "01:02"),
        ("byte", "aGVsbG8=", "?"),
        ("date", "2026-01-02", "2026-13-02"),
        ("date-time", "2026-01-02T03:04:05Z", "2026-01-02"),
        ("duration", "1h30m", "soon"),
        ("isbn10", "0321751043", "0321751044"),
        ("isbn13", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("hexcolor", "#FFFFFF", "#GG"),
        ("rgbcolor", "rgb(1,2,3)", "rgb(1,2)"),
        ("ssn", "123-45-6789", "1"),
        ("k8s-short-name", "a-b", "A"),
    ] {
        assert!(holds(format, good), "{format} {good}");
        assert!(!holds(format, bad), "{format} {bad}");
    }
    assert!(holds("made-up", "anything"));
}

#[test]
fn formats_are_as_strict_as_the_originals() {
    let holds = |format: &str, text: &str| {
        errors(json!({"type": "string", "format": format}), json!(text)).is_empty()
    };
    for (format, good) in [
        ("uri", "mailto:"),
        ("uri", "*"),
        ("uri", "/a?b#c"),
        ("uri", "http://[::1]:80/a b"),
        ("ipv4", "010.0.0.1"),
        ("byte", "aGVsbG9="),
        ("date-time", "2026-01-02t03:04:05z"),
        ("date-time", "2026-01-02T03:04:05,5+99:99"),
        ("date-time", "2026-01-02T03:04:05ZT"),
        ("duration", "-1.5h"),
        ("duration", "half of 3 weeks"),
        ("duration", "1 Second"),
        ("duration", "5 µs, or 7 parsecs"),
        ("isbn10", "0-321\t75104-3"),
        ("creditcard", "card 3782-822463-10005"),
        ("rgbcolor", "rgb( 0 , 255 , 19 )"),
        ("ssn", "123 45-6789"),
    ] {
        assert!(holds(format, good), "{format} {good}");
    }
    for (format, bad) in [
        ("uri", "http://a:b"),
        ("uri", "http://[::1"),
        ("uri", "http://a b/c"),
        ("uri", "a/b"),
        ("uri", "/%zz"),
        ("ipv6", "::ffff:010.0.0.1"),
        ("byte", "aGVsbG8"),
        ("byte", "aGVs\nbG8="),
        ("date-time", "2026-01-02T03:04:60Z"),
        ("date-time", "2026-01-02 03:04:05Z"),
        ("date-time", "2026-01-02T24:00:00Z"),
        ("date-time", "2026-01-02T03:04:05"),
        ("date-time", "2026-02-30T03:04:05Z"),
        ("duration", "1 parsec"),
        ("duration", "99999999999999999999h"),
        ("duration", "٣ days"),
        ("creditcard", "0000 0000 0000 0000"),
        ("creditcard", "4111 1111 1111 1112"),
        ("rgbcolor", "rgb(0,256,0)"),
        ("rgbcolor", "rgb(0,\u{2003}1,0)"),
        ("ssn", "123456789"),
        ("ssn", "١٢٣-٤٥-٦٧٨٩"),
    ] {
        assert!(!holds(format, bad), "{format} {bad}");
    }
}

#[test]
fn long_lists_are_held_against_what_they_were_by_their_keys() {
    let schema = Props::parse(&json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "properties": {
            "name": {"type": "string", "pattern": "^n[0-9]+$"},
            "size": {"type": "integer", "maximum": 5},
        }},
    }));
    let list = |size: &dyn Fn(usize) -> usize| {
        (0..20_000)
            .map(|at| json!({"name": format!("n{at}"), "size": size(at)}))
            .collect::<Vec<_>>()
    };
    let before = Value::from(list(&|_| 9));
    let mut after = list(&|at| if at == 7 { 8 } else { 9 });
    after.reverse();
    let found = validate_update(&schema, &after.into(), Some(&before), &Path::root());
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["[19992].size: Invalid value: 8: [19992].size in body should be less than or equal to 5"]
    );
}

#[test]
fn no_more_is_told_than_anyone_reads() {
    let schema = json!({"type": "object", "properties": {
        "deep": {"type": "object", "properties": {
            "list": {"type": "array", "items": {"type": "string"}}}}}});
    let wrong: Vec<_> = (0..200_000).collect();
    assert_eq!(errors(schema, json!({"deep": {"list": wrong}})).len(), MOST);
}

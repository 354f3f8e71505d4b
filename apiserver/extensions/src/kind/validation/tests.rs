use super::*;

fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "mode": {"type": "string", "maxLength": 9},
                }}},
            }}}],
        },
        "status": {"storedVersions": ["v1"]},
    })
}

/// What is wrong when the schema of `spec` is this one.
fn with(spec: Value) -> Vec<String> {
    let mut crd = widgets();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = spec;
    told(&create(&Object::from_value(crd).unwrap()))
}

fn told(errors: &Errors) -> Vec<String> {
    let root = "spec.validation.openAPIV3Schema.properties[spec]";
    errors.iter().map(|error| error.to_string().replace(root, "S")).collect()
}

fn changed(change: impl Fn(&mut Value)) -> Vec<String> {
    let mut crd = widgets();
    change(&mut crd);
    told(&create(&Object::from_value(crd).unwrap()))
}

#[test]
fn a_good_definition_passes() {
    assert_eq!(changed(|_| {}), Vec::<String>::new());
}

#[test]
fn names_and_versions_are_checked() {
    assert_eq!(
        changed(|crd| crd["metadata"]["name"] = json!("x.example.com")),
        [
            r#"metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group"#
        ]
    );
    let found = changed(|crd| {
        crd["metadata"] = json!({"name": "X", "labels": {"a b": "c"}, "finalizers": ["a b"]});
    });
    let paths: Vec<_> = found.iter().map(|error| error.split(": ").next().unwrap()).collect();
    let (name, labels) = ("metadata.name", "metadata.labels");
    assert_eq!(paths, [name, name, labels, "metadata.finalizers"], "{found:?}");
    assert!(found[1].ends_with("must be spec.names.plural+\".\"+spec.group"), "{found:?}");
    assert_eq!(
        changed(|crd| crd["spec"]["scope"] = json!("Global")),
        [r#"spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced""#]
    );
    let found = changed(|crd| crd["spec"]["versions"][0]["storage"] = json!(false));
    assert!(
        found[0].ends_with("must have exactly one version marked as storage version"),
        "{found:?}"
    );
    assert_eq!(
        changed(|crd| crd["spec"]["versions"][0]["schema"] = json!(null)),
        ["spec.versions[0].schema.openAPIV3Schema: Required value"]
    );
    let found = changed(|crd| {
        crd["spec"]["versions"][0]["subresources"] =
            json!({"status": {}, "scale": {"specReplicasPath": "x"}});
        crd["spec"]["versions"][0]["additionalPrinterColumns"] =
            json!([{"name": "a", "type": "text", "jsonPath": ".a"}]);
    });
    assert_eq!(
        found,
        [
            r#"spec.subresources.scale.specReplicasPath: Invalid value: "x": must be a simple json path starting with ."#,
            "spec.subresources.scale.statusReplicasPath: Required value",
            r#"spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string"#,
        ]
    );
}

#[test]
fn versions_that_differ_are_named() {
    let found = changed(|crd| {
        let second = json!({"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "array"}}});
        crd["spec"]["versions"].as_array_mut().unwrap().push(second);
    });
    assert_eq!(
        found,
        [
            "spec.versions[1].schema.openAPIV3Schema.items: Required value: must be specified",
            r#"spec.versions[1].schema.openAPIV3Schema.type: Invalid value: "array": must be object at the root"#,
        ]
    );
}

#[test]
fn schemas_must_be_structural() {
    assert_eq!(
        with(json!({})),
        ["S.type: Required value: must not be empty for specified object fields"]
    );
    assert_eq!(
        with(json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]})),
        ["S.anyOf[0].properties[a].type: Forbidden: must be empty to be structural"]
    );
    assert_eq!(
        with(
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        with(json!({"type": "object", "uniqueItems": true})),
        [
            "S.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        ]
    );
    assert_eq!(
        with(json!({"type": "object", "patternProperties": {"a": {}}})),
        ["S.patternProperties: Forbidden: patternProperties is not supported"]
    );
    assert_eq!(
        with(
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object", "properties": {"a": {"type": "string"}}}, "x-kubernetes-list-map-keys": ["a"]})
        ),
        [
            "S.items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
        ]
    );
}

#[test]
fn defaults_must_fit() {
    let size = |default: Value| json!({"type": "object", "properties": {"size": {"type": "integer", "maximum": 10, "default": default}}});
    assert_eq!(with(size(json!(2))), Vec::<String>::new());
    assert_eq!(
        with(size(json!(11))),
        [
            "S.properties[size].default: Invalid value: 11:  in body should be less than or equal to 10"
        ]
    );
    assert_eq!(
        with(size(json!("x"))),
        [
            r#"S.properties[size].default: Invalid value: "string":  in body must be of type integer: "string""#
        ]
    );
    assert_eq!(
        with(
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "default": {"b": 1}})
        ),
        [r#"S.default: Invalid value: {"b":1}: must not have unknown fields"#]
    );
}

#[test]
fn defaults_of_metadata_must_make_proper_metadata() {
    let with_metadata = |kind: &str, metadata: Value| {
        with(json!({"type": "object", "properties": {"e": {
            "type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"kind": {"type": "string", "default": kind}, "metadata": metadata},
        }}}))
    };
    let name = |default: Value| json!({"type": "object", "properties": {"name": {"type": "string", "default": default}}});
    assert_eq!(with_metadata("Pod", name("x".into())), Vec::<String>::new());
    let found = with_metadata("a.b", name("..".into()));
    assert!(
        found[0].starts_with(
            r#"S.properties[e].properties[kind].default: Invalid value: "a.b": must result in valid metadata: kind: Invalid value: "a.b": may have mixed case, but should otherwise match: "#
        ),
        "{found:#?}"
    );
    assert_eq!(
        found[1],
        r#"S.properties[e].properties[metadata].properties[name].default: Invalid value: "..": must result in valid metadata: metadata.name: Invalid value: "..": may not be '..'"#
    );
    let labels = json!({"type": "object", "default": {"labels": 5}});
    assert_eq!(
        with_metadata("Pod", labels),
        [
            r#"S.properties[e].properties[metadata].default: Invalid value: {"labels":5}: must result in valid metadata: metadata: Invalid value: {"labels":5}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type map[string]string"#
        ]
    );
}

#[test]
fn rules_must_compile_and_be_cheap() {
    let rules = |rules: Value| {
        with(json!({
            "type": "object", "x-kubernetes-validations": rules,
            "properties": {"size": {"type": "integer"}, "names": {"type": "array", "items": {"type": "string"}}},
        }))
    };
    assert_eq!(rules(json!([{"rule": "self.size < 9", "message": "small"}])), Vec::<String>::new());
    assert_eq!(
        rules(json!([{"message": "small"}])),
        ["S.x-kubernetes-validations[0].rule: Required value: rule is not specified"]
    );
    let found = rules(json!([{"rule": "self.sice < 9"}]));
    assert!(
        found[0].contains("compilation failed: ERROR: <input>:1:5: undefined field 'sice'"),
        "{found:?}"
    );
    let found = rules(json!([{"rule": "self.size"}]));
    assert!(found[0].ends_with("cel expression must evaluate to a bool"), "{found:?}");
    let found = rules(json!([{"rule": "self.names.all(a, self.names.all(b, a.contains(b)))"}]));
    assert!(
        found[0].contains("estimated rule cost exceeds budget by factor of more than 100x"),
        "{found:?}"
    );
    assert_eq!(
        rules(json!([{"rule": "self.size > 1", "fieldPath": ".nowhere"}])),
        [
            r#"S.x-kubernetes-validations[0].fieldPath: Invalid value: ".nowhere": must be a valid path"#
        ]
    );
}

#[test]
fn names_cannot_change_once_established() {
    let mut old = widgets();
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    let mut new = old.clone();
    new["spec"]["scope"] = json!("Cluster");
    new["spec"]["group"] = json!("example.org");
    let errors = update(&Object::from_value(new).unwrap(), &Object::from_value(old).unwrap());
    assert_eq!(
        told(&errors),
        [
            r#"spec.scope: Invalid value: "Cluster": field is immutable"#,
            r#"spec.group: Invalid value: "example.org": field is immutable"#,
        ]
    );
}

#[test]
fn stored_versions_stay() {
    assert_eq!(
        changed(|crd| crd["status"]["storedVersions"] = json!(["v0", "v1"])),
        [
            r#"status.storedVersions[0]: Invalid value: "v0": missing from spec.versions; v0 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v0 and removes v0 from status.storedVersions"#
        ]
    );
}

#[test]
fn protected_groups_need_approval() {
    let found = changed(|crd| {
        crd["spec"]["group"] = json!("x.k8s.io");
        crd["metadata"]["name"] = json!("widgets.x.k8s.io");
    });
    assert_eq!(
        found,
        [
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        ]
    );
}

#[test]
fn conversion_webhooks_are_checked_as_in_the_original() {
    let with_client = |client: Value| {
        let conversion = json!({"strategy": "Webhook",
            "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}});
        changed(|crd| crd["spec"]["conversion"] = conversion.clone())
    };
    assert_eq!(
        with_client(json!({"url": "http://a.b/c"})),
        [
            r#"spec.conversion.webhookClientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#
        ]
    );
    assert_eq!(
        with_client(json!({"service": {"namespace": "n", "name": "s", "path": "/a//b"}})),
        [
            r#"spec.conversion.webhookClientConfig.service.path: Invalid value: "/a//b": segment[1] may not be empty"#
        ]
    );
}

/// Before a definition is established, its authorities may be anything; they keep it from being established.
#[test]
fn authorities_must_be_readable_once_established() {
    let definition = |bundle: &str, established: &str| {
        let mut crd = widgets();
        crd["metadata"]["resourceVersion"] = "1".into();
        crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a.b", "caBundle": bundle}}});
        crd["status"]["conditions"] = json!([{"type": "Established", "status": established}]);
        Object::from_value(crd).unwrap()
    };
    let (none, bad, worse) = ("", "bm9uc2Vuc2U=", "bm9uZQ==");
    assert_eq!(told(&create(&definition(bad, "False"))), Vec::<String>::new());
    let changed = |old: &Object, bundle: &str| told(&update(&definition(bundle, "True"), old));
    assert!(changed(&definition(none, "False"), bad).is_empty());
    assert_eq!(
        changed(&definition(none, "True"), bad),
        [
            r#"spec.conversion.webhookClientConfig.caBundle: Invalid value: "bm9uc2Vuc2U=": unable to load root certificates: unable to parse bytes as PEM block"#
        ]
    );
    assert!(changed(&definition(bad, "True"), worse).is_empty());
}

/// What is wrong with a rule does not hide what is wrong with those above it.
#[test]
fn all_rules_are_looked_at() {
    let rule = |rule: &str| json!([{"rule": rule}]);
    let found = with(json!({"type": "object", "x-kubernetes-validations": rule("self.nothing"),
        "properties": {"a": {"type": "string", "x-kubernetes-validations": rule("self.more")}}}));
    assert_eq!(found.len(), 2, "{found:#?}");
    let at = |path: &str| found.iter().any(|text| text.starts_with(path));
    assert!(at("S.x-kubernetes-validations[0].rule"), "{found:#?}");
    assert!(at("S.properties[a].x-kubernetes-validations[0].rule"), "{found:#?}");
    // What does not compile does not use `oldSelf` either.
    let found = with(json!({"type": "object", "properties": {"a": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.nothing", "optionalOldSelf": true}]}));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[1].ends_with(
            "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        ),
        "{found:#?}"
    );
}

/// What has no place in a structural schema, and what only looks as if it had none.
#[test]
fn schemas_are_read_as_the_original_reads_them() {
    let one_of = |additional: Value| {
        with(json!({"type": "object", "properties": {"a": {"type": "string"}},
            "oneOf": [{"required": ["a"], "additionalProperties": additional}]}))
    };
    assert_eq!(one_of(json!(false)), Vec::<String>::new());
    for open in [json!(true), json!({})] {
        assert_eq!(
            one_of(open),
            ["S.oneOf[0].additionalProperties: Forbidden: must be undefined to be structural"]
        );
    }
    assert_eq!(
        with(json!({"type": "object", "$schema": "https://json-schema.org/draft-04/schema"})),
        [
            r#"spec.validation.openAPIV3Schema: Invalid value: "": OpenAPIV3Schema 'schema' is not supported"#
        ]
    );
    // That it cannot be read is enough: nothing is said of its missing type.
    assert_eq!(
        with(json!({"x-kubernetes-preserve-unknown-fields": false})),
        ["S.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"]
    );
    assert_eq!(
        with(json!({"type": "array", "items": []})),
        ["S.items: Required value: must be specified"]
    );
    let found = with(json!({"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a"], "items": [{"type": "string"}]}));
    assert_eq!(
        found,
        [
            "S.items: Forbidden: items must be a schema object and not an array",
            "S.items: Invalid value: null: must only have a single schema if x-kubernetes-list-type is map",
        ]
    );
}

#[test]
fn rules_need_values_of_known_types_that_can_be_told_apart() {
    let rule = |rule: &str| json!([{"rule": rule}]);
    assert_eq!(
        with(json!({"x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": rule("true")})),
        [
            "S.x-kubernetes-validations: Internal error: internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations"
        ]
    );
    let found = with(json!({"type": "object", "x-kubernetes-map-type": "odd", "properties": {
        "a": {"type": "string", "x-kubernetes-validations": rule("self == oldSelf")}}}));
    assert_eq!(
        found,
        [
            r#"S.x-kubernetes-map-type: Unsupported value: "odd": supported values: "atomic", "granular""#,
            r#"S.properties[a].x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within S"#,
        ]
    );
}

/// What a definition of old keeps, it cannot use together with what came later.
#[test]
fn definitions_that_keep_unknown_fields_have_neither_defaults_nor_webhooks() {
    let mut old = widgets();
    old["spec"]["preserveUnknownFields"] = json!(true);
    let mut new = old.clone();
    new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]
        ["default"] = json!(1);
    new["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://a.b"}}});
    let both = |new: &Value, old: &Value| {
        let object = |value: &Value| Object::from_value(value.clone()).unwrap();
        told(&update(&object(new), &object(old)))
    };
    assert_eq!(both(&old, &old), Vec::<String>::new());
    assert_eq!(
        both(&new, &old),
        [
            "spec.preserveUnknownFields: Invalid value: true: must be false in order to use defaults in the schema",
            r#"spec.conversion.strategy: Invalid value: "Webhook": must be None if spec.preserveUnknownFields is true"#,
        ]
    );
}

#[test]
fn warnings_of_versions_can_be_printed() {
    let warned = |warning: &str| {
        changed(|crd| {
            crd["spec"]["versions"][0]["deprecated"] = json!(true);
            crd["spec"]["versions"][0]["deprecationWarning"] = json!(warning);
        })
    };
    for fine in ["use v2", "naïve – “quoted” 日本 ✓ e\u{301}"] {
        assert_eq!(warned(fine), Vec::<String>::new());
    }
    for odd in ["a\tb", "a\u{a0}b", "a\u{200b}b", "a\u{feff}b", "a\u{e000}b", "a\u{2028}b"] {
        let found = warned(odd);
        assert_eq!(found.len(), 1, "{odd:?}: {found:?}");
        assert!(
            found[0].ends_with(
                "must only contain printable UTF-8 characters; non-printable character found at index 1"
            ),
            "{odd:?}: {found:?}"
        );
    }
}

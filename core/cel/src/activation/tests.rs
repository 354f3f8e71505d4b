use super::*;
use crate::{Answer, Environment, Scope, Type};
use serde_json::{Value as Json, json};

fn scope() -> Scope {
    Scope::admission().with_authorizer().with("variables", Type::Dyn).with_objects()
}

fn program(source: &str) -> Program {
    Environment::new().compile_in(source, &scope(), None).unwrap()
}

fn run(source: &str, object: &Json) -> Result<Option<Json>> {
    let activation =
        Activation::new().with("object", Bound::plain(object)).with("oldObject", Bound::null());
    program(source).run(&activation, 10_000).result.map(|value| value.to_json())
}

#[test]
fn values_come_out_as_json() {
    let pod =
        json!({"metadata": {"namespace": "n", "labels": {"a.b/c": "d"}}, "spec": {"replicas": 3}});
    for (source, value) in [
        ("object.metadata.namespace", json!("n")),
        ("object.metadata.labels['a.b/c']", json!("d")),
        ("object.spec.replicas + 1", json!(4)),
        ("{'a': dyn([1, 2]), 'b': dyn({})}", json!({"a": [1, 2], "b": {}})),
        ("oldObject == null", json!(true)),
        ("has(object.status)", json!(false)),
        ("[1, 2, 3].filter(i, i > object.spec.replicas - 1)", json!([3])),
        ("object.metadata.?annotations.orValue({})", json!({})),
    ] {
        assert_eq!(run(source, &pod), Ok(Some(value)), "{source}");
    }
    let missing = run("object.nothing.at.all", &pod).unwrap_err();
    assert_eq!(missing.to_string(), "no such key: nothing");
}

#[test]
fn objects_are_made_field_by_field() {
    let made = run(
        "Object{spec: Object.spec{replicas: 2, __namespace__: 'x', ?paused: optional.none()}}",
        &json!({}),
    );
    assert_eq!(made, Ok(Some(json!({"spec": {"replicas": 2, "namespace": "x"}}))));
    let made = run("[JSONPatch{op: 'add', path: '/a', value: [1]}]", &json!({}));
    assert_eq!(made, Ok(Some(json!([{"op": "add", "path": "/a", "value": [1]}]))));
}

#[test]
fn objects_are_named_after_the_fields_they_stand_in() {
    let misnamed = |source: &str| {
        let object = json!({});
        let activation = Activation::new().with("object", Bound::plain(&object));
        program(source).run(&activation, 10_000).result.unwrap().misnamed()
    };
    for fine in [
        "Object{spec: Object.spec{m: {'k': Object.spec.m{}}, l: [Object.spec.l{a: 1}]}}",
        "Object{?spec: optional.of(Object.spec{})}",
        "[JSONPatch{op: 'add', path: '/spec', value: Object.spec{a: Object.spec.a{}}}]",
        "[JSONPatch{op: 'add', path: '/spec', value: [Object.spec{a: Object.wrong{}}]}]",
        "[JSONPatch{op: 'remove', path: '/spec'}]",
    ] {
        assert_eq!(misnamed(fine), None, "{fine}");
    }
    for (wrong, name, wanted) in [
        ("Object{invalid: Object.spec{a: 1}}", "Object.spec", "Object.invalid"),
        (
            "Object{spec: Object.spec{m: {'k': Object.spec.other{}}}}",
            "Object.spec.other",
            "Object.spec.m",
        ),
        (
            "Object{spec: Object.spec{l: [1].map(i, Object.spec.other{a: i})}}",
            "Object.spec.other",
            "Object.spec.l",
        ),
        (
            "[JSONPatch{op: 'add', path: '/x', value: Object.spec{a: Object.b{}}}]",
            "Object.b",
            "Object.spec.a",
        ),
    ] {
        let said = format!(
            "unexpected type name \"{name}\", expected \"{wanted}\", which matches field name path from root Object type"
        );
        assert_eq!(misnamed(wrong), Some(said), "{wrong}");
    }
    let two = misnamed("Object{a: Object.b{}, c: Object.d{}}").unwrap();
    assert_eq!(two.lines().count(), 2, "{two}");
    let types = "type(Object.spec{}) == type(Object.spec{a: 1}) && Object.spec{a: 1} == Object.spec{a: 1} && \
                 dyn(Object.spec{}) != dyn(Object.status{})";
    assert_eq!(run(types, &json!({})), Ok(Some(json!(true))));
}

#[test]
fn a_runaway_expression_is_stopped() {
    let numbers: Vec<_> = (0..200).collect();
    let object = json!({"list": numbers});
    assert_eq!(run("object.list.all(a, a < 1000)", &object), Ok(Some(json!(true))));
    let many = "object.list.all(a, object.list.all(b, object.list.all(c, a + b + c < 1000)))";
    assert_eq!(run(many, &object), Err(Error::Budget));
    assert_eq!(run(&format!("{many} || true"), &object), Err(Error::Budget));
}

#[test]
fn what_costs_little_and_takes_all_memory_is_stopped() {
    let nothing = json!({});
    let doubled = |times| format!("[[1, 2, 3]]{}[0].size()", ".map(a, a + a)".repeat(times));
    assert_eq!(run(&doubled(3), &nothing), Ok(Some(json!(24))));
    assert_eq!(run(&doubled(60), &nothing), Err(Error::Budget));
    let grown = |times| {
        let step = ".map(a, a.replace('x', 'xxxxxxxxxx'))";
        format!("['x']{}[0].size()", step.repeat(times))
    };
    assert_eq!(run(&grown(3), &nothing), Ok(Some(json!(1000))));
    let object = json!({"text": "x".repeat(8000)});
    for source in [
        "object.text.replace('x', object.text).size()",
        "object.text.split('').map(t, object.text).join().size()",
    ] {
        let activation = Activation::new().with("object", Bound::plain(&object));
        let ran = program(source).run(&activation, 1_000_000);
        assert_eq!(ran.result.map(|value| value.to_json()), Err(Error::Budget), "{source}");
    }
    let nested = |times| {
        let ten = ["a"; 10].join(", ");
        format!("[1]{}.flatten({times}).size()", format!(".map(a, [{ten}])").repeat(times))
    };
    assert_eq!(run(&nested(2), &nothing), Ok(Some(json!(100))));
    assert_eq!(run(&nested(12), &nothing), Err(Error::Budget));
}

/// The original makes a set of a list of texts, numbers or truth values, in which nothing is counted.
#[test]
fn only_what_a_set_can_hold_is_looked_up_for_nothing() {
    let object = json!({"a": null});
    let activation = Activation::new().with("object", Bound::plain(&object));
    let cost = |source: &str| program(source).run(&activation, 1000).cost;
    assert_eq!(cost("object.a in ['x', 'y', 'z']"), 2);
    assert_eq!(cost("object.a in [null]"), 2 + 1);
    assert_eq!(cost("object.a in [b'x', b'y']"), 2 + 2);
}

#[test]
fn a_call_whose_last_argument_fails_is_paid_for() {
    let object = json!({"n": 0});
    let activation = Activation::new().with("object", Bound::plain(&object));
    let cost = |source: &str| {
        let ran = program(source).run(&activation, 1000);
        assert_eq!(ran.result.unwrap_err().to_string(), "division by zero", "{source}");
        ran.cost
    };
    // The field and the division; the call; the comparison.
    assert_eq!(cost("'abc'.substring(0, 1 / object.n) == 'x'"), 3 + 1 + 1);
    assert_eq!(cost("'abc'.substring(1 / object.n, 1) == 'x'"), 3 + 1);
    assert_eq!(cost("string(1 / object.n).format([object.n]) == 'x'"), 3 + 1 + 1);
    assert_eq!(cost("'%s'.format([1 / object.n]) == 'x'"), 3 + 10 + 1 + 1);
}

#[test]
fn networks_are_no_longer_than_their_addresses() {
    let why = |bits: &str| {
        let source = format!("cidr('10.0.0.0/{bits}').prefixLength()");
        run(&source, &json!({})).map_err(|why| {
            let why = why.to_string();
            why.rsplit_once("\"10.0.0.0/").map_or(why.clone(), |(_, why)| why.to_owned())
        })
    };
    assert_eq!(why("32"), Ok(Some(json!(32))));
    assert_eq!(why("33"), Err("33\"): prefix length out of range".to_owned()));
    assert_eq!(why("300"), Err("300\"): prefix length out of range".to_owned()));
    assert_eq!(why("08"), Err("08\"): bad bits after slash: \"08\"".to_owned()));
    assert_eq!(why("+8"), Err("+8\"): bad bits after slash: \"+8\"".to_owned()));
}

#[test]
fn what_takes_long_is_paid_before() {
    let numbers: Vec<_> = (0..300_000).collect();
    let object = json!({"list": numbers, "few": [2, 1, 2]});
    assert_eq!(run("object.few.distinct()", &object), Ok(Some(json!([2, 1]))));
    assert_eq!(run("object.list.distinct()", &object), Err(Error::Budget));
    assert_eq!(run("sets.contains(object.list, object.list)", &object), Err(Error::Budget));
    // No failure, which `||` could do without.
    let range = program("lists.range(1000001).size() > 0 || true");
    let ran = range.run(&Activation::new(), 1_000_000);
    assert_eq!((ran.result.unwrap_err(), ran.cost), (Error::Budget, 1_000_001 + 11));
    assert_eq!(
        run("lists.range(object.few[0]) == [0, 1] && lists.range(-7) == []", &object),
        Ok(Some(json!(true)))
    );
}

#[test]
fn the_authorizer_is_asked_between_two_evaluations() {
    let authorizer = Authorizer::default();
    let request = Check { resource: "pods".into(), name: "p".into(), ..Check::default() };
    let mut activation = Activation::new();
    activation.set_authorizer(&authorizer, &request);
    let source = "authorizer.group('apps').resource('deployments').namespace('n').check('get').allowed() \
                  && !authorizer.requestResource.check('update').allowed()";
    let program = program(source);
    let (mut asked, mut cost) = (Vec::new(), 0);
    for _ in 0..3 {
        let evaluated = program.run(&activation, 1_000_000);
        let open = authorizer.take_open();
        if open.is_empty() {
            assert_eq!(evaluated.result.unwrap().as_bool(), Some(true));
            cost = evaluated.cost;
        }
        for check in open {
            let allowed = check.verb == "get";
            asked.push(check.clone());
            authorizer.answer(check, Answer { allowed, ..Answer::default() });
        }
    }
    asked.sort();
    let get = Check {
        verb: "get".into(),
        group: "apps".into(),
        resource: "deployments".into(),
        namespace: "n".into(),
        ..Check::default()
    };
    assert_eq!(asked, [get, Check { verb: "update".into(), ..request }]);
    assert_eq!(cost, 700_000 + 8);
}

/// The numbers of the original's own tests of its authorizer, and what its tables say of the rest.
#[test]
fn what_no_definition_can_call_costs_as_in_the_original() {
    let authorizer = Authorizer::default();
    let mut activation = Activation::new();
    activation.set_authorizer(&authorizer, &Check::default());
    let costs = |source: &str| {
        let program = program(source);
        loop {
            let evaluated = program.run(&activation, 1_000_000);
            let open = authorizer.take_open();
            if open.is_empty() {
                assert!(evaluated.result.is_ok(), "{source}: {:?}", evaluated.result);
                break (program.max_cost(), evaluated.cost);
            }
            for check in open {
                authorizer.answer(check, Answer { allowed: true, ..Answer::default() });
            }
        }
    };
    for (source, cost) in [
        ("authorizer.path('/healthz')", 2),
        ("authorizer.path('/healthz').check('get').allowed()", 350_003),
        ("authorizer.serviceAccount('n', 'a').path('/a').check('get').allowed()", 350_004),
        ("authorizer.requestResource.check('get').allowed()", 350_002),
        ("jsonpatch.escapeKey('abc/def~ abc/def~')", 2),
        ("semver('1.2.3').patch()", 2),
        ("sign(quantity('1')) == 1", 3),
    ] {
        assert_eq!(costs(source), (cost, cost), "{source}");
    }
    let backend = "authorizer.group('apps').resource('deployments').subresource('status').namespace('test').name('backend')";
    assert_eq!(costs(backend), (6, 6));
    for said in ["allowed", "reason", "errored", "error"] {
        let source = format!("{backend}.check('create').{said}()");
        assert_eq!(costs(&source), (350_007, 350_007), "{source}");
    }
    for selector in ["fieldSelector", "labelSelector"] {
        let node = "spec.nodeName=example-node-name.fully.qualified.domain.name.example.com";
        let source = format!("authorizer.group('').resource('pods').{selector}('{node}')");
        assert_eq!(costs(&source), (1821, 1821), "{source}");
    }
    for format in ["dns1035Label", "dns1035LabelPrefix", "dns1123LabelPrefix"] {
        // At most a pattern of 128 characters, in fact one of 30.
        let source = format!("format.{format}().validate('my-name')");
        assert_eq!(costs(&source), (33, 9), "{source}");
    }
}

#[test]
fn fields_are_asked_for_where_they_are_needed() {
    let object = json!({"a": 1});
    let mut activation = Activation::new();
    activation.set("object", Bound::plain(&object));
    activation.set("variables", Bound::map([]));
    activation.set_on_demand("variables");
    let program = program("object.a > 0 || variables.never || variables.big");
    assert_eq!(program.run(&activation, 100).result.unwrap().as_bool(), Some(true));
    let program = super::tests::program("object.a > 1 || variables.big");
    assert_eq!(program.run(&activation, 100).result.unwrap_err(), Error::Needs("big".into()));
    activation.set("variables", Bound::map([("big", Bound::plain(&object["a"]))]));
    assert_eq!(program.run(&activation, 100).result.unwrap_err().to_string(), "no such overload");
}

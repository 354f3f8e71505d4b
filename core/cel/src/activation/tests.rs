use super::*;
use crate::{Answer, Shape};
use serde_json::json;

fn any() -> Shape {
    Shape::of_schema(&json!({"x-kubernetes-int-or-string": true}), false).unwrap()
}

fn program(environment: &Environment, source: &str) -> Program {
    let any = any();
    let names = ["object", "oldObject", "authorizer", "variables"];
    let names: Vec<_> = names.iter().map(|name| (*name, &any)).collect();
    environment.compile(source, &names).unwrap().metered()
}

fn run(source: &str, object: &Value) -> Result<Option<Value>> {
    let environment = Environment::new();
    let mut activation = environment.activation(10_000);
    activation.set("object", &Bound::plain(object));
    activation.set("oldObject", &Bound::plain(&Value::Null));
    program(&environment, source).run(&activation).map(|value| value.to_json())
}

#[test]
fn values_come_out_as_json() {
    let pod =
        json!({"metadata": {"namespace": "n", "labels": {"a.b/c": "d"}}, "spec": {"replicas": 3}});
    for (source, value) in [
        ("object.metadata.namespace", json!("n")),
        ("object.metadata.labels['a.b/c']", json!("d")),
        ("object.spec.replicas + 1", json!(4)),
        ("{'a': [1, null, 2.5, true], 'b': {}}", json!({"a": [1, null, 2.5, true], "b": {}})),
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
fn a_runaway_expression_is_stopped() {
    let numbers: Vec<_> = (0..200).collect();
    let object = json!({"list": numbers});
    let one = "object.list.all(a, a < 1000)";
    assert_eq!(run(one, &object), Ok(Some(json!(true))));
    let many = "object.list.all(a, object.list.all(b, object.list.all(c, a + b + c < 1000)))";
    assert_eq!(run(many, &object), Err(Error::Budget));
    let hidden = format!("{many} || true");
    assert_eq!(run(&hidden, &object), Err(Error::Budget));
}

#[test]
fn the_authorizer_is_asked_between_two_evaluations() {
    let environment = Environment::new();
    let authorizer = Authorizer::default();
    let mut activation = environment.activation(10_000);
    let request = Check { resource: "pods".into(), name: "p".into(), ..Check::default() };
    activation.set_authorizer(&authorizer, &request);
    let source = "authorizer.group('apps').resource('deployments').namespace('n').check('get').allowed() \
                  && !authorizer.requestResource.check('update').allowed()";
    let program = program(&environment, source);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let result = program.run(&activation);
        let open = authorizer.take_open();
        if open.is_empty() {
            assert_eq!(result.unwrap().as_bool(), Some(true));
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
}

#[test]
fn used_variables_are_known() {
    let environment = Environment::new();
    let of = |source: &str| program(&environment, source).fields_of("variables");
    let names = |list: &[&str]| Some(list.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(of("variables.a > 1 && [1].all(i, i < variables['b'])"), names(&["a", "b"]));
    assert_eq!(of("object.variables"), names(&[]));
    assert_eq!(of("variables == object"), None);
}

//! Expressions in admission policies, webhooks and device classes: what is taken, and what is refused.

use crate::hooks::Kind;
use serde_json::{Value, json};

fn rules() -> Value {
    json!({"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]})
}

fn validating(expression: &str) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": rules(),
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "limit", "expression": "int(params.data.limit)"},
            {"name": "names", "expression": "object.spec.containers.map(c, c.name)"}],
        "validations": [{"expression": expression}]}})
}

fn mutating(kind: &str, field: &str, expression: &str) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": rules(),
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": kind, field: {"expression": expression}}]}})
}

fn class(expression: &str) -> Value {
    json!({"metadata": {"name": "c"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

#[test]
fn policies_take_what_users_write() {
    let kind = Kind::of("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    for expression in [
        "object.spec.replicas <= variables.limit",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('registry.example/'))",
        "has(object.metadata.labels) && 'app' in object.metadata.labels",
        "request.userInfo.username == 'admin' || 'people' in request.userInfo.groups",
        "request.operation == 'CREATE' || oldObject.spec.replicas == object.spec.replicas",
        "authorizer.group('apps').resource('deployments').namespace('a').check('create').allowed()",
        "authorizer.path('/healthz').check('get').allowed()",
        "authorizer.serviceAccount('default', 'x').group('').resource('pods').name('y').check('get').allowed()",
        "authorizer.requestResource.check('custom').allowed()",
        "namespaceObject.metadata.labels['env'] == 'prod'",
        "oldObject == null || object.metadata.name.matches('^[a-z]+$')",
        "object.metadata.?labels['x'].orValue('') == 'y'",
        "variables.names.exists(name, name == params.data.name)",
        "quantity(object.spec.size).isLessThan(quantity('10Gi'))",
        "object.spec.list.filter(x, x > 1).size() < 3 && [1, 2].exists(x, x > 1)",
        "duration(object.spec.wait) < duration('1h')",
        "object.kind == 'Deployment' ? true : false",
        "!has(object.spec.x) || object.spec.x in ['a', 'b']",
        "request.options.kind == 'CreateOptions'",
        "object.spec.containers.all(c, !has(c.securityContext) || c.securityContext.privileged != true)",
    ] {
        assert_eq!(
            kind.create_errors(validating(expression)),
            Vec::<String>::new(),
            "{expression}"
        );
    }
}

#[test]
fn policies_refuse_what_cannot_be() {
    let kind = Kind::of("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    for (expression, why) in [
        ("object.spec.replicas", "must evaluate to bool but got dyn"),
        ("1 + 1", "must evaluate to bool but got int"),
        ("variables.other > 1", "undefined field 'other'"),
        ("request.nothing == ''", "undefined field 'nothing'"),
        ("self.spec.x", "undeclared reference to 'self'"),
        ("object.spec.", "Syntax error"),
    ] {
        let errors = kind.create_errors(validating(expression));
        assert!(errors.len() == 1 && errors[0].contains(why), "{expression}: {errors:?}");
    }
}

#[test]
fn mutations_are_patches_of_either_form() {
    let kind = Kind::of("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy");
    let apply = "Object{spec: Object.spec{replicas: 3, template: Object.spec.template{}}}";
    let patch = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]";
    for object in [
        mutating("ApplyConfiguration", "applyConfiguration", apply),
        mutating("JSONPatch", "jsonPatch", patch),
        mutating(
            "JSONPatch",
            "jsonPatch",
            "has(object.spec.x) ? [] : [JSONPatch{op: 'remove', path: '/x'}]",
        ),
    ] {
        assert_eq!(kind.create_errors(object.clone()), Vec::<String>::new(), "{object}");
    }
    let wrong = kind.create_errors(mutating("ApplyConfiguration", "applyConfiguration", "'text'"));
    assert!(wrong[0].contains("must evaluate to Object but got string"), "{wrong:?}");
    let other = kind.create_errors(mutating("JSONPatch", "applyConfiguration", apply));
    assert_eq!(other.len(), 2, "{other:?}");
}

#[test]
fn device_selectors_know_devices() {
    let kind = Kind::of("resource.k8s.io/v1", "DeviceClass");
    for expression in [
        "device.driver == 'd.example.com'",
        "device.attributes['d.example.com'].model == 'x'",
        "device.capacity['d.example.com'].memory.compareTo(quantity('10Gi')) >= 0",
        "device.attributes['d.example.com'].version.isGreaterThan(semver('1.0.0'))",
        "'family' in device.attributes['d.example.com'] && device.allowMultipleAllocations",
        "device.attributes['d.example.com'].flag",
        "device.attributes['d.example.com'].model.matches('^x[0-9]+$')",
        "device.attributes['d.example.com'].model.split('-').size() >= 2",
        "cel.bind(dra, device.attributes['d.example.com'], dra.one && dra.another)",
    ] {
        assert_eq!(kind.create_errors(class(expression)), Vec::<String>::new(), "{expression}");
    }
    for (expression, why) in [
        ("device.nothing == 1", "undefined field 'nothing'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("device.attributes['d'].a.b", "must evaluate to bool or the unknown type, not dyn"),
        (
            "device.capacity['d'].x",
            "must evaluate to bool or the unknown type, not kubernetes.Quantity",
        ),
        ("device.capacity['d'].x > 5", "'_>_' applied to '(kubernetes.Quantity, int)'"),
        ("device.attributes['d'].x.exists(y, y > 0)", "'any' cannot be range of a comprehension"),
        ("type(device.attributes['d'].x) == int", "too complex, exceeds cost limit"),
    ] {
        let errors = kind.create_errors(class(expression));
        assert!(errors.len() == 1 && errors[0].contains(why), "{expression}: {errors:?}");
    }
}

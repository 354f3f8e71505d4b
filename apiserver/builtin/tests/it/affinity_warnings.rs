//! What is hardly meant by the nodes that a pod asks for.

use crate::hooks::Kind;
use serde_json::json;

#[test]
fn preferred_nodes_whose_labels_cannot_be_are_warned_about() {
    let expression = |values: &[&str]| {
        let one = json!({"key": "beta.kubernetes.io/os", "operator": "NotIn", "values": values});
        json!({"matchExpressions": [one]})
    };
    let preferred = json!([{"weight": 1, "preference": expression(&["linux", "{bad}"])}]);
    let required = json!({"nodeSelectorTerms": [expression(&["linux"])]});
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": required,
        "preferredDuringSchedulingIgnoredDuringExecution": preferred});
    let pods = Kind::of("v1", "Pod");
    let pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {
        "containers": [{"name": "c", "image": "i:1"}], "affinity": {"nodeAffinity": rules}}});
    let old = "beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead";
    let at = "spec.affinity.nodeAffinity";
    let (must, may) = (
        format!("{at}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"),
        format!("{at}.preferredDuringSchedulingIgnoredDuringExecution[0].preference"),
    );
    let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
        and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
        '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let expected = [
        format!("{must}.matchExpressions[0].key: {old}"),
        format!("{may}.matchExpressions[0].key: {old}"),
        format!("{may}.matchExpressions[0].values[1]: {{bad}} is invalid, {why}"),
    ];
    assert_eq!(pods.warnings_of("", &pods.created(pod), None), expected);
}

//! Rows of the table form, as a server of Kubernetes 1.36 printed them.

use kubeplane_builtin::all;
use kubeplane_core::{
    Object, admission::Warnings, auth::UserInfo, definition::Context, features::Features,
};
use serde_json::Value;

#[test]
fn rows_are_printed_as_recorded() {
    let kinds = all();
    for line in include_str!("rows.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let mut object = Object::from_value(record["object"].clone()).unwrap();
        let definition = kinds
            .iter()
            .find(|kind| {
                kind.group_version().to_string() == object.api_version()
                    && kind.kind.kind == object.kind()
            })
            .unwrap();
        let (warnings, features) = (Warnings::default(), Features::default());
        let user = UserInfo { name: "admin".into(), ..UserInfo::default() };
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let context =
            Context { now, user: &user, subresource: "", warnings: &warnings, features: &features };
        definition.strategy.default(&mut object);
        definition.strategy.prepare_create(&context, &mut object);
        object.set(&["metadata", "creationTimestamp"], "2026-01-01T00:00:00Z");
        let names: Vec<_> =
            definition.columns.iter().map(|column| Value::from(&*column.name)).collect();
        assert_eq!(Value::from(names), record["columns"], "{}", object.kind());
        let cells = definition.strategy.table_row(&object, now);
        let expected = record["cells"].as_array().unwrap();
        assert_eq!(cells.len(), expected.len(), "{}", object.kind());
        for ((cell, expected), column) in cells.iter().zip(expected).zip(&definition.columns) {
            let same = if *expected == "*" {
                matches!(cell.as_str(), Some("10m" | "2026-01-01T00:00:00Z"))
            } else {
                cell == expected
            };
            assert!(same, "{} {}: {cell} instead of {expected}", object.kind(), column.name);
        }
    }
}

//! DeviceTaintRules: taints that administrators put on devices.

use super::{
    ROW,
    taint::{stamp_one, taint},
    values::pool_name,
};
use crate::{
    check,
    conditions::conditions,
    csinode::driver_name,
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::{age, since},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};
use serde_json::{Value, json};

const CURRENT: &str = "v1beta2";
const CONDITIONS_MAX: usize = 8;

/// Its versions, which have one shape: the current one, and an older one that is off by default.
pub(super) fn definitions() -> [Definition; 2] {
    [CURRENT, "v1alpha3"].map(definition)
}

fn definition(version: &'static str) -> Definition {
    let row = Row {
        version,
        kind: "DeviceTaintRule",
        plural: "devicetaintrules",
        columns: &["Name", "Key", "Value", "Effect", "TimeAdded", "Age"],
        parts: &[Part::Status],
        ..ROW
    };
    let mut definition = row.define(Plain {
        status: Some(|| json!({})),
        counted: &["spec"],
        create: |context, object| stamp(object, context.now),
        change,
        validate: spec,
        update_status: |object, _| status(object),
        row: cells,
        ..Plain::NEW
    });
    definition.storage_version = CURRENT.into();
    definition
}

fn stamp(object: &mut Object, now: Timestamp) {
    stamp_one(object.map_at_mut(&["spec", "taint"]), now);
}

fn change(context: &Context<'_>, object: &mut Object, old: &Object) {
    if context.subresource == "status" {
        return;
    }
    let of = |object: &Object, field| sub(object.map(), "spec").sub("taint").text(field).to_owned();
    let effect = of(object, "effect") != of(old, "effect");
    // Since when it has this effect, unless the writer says otherwise.
    if effect && of(object, "timeAdded") == of(old, "timeAdded") {
        object.map_at_mut(&["spec", "taint"]).remove("timeAdded");
    }
    stamp(object, context.now);
    let changed = object.at(&["spec"]) != old.at(&["spec"]);
    object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
}

fn spec(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let selector = spec.get("deviceSelector");
    if selector.get("driver").is_set() {
        driver_name(&selector.get("driver"), &mut errors);
    }
    if selector.get("pool").is_set() {
        pool_name(&selector.get("pool"), &mut errors);
    }
    if selector.get("device").is_set() {
        check::dns_label(&selector.get("device"), &mut errors);
    }
    taint(&spec.get("taint"), &mut errors);
    errors
}

fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let list = At::top(object.map(), "status").get("conditions");
    conditions(&list, &mut errors);
    if list.len() > CONDITIONS_MAX {
        errors.push(list.too_many(CONDITIONS_MAX));
    }
    errors
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let taint = sub(object.map(), "spec").sub("taint");
    let text = |field| Value::from(taint.text(field));
    let added = match taint.text("timeAdded") {
        "" => String::new(),
        time => since(time, now),
    };
    vec![
        object.name().into(),
        text("key"),
        text("value"),
        text("effect"),
        added.into(),
        age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_core::{admission::Warnings, auth::UserInfo, features::Features};

    fn rule(effect: &str, added: Option<&str>) -> Object {
        let mut taint = json!({"key": "example.com/bad", "effect": effect});
        if let Some(added) = added {
            taint["timeAdded"] = added.into();
        }
        let rule = json!({"apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule",
            "metadata": {"name": "r", "generation": 1},
            "spec": {"deviceSelector": {"driver": "gpu.example.com"}, "taint": taint}});
        Object::from_value(rule).unwrap()
    }

    #[test]
    fn the_time_is_that_of_the_effect() {
        let definition = definition(CURRENT);
        let (warnings, features) = (Warnings::default(), Features::default());
        let user = UserInfo::new("u", Vec::<String>::new());
        let at = |now: &str| Context {
            now: now.parse().unwrap(),
            user: &user,
            subresource: "",
            warnings: &warnings,
            features: &features,
        };
        let (first, later) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let time = |object: &Object| object.text(&["spec", "taint", "timeAdded"]).to_owned();
        let mut old = rule("NoSchedule", None);
        definition.strategy.prepare_create(&at(first), &mut old);
        assert_eq!((time(&old).as_str(), old.generation()), (first, 1));

        let mut same = rule("NoSchedule", Some(first));
        definition.strategy.prepare_update(&at(later), &mut same, &old);
        assert_eq!((time(&same).as_str(), same.generation()), (first, 1));
        let mut other = rule("NoExecute", Some(first));
        definition.strategy.prepare_update(&at(later), &mut other, &old);
        assert_eq!((time(&other).as_str(), other.generation()), (later, 2));
        let mut said = rule("NoExecute", Some("2025-01-01T00:00:00Z"));
        definition.strategy.prepare_update(&at(later), &mut said, &old);
        assert_eq!(time(&said), "2025-01-01T00:00:00Z");
        assert!(definition.strategy.validate(&at(later), &said).is_empty());
        let wrong = definition.strategy.validate(&at(later), &rule("Sometimes", Some(first)));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    #[test]
    fn both_versions_have_one_shape_and_are_kept_in_one() {
        let definitions = definitions();
        let versions = definitions.each_ref().map(|known| known.kind.version.to_string());
        assert_eq!(versions, ["v1beta2", "v1alpha3"]);
        let [current, older] = &definitions;
        assert_eq!(older.storage_version, current.storage_version);
        assert_eq!(older.storage_path(), current.storage_path());
        let made = rule("NoSchedule", None);
        let to = kubeplane_core::GroupVersion::new("resource.k8s.io", "v1alpha3");
        let there = older.strategy.convert(made.clone(), &to);
        assert_eq!(there.at(&["spec"]), made.at(&["spec"]));
        let mut strange = made.clone();
        strange.set(&["spec", "deviceSelector", "deviceClassName"], "gpu");
        // What versions of the past selected by is known to neither.
        for known in &definitions {
            let found = kubeplane_core::decode::conform(&mut strange.clone(), &known.schema);
            assert!(!found.unwrap().is_empty(), "{known:?}");
        }
    }
}

//! StatefulSets.

use crate::{
    defaulting, gates,
    hooks::{keep, start_generation, step_generation},
    look::{At, Look, sub},
    persistentvolumeclaim,
    pod::{defaults::pod_template, features::drop_from_template},
    row::{Part, Row},
    table::{age, containers},
    workload::{change_status, warn_of_template},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    definition::{Context, NameRule},
    features::Features,
    field::Errors,
};
use serde_json::{Map, Value, json};

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "apps",
        kind: "StatefulSet",
        plural: "statefulsets",
        short: &["sts"],
        categories: &["all"],
        columns: &["Name", "Ready", "Age", "+Containers", "+Images"],
        parts: &[Part::Scale("spec.selector"), Part::Status],
        ..Row::NAMESPACED
    };
    row.define(StatefulSets)
}

#[derive(Debug)]
struct StatefulSets;

impl Strategy for StatefulSets {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        defaulting::text(spec, "podManagementPolicy", "OrderedReady");
        let strategy = defaulting::map(spec, "updateStrategy");
        if strategy.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
            strategy.insert("type".to_owned(), "RollingUpdate".into());
            defaulting::missing(strategy, "rollingUpdate", json!({}));
        }
        if strategy["type"] == "RollingUpdate"
            && let Some(rolling) = defaulting::map_in(strategy, "rollingUpdate")
        {
            defaulting::missing(rolling, "partition", 0);
        }
        let retention = defaulting::map(spec, "persistentVolumeClaimRetentionPolicy");
        defaulting::text(retention, "whenDeleted", "Retain");
        defaulting::text(retention, "whenScaled", "Retain");
        defaulting::missing(spec, "replicas", 1);
        defaulting::missing(spec, "revisionHistoryLimit", 10);
        defaulting::maps_in(spec, "volumeClaimTemplates").for_each(claim_template);
        pod_template(spec.entry("template").or_insert_with(|| json!({})));
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"availableReplicas": 0, "replicas": 0}));
        start_generation(object);
        drop_disabled(context.features, object, None);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_status(object, old);
        }
        keep(object, old, "status");
        drop_disabled(context.features, object, Some(old));
        step_generation(object, old, &["spec"]);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::create(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_template(context, object, None);
            warn(context, object, None);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return validation::status(object, old);
        }
        let mut errors = validation::update(object, old);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_template(context, object, Some(old));
            // The original names the field when it warns about a change only, and like this.
            warn(context, object, Some("Spec"));
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::DnsLabel
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let mut cells = vec![
            object.name().into(),
            format!("{}/{}", status.int("readyReplicas"), spec.int("replicas")).into(),
            age(object, now),
        ];
        cells.extend(containers(spec.sub("template").sub("spec")));
        cells
    }
}

/// Templates of claims say their kind and are defaulted like claims.
fn claim_template(claim: &mut Map<String, Value>) {
    defaulting::text(claim, "apiVersion", "v1");
    defaulting::text(claim, "kind", "PersistentVolumeClaim");
    persistentvolumeclaim::default_claim(claim);
}

/// How many pods may be away at once is a feature that can be off, but for those who have set it already.
fn drop_disabled(features: &Features, object: &mut Object, old: Option<&Object>) {
    drop_from_template(features, object, old);
    if features.is_on("MaxUnavailableStatefulSet") {
        return;
    }
    let path = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];
    if old.is_none_or(|old| old.at(&path).is_none_or(Value::is_null)) {
        object.remove(&path);
    }
}

fn warn(context: &Context<'_>, object: &Object, field: Option<&'static str>) {
    let spec = At::top(object.map(), "spec");
    for claim in spec.get("volumeClaimTemplates").items() {
        let place = field.map_or_else(|| claim.clone(), |field| claim.get(field));
        persistentvolumeclaim::warn_of_spec(context, &place.with(claim.get("spec").value()));
    }
    if spec.get("revisionHistoryLimit").int().is_some_and(|limit| limit < 0) {
        context.warnings.add(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
        );
    }
}

//! ServiceCIDRs: the networks that Services have their addresses from.

use crate::{
    check,
    hooks::keep,
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object,
    definition::Context,
    field::Errors,
    names::address::{is_valid_cidr, parse_cidr_sloppy},
};
use serde_json::{Value, json};

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "networking.k8s.io",
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        columns: &["Name", "CIDRs", "Age"],
        parts: &[Part::Status],
        ..Row::CLUSTER
    };
    row.define(Plain {
        create: |context, object| {
            if wipes(context) {
                object.set(&["status"], json!({}));
            }
        },
        change: |context, object, old| {
            if wipes(context) && context.subresource.is_empty() {
                keep(object, old, "status");
            }
        },
        validate: |object| networks(&At::top(object.map(), "spec").get("cidrs")),
        revalidate: false,
        update,
        row: cells,
        ..Plain::NEW
    })
}

/// Whether only the controller says how it stands with a network, as for every other kind.
fn wipes(context: &Context<'_>) -> bool {
    context.features.is_on("ServiceCIDRStatusFieldWiping")
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let networks = sub(object.map(), "spec").list("cidrs").iter().filter_map(Value::as_str);
    let networks = networks.collect::<Vec<_>>().join(",");
    vec![object.name().into(), networks.into(), age(object, now)]
}

fn networks(list: &At<'_>) -> Errors {
    let mut errors = Errors::new();
    if list.is_empty() {
        errors.push(list.required("at least one CIDR required"));
        return errors;
    }
    if list.len() > 2 {
        let spec = json!({"CIDRs": list.value()});
        errors.push(list.invalid_as(spec, "may only hold up to 2 values"));
        return errors;
    }
    for network in list.items() {
        check::messages(&network, is_valid_cidr(network.str()), &mut errors);
    }
    let families: Vec<_> = list
        .items()
        .map(|network| parse_cidr_sloppy(network.str()).map(|(address, _)| address.is_ipv4()))
        .collect();
    if families.len() == 2 && families[0].is_some() && families[0] == families[1] {
        errors.push(list.invalid(
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ));
    }
    errors
}

/// The networks stay; a second one, of the other family, may be added.
fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let list = At::top(object.map(), "spec").get("cidrs");
    let before = sub(old.map(), "spec").list("cidrs");
    let grows = before.len() == 1 && list.len() == 2;
    if before.len() != list.len() && !grows {
        errors.push(list.invalid_as(list.value().clone(), check::IMMUTABLE));
        return errors;
    }
    for (network, before) in list.items().zip(before) {
        check::unchanged(&network, before, &mut errors);
    }
    if grows {
        errors.extend(networks(&list));
    }
    errors
}

use super::*;
use proptest::prelude::*;

fn subset(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(names, 0..=names.len()).prop_shuffle()
}

type Items = std::collections::BTreeMap<String, (String, Option<i64>, Vec<&'static str>)>;

pub(super) fn spec() -> impl Strategy<Value = Value> {
    let item = ("[x-z]", proptest::option::of(0..3i64), subset(&["s", "t"]));
    let items = proptest::collection::btree_map("[a-d]", item, 0..4);
    let labels = proptest::collection::btree_map("[k-m]", "[0-2]", 0..3);
    (
        proptest::option::of(0..3i64),
        subset(&["p", "q", "r"]),
        labels,
        items,
        proptest::option::of(subset(&["g", "h"])),
    )
        .prop_map(|(replicas, set, labels, items, atomic): (Option<i64>, _, _, Items, _)| {
            let mut spec = json!({});
            if let Some(replicas) = replicas {
                spec["replicas"] = replicas.into();
            }
            if !set.is_empty() {
                spec["set"] = json!(set);
            }
            if !labels.is_empty() {
                spec["labels"] = json!(labels);
            }
            if !items.is_empty() {
                let items = items.into_iter().map(|(name, (_, value, tags))| {
                    let mut item = json!({"name": name});
                    if let Some(value) = value {
                        item["value"] = value.into();
                    }
                    if !tags.is_empty() {
                        item["tags"] = json!(tags);
                    }
                    item
                });
                spec["items"] = items.collect();
            }
            if let Some(atomic) = atomic.filter(|atomic| !atomic.is_empty()) {
                spec["atomic"] = json!(atomic);
            }
            json!({"spec": spec})
        })
}

pub(super) fn pod_write() -> impl Strategy<Value = (&'static str, &'static str, Value)> {
    let labels = proptest::collection::btree_map("[k-m]", "[0-2]", 0..3);
    let ports = subset(&["80", "443"]);
    let containers = proptest::collection::btree_map("[a-c]", ("[x-z]", ports), 1..3);
    let conditions = proptest::collection::btree_map("[R-T]", "[0-2]", 0..3);
    let managers = vec!["one", "two", "three", ""];
    let manager = proptest::sample::select(managers);
    let subresource = proptest::sample::select(vec!["", "", "status"]);
    (manager, subresource, labels, containers, conditions).prop_map(
        |(manager, subresource, labels, containers, conditions)| {
            let container = |(name, (image, ports)): (String, (String, Vec<&str>))| {
                let port = |port: &&str| json!({"containerPort": port.parse::<u16>().unwrap(), "protocol": "TCP"});
                let ports: Vec<_> = ports.iter().map(port).collect();
                json!({"name": name, "image": image, "ports": ports, "resources": {}})
            };
            let containers: Vec<_> = containers.into_iter().map(container).collect();
            let condition = |(kind, status)| json!({"type": kind, "status": status, "reason": "\u{e9}\"<"});
            let conditions: Vec<_> = conditions.into_iter().map(condition).collect();
            let body = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "d", "labels": labels},
                "spec": {"containers": containers}, "status": {"conditions": conditions}});
            (manager, subresource, body)
        },
    )
}

#[derive(Debug, Clone)]
struct Write {
    manager: &'static str,
    applies: bool,
    body: Value,
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = (proptest::sample::select(vec!["one", "two", "three"]), any::<bool>(), spec());
    let write = write.prop_map(|(manager, applies, body)| Write { manager, applies, body });
    proptest::collection::vec(write, 1..6)
}

fn server(writes: &[Write]) -> Server {
    let mut server = Server::custom();
    for write in writes {
        if write.applies {
            server.force(write.manager, write.body.clone());
        } else {
            server.update(write.manager, write.body.clone());
        }
    }
    server
}

/// Every leaf a manager owns is there.
fn check_ownership(server: &Server) -> Result<(), TestCaseError> {
    let schema = custom();
    let live = server.live.clone().unwrap();
    let all = full_set(Type::root(&schema), live.map());
    for (manager, _, fields) in server.owners() {
        let mut missing = FieldSet::from_json(&fields).unwrap();
        missing.subtract(&all);
        prop_assert!(missing.is_empty(), "{} owns what is not there: {}", manager, missing);
    }
    Ok(())
}

proptest! {
    #[test]
    fn apply_is_idempotent(history in writes(), body in spec()) {
        let mut server = server(&history);
        server.force("applier", body.clone());
        let once = server.live.clone();
        server.apply("applier", body).unwrap();
        prop_assert_eq!(&server.live, &once);
    }

    #[test]
    fn what_is_applied_is_live(history in writes(), body in spec()) {
        let mut server = server(&history);
        server.force("applier", body.clone());
        let schema = custom();
        let live = server.live.clone().unwrap();
        let applied = field_set(Type::root(&schema), body.as_object().unwrap());
        let mut missing = applied.clone();
        missing.subtract(&full_set(Type::root(&schema), live.map()));
        prop_assert!(missing.is_empty(), "{}", missing);
        check_ownership(&server)?;
        if let Some(replicas) = body["spec"].get("replicas") {
            prop_assert_eq!(&server.spec()["replicas"], replicas);
        }
    }

    #[test]
    fn changed_leaves_have_one_owner_after_force(history in writes(), first in 0..5i64, second in 5..9i64) {
        let mut server = server(&history);
        server.force("one", json!({"spec": {"replicas": first}}));
        server.force("two", json!({"spec": {"replicas": second}}));
        let path = [PathElement::field("spec"), PathElement::field("replicas")];
        let owners = server.owners();
        let owning: Vec<_> = owners
            .iter()
            .filter(|(.., fields)| FieldSet::from_json(fields).unwrap().contains(&path))
            .map(|(name, ..)| name.as_str())
            .collect();
        prop_assert_eq!(owning, ["two"]);
    }

    #[test]
    fn an_empty_configuration_gives_up_everything(history in writes(), body in spec()) {
        let mut server = server(&history);
        server.force("applier", body);
        server.apply("applier", json!({})).unwrap();
        prop_assert_eq!(server.fields("applier"), Value::Null);
        check_ownership(&server)?;
    }

    #[test]
    fn sets_change_in_their_json_as_they_do_themselves(one in spec(), other in spec(), all in any::<bool>()) {
        let schema = custom();
        let set = |body: &Value, all: bool| {
            let of = if all { full_set } else { field_set };
            of(Type::root(&schema), body.as_object().unwrap())
        };
        let (one, other) = (set(&one, all), set(&other, !all));
        let (mut more, mut less) = (one.clone(), one.clone());
        more.extend(other.clone());
        less.subtract(&other);
        let (text, packed) = (one.to_json().to_string(), packed::text_of(&one));
        prop_assert_eq!(&text, &packed);
        prop_assert_eq!(packed::set_of(&text), Ok(one));
        let changed = |change| packed::changed(&text, change, &other).map(Cow::into_owned);
        prop_assert_eq!(changed(packed::Change::Add), Some(more.to_json().to_string()));
        prop_assert_eq!(changed(packed::Change::Take), Some(less.to_json().to_string()));
    }

    #[test]
    fn what_is_recorded_in_place_is_what_is_read_and_written(writes in proptest::collection::vec(pod_write(), 1..8)) {
        let kind = GroupVersionKind { group: "".into(), version: "v1".into(), kind: "Pod".into() };
        let schema = schema::builtin("io.k8s.api.core.v1.Pod").unwrap();
        let reset = Filter::exclude(&[&["status"]]);
        let mut live: Option<Object> = None;
        for (second, (manager, subresource, body)) in writes.into_iter().enumerate() {
            let request = Request {
                manager,
                subresource,
                kind: &kind,
                schema: &schema,
                reset: if subresource.is_empty() { &reset } else { &Filter::None },
                now: Timestamp::from_second(1_700_000_000 + i64::try_from(second).unwrap()).unwrap(),
                versions: None,
            };
            let mut new = Object::from_value(body).unwrap();
            if let Some(managed) = live.as_ref().and_then(|live| live.at(&["metadata", "managedFields"])) {
                new.set(&["metadata", "managedFields"], managed.clone());
            }
            let written = update_packed(live.as_ref(), new.clone(), &request);
            prop_assert_eq!(&written, &recorded(live.as_ref(), new, &request));
            let mut unpacked = written.clone();
            unpack_managers(&mut unpacked);
            let mut packed = unpacked.clone();
            pack_managers(&mut packed);
            prop_assert_eq!(&written, &packed);
            prop_assert_eq!(validate_managed_fields(&unpacked), Ok(()));
            live = Some(written);
        }
    }

    #[test]
    fn field_sets_survive_json(body in spec()) {
        let schema = custom();
        let set = field_set(Type::root(&schema), body.as_object().unwrap());
        prop_assert_eq!(FieldSet::from_json(&set.to_json()).unwrap(), set);
    }
}

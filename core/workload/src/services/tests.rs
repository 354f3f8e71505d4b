use super::*;

const BOTH: &[Family] = &[Family::V4, Family::V6];

fn service(spec: Value) -> Object {
    Object::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
}

fn complete(spec: Value, old: Option<&Object>, cluster: &[Family]) -> Result<Object, String> {
    let mut service = service(spec);
    if let Some(old) = old {
        keep_allocated(&mut service, old);
    }
    normalize(&mut service, old);
    match complete_families(&mut service, old, cluster) {
        Ok(()) => Ok(service),
        Err(errors) => Err(errors[0].to_string()),
    }
}

fn families(service: &Object) -> (String, Vec<&str>) {
    (service.text(&["spec", "ipFamilyPolicy"]).to_owned(), texts(service, "ipFamilies"))
}

#[test]
fn a_service_gets_the_families_it_asks_for_or_the_clusters_first() {
    let made = complete(json!({"type": "ClusterIP"}), None, BOTH).unwrap();
    assert_eq!(families(&made), ("SingleStack".to_owned(), vec!["IPv4"]));
    assert_eq!(plan(&made, None).take.len(), 1);
    let prefer = json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"});
    let made = complete(prefer.clone(), None, BOTH).unwrap();
    assert_eq!(families(&made).1, ["IPv4", "IPv6"]);
    assert_eq!(plan(&made, None).take.len(), 2);
    let made = complete(prefer, None, &BOTH[1..]).unwrap();
    assert_eq!(families(&made).1, ["IPv6"]);
    let six = json!({"type": "ClusterIP", "clusterIP": "fd00::7"});
    let made = complete(six.clone(), None, BOTH).unwrap();
    assert_eq!(families(&made), ("SingleStack".to_owned(), vec!["IPv6"]));
    let refused = complete(six, None, &BOTH[..1]).unwrap_err();
    assert!(refused.contains("IPv6 is not configured on this cluster"), "{refused}");
}

#[test]
fn without_address_and_selector_both_families_may_come() {
    let headless = json!({"type": "ClusterIP", "clusterIP": "None"});
    let made = complete(headless, None, &BOTH[..1]).unwrap();
    assert_eq!(families(&made), ("RequireDualStack".to_owned(), vec!["IPv4", "IPv6"]));
    assert_eq!(plan(&made, None), Plan::default());
    let selects = json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}});
    let made = complete(selects, None, BOTH).unwrap();
    assert_eq!(families(&made), ("SingleStack".to_owned(), vec!["IPv4"]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let why = |spec, cluster| complete(spec, None, cluster).unwrap_err();
    let require = json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"});
    assert!(why(require, &BOTH[..1]).ends_with("is not configured for dual-stack services"));
    let both = json!({"type": "ClusterIP", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]});
    assert!(why(both, BOTH).contains("when multiple IP families are specified"));
    let swapped = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv6"]});
    assert!(why(swapped, BOTH).contains("expected an IPv6 value as indicated by `ipFamilies[0]`"));
    let twice = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]});
    assert!(why(twice, BOTH).contains("may specify no more than one IP for each IP family"));
}

#[test]
fn a_second_address_comes_and_goes_with_the_policy() {
    let one = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
    let old = service(one.clone());
    let mut up = one.clone();
    up["ipFamilyPolicy"] = "RequireDualStack".into();
    let up = complete(up, Some(&old), BOTH).unwrap();
    assert_eq!(families(&up).1, ["IPv4", "IPv6"]);
    let wanted = plan(&up, Some(&old)).take;
    assert_eq!((wanted.len(), wanted[0].index, wanted[0].family), (1, 1, Family::V6));
    let two = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
        "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"});
    let old = service(two.clone());
    let same = complete(two.clone(), Some(&old), &BOTH[..1]).unwrap();
    assert_eq!(plan(&same, Some(&old)), Plan::default());
    let mut down = two.clone();
    down["ipFamilyPolicy"] = "SingleStack".into();
    let down = complete(down, Some(&old), BOTH).unwrap();
    assert_eq!((cluster_ips(&down), families(&down).1), (vec!["10.0.0.1"], vec!["IPv4"]));
    assert_eq!(plan(&down, Some(&old)).release, ["fd00::1".parse::<IpAddr>().unwrap()]);
    let mut silent = two;
    silent["clusterIPs"] = json!(["10.0.0.1"]);
    let refused = complete(silent, Some(&old), BOTH).unwrap_err();
    assert!(
        refused.contains("must be 'SingleStack' to release the secondary cluster IP"),
        "{refused}"
    );
}

#[test]
fn changing_to_and_from_a_name_releases_and_takes_all() {
    let held =
        service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}));
    let name = service(json!({"type": "ExternalName", "externalName": "example.com"}));
    assert_eq!(plan(&name, Some(&held)).release.len(), 1);
    let back = complete(json!({"type": "ClusterIP"}), Some(&name), BOTH).unwrap();
    assert_eq!(plan(&back, Some(&name)).take.len(), 1);
}

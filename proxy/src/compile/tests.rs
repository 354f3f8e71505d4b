//! Rules as data: from objects to chains, sets and maps.

use super::*;
use crate::{ruleset::TABLE, transaction::Transaction};
use serde_json::{Value, json};

fn config() -> ProxyConfig {
    let mut config = ProxyConfig::new("here");
    config.cluster_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
    config
}

fn service(spec: &Value) -> Service {
    let mut merged = json!({
        "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
        "ports": [{"name": "p", "port": 80, "protocol": "TCP"}],
    });
    merged.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "svc"}, "spec": merged}))
        .unwrap()
}

fn slice(endpoints: &Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "svc-1", "labels": {"kubernetes.io/service-name": "svc"}},
        "addressType": "IPv4",
        "ports": [{"name": "p", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

fn rules_with(config: &ProxyConfig, spec: &Value, endpoints: &Value) -> Ruleset {
    let (services, slices) = ([Arc::new(service(spec))], [Arc::new(slice(endpoints))]);
    compile(&services, &slices, config, "", Family::V4).rules
}

fn rules(spec: &Value, endpoints: &Value) -> Ruleset {
    rules_with(&config(), spec, endpoints)
}

fn two() -> Value {
    json!([
        {"addresses": ["10.244.0.2"], "nodeName": "here", "conditions": {"ready": true}},
        {"addresses": ["10.244.1.2"], "nodeName": "there", "conditions": {"ready": true}},
    ])
}

fn chain<'a>(rules: &'a Ruleset, name: &str) -> Vec<&'a str> {
    rules
        .chains
        .get(name)
        .map(|chain| chain.rules.iter().map(String::as_str).collect())
        .unwrap_or_default()
}

fn verdict<'a>(rules: &'a Ruleset, map: &str, key: &str) -> &'a str {
    rules.maps[map].verdicts.get(key).map_or("", String::as_str)
}

const KEY: &str = "10.96.0.10 . tcp . 80";

#[test]
fn a_cluster_ip_is_balanced_over_all_endpoints() {
    let rules = rules(&json!({}), &two());
    assert_eq!(verdict(&rules, base::SERVICE_IPS, KEY), "goto service-ns/svc/tcp/p");
    assert_eq!(
        chain(&rules, "service-ns/svc/tcp/p"),
        [
            "meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.2 . 8080 }"
        ]
    );
    assert!(rules.sets[base::CLUSTER_IPS].members.contains("10.96.0.10"));
    let hairpins: Vec<_> = rules.sets[base::HAIRPIN].members.iter().collect();
    assert_eq!(hairpins, ["10.244.0.2 . 10.244.0.2 . tcp . 8080"]);
}

#[test]
fn without_endpoints_everything_is_refused() {
    let rules = rules(
        &json!({"type": "NodePort", "ports": [{"name": "p", "port": 80, "nodePort": 30080}]}),
        &json!([]),
    );
    assert_eq!(verdict(&rules, base::SERVICE_IPS, KEY), "");
    assert_eq!(verdict(&rules, base::NO_ENDPOINT_SERVICES, KEY), "goto reject-chain");
    assert_eq!(verdict(&rules, base::NO_ENDPOINT_PORTS, "tcp . 30080"), "goto reject-chain");
}

#[test]
fn node_ports_are_masqueraded_unless_local() {
    let port = json!([{"name": "p", "port": 80, "nodePort": 30080}]);
    let open = rules(&json!({"type": "NodePort", "ports": port}), &two());
    assert_eq!(verdict(&open, base::SERVICE_PORTS, "tcp . 30080"), "goto external-ns/svc/tcp/p");
    let external = chain(&open, "external-ns/svc/tcp/p");
    assert_eq!(external, ["mark set mark or 0x00004000", "goto service-ns/svc/tcp/p"]);

    let local = json!({"type": "NodePort", "ports": port, "externalTrafficPolicy": "Local"});
    let local = rules(&local, &two());
    assert_eq!(
        chain(&local, "external-ns/svc/tcp/p"),
        [
            "ip saddr { 10.244.0.0/16 } goto service-ns/svc/tcp/p",
            "fib saddr type local mark set mark or 0x00004000",
            "fib saddr type local goto service-ns/svc/tcp/p",
            "goto local-ns/svc/tcp/p",
        ]
    );
    assert!(chain(&local, "local-ns/svc/tcp/p")[0].contains("map { 0 : 10.244.0.2 . 8080 }"));
}

#[test]
fn a_local_policy_without_local_endpoints_drops() {
    let away = json!([{"addresses": ["10.244.1.2"], "nodeName": "there", "conditions": {}}]);
    let spec = json!({
        "type": "NodePort", "ports": [{"name": "p", "port": 80, "nodePort": 30080}],
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local",
    });
    let services = [Arc::new(service(&spec))];
    let compiled = compile(&services, &[Arc::new(slice(&away))], &config(), "", Family::V4);
    let rules = &compiled.rules;
    assert_eq!(verdict(rules, base::NO_ENDPOINT_SERVICES, KEY), "drop");
    assert_eq!(verdict(rules, base::NO_ENDPOINT_PORTS, "tcp . 30080"), "drop");
    // Traffic of the node itself does not obey the external policy.
    assert_eq!(verdict(rules, base::SERVICE_PORTS, "tcp . 30080"), "goto external-ns/svc/tcp/p");
    assert_eq!((compiled.no_local_internal, compiled.no_local_external), (1, 1));
}

#[test]
fn affinity_remembers_clients_for_each_endpoint() {
    let rules = rules(
        &json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}),
        &two(),
    );
    let service = chain(&rules, "service-ns/svc/tcp/p");
    assert_eq!(
        service[0],
        "ip saddr @affinity-ns/svc/tcp/p__10.244.0.2/8080 goto endpoint-ns/svc/tcp/p__10.244.0.2/8080"
    );
    assert!(service[2].starts_with("numgen random mod 2 vmap"));
    assert_eq!(
        chain(&rules, "endpoint-ns/svc/tcp/p__10.244.0.2/8080"),
        [
            "update @affinity-ns/svc/tcp/p__10.244.0.2/8080 { ip saddr timeout 60s }",
            "meta l4proto tcp dnat to 10.244.0.2:8080",
        ]
    );
}

#[test]
fn ending_endpoints_serve_only_when_no_other_does() {
    let mut endpoints = json!([
        {"addresses": ["10.244.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.244.0.3"], "conditions": {"ready": false, "serving": false}},
    ]);
    let only = rules(&json!({}), &endpoints);
    assert!(chain(&only, "service-ns/svc/tcp/p")[0].contains("{ 0 : 10.244.0.2 . 8080 }"));
    endpoints[1]["conditions"] = json!({"ready": true});
    let both = rules(&json!({}), &endpoints);
    assert!(chain(&both, "service-ns/svc/tcp/p")[0].contains("{ 0 : 10.244.0.3 . 8080 }"));
}

#[test]
fn hints_keep_traffic_in_the_zone() {
    let hinted = json!([
        {"addresses": ["10.244.0.2"], "hints": {"forZones": [{"name": "a"}]}},
        {"addresses": ["10.244.0.3"], "hints": {"forZones": [{"name": "b"}]}},
    ]);
    let compiled = |zone: &str| {
        let (services, slices) = ([Arc::new(service(&json!({})))], [Arc::new(slice(&hinted))]);
        compile(&services, &slices, &config(), zone, Family::V4).rules
    };
    assert!(chain(&compiled("b"), "service-ns/svc/tcp/p")[0].contains("{ 0 : 10.244.0.3 . 8080 }"));
    assert!(chain(&compiled("c"), "service-ns/svc/tcp/p")[0].contains("mod 2"));
}

#[test]
fn balancers_have_firewalls() {
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerSourceRanges": ["203.0.113.0/24"],
        "ports": [{"name": "p", "port": 80, "nodePort": 30080}],
    });
    let mut service = service(&spec);
    service.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}))
            .unwrap();
    let rules =
        compile(&[Arc::new(service)], &[Arc::new(slice(&two()))], &config(), "", Family::V4).rules;
    let key = "198.51.100.1 . tcp . 80";
    assert_eq!(verdict(&rules, base::SERVICE_IPS, key), "goto external-ns/svc/tcp/p");
    assert_eq!(verdict(&rules, base::FIREWALL_IPS, key), "goto firewall-ns/svc/tcp/p");
    assert_eq!(chain(&rules, "firewall-ns/svc/tcp/p"), ["ip saddr != { 203.0.113.0/24 } drop"]);
}

#[test]
fn external_addresses_are_served_unless_the_gate_is_off() {
    let spec = json!({"externalIPs": ["203.0.113.5"]});
    let key = "203.0.113.5 . tcp . 80";
    let mut config = config();
    let on = rules_with(&config, &spec, &two());
    assert_eq!(verdict(&on, base::SERVICE_IPS, key), "goto external-ns/svc/tcp/p");
    config.external_ips = false;
    let off = rules_with(&config, &spec, &two());
    assert_eq!(verdict(&off, base::SERVICE_IPS, key), "");
    assert_eq!(verdict(&off, base::SERVICE_IPS, KEY), "goto service-ns/svc/tcp/p");
}

#[test]
fn services_of_others_are_left_alone() {
    for spec in
        [json!({"clusterIP": "None", "clusterIPs": ["None"]}), json!({"type": "ExternalName"})]
    {
        assert!(rules(&spec, &two()).maps[base::SERVICE_IPS].verdicts.is_empty(), "{spec}");
    }
    let mut labelled = service(&json!({}));
    labelled.metadata.labels =
        Some([(service::PROXY_NAME_LABEL.to_owned(), "mine".to_owned())].into());
    let compiled = compile(&[Arc::new(labelled)], &[], &config(), "", Family::V4);
    assert_eq!(compiled.ports, 0);
    let v6 = compile(&[Arc::new(service(&json!({})))], &[], &config(), "", Family::V6);
    assert_eq!(v6.ports, 0);
}

#[test]
fn a_change_touches_only_what_differs() {
    let before = rules(&json!({}), &two());
    assert!(Transaction::between(&before, &before.clone()).is_empty());

    let one = json!([{"addresses": ["10.244.0.2"], "nodeName": "here"}]);
    let fewer = Transaction::between(&before, &rules(&json!({}), &one));
    let expected = format!(
        "flush chain ip {TABLE} service-ns/svc/tcp/p\n\
         add rule ip {TABLE} service-ns/svc/tcp/p meta l4proto tcp dnat ip addr . port to numgen random mod 1 map {{ 0 : 10.244.0.2 . 8080 }}\n"
    );
    assert_eq!(fewer.text, expected);

    let gone = Transaction::between(&before, &rules(&json!({}), &json!([])));
    assert_eq!(
        gone.text,
        format!(
            "delete element ip {TABLE} hairpin-connections {{ 10.244.0.2 . 10.244.0.2 . tcp . 8080 }}\n\
             delete element ip {TABLE} service-ips {{ {KEY} }}\n\
             add element ip {TABLE} no-endpoint-services {{ {KEY} : goto reject-chain }}\n\
             flush chain ip {TABLE} service-ns/svc/tcp/p\n"
        )
    );
    assert_eq!(gone.stale, ["service-ns/svc/tcp/p"]);
}

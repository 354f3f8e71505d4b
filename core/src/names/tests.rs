use super::{address::*, *};

#[test]
fn labels_and_subdomains() {
    assert!(is_dns1123_label("my-name").is_empty());
    assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(
        is_dns1123_label("My_Name"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with \
          an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
          '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert!(is_dns1123_subdomain("a.b-c.d1").is_empty());
    assert_eq!(is_dns1123_subdomain("a..b").len(), 1);
    assert_eq!(is_dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    assert_eq!(is_dns1035_label("1a").len(), 1);
    assert!(is_wildcard_dns1123_subdomain("*.a.b").is_empty());
    assert!(!is_wildcard_dns1123_subdomain("*.*.b").is_empty());
    assert!(is_dns1123_subdomain_with_underscore("_sip._tcp.a").is_empty());
    assert!(!is_dns1123_subdomain_with_underscore("a_.b").is_empty());
}

#[test]
fn label_keys_and_values() {
    assert!(is_qualified_name("example.com/My.name_1").is_empty());
    assert_eq!(is_qualified_name("/x"), ["prefix part must be non-empty"]);
    assert_eq!(is_qualified_name("a/b/c").len(), 1);
    let empty = is_qualified_name("");
    assert_eq!(empty[0], "name part must be non-empty");
    assert_eq!(empty.len(), 2);
    assert!(is_valid_label_value("").is_empty());
    assert_eq!(is_valid_label_value(&"x".repeat(64)), ["must be no more than 63 bytes"]);
    assert_eq!(is_valid_label_value("a b").len(), 1);
}

#[test]
fn ports_keys_and_variables() {
    assert_eq!(is_valid_port_num(0), ["must be between 1 and 65535, inclusive"]);
    assert!(is_valid_port_name("http-2").is_empty());
    assert_eq!(is_valid_port_name("80"), ["must contain at least one letter (a-z)"]);
    assert_eq!(is_config_map_key(".."), ["must not be '..'"]);
    assert_eq!(is_config_map_key("..a"), ["must not start with '..'"]);
    assert!(is_relaxed_env_var_name("1 a/b").is_empty());
    assert_eq!(is_relaxed_env_var_name("a=b").len(), 1);
    assert_eq!(is_env_var_name("1a").len(), 1);
    assert!(is_valid_percent("10%").is_empty());
    assert_eq!(is_valid_percent("%").len(), 1);
    assert!(is_decimal_integer("-5").is_empty());
    assert_eq!(is_decimal_integer("-0").len(), 1);
}

#[test]
fn generated_names_may_end_in_a_dash() {
    assert!(check(NameRule::DnsLabel, "web-", true).is_empty());
    assert!(!check(NameRule::DnsLabel, "web-", false).is_empty());
    assert_eq!(check(NameRule::PathSegment, "a/b", false), ["may not contain '/'"]);
}

#[test]
fn addresses() {
    assert!(is_valid_ip("10.0.0.1").is_empty());
    assert_eq!(is_valid_ip("010.0.0.1"), ["must not have leading 0s"]);
    assert_eq!(is_valid_ip("::ffff:1.2.3.4"), ["must not be an IPv4-mapped IPv6 address"]);
    assert_eq!(is_valid_ip("FE80::1"), ["must be in canonical form (\"fe80::1\")"]);
    assert!(is_valid_ip_for_legacy_field("FE80::1").is_empty());
    assert_eq!(is_valid_ip("x"), ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]);
    assert!(is_valid_cidr("10.0.0.0/8").is_empty());
    assert_eq!(is_valid_cidr("10.0.0.1/8"), ["must not have bits set beyond the prefix length"]);
    assert_eq!(is_valid_cidr("10.0.0.0/08"), ["must not have leading 0s in IP or prefix length"]);
    assert!(is_valid_interface_address("192.168.1.5/24").is_empty());
    assert!(
        warning_for_ip("spec.ip", "1.2.3.04").is_some_and(|text| text.contains("use \"1.2.3.4\""))
    );
    assert_eq!(warnings_for_cidr("x", "10.0.0.1/8").len(), 1);
}

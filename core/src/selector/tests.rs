use super::*;
use serde_json::json;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector = LabelSelector::parse(selector).unwrap();
    selector.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, value)| *value))
}

#[test]
fn picks_by_labels() {
    let labels = [("app", "web"), ("tier", "front"), ("n", "7")];
    for selector in [
        "",
        "app=web",
        "app==web,tier!=back",
        "tier in (front,back)",
        "tier notin (back)",
        "app",
        "!x",
        "x!=1",
        "n>6",
        "n<8",
        "x notin (a)",
        "app in (web)",
        " app = web , tier ",
        "tier in (front,)",
        "in notin (x)",
    ] {
        assert!(matches(selector, &labels), "{selector}");
    }
    for selector in ["app=db", "app!=web", "tier in ()", "!app", "n>7", "app>3", "x"] {
        assert!(!matches(selector, &labels), "{selector}");
    }
}

#[test]
fn explains_what_it_cannot_read() {
    for (text, message) in [
        ("a,,b", "found ',', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an \
             integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap_err().0, message, "{text}");
    }
    let key = LabelSelector::parse("a/b/c").unwrap_err().0;
    assert!(
        key.starts_with(
            "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key"
        ),
        "{key}"
    );
    let value = LabelSelector::parse("a=b@c").unwrap_err().0;
    assert!(value.contains("values[0][a]: Invalid value: \"b@c\""), "{value}");
}

#[test]
fn prints_sorted() {
    let selector = LabelSelector::parse("z notin (b,a),y,!x,w==1").unwrap();
    assert_eq!(selector.to_string(), "w==1,!x,y,z notin (a,b)");
}

#[test]
fn reads_the_api_form() {
    let all = LabelSelector::from_json(Some(&json!({}))).unwrap();
    assert!(all.is_everything());
    assert!(LabelSelector::from_json(None).unwrap().is_nothing());
    let json = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]});
    assert_eq!(LabelSelector::from_json(Some(&json)).unwrap().to_string(), "a=1,b");
    let json = json!({"matchExpressions": [{"key": "b", "operator": "Gt", "values": ["1"]}]});
    let error = LabelSelector::from_json(Some(&json)).unwrap_err().0;
    assert_eq!(error, "\"Gt\" is not a valid label selector operator");
}

#[test]
fn fields() {
    let selector = FieldSelector::parse(r"metadata.name==a\,b,spec.nodeName!=n1").unwrap();
    assert!(selector.matches(|field| if field == "metadata.name" {
        "a,b".into()
    } else {
        "n2".into()
    }));
    assert_eq!(selector.to_string(), r"metadata.name=a\,b,spec.nodeName!=n1");
    assert_eq!(selector.exact("metadata.name"), Some("a,b"));
    assert_eq!(
        FieldSelector::parse("a").unwrap_err().0,
        "invalid selector: 'a'; can't understand 'a'"
    );
    let error = FieldSelector::parse(r"a=b\c").unwrap_err().0;
    assert_eq!(error, r"invalid field selector: invalid escape sequence: \c");
    assert_eq!(
        FieldSelector::parse("a=b=c").unwrap_err().0,
        "invalid field selector: unescaped character in value: 61"
    );
}

use super::*;

fn wrong(source: &str) -> String {
    parse(source, false).unwrap_err().message
}

#[test]
fn texts_become_expressions() {
    for source in [
        "a.b[?0].?c.d(1, 2u, 0x1F, -1.5e3, .5) in [1, ?x,] && {'a': 1, ?'b': c,} == r'\\d' + b'\\377' || !!x",
        "x ? y : z ? 1 : 2 // end",
        "Object{a: 1, ?b: Object.b{}}.c",
        "[1].all(i, i > 0) ? .a.b : 'it\\'s \\u00e9'",
        "'''several\nlines'''.size() == size(\"\"\"a\"b\"\"\")",
    ] {
        assert!(parse(source, false).is_ok(), "{source}: {}", wrong(source));
    }
    for source in ["", "a b", "a.", "(1", "'a", "f(,)", "1 +", "a.in", "#"] {
        assert!(parse(source, false).unwrap_err().grammar, "{source}");
    }
    assert_eq!(wrong("9223372036854775808"), "invalid int literal");
    assert_eq!(wrong("namespace == 1"), "reserved identifier: namespace");
    assert_eq!(wrong("[1].all(i.a, true)"), "argument must be a simple name");
    assert!(parse("-9223372036854775808", false).is_ok());
}

#[test]
fn depth_has_an_end() {
    for deep in [
        format!("{}1{}", "(".repeat(300), ")".repeat(300)),
        vec!["a"; 300].join("+"),
        format!("a{}", ".b".repeat(300)),
    ] {
        assert_eq!(wrong(&deep), "expression recursion limit exceeded: 250");
    }
    // Logic is a flat tree.
    assert!(parse(&vec!["a"; 3000].join(" && "), false).is_ok());
}

use super::*;

fn parsed(raw: &str) -> Url {
    Url::parse(raw).unwrap_or_else(|why| panic!("{raw}: {why}"))
}

fn refused(raw: &str) -> String {
    let why = Url::parse(raw).map(drop).unwrap_err();
    why.rsplit_once("\": ").map_or(why.clone(), |(_, why)| why.to_owned())
}

#[test]
fn parts_are_what_go_makes_of_them() {
    let parts = |raw: &str| {
        let url = parsed(raw);
        let (name, port) = url.host_and_port();
        [url.scheme(), url.host(), name, port, url.path(), url.query()].map(str::to_owned)
    };
    for (raw, wanted) in [
        ("HTTPS://a.b:80/c?x=1#there", ["https", "a.b:80", "a.b", "80", "/c", "x=1"]),
        ("/c#there?x", ["", "", "", "", "/c", ""]),
        ("//a.b/c", ["", "a.b", "a.b", "", "/c", ""]),
        ("///a.b/c", ["", "", "", "", "///a.b/c", ""]),
        ("*", ["", "", "", "", "*", ""]),
        ("mailto:a@b?x=1", ["mailto", "", "", "", "", "x=1"]),
        ("http://u:p@a", ["http", "a", "a", "", "", ""]),
        ("tcp://a:1,b:2/", ["tcp", "a:1,b:2", "a:1,b", "2", "/", ""]),
        ("http://[fe80::1%25en0]:8/", ["http", "[fe80::1%en0]:8", "fe80::1%en0", "8", "/", ""]),
        ("http://<a>/", ["http", "<a>", "<a>", "", "/", ""]),
        // A path is left as it is, or all of it escaped anew.
        ("http://a/b%2Fc!", ["http", "a", "a", "", "/b%2Fc!", ""]),
        ("http://a/b c%2Fd!", ["http", "a", "a", "", "/b%20c/d%21", ""]),
    ] {
        assert_eq!(parts(raw), wanted, "{raw}");
    }
}

#[test]
fn what_is_no_url_is_refused_in_the_words_of_go() {
    assert_eq!(
        Url::parse("http://a#b").unwrap_err(),
        r##"parse "http://a#b": invalid character "#" in host name"##
    );
    for (raw, why) in [
        ("", "empty url"),
        ("nope", "invalid URI for request"),
        (":a", "missing protocol scheme"),
        ("http://a:80:80/", r#"invalid port ":80:80" after host"#),
        ("http://a:b/", r#"invalid port ":b" after host"#),
        ("http://a b@c/", "net/url: invalid userinfo"),
        ("http://[::1/", "missing ']' in host"),
        ("http://a[::1]/", "invalid IP-literal"),
        ("http://[1.2.3.4]/", "invalid IP-literal"),
        ("http://a%41/", r#"invalid URL escape "%41""#),
        ("http://a/%4", r#"invalid URL escape "%4""#),
        ("/a?b#%zz", r#"invalid URL escape "%zz""#),
    ] {
        assert_eq!(refused(raw), why, "{raw}");
    }
    assert!(
        Url::parse("http://[x]/")
            .unwrap_err()
            .ends_with(r#"invalid host: ParseAddr("x"): unable to parse IP"#)
    );
    // A path for those who only ask whether it is one, and a host for those who look into it.
    assert!(check("//a b/c").is_ok());
    assert_eq!(refused("//a b/c"), r#"invalid character " " in host name"#);
}

#[test]
fn urls_are_the_same_that_are_written_the_same() {
    for (one, other, same) in [
        ("http://a/b", "HTTP://a/b", true),
        ("http://a/b c", "http://a/b%20c", true),
        ("http://a/b", "http://a/b#there", false),
        ("http://a/b", "http://a/b?", false),
        ("http://u@a/", "http://v@a/", false),
        ("http://u@a/", "http://%75@a/", true),
        ("file:/a", "file:///a", false),
    ] {
        assert_eq!(parsed(one) == parsed(other), same, "{one} {other}");
    }
}

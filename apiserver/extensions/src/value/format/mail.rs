//! Addresses of mail, as Go's `mail.ParseAddress` takes them.

use std::net::IpAddr;

/// What comes after a part; nothing where the part is not there.
type Rest<'t> = Option<&'t str>;

/// Whether a text is one address: by itself, behind a name, or all there is in a group.
pub(super) fn is_address(text: &str) -> bool {
    let read = address(text, true).and_then(|(count, rest)| Some((count, comments(rest)?)));
    read == Some((1, ""))
}

/// How many addresses there are, and what comes after them.
fn address(text: &str, may_group: bool) -> Option<(usize, &str)> {
    let text = spaces(text);
    if let Some(rest) = plain(text) {
        let rest = spaces(rest);
        return Some((1, rest.strip_prefix('(').map_or(Some(rest), comment)?));
    }
    let named = if text.starts_with('<') { text } else { spaces(phrase(text)?) };
    if may_group && let Some(members) = named.strip_prefix(':') {
        return group(members);
    }
    Some((1, plain(named.strip_prefix('<')?)?.strip_prefix('>')?))
}

fn group(text: &str) -> Option<(usize, &str)> {
    if let Some(rest) = spaces(text).strip_prefix(';') {
        return Some((0, comments(rest)?));
    }
    let (mut count, mut rest) = (0, text);
    loop {
        let (more, after) = address(rest, false)?;
        let after = comments(after)?;
        count += more;
        if let Some(after) = after.strip_prefix(';') {
            return Some((count, comments(after)?));
        }
        rest = after.strip_prefix(',')?;
    }
}

/// What is before and after the `@`.
fn plain(text: &str) -> Rest<'_> {
    let text = spaces(text);
    let rest = match text.starts_with('"') {
        true => quoted(text).filter(|_| !text.starts_with("\"\""))?,
        false => dotted(text)?,
    };
    let domain = spaces(rest.strip_prefix('@')?);
    let Some(literal) = domain.strip_prefix('[') else { return dotted(domain) };
    let (inside, rest) = literal.split_once(']')?;
    inside.parse::<IpAddr>().is_ok().then_some(rest)
}

/// Words, of which there is at least one.
fn phrase(text: &str) -> Rest<'_> {
    let (mut rest, mut any) = (text, false);
    loop {
        rest = if any { comments(rest)? } else { spaces(rest) };
        let end = atom(rest);
        let after = if rest.starts_with('"') { quoted(rest) } else { Some(&rest[end..]) };
        let Some(after) = after.filter(|after| after.len() < rest.len()) else {
            return any.then_some(rest);
        };
        if is_foreign(&rest[..end]) {
            return any.then_some(after);
        }
        (rest, any) = (after, true);
    }
}

/// Whether a word is encoded from characters that Go does not know.
fn is_foreign(word: &str) -> bool {
    let inside = word.strip_prefix("=?").and_then(|word| word.strip_suffix("?="));
    let parts: Vec<&str> = inside.map(|word| word.split('?').collect()).unwrap_or_default();
    let [charset, "b" | "B" | "q" | "Q", _] = parts[..] else { return false };
    let known = ["utf-8", "iso-8859-1", "us-ascii"];
    !charset.is_empty() && !known.iter().any(|known| known.eq_ignore_ascii_case(charset))
}

/// How long the word at the beginning is, with the dots in it.
fn atom(text: &str) -> usize {
    let is_part = |c| is_visible(c) && !"()<>[]:;@\\,\"".contains(c);
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// A word in which every dot has something on both sides.
fn dotted(text: &str) -> Rest<'_> {
    let (word, rest) = text.split_at(atom(text));
    (!word.split('.').any(str::is_empty)).then_some(rest)
}

fn quoted(text: &str) -> Rest<'_> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if !is_visible(c) && !matches!(c, ' ' | '\t') => return None,
            _ if escaped => escaped = false,
            '"' => return Some(&text[at + 1..]),
            '\\' => escaped = true,
            _ => {}
        }
    }
    None
}

fn comments(text: &str) -> Rest<'_> {
    let mut rest = spaces(text);
    while let Some(inside) = rest.strip_prefix('(') {
        rest = spaces(comment(inside)?);
    }
    Some(rest)
}

/// A comment whose first parenthesis was read.
fn comment(text: &str) -> Rest<'_> {
    let (mut depth, mut escaped) = (1_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Some(&text[at + 1..]),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn spaces(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn is_visible(c: char) -> bool {
    c.is_ascii_graphic() || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn one_address_is_one() {
        for good in [
            "jdoe@machine.example",
            " jdoe@ machine.example\t",
            "John Doe <jdoe@machine.example>",
            "<jdoe@[192.168.0.1]>",
            "jdoe@[::1]",
            "\"Joe Q. Public\" <john.q.public@example.com>",
            "\"john (x) \\\"doe\"@example.com",
            "Joe Q.. (who (not) \\) he?) Public <a@b>",
            "jdoe@machine.example (John (Doe))",
            "Asem H. <noreply@example.com> (away)",
            "group: null@example.com;",
            "group: Joe <a@b> ( x ) ; (y)",
            "=?utf-8?q?J=C3=B6rg?= <joerg@example.com>",
            "μ@example.com",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "john.doe",
            "john.doe@",
            "@example.com",
            "John Doe",
            "<jdoe#machine.example>",
            "John <middle> Doe <jdoe@machine.example>",
            "John, Doe <jdoe@machine.example>",
            "a@gmail.com b@gmail.com",
            "a@b, c@d",
            ".a@b",
            "a..b@c",
            "a.@b",
            "a@b.",
            "jdoe@[nowhere]",
            "jdoe@[::1",
            "\"\"@example.com",
            "\"a@example.com",
            "a\u{7}@example.com",
            "a @example.com",
            "cfws@example.com (",
            "jdoe@example.com (John (Doe)",
            "Joe <a@b",
            "group: ;",
            "group: a@b, c@d;",
            "group: a@b",
            "group: other: a@b;;",
            "=?iso-8859-2?Q?Bogl=E1rka_Tak=E1cs?= <unknown@gmail.com>",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}

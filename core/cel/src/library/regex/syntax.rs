//! Patterns of Go's `regexp` in the syntax of the crate `regex`.

/// A pattern as the crate `regex` has to be given it to mean what it means in Go: classes as `\d` and word boundaries know
/// ASCII only, `[`, `&&`, `--` and `~~` are nothing special inside of a class, a `{` that begins no repetition stands for
/// itself, and so do `\<`, `\>` and all between `\Q` and `\E`. What is no pattern in Go is mostly none then either.
#[must_use]
pub fn go_pattern(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest, &mut out),
            '[' => class(rest, &mut out),
            '{' if !repeats(rest) => {
                out.push_str("\\{");
                &rest[1..]
            }
            c => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    out
}

/// What a class of Perl's has in it, and whether it is all else.
fn perl(c: char) -> Option<(&'static str, bool)> {
    let set = match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        _ => return None,
    };
    Some((set, c.is_ascii_uppercase()))
}

/// How long a name in braces is, with them; zero where there is none.
fn braces(text: &str) -> usize {
    let end = text.strip_prefix('{').and_then(|inside| inside.find('}'));
    end.map_or(0, |end| end + 2)
}

/// Whether a text begins with a repetition in braces.
fn repeats(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number(least) && (most.is_empty() || is_number(most))
}

/// An escape outside of a class; what comes after it.
fn escape<'r>(text: &'r str, out: &mut String) -> &'r str {
    let Some(c) = text[1..].chars().next() else {
        out.push('\\');
        return "";
    };
    let after = &text[1 + c.len_utf8()..];
    match (c, perl(c)) {
        ('Q', _) => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&::regex::escape(literal));
            return after;
        }
        ('b' | 'B', _) => out.extend(["(?-u:\\", if c == 'b' { "b" } else { "B" }, ")"]),
        ('<' | '>', _) => out.push(c),
        (_, Some((set, negated))) => {
            out.push_str(if negated { "[^" } else { "[" });
            out.push_str(set);
            out.push(']');
        }
        _ => {
            let named = if matches!(c, 'x' | 'p' | 'P') { braces(after) } else { 0 };
            out.push('\\');
            out.push(c);
            out.push_str(&after[..named]);
            return &after[named..];
        }
    }
    after
}

/// A class; what comes after it.
fn class<'r>(text: &'r str, out: &mut String) -> &'r str {
    let mut rest = &text[1..];
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
            out.push(']');
            return after;
        }
        first = false;
        if let Some(after) = set(rest, out) {
            rest = after;
            continue;
        }
        let (low, after) = one(rest);
        out.push_str(&low);
        rest = after;
        let range =
            rest.strip_prefix('-').filter(|high| !matches!(high.chars().next(), None | Some(']')));
        if let Some(high) = range {
            let (high, after) = one(high);
            out.push('-');
            out.push_str(&high);
            rest = after;
        }
    }
    rest
}

/// Several characters by their name, inside of a class; what comes after it.
fn set<'r>(text: &'r str, out: &mut String) -> Option<&'r str> {
    if let Some(inside) = text.strip_prefix("[:") {
        let end = inside.find(":]")? + 4;
        out.push_str(&text[..end]);
        return Some(&text[end..]);
    }
    let c = text.strip_prefix('\\')?.chars().next()?;
    let after = &text[1 + c.len_utf8()..];
    if matches!(c, 'p' | 'P') {
        let name = match braces(after) {
            0 => after.chars().next().map_or(0, char::len_utf8),
            named => named,
        };
        out.push('\\');
        out.push(c);
        out.push_str(&after[..name]);
        return Some(&after[name..]);
    }
    let (set, negated) = perl(c)?;
    match negated {
        true => out.extend(["[^", set, "]"]),
        false => out.push_str(set),
    }
    Some(after)
}

/// One character inside of a class, as it has to be written, and what comes after it.
fn one(text: &str) -> (String, &str) {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some('x')) => {
            let after = &text[2..];
            let digits = match braces(after) {
                0 => after.char_indices().nth(2).map_or(after.len(), |(at, _)| at),
                named => named,
            };
            (text[..2 + digits].to_owned(), &after[digits..])
        }
        (Some('\\'), Some(c @ ('<' | '>'))) => (c.to_string(), &text[2..]),
        (Some('\\'), Some(c)) => text
            .split_at_checked(1 + c.len_utf8())
            .map_or_else(|| (text.to_owned(), ""), |(escape, after)| (escape.to_owned(), after)),
        (Some(c), _) => {
            let after = &text[c.len_utf8()..];
            match "[]&~-^".contains(c) {
                true => (format!("\\{c}"), after),
                false => (c.to_string(), after),
            }
        }
        (None, _) => (String::new(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compiled;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, wanted) in [
            (r"^\w\d\s$", "a1 ", true),
            (r"^\w$", "é", false),
            (r"^\d$", "٣", false),
            (r"^\s$", "\u{a0}", false),
            (r"^\W\D\S$", "é٣é", true),
            (r"\bé", "é", false),
            (r"\bb\b", "a b c", true),
            (r"^\Bé", "é", true),
            (r"a\Bb", "ab", true),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[\w.-]+$", "é", false),
            (r"^[^\W\d]+$", "ab_", true),
            (r"^[^\W\d]+$", "a1", false),
            (r"^[[]$", "[", true),
            (r"^[^[\]]+$", "ab", true),
            (r"^[^[\]]+$", "a]", false),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "&ab", true),
            (r"^[+--]+$", "+,-", true),
            (r"^[a~~-]+$", "~-a", true),
            (r"^[[:alpha:]_]+$", "a_", true),
            (r"^[\x{e9}\x41-\x43\p{Greek}]+$", "éBα", true),
            (r"^\x{e9}\p{Greek}\pL{2}$", "éαxy", true),
            (r"^{[a-z]+}$", "{ab}", true),
            (r"^a{2}b{1,}$", "aabb", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^\<a\>$", "<a>", true),
            (r"^[\<\>]+$", "<>", true),
            (r"^\Qa.[b\E+$", "a.[bb", true),
            (r"^a\/b$", "a/b", true),
        ] {
            let made = compiled(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(made.is_match(text), wanted, "{pattern} {text}");
        }
        for none in ["[a", "a(", "(?=a)", "*", r"\", r"[\"] {
            assert!(compiled(none).is_err(), "{none}");
        }
    }
}

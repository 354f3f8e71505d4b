//! Why a text is no YAML, in the words of the original's parser, as far as the two agree on what is wrong.

use serde_saphyr::Error;

const NO_NODE: &str = "did not find expected node content";
const NO_KEY: &str = "did not find expected key";
const NO_END: &str = "found unexpected end of stream";
const NO_TOKEN: &str = "found character that cannot start any token";

/// What the scanner of the original finds; the rest is found by its parser.
const SCANNED: [&str; 3] = [
    "did not find expected tag URI",
    "did not find expected alphabetic or numeric character",
    "did not find expected comment or line break",
];

/// What is wrong, with the line where the original names one.
pub(super) fn told(text: &[u8], error: &Error) -> String {
    let error = error.without_snippet();
    let text = String::from_utf8_lossy(text);
    let place = Place::of(&text, error);
    match error {
        Error::Message { msg, .. } | Error::ExternalMessage { msg, .. } => {
            let (what, line) = place.words(msg);
            if line == 0 { what.to_owned() } else { format!("line {line}: {what}") }
        }
        Error::UnknownAnchor { .. } => match place.alias() {
            Some(name) => format!("unknown anchor '{name}' referenced"),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}

/// Where a text is wrong.
struct Place<'t> {
    text: &'t str,
    /// From one; zero where nothing is known.
    line: u64,
    /// In bytes.
    at: usize,
}

impl<'t> Place<'t> {
    fn of(text: &'t str, error: &Error) -> Self {
        let (line, column) =
            error.location().map_or((0, 0), |location| (location.line(), location.column()));
        let above = |count: u64| usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
        let start: usize = text.split_inclusive('\n').take(above(line)).map(str::len).sum();
        let rest = &text[start..];
        let within = rest.char_indices().nth(above(column)).map_or(rest.len(), |(at, _)| at);
        Self { text, line, at: start + within }
    }

    /// The original's words for those of our parser, and its line, zero for none. It counts lines from zero, and its
    /// scanner adds one to those that are not the first.
    fn words<'m>(&self, message: &'m str) -> (&'m str, u64) {
        let what = match message.strip_prefix("while ") {
            Some(rest) => rest.split_once(", ").map_or(rest, |(_, what)| what),
            None => message,
        };
        let parsed = self.line.saturating_sub(1);
        let scanned = if self.line > 1 { self.line } else { 0 };
        match what {
            "expected ',' or ']'" | "illegal placement of ':' indicator" => {
                (unended(Some('[')), parsed)
            }
            "misplaced bracket" => match self.text[..self.at].trim_end().chars().next_back() {
                None | Some(':' | '-') => (NO_NODE, parsed),
                Some(_) => (NO_KEY, parsed),
            },
            "unclosed quote" => (NO_END, self.line_of_end()),
            "invalid indentation in multiline quoted scalar" if !self.is_quoted_below() => {
                (NO_END, self.line_of_end())
            }
            "unexpected character: `@'" | "unexpected character: `%'" => (NO_TOKEN, scanned),
            "unexpected character: ``'" => (NO_TOKEN, scanned),
            "simple key expected ':'" => ("could not find expected ':'", self.line + 1),
            "invalid indentation" => (NO_KEY, parsed),
            "unsupported YAML major version" => ("found incompatible YAML document", parsed),
            _ if what.starts_with("mismatched bracket") => self.mismatched(what),
            _ if what.starts_with("unclosed bracket") => {
                let missing = missing(self.text, what.chars().nth_back(1));
                (missing, self.text.lines().count() as u64)
            }
            _ if what.starts_with("invalid trailing content after") => (NO_KEY, parsed),
            _ if what.starts_with("tab") => (NO_TOKEN, scanned),
            _ if SCANNED.contains(&what) => (what, scanned),
            _ if what.starts_with("did not find expected") => (what, parsed),
            other => (other, scanned),
        }
    }

    /// Of `mismatched bracket '[' closed by '}'`, where this is the place of the first: that of the second counts.
    fn mismatched(&self, what: &str) -> (&'static str, u64) {
        let open = what.chars().find(|c| matches!(c, '[' | '{'));
        let close = what.chars().nth_back(1).unwrap_or('}');
        let end = self.text[self.at..].find(close).map_or(self.text.len(), |found| self.at + found);
        let before = &self.text[..end];
        (missing(before, open), before.matches('\n').count() as u64)
    }

    fn line_of_end(&self) -> u64 {
        match self.text.matches('\n').count() as u64 {
            0 => 0,
            breaks => breaks + 1,
        }
    }

    /// Whether there is a quote in the line or below it, which may be the end of what is quoted.
    fn is_quoted_below(&self) -> bool {
        let start = self.text[..self.at].rfind('\n').map_or(0, |end| end + 1);
        self.text[start..].contains(['"', '\''])
    }

    /// The name of the alias that stands here.
    fn alias(&self) -> Option<&'t str> {
        let name = self.text[self.at..].strip_prefix('*')?;
        let end = name.find(|c: char| c.is_whitespace() || ",[]{}".contains(c));
        Some(&name[..end.unwrap_or(name.len())])
    }
}

/// What is missing after a text that ends within brackets.
fn missing(text: &str, open: Option<char>) -> &'static str {
    match text.trim_end().chars().next_back() {
        Some('[' | '{' | ',' | ':') => NO_NODE,
        _ => unended(open),
    }
}

fn unended(open: Option<char>) -> &'static str {
    match open {
        Some('{') => "did not find expected ',' or '}'",
        _ => "did not find expected ',' or ']'",
    }
}

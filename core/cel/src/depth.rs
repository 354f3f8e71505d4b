//! How deep an expression may be, told from its text: what reads it and what evaluates it go down with it.

/// The deepest that is read.
pub(crate) const LIMIT: usize = 250;

/// What stands between two brackets.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    /// `&&`, `||`, `?` and `:` so far.
    logic: usize,
    /// Other operators since the last of those.
    chain: usize,
    /// The deepest bracket since then.
    inner: usize,
    /// The deepest that stood before.
    deepest: usize,
}

impl Level {
    /// A part ends, and the next goes on from it.
    fn next_term(&mut self) {
        self.deepest = self.deepest.max(self.chain + self.inner);
        (self.chain, self.inner) = (0, 0);
    }

    /// A part ends, and another stands beside it.
    fn next_item(&mut self) {
        let all = self.depth();
        *self = Self { deepest: all, ..Self::default() };
    }

    fn depth(&self) -> usize {
        self.logic + self.deepest.max(self.chain + self.inner)
    }
}

/// At least as deep as the expression of this text.
pub(crate) fn bound(source: &str) -> usize {
    let mut levels = vec![Level::default()];
    let bytes = source.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let count = levels.len();
        let Some(level) = levels.last_mut() else { break };
        match byte {
            b'"' | b'\'' => at = behind_text(bytes, at) - 1,
            b'(' | b'[' | b'{' => levels.push(Level::default()),
            b')' | b']' | b'}' if count > 1 => close(&mut levels),
            b',' => level.next_item(),
            b'&' | b'|' | b'?' | b':' => {
                // Both are of two characters.
                at += usize::from(matches!(byte, b'&' | b'|'));
                level.logic += 1;
                level.next_term();
            }
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'!' => level.chain += 1,
            b'<' | b'>' | b'=' => {
                at += usize::from(bytes.get(at + 1) == Some(&b'='));
                level.chain += 1;
            }
            _ => {}
        }
        at += 1;
    }
    while levels.len() > 1 {
        close(&mut levels);
    }
    levels.first().map_or(0, Level::depth)
}

fn close(levels: &mut Vec<Level>) {
    let depth = levels.pop().map_or(0, |level| level.depth() + 1);
    if let Some(level) = levels.last_mut() {
        level.inner = level.inner.max(depth);
    }
}

/// The place behind a text that begins here; the end where it does not end.
fn behind_text(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let raw = start > 0 && matches!(bytes[start - 1], b'r' | b'R');
    let mut at = start + if triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
            continue;
        }
        if triple && bytes[at..].starts_with(&[quote; 3]) {
            return at + 3;
        }
        if !triple && bytes[at] == quote {
            return at + 1;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_the_deepest_part() {
        assert_eq!(bound("true"), 0);
        assert_eq!(bound("a.b == 1 && c.d == 2"), 3);
        assert_eq!(bound("f(a.b.c, d)"), 3);
        assert_eq!(bound("'((((' + \"]]\\\"((\""), 1);
        assert!(bound(&format!("{}1{}", "(".repeat(300), ")".repeat(300))) > LIMIT);
        assert!(bound(&"!".repeat(300)) > LIMIT);
        assert!(bound(&vec!["a"; 300].join("+")) > LIMIT);
        assert!(bound(&vec!["a.b == 1"; 100].join(", ")) < 5);
        for odd in [")))", "'", "r'\\", "\"\"\"", "&", "(\u{e9}"] {
            bound(odd);
        }
    }
}

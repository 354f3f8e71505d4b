//! What changed between two values, as the original shows it: a unified diff of their internal JSON.

use super::internal::write_fields;
use crate::schema::{Field, Schema};
use serde_json::Value;
use std::fmt::Write;

/// How many lines stand around a change.
const CONTEXT: usize = 3;

/// The lines in which two objects of this shape differ; `only` chooses among its fields.
#[must_use]
pub fn internal_diff(
    old: &Value,
    new: &Value,
    schema: &Schema,
    only: impl Fn(&Field) -> bool,
) -> String {
    let text = |value: &Value| pretty(&write_fields(value, schema, &only));
    let (old, new) = (text(old), text(new));
    unified(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>())
}

/// Compact JSON with a line for each member, indented by one space.
fn pretty(compact: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut chars = compact.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if let Some(close) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                quoted = true;
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A line of the diff: what is done, and the numbers of the lines before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Same(usize, usize),
    Gone(usize),
    New(usize),
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tails = old[head..].iter().rev().zip(new[head..].iter().rev());
    let tail = tails.take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    // How long the longest common part of what is left is, from each place on.
    let mut longest = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = match a[i] == b[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let mut all: Vec<_> = (0..head).map(|at| Step::Same(at, at)).collect();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            all.push(Step::Same(head + i, head + j));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            all.push(Step::Gone(head + i));
            i += 1;
        } else {
            all.push(Step::New(head + j));
            j += 1;
        }
    }
    let end = |at| Step::Same(old.len() - tail + at, new.len() - tail + at);
    all.extend((0..tail).map(end));
    all
}

fn unified(old: &[&str], new: &[&str]) -> String {
    let steps = steps(old, new);
    let changed = |step: &Step| !matches!(step, Step::Same(..));
    let mut out = String::new();
    let mut at = 0;
    while let Some(first) = steps[at..].iter().position(changed).map(|found| at + found) {
        let start = first.saturating_sub(CONTEXT).max(at);
        let mut last = first;
        while let Some(next) = steps[last + 1..].iter().position(changed) {
            if next > 2 * CONTEXT {
                break;
            }
            last += next + 1;
        }
        let end = (last + 1 + CONTEXT).min(steps.len());
        hunk(&mut out, &steps[start..end], &steps[..start], old, new);
        at = end;
    }
    out
}

fn hunk(out: &mut String, steps: &[Step], before: &[Step], old: &[&str], new: &[&str]) {
    let of_old = |steps: &[Step]| steps.iter().filter(|s| !matches!(s, Step::New(_))).count();
    let of_new = |steps: &[Step]| steps.iter().filter(|s| !matches!(s, Step::Gone(_))).count();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "@@ -{} +{} @@",
        range(of_old(before), of_old(steps)),
        range(of_new(before), of_new(steps))
    );
    for step in steps {
        let _ = match *step {
            Step::Same(at, _) => writeln!(out, " {}", old[at]),
            Step::Gone(at) => writeln!(out, "-{}", old[at]),
            Step::New(at) => writeln!(out, "+{}", new[at]),
        };
    }
}

fn range(start: usize, length: usize) -> String {
    match length {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{length}", start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use serde_json::json;

    #[test]
    fn changes_are_shown_with_three_lines_around_them() {
        let claim = builtin("io.k8s.api.core.v1.PersistentVolumeClaimSpec").unwrap();
        let spec = |class: &str| {
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "selector": {"matchLabels": {"a": "b"}}, "storageClassName": class,
                "volumeMode": "Filesystem"})
        };
        let diff = internal_diff(&spec("std"), &spec("other"), &claim, |_| true);
        assert_eq!(
            diff,
            "@@ -14,7 +14,7 @@\n   }\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \"std\",\n\
             + \"StorageClassName\": \"other\",\n  \"VolumeMode\": \"Filesystem\",\n  \"DataSource\": null,\n  \
             \"DataSourceRef\": null,\n"
        );
    }

    #[test]
    fn hunks_that_touch_are_one() {
        let old: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].to_vec();
        let mut new = old.clone();
        new[1] = "x";
        new.remove(9);
        assert_eq!(
            unified(&old, &new),
            "@@ -1,5 +1,5 @@\n a\n-b\n+x\n c\n d\n e\n@@ -7,5 +7,4 @@\n g\n h\n i\n-j\n k\n"
        );
    }
}

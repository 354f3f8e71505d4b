//! Bounds of numbers.

use super::{Found, Outcome};
use crate::props::Props;
use serde_json::{Number, Value};

pub(super) fn check(props: &Props, number: &Number, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let kind = if props.int_or_string { "" } else { props.kind.as_str() };
    let format = match (kind, props.format.as_str()) {
        ("integer", format @ ("int32" | "int64")) | ("number", format @ ("float" | "double")) => {
            format
        }
        _ => "",
    };
    let range = Range { kind, format, path };
    range.check(number.as_f64(), number.as_i64(), "Checked", &mut outcome);
    if let Some(factor) = props.multiple_of {
        let native = range.check(Some(factor), whole(factor), "MultipleOf", &mut outcome);
        multiple_of(number, factor, native, path, &mut outcome);
    }
    let bounds = [
        (props.minimum, props.exclusive_minimum, "Minimum boundary", "greater"),
        (props.maximum, props.exclusive_maximum, "Maximum boundary", "less"),
    ];
    for (bound, exclusive, name, word) in bounds {
        let Some(bound) = bound else { continue };
        let native = range.check(Some(bound), whole(bound), name, &mut outcome);
        let side = if word == "greater" { -1.0 } else { 1.0 };
        // Whole numbers are compared with the whole part of the bound, unless the bound itself is at fault.
        let (over, equal, shown) = match (native, number.as_i64()) {
            (true, Some(value)) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the original truncates the bound likewise"
                )]
                let limit = bound as i64;
                let over = if side < 0.0 { value < limit } else { value > limit };
                (over, value == limit, limit.to_string())
            }
            _ => {
                let value = number.as_f64().unwrap_or_default();
                ((value - bound) * side > 0.0, value == bound, go_float(bound))
            }
        };
        if over || exclusive && equal {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let what = match exclusive {
                true => format!("should be {word} than {shown}"),
                false => format!("should be {word} than{or_equal} {shown}"),
            };
            outcome.add(Found::invalid(path, Value::Number(number.clone()), &what));
        }
    }
    outcome.matches += 1;
    outcome
}

fn multiple_of(number: &Number, factor: f64, native: bool, path: &str, outcome: &mut Outcome) {
    if factor <= 0.0 {
        let message =
            format!("factor MultipleOf declared for {path} must be positive: {}", go_float(factor));
        outcome.add(Found::new(
            path,
            kubeplane_core::field::ErrorKind::Invalid,
            json_number(factor),
            message,
        ));
        return;
    }
    let fits = match (native.then(|| number.as_i64()).flatten(), whole(factor)) {
        (Some(value), Some(factor)) => value % factor == 0,
        _ => {
            let value = number.as_f64().unwrap_or_default();
            let quotient = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
            (quotient - quotient.round()).abs() < 1e-9 * quotient.abs().max(1.0)
        }
    };
    if !fits {
        let what = format!("should be a multiple of {}", go_float(factor));
        outcome.add(Found::invalid(path, Value::Number(number.clone()), &what));
    }
}

fn json_number(value: f64) -> Value {
    whole(value).map_or_else(|| value.into(), Value::from)
}

/// The whole number a float stands for.
fn whole(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64)
}

/// As Go prints a float with `%v`.
fn go_float(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    value.to_string()
}

/// What a number of a type and format may be.
struct Range<'a> {
    kind: &'a str,
    format: &'a str,
    path: &'a str,
}

impl Range<'_> {
    fn check(
        &self,
        float: Option<f64>,
        whole: Option<i64>,
        name: &str,
        outcome: &mut Outcome,
    ) -> bool {
        let fits = match (self.kind, self.format) {
            ("integer", "int32") => whole.is_some_and(|value| i32::try_from(value).is_ok()),
            ("integer", _) => whole.is_some(),
            ("number", "float") => float.is_some_and(|value| value.abs() <= f64::from(f32::MAX)),
            _ => true,
        };
        if !fits {
            let format = match self.format {
                "" => "(default format)".to_owned(),
                format => format!("with format {format}"),
            };
            let text =
                format!("{name} value must be of type {} {format} in {}", self.kind, self.path);
            outcome.add(Found::loose(text));
        }
        fits
    }
}

//! Amounts of resources: `100m`, `1.5Gi`, `12e6`; exact, never floating.
//!
//! ```
//! use kubeplane_core::quantity::Quantity;
//! let mut memory: Quantity = "1.5Gi".parse()?;
//! assert_eq!(memory.to_string(), "1536Mi");
//! memory.add(&"512Mi".parse()?);
//! assert_eq!((memory.to_string().as_str(), memory.value()), ("2Gi", 2 << 30));
//! # Ok::<(), kubeplane_core::quantity::QuantityError>(())
//! ```

mod parse;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::Value;
use std::{cmp::Ordering, fmt, str::FromStr};

/// Why a text is no quantity, in the original's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not of the form of a quantity.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number is not one, or has more than 38 digits.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// No such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Format {
    /// `12M`: powers of ten by letter.
    #[default]
    DecimalSi,
    /// `12Mi`: powers of 1024 by letters.
    BinarySi,
    /// `12e6`: powers of ten by number.
    DecimalExponent,
}

/// An amount: `mantissa * 10^scale`, no finer than one billionth.
///
/// Equality and order are those of the amounts; `1Gi` equals `1024Mi`.
#[derive(Debug, Clone, Default)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
    /// The original keeps the text it parsed when it looks canonical, which shows for texts as `1.001`.
    text: Option<Box<str>>,
}

const NANO: i32 = -9;

impl Quantity {
    /// A whole amount.
    #[must_use]
    pub fn new(value: i64, format: Format) -> Self {
        Self { mantissa: value.into(), scale: 0, format, text: None }
    }

    /// An amount of thousandths.
    #[must_use]
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { mantissa: value.into(), scale: -3, format, text: None }
    }

    /// Parses a text.
    ///
    /// # Errors
    /// When it is no quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse::parse(text)
    }

    /// Parses JSON: text, trimmed, or a number.
    ///
    /// # Errors
    /// When it is neither, or the text is no quantity.
    pub fn from_json(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => Self::parse(text.trim()),
            Value::Null => Ok(Self::default()),
            other => Self::parse(&other.to_string()),
        }
    }

    /// Reads the API's typed form; zero when it is none.
    #[must_use]
    pub fn from_api(quantity: &ApiQuantity) -> Self {
        Self::parse(quantity.0.trim()).unwrap_or_default()
    }

    /// The API's typed form.
    #[must_use]
    pub fn to_api(&self) -> ApiQuantity {
        ApiQuantity(self.to_string())
    }

    /// Whether a text is, for all one can see at once, a canonical quantity no finer than thousandths: up to three digits
    /// and a common suffix, as most are.
    #[must_use]
    pub fn is_plain(text: &str) -> bool {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        (1..=3).contains(&digits)
            && !text.starts_with('0')
            && matches!(
                &text[digits..],
                "" | "m" | "k" | "M" | "G" | "T" | "Ki" | "Mi" | "Gi" | "Ti"
            )
    }

    /// How it prints.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The same amount printed in another way.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, text: None, ..self }
    }

    /// Whole units, rounded away from zero, capped to what fits.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Thousandths, rounded away from zero, capped to what fits.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// In units of `10^scale`, rounded away from zero, capped to what fits.
    #[must_use]
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (value, _) = at_scale(self.mantissa, self.scale, scale);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// The whole amount, if it is whole and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        let (value, exact) = at_scale(self.mantissa, self.scale, 0);
        i64::try_from(value).ok().filter(|_| exact)
    }

    /// The nearest floating-point number.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "asked for as an approximation")]
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    #[must_use]
    pub fn sign(&self) -> i32 {
        match self.mantissa.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Rounds away from zero to multiples of `10^scale`; whether nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if self.scale >= scale {
            return true;
        }
        let (mantissa, exact) = at_scale(self.mantissa, self.scale, scale);
        (self.mantissa, self.scale, self.text) = (mantissa, scale, None);
        exact
    }

    /// Adds; zero takes the other's format. Capped to what fits.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, other.mantissa);
    }

    /// Subtracts; zero takes the other's format. Capped to what fits.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, other.mantissa.saturating_neg());
    }

    fn combine(&mut self, other: &Self, mantissa: i128) {
        self.text = None;
        if self.mantissa == 0 {
            (self.format, self.scale, self.mantissa) = (other.format, other.scale, mantissa);
            return;
        }
        if mantissa == 0 {
            return;
        }
        let scale = self.scale.min(other.scale);
        let (mine, _) = at_scale(self.mantissa, self.scale, scale);
        let (theirs, _) = at_scale(mantissa, other.scale, scale);
        (self.mantissa, self.scale) = (mine.saturating_add(theirs), scale);
    }

    /// Multiplies; capped to what fits.
    pub fn mul(&mut self, by: i64) {
        (self.mantissa, self.text) = (self.mantissa.saturating_mul(by.into()), None);
    }

    /// The product, in this one's format; no finer than one billionth, and capped to what fits.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        let mantissa = self.mantissa.saturating_mul(other.mantissa);
        let scale = self.scale.saturating_add(other.scale);
        let mut product = Self { mantissa, scale, format: self.format, text: None };
        product.round_up(NANO);
        product
    }

    /// Changes the sign.
    pub fn neg(&mut self) {
        (self.mantissa, self.text) = (self.mantissa.saturating_neg(), None);
    }

    /// The mantissa without factors of ten, and the power of ten, a multiple of three.
    fn decimal_form(&self) -> (i128, i32) {
        let (mut mantissa, mut scale) = (self.mantissa, self.scale);
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale = scale.saturating_add(1);
        }
        while scale % 3 != 0 {
            mantissa = mantissa.saturating_mul(10);
            scale -= 1;
        }
        (mantissa, scale)
    }
}

/// The mantissa at another scale, rounded away from zero and capped; whether that is exact.
fn at_scale(mantissa: i128, from: i32, to: i32) -> (i128, bool) {
    let difference = i64::from(from) - i64::from(to);
    let factor =
        u32::try_from(difference.unsigned_abs()).ok().and_then(|power| 10i128.checked_pow(power));
    match (difference >= 0, factor) {
        _ if mantissa == 0 => (0, true),
        (true, Some(factor)) => match mantissa.checked_mul(factor) {
            Some(product) => (product, true),
            None => (if mantissa < 0 { i128::MIN } else { i128::MAX }, false),
        },
        (true, None) => (if mantissa < 0 { i128::MIN } else { i128::MAX }, false),
        (false, Some(factor)) => {
            let (whole, rest) = (mantissa / factor, mantissa % factor);
            (whole + rest.signum(), rest == 0)
        }
        (false, None) => (mantissa.signum(), false),
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale == other.scale || self.sign() != other.sign() {
            return self.mantissa.cmp(&other.mantissa);
        }
        let scale = self.scale.min(other.scale);
        let mine = at_scale(self.mantissa, self.scale, scale);
        let theirs = at_scale(other.mantissa, other.scale, scale);
        match (mine.1, theirs.1) {
            (true, true) => mine.0.cmp(&theirs.0),
            // What does not fit is the larger in magnitude.
            (false, _) => {
                if self.sign() > 0 {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (_, false) => {
                if self.sign() > 0 {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

/// In canonical form: no fraction, the largest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi {
            let (mut whole, exact) = at_scale(self.mantissa, self.scale, 0);
            if exact && whole.abs() >= 1024 {
                let mut power = 0;
                while whole % 1024 == 0 && power < BINARY.len() - 1 {
                    whole /= 1024;
                    power += 1;
                }
                return write!(f, "{whole}{}", BINARY[power]);
            }
        }
        let (mantissa, scale) = self.decimal_form();
        if self.format == Format::DecimalExponent {
            return if scale == 0 {
                write!(f, "{mantissa}")
            } else {
                write!(f, "{mantissa}e{scale}")
            };
        }
        let known = scale.clamp(NANO, 18);
        let (mantissa, _) = at_scale(mantissa, scale, known);
        let index = usize::try_from((known - NANO) / 3).unwrap_or_default();
        write!(f, "{mantissa}{}", DECIMAL[index])
    }
}

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

#[cfg(test)]
mod tests;

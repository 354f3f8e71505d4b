//! Sizes and costs between a least and a most, which end at the largest number there is.

/// A tenth of a unit for each character that is looked at.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// A quarter of a unit for each character of a pattern.
pub(crate) const PATTERN: f64 = 0.25;
pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const STRUCT: u64 = 40;
/// Two checks are the most that one expression can make.
pub(crate) const CHECK: u64 = 350_000;

/// A size or a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Bounds {
    pub(crate) const ZERO: Self = Self::exactly(0);
    pub(crate) const ONE: Self = Self::exactly(1);
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) const fn exactly(value: u64) -> Self {
        Self { min: value, max: value }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// A number times a factor, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the original counts in floating point too"
)]
pub(crate) fn scaled(value: u64, factor: f64) -> u64 {
    (value as f64 * factor).ceil() as u64
}

/// What matching a pattern of this length against a text of that length costs.
pub(crate) fn matching(text: u64, pattern: u64) -> u64 {
    scaled(text.saturating_add(1), TRAVERSAL).saturating_mul(scaled(pattern, PATTERN))
}

/// What a selector of this length costs to read.
pub(crate) fn selector(length: Bounds) -> Bounds {
    #[expect(clippy::cast_precision_loss, reason = "small constants")]
    let requirement = (LIST + STRUCT) as f64;
    let requirements = length.scaled(0.5).scaled(requirement);
    Bounds::exactly(LIST).plus(length.scaled(TRAVERSAL)).plus(requirements)
}

use crate::MAX_SCORE;

/// How the use of resources becomes a score.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScoringStrategy {
    /// The more is left the better.
    #[default]
    LeastAllocated,
    /// The fuller the better.
    MostAllocated,
    /// By a broken line from utilization to score; points in order of utilization.
    RequestedToCapacityRatio(Vec<ShapePoint>),
}

/// A point of a broken line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapePoint {
    /// Percent of the resource in use.
    pub utilization: i64,
    /// From zero to ten.
    pub score: i64,
}

/// What a point's ten is in scores.
const SCALE: i64 = MAX_SCORE / 10;

impl ScoringStrategy {
    /// The weighted mean over resources: what would be used, what there is, and the weight.
    pub(super) fn score(&self, resources: impl Iterator<Item = (i64, i64, i64)>) -> i64 {
        let (mut total, mut weights) = (0, 0);
        for (used, has, weight) in resources.filter(|(_, has, _)| *has != 0) {
            let own = match self {
                Self::LeastAllocated if used > has => 0,
                Self::LeastAllocated => (has - used) * MAX_SCORE / has,
                Self::MostAllocated => used.min(has) * MAX_SCORE / has,
                Self::RequestedToCapacityRatio(shape) => {
                    let own = on_line(shape, if used > has { 100 } else { used * 100 / has });
                    if own <= 0 {
                        // Such a resource has no say.
                        continue;
                    }
                    own
                }
            };
            total += own * weight;
            weights += weight;
        }
        match self {
            _ if weights == 0 => 0,
            Self::RequestedToCapacityRatio(_) => rounded(total, weights),
            _ => total / weights,
        }
    }
}

/// Half up, for numbers that are not negative.
pub(in crate::plugins) fn rounded(total: i64, parts: i64) -> i64 {
    (2 * total + parts) / (2 * parts)
}

/// What a broken line says of a utilization, in scores.
pub(in crate::plugins) fn on_line(shape: &[ShapePoint], utilization: i64) -> i64 {
    let mut before: Option<&ShapePoint> = None;
    for point in shape {
        if utilization <= point.utilization {
            let Some(before) = before else { return point.score * SCALE };
            let rise = (point.score - before.score) * SCALE;
            let width = point.utilization - before.utilization;
            return before.score * SCALE + rise * (utilization - before.utilization) / width;
        }
        before = Some(point);
    }
    before.map_or(0, |last| last.score * SCALE)
}

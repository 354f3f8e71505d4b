use crate::MAX_SCORE;

/// Brings scores into range so that the largest becomes [`MAX_SCORE`]; `reverse` makes small ones large.
pub(super) fn normalize(scores: &mut [i64], reverse: bool) {
    let largest = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        let scaled = if largest == 0 { 0 } else { *score * MAX_SCORE / largest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

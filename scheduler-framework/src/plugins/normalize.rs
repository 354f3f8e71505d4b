use crate::MAX_SCORE;

/// Brings scores into range so that the largest becomes [`MAX_SCORE`]; `reverse` makes small ones large.
pub(super) fn normalize(scores: &mut [i64], reverse: bool) {
    let largest = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        let scaled = if largest == 0 { 0 } else { *score * MAX_SCORE / largest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn the_largest_becomes_a_hundred_or_none() {
        for (reverse, scores, expected) in [
            (false, [1, 2, 3, 4], [25, 50, 75, 100]),
            (true, [1, 2, 3, 4], [75, 50, 25, 0]),
            (false, [1000, 10, 20, 30], [100, 1, 2, 3]),
            (true, [1000, 10, 20, 30], [0, 99, 98, 97]),
            (false, [1, 1, 1, 1], [100, 100, 100, 100]),
            (false, [1000, 1, 1, 1], [100, 0, 0, 0]),
            (true, [0, 1, 1, 1], [100, 0, 0, 0]),
            (false, [0, 0, 0, 0], [0, 0, 0, 0]),
            (true, [0, 0, 0, 0], [100, 100, 100, 100]),
        ] {
            let mut own = scores;
            normalize(&mut own, reverse);
            assert_eq!(own, expected, "{scores:?}");
        }
    }
}

//! The arithmetic of rollouts: numbers in, numbers out.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How many pods above and below the wanted number a rolling update may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

/// Resolves both ends of the fence; at least one of them is above zero.
pub(super) fn fence(
    surge: Option<&IntOrString>,
    unavailable: Option<&IntOrString>,
    desired: i32,
) -> Fence {
    let surge = resolve(surge, desired, true);
    let unavailable = resolve(unavailable, desired, false);
    // Rounding may leave both at zero, and then nothing could ever move.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Fence { surge, unavailable }
}

/// A number, or a part of `total` rounded up or down.
pub(in crate::builtin) fn resolve(value: Option<&IntOrString>, total: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 =
                text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or_default();
            let product = percent * i64::from(total);
            let part = if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(part).unwrap_or(i32::MAX)
        }
    }
}

/// The size of one replica set and how many of its pods are available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) replicas: i32,
    pub(super) available: i32,
}

impl Size {
    /// How many stay available: its status may still count pods that are to go, since it was made smaller.
    fn lasting(self) -> i32 {
        self.available.min(self.replicas)
    }
}

/// How large the new replica set may become, when all sets together have or are to have `total` pods.
pub(super) fn grow_new(desired: i32, surge: i32, total: i32, current: i32) -> i32 {
    let allowed = desired + surge;
    if total >= allowed {
        return current;
    }
    current + (allowed - total).min(desired - current)
}

/// What the old replica sets, oldest first, shrink to: first by pods that are not available anyway, then by
/// available ones as far as enough stay available.
pub(super) fn shrink_old(desired: i32, unavailable: i32, new: Size, old: &[Size]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|set| set.replicas).collect();
    let total = sizes.iter().sum::<i32>() + new.replicas;
    let min_available = desired - unavailable;
    let mut room = total - min_available - (new.replicas - new.available);
    if room <= 0 {
        return sizes;
    }
    for (size, set) in sizes.iter_mut().zip(old) {
        let broken = (*size - set.available).clamp(0, room.max(0));
        *size -= broken;
        room -= broken;
    }
    let available = old.iter().map(|set| set.lasting()).sum::<i32>() + new.lasting();
    let mut spare = (available - min_available).max(0);
    for size in &mut sizes {
        let part = (*size).min(spare);
        *size -= part;
        spare -= part;
    }
    sizes
}

/// One active replica set when a deployment is scaled in the middle of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) replicas: i32,
    /// The largest number of pods the deployment could have before it was scaled, as noted on the set; or what
    /// the deployment's status says.
    pub(super) max_before: i32,
}

/// New sizes in proportion to the old ones; the first, largest set takes what rounding leaves over.
pub(super) fn scale_proportionally(desired: i32, surge: i32, sets: &[Share]) -> Vec<i32> {
    let allowed = if desired > 0 { desired + surge } else { 0 };
    let to_add = allowed - sets.iter().map(|set| set.replicas).sum::<i32>();
    let mut added = 0;
    let mut sizes: Vec<i32> = sets
        .iter()
        .map(|set| {
            let part = proportion(desired, surge, *set, to_add, added);
            added += part;
            set.replicas + part
        })
        .collect();
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

fn proportion(desired: i32, surge: i32, set: Share, to_add: i32, added: i32) -> i32 {
    if set.replicas == 0 || to_add == added {
        return 0;
    }
    let fraction = if desired == 0 {
        -set.replicas
    } else if set.max_before == 0 {
        0
    } else {
        let size = f64::from(set.replicas) * f64::from(desired + surge) / f64::from(set.max_before);
        round(size) - set.replicas
    };
    let left = to_add - added;
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "replica counts are far within the range of i32"
)]
fn round(value: f64) -> i32 {
    value.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> IntOrString {
        text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down_but_one_of_them_moves() {
        let table = [
            ("0%", "1%", 2, (0, 1)),
            ("0%", "1%", 1, (0, 1)),
            ("1%", "25%", 2, (1, 0)),
            ("1%", "25%", 1, (1, 0)),
            ("25%", "25%", 3, (1, 0)),
            ("25%", "25%", 10, (3, 2)),
            ("0", "1", 5, (0, 1)),
            ("2", "0", 5, (2, 0)),
        ];
        for (surge, unavailable, desired, expected) in table {
            let fence = fence(Some(&value(surge)), Some(&value(unavailable)), desired);
            assert_eq!(
                (fence.surge, fence.unavailable),
                expected,
                "{surge} {unavailable} of {desired}"
            );
        }
        assert_eq!(super::fence(None, None, 3), Fence { surge: 0, unavailable: 1 });
    }

    #[test]
    fn the_new_set_grows_into_the_surge() {
        for (desired, surge, total, current, expected) in [
            (10, 0, 10, 0, 0),
            (10, 2, 10, 0, 2),
            (10, 5, 5, 0, 10),
            (10, 2, 13, 3, 3),
            (3, 1, 3, 0, 1),
            (3, 1, 0, 0, 3),
        ] {
            assert_eq!(
                grow_new(desired, surge, total, current),
                expected,
                "{desired}+{surge}, {current} of {total}"
            );
        }
    }

    fn size(replicas: i32, available: i32) -> Size {
        Size { replicas, available }
    }

    #[test]
    fn old_sets_shrink_by_broken_pods_first() {
        let table = [
            // Ten wanted, two may be missing: two of the old go at once.
            (10, 2, size(0, 0), vec![size(10, 10)], vec![8]),
            // Nothing may be missing, and the surge pods are not available yet.
            (10, 0, size(2, 0), vec![size(10, 10)], vec![10]),
            // Two new pods are available, so two old ones go.
            (10, 0, size(2, 2), vec![size(10, 10)], vec![8]),
            // New pods never become available and an old one broke: nothing may go.
            (10, 2, size(5, 0), vec![size(8, 7)], vec![8]),
            // After an undo, broken pods of the set before go, oldest set first.
            (10, 2, size(8, 7), vec![size(5, 0)], vec![1]),
            // A roll-over: the two sets in the middle shrink before any new pod is there.
            (10, 2, size(0, 0), vec![size(8, 8), size(5, 0)], vec![8, 0]),
            (10, 3, size(0, 0), vec![size(3, 1), size(9, 9)], vec![0, 7]),
            // Two old ones were told to go already and are still counted: they are not spared again.
            (10, 2, size(4, 1), vec![size(8, 10)], vec![7]),
        ];
        for (desired, unavailable, new, old, expected) in table {
            assert_eq!(
                shrink_old(desired, unavailable, new, &old),
                expected,
                "{desired} {unavailable} {new:?} {old:?}"
            );
        }
    }

    /// Runs a whole rollout in which pods become available at once, and checks the promise at every step.
    #[test]
    fn a_rolling_update_never_leaves_its_fence_and_ends() {
        for (desired, surge, unavailable) in
            [(3, 1, 0), (10, 3, 2), (1, 0, 1), (5, 5, 0), (7, 0, 3)]
        {
            let (mut new, mut old) = (size(0, 0), size(desired, desired));
            for step in 0.. {
                assert!(step < 100, "no end: {new:?} {old:?}");
                new.replicas = grow_new(desired, surge, new.replicas + old.replicas, new.replicas);
                assert!(new.replicas + old.replicas <= desired + surge);
                old.replicas = shrink_old(desired, unavailable, new, &[old])[0];
                old.available = old.replicas;
                assert!(new.available + old.available >= desired - unavailable, "{new:?} {old:?}");
                new.available = new.replicas;
                if new.available == desired && old.replicas == 0 {
                    break;
                }
            }
        }
    }

    #[test]
    fn scaling_in_the_middle_keeps_proportions() {
        let shares = |sizes: &[i32], max_before| -> Vec<Share> {
            sizes.iter().map(|&replicas| Share { replicas, max_before }).collect()
        };
        let table = [
            (12, 0, shares(&[5, 5], 10), vec![6, 6]),
            (20, 0, shares(&[8, 2], 10), vec![16, 4]),
            (5, 0, shares(&[8, 2], 10), vec![4, 1]),
            (0, 0, shares(&[6, 4], 10), vec![0, 0]),
            // Ten with a surge of three, scaled to fifteen: 13 pods become 18.
            (15, 3, shares(&[8, 5], 13), vec![11, 7]),
            (10, 0, shares(&[7, 3], 10), vec![7, 3]),
            (6, 0, shares(&[2, 2, 1], 5), vec![3, 2, 1]),
        ];
        for (desired, surge, sets, expected) in table {
            assert_eq!(
                scale_proportionally(desired, surge, &sets),
                expected,
                "{desired}+{surge} {sets:?}"
            );
        }
    }
}

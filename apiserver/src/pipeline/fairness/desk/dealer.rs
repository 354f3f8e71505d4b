//! Which queues a flow may stand in: a hand of cards, dealt by the flow's hash. Flows that share one queue seldom share all.

/// More cards than any level may deal: their number times the bits of each fit in the hash.
const MOST: usize = 15;

/// Some cards of a deck, no two alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hand {
    cards: [usize; MOST],
    size: usize,
}

impl Hand {
    /// Deals `size` cards of a deck of so many.
    pub(super) fn deal(mut hash: u64, deck: usize, size: usize) -> Self {
        let size = size.clamp(1, MOST.min(deck.max(1)));
        let mut rests = [0; MOST];
        for (index, rest) in rests.iter_mut().enumerate().take(size) {
            let left = (deck.max(1) - index) as u64;
            *rest = usize::try_from(hash % left).unwrap_or_default();
            hash /= left;
        }
        let mut cards = [0; MOST];
        for (index, card) in cards.iter_mut().enumerate().take(size) {
            // The n-th of the cards that are left is so many further among all.
            let before = rests[..index].iter().rev();
            *card = before.fold(rests[index], |card, rest| card + usize::from(card >= *rest));
        }
        Self { cards, size }
    }

    /// The cards, from one of them on and round.
    pub(super) fn round(&self, offset: usize) -> impl Iterator<Item = usize> {
        (0..self.size).map(move |index| self.cards[(offset + index) % self.size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn cards(hash: u64, deck: usize, size: usize) -> Vec<usize> {
        Hand::deal(hash, deck, size).round(0).collect()
    }

    #[test]
    fn cards_of_a_hand_are_different_ones_of_the_deck() {
        // 6 = 2 + 4 * 1: the third card, then the second of those that are left.
        assert_eq!(cards(6, 4, 2), [2, 1]);
        assert_eq!(cards(2 + 4 * 2, 4, 2), [2, 3]);
        for hash in 0..5000_u64 {
            let dealt = cards(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15), 128, 6);
            assert!(dealt.iter().all(|card| *card < 128));
            assert_eq!(dealt.iter().collect::<BTreeSet<_>>().len(), 6, "{dealt:?}");
        }
    }

    #[test]
    fn every_hand_is_dealt_as_often_as_every_other() {
        let mut seen = std::collections::BTreeMap::<Vec<usize>, usize>::new();
        (0..5 * 4 * 3 * 7).for_each(|hash| *seen.entry(cards(hash, 5, 3)).or_default() += 1);
        assert_eq!(seen.len(), 5 * 4 * 3);
        assert!(seen.values().all(|count| *count == 7));
    }

    #[test]
    fn a_hand_may_be_the_whole_deck() {
        assert_eq!(cards(u64::MAX, 1, 1), [0]);
        assert_eq!(cards(7, 2, 9).len(), 2);
        let hand = Hand::deal(6, 4, 2);
        assert_eq!(hand.round(1).collect::<Vec<_>>(), [1, 2]);
    }
}

//! A heap whose order the caller gives: which pod comes first is a plugin's matter.

/// The first by an order that is given with each change; always the same order.
#[derive(Debug, Default)]
pub(super) struct Heap<T> {
    items: Vec<T>,
}

impl<T> Heap<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new() }
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.items.first()
    }

    pub(super) fn push(&mut self, item: T, before: impl Fn(&T, &T) -> bool) {
        self.items.push(item);
        let mut index = self.items.len() - 1;
        while index > 0 {
            let parent = (index - 1) / 2;
            if !before(&self.items[index], &self.items[parent]) {
                break;
            }
            self.items.swap(index, parent);
            index = parent;
        }
    }

    pub(super) fn pop(&mut self, before: impl Fn(&T, &T) -> bool) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        let first = self.items.swap_remove(0);
        let (mut index, length) = (0, self.items.len());
        loop {
            let (left, right) = (2 * index + 1, 2 * index + 2);
            let mut best = index;
            if left < length && before(&self.items[left], &self.items[best]) {
                best = left;
            }
            if right < length && before(&self.items[right], &self.items[best]) {
                best = right;
            }
            if best == index {
                return Some(first);
            }
            self.items.swap(index, best);
            index = best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Heap;

    #[test]
    fn what_comes_out_is_sorted() {
        let mut heap = Heap::new();
        for number in [5, 3, 9, 1, 7, 3] {
            heap.push(number, |a, b| a < b);
        }
        let sorted: Vec<_> = std::iter::from_fn(|| heap.pop(|a, b| a < b)).collect();
        assert_eq!(sorted, [1, 3, 3, 5, 7, 9]);
    }
}

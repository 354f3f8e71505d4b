use super::{INNER, Inner, Node, Tree};
use crate::state::Record;
use kubeplane_store_trait::{Key, KeyRange};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeMap, sync::Arc};

fn record(key: &str, revision: u64) -> Arc<Record> {
    let key = Key::new(key.to_owned()).unwrap();
    Arc::new(Record::new(key, "value".into(), revision, revision, None))
}

fn pairs(tree: &Tree) -> Vec<(String, u64)> {
    tree.iter().map(|record| (record.key.to_string(), record.revision)).collect()
}

const PAGES: [usize; 5] = [1, 7, 32, 100, usize::MAX];

/// What a list of keys tells in pages of this length.
fn keys_are(tree: &Tree, range: &KeyRange, page: usize, expected: &[(String, u64)]) {
    let (mut rest, mut told) = (tree.range(range), Vec::new());
    while rest.len() > 0 {
        let (left, keys) = (rest.len(), rest.keys(page));
        assert_eq!((keys.len(), rest.len()), (page.min(left), left - page.min(left)));
        told.extend(keys.iter().map(|one| (one.to_string(), one.revision.0)));
        // Records and keys can be asked for in turn.
        told.extend(rest.next().map(|record| (record.key.to_string(), record.revision)));
    }
    assert!(rest.keys(page).is_empty());
    assert_eq!(told, expected);
}

/// Nodes within their limits, counts right, bounds between their neighbours.
fn check(node: &Node, root: bool) {
    let Node::Inner(Inner { children, lens, bounds }) = node else { return };
    assert!(children.len() <= INNER && (root || !children.is_empty()));
    assert_eq!((children.len(), children.len()), (lens.len(), bounds.keys().len() + 1));
    for (child, len) in children.iter().zip(lens.iter()) {
        assert_eq!(child.len(), *len);
        check(child, false);
    }
    let tree = |node: &Arc<Node>| Tree { root: node.clone() };
    for (at, bound) in bounds.keys().iter().enumerate() {
        assert!(tree(&children[at]).iter().all(|record| record.key < *bound));
        assert!(tree(&children[at + 1]).iter().all(|record| record.key >= *bound));
    }
}

#[test]
fn it_does_what_a_map_does_and_clones_stay_as_they_were() {
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
        let mut kept = Vec::new();
        for step in 0..6000_u64 {
            let key = format!("{:04}", random.random_range(0..2500));
            // It grows, then shrinks to nothing much, then grows again.
            if random.random_bool(if step / 2000 == 1 { 0.1 } else { 0.7 }) {
                let old = tree.insert(record(&key, step)).map(|record| record.revision);
                assert_eq!(old, model.insert(key, step));
            } else {
                let old = tree.remove(key.as_bytes()).map(|record| record.revision);
                assert_eq!(old, model.remove(&key));
            }
            assert_eq!(tree.len(), model.len());
            if step % 500 == 0 {
                check(&tree.root, true);
                kept.push((tree.clone(), model.clone()));
            }
        }
        for (tree, model) in kept {
            assert_eq!(pairs(&tree), model.clone().into_iter().collect::<Vec<_>>());
            for turn in 0..20 {
                let mut ends = [random.random_range(0..2600), random.random_range(0..2600)];
                ends.sort_unstable();
                let [start, end] = ends.map(|end| format!("{end:04}"));
                let range = KeyRange::between(start.clone(), Some(end.clone().into()));
                let found = tree.range(&range);
                assert_eq!(found.len(), model.range(start.clone()..end.clone()).count());
                let found: Vec<_> = found.map(|record| record.revision).collect();
                let expected = model.range(start..end).map(|(key, step)| (key.clone(), *step));
                let expected: Vec<_> = expected.collect();
                assert!(found.iter().eq(expected.iter().map(|(_, step)| step)));
                if let Some(page) = PAGES.get(turn) {
                    keys_are(&tree, &range, *page, &expected);
                }
            }
        }
    }
}

#[test]
fn it_is_built_full_from_sorted_records() {
    for len in [0, 1, 31, 32, 33, 1024, 1025, 40_000] {
        let records: Vec<_> = (0..len).map(|at| record(&format!("{at:06}"), at)).collect();
        let mut tree = Tree::from_sorted(records);
        check(&tree.root, true);
        assert_eq!(pairs(&tree).len() as u64, len);
        tree.insert(record("000000x", 1));
        check(&tree.root, true);
        assert_eq!(tree.len() as u64, len + 1);
        while let Some(first) = tree.iter().next().cloned() {
            tree.remove(first.key.as_bytes());
        }
        assert_eq!(tree.len(), 0);
    }
}

#[test]
fn a_list_of_keys_tells_what_changed_since_the_last_one_and_old_clones_what_did_not() {
    let names = (0..100).map(|at| format!("{at:03}")).collect::<Vec<_>>();
    let mut tree = Tree::from_sorted(names.iter().map(|name| record(name, 1)).collect());
    let mut model: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), 1)).collect();
    let told = |tree: &Tree, model: &BTreeMap<String, u64>| {
        let expected: Vec<_> = model.clone().into_iter().collect();
        for page in PAGES {
            keys_are(tree, &KeyRange::all(), page, &expected);
        }
    };
    for step in 2..60 {
        // Also with nobody who has hold of the nodes, so that they are changed in place.
        let kept = (step % 2 == 0).then(|| (tree.clone(), model.clone()));
        told(&tree, &model);
        let name = format!("{:03}", step * 37 % 100);
        match step % 3 {
            0 => assert!(tree.remove(name.as_bytes()).is_some() == model.remove(&name).is_some()),
            1 => {
                tree.insert(record(&format!("{name}x"), step));
                model.insert(format!("{name}x"), step);
            }
            _ => {
                tree.insert(record(&name, step));
                model.insert(name, step);
            }
        }
        told(&tree, &model);
        if let Some((tree, model)) = kept {
            told(&tree, &model);
        }
    }
}

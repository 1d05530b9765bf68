//! The table against a plain map, and how full it gets.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

type Small = Table<2, 8>;

fn hash(key: [u64; 2]) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(key)
}

fn find(table: &Small, key: [u64; 2]) -> Option<Index> {
    let hint = table.guess(hash(key));
    let found = table.find(hash(key), &key, hint);
    assert_eq!(found, table.find(hash(key), &key, Hint::default()), "the hint changes nothing");
    found.map(|(index, value)| {
        assert_eq!(value, *table.value(index));
        index
    })
}

#[test]
fn slots_begin_at_cache_lines() {
    let table = Small::new(100);
    assert_eq!(table.words[table.skip..].as_ptr() as usize % 64, 0);
    assert_eq!(table.capacity(), 112);
}

#[test]
fn it_fills_to_most_of_its_capacity_before_it_refuses() {
    let mut table = Small::new(100_000);
    let placed = (0..100_000u64)
        .take_while(|n| {
            let key = [*n, 7];
            let kept = |_: &[u64; VALUE]| None;
            table.insert(hash(key), &key, &[*n; VALUE], false, kept) != Insert::Full
        })
        .count();
    assert!(placed > 85_000, "{placed}");
}

#[test]
fn the_highest_score_is_replaced_and_none_is_kept() {
    let mut table = Small::new(32);
    for n in 0..32u64 {
        table.insert(hash([n, 0]), &[n, 0], &[n; VALUE], false, |_| None);
    }
    let full = table.used();
    let key = [99, 0];
    let kept = table.insert(hash(key), &key, &[99; VALUE], true, |_| None);
    assert_eq!(kept, Insert::Full);
    let old = table.insert(hash(key), &key, &[99; VALUE], true, |value| Some(value[0]));
    assert!(matches!(old, Insert::Replaced(_, value) if value[0] > 0), "{old:?}");
    assert_eq!(table.used(), full);
    assert!(find(&table, key).is_some());
}

#[test]
fn room_is_made_until_nearly_all_slots_are_taken() {
    let mut table = Small::new(100_000);
    let kept = |_: &[u64; VALUE]| None;
    let placed = (0..100_000u64)
        .take_while(|n| {
            let key = [*n, 7];
            table.make_room(hash(key), |key| hash(*key));
            table.insert(hash(key), &key, &[*n; VALUE], false, kept) != Insert::Full
        })
        .count() as u64;
    assert!(placed > 97_000, "{placed}");
    for n in 0..placed {
        let found = find(&table, [n, 7]);
        assert_eq!(found.map(|at| *table.value(at)), Some([n; VALUE]));
    }
    assert_eq!(table.used() as u64, placed);
}

proptest! {
    /// Any sequence of inserts, lookups and removals gives what a plain map gives.
    #[test]
    fn it_is_a_map(steps in prop::collection::vec((0u64..200, 0u8..4), 1..600)) {
        let mut table = Small::new(2000);
        let mut model = HashMap::new();
        for (n, step) in steps {
            let key = [n, n ^ 5];
            let found = find(&table, key);
            prop_assert_eq!(found.map(|at| table.value(at)[0]), model.get(&n).copied());
            match (step, found) {
                (0, Some(at)) => {
                    table.remove(at);
                    model.remove(&n);
                }
                (_, Some(at)) => {
                    table.set(at, &[n + 1; VALUE]);
                    model.insert(n, n + 1);
                }
                (_, None) => {
                    table.insert(hash(key), &key, &[n; VALUE], false, |_| None);
                    model.insert(n, n);
                }
            }
            prop_assert_eq!(table.used(), model.len());
        }
        table.sweep(usize::MAX, |_, _| true);
        prop_assert_eq!(table.used(), 0);
    }
}

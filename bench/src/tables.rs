//! The flow table beside the maps that one would take otherwise: hashbrown with ahash on the same
//! packed words, and the standard library's map from tuple to flow as it would naively be written.
//! Keys come in random order; this table is asked in batches, the others as a map is.

use std::collections::HashMap;
use std::hint::black_box;

use ahash::RandomState;
use arrayvec::ArrayVec;
use xdpwatch_core::entry::Entry;
use xdpwatch_core::finding::Endpoint;
use xdpwatch_core::flow::Flow;
use xdpwatch_core::table::{Insert, Table, VALUE};
use xdpwatch_core::tuple::{Key, Side, Tuple};
use xdpwatch_prog::record::{Record, flags};

use crate::clock::timed;

const BATCH: usize = 64;

/// Lookups of each kind.
const LOOKUPS: usize = 1_000_000;

/// Prints every row.
pub fn all(counts: &[usize]) {
    println!("\n| table, entries | insert, ns | hit, ns | miss, ns | million hits/s |");
    println!("|---|---|---|---|---|");
    for count in counts {
        row("this table, batches of 64", *count, own(*count));
        row("hashbrown and ahash", *count, packed(*count));
        row("std HashMap<Tuple, Flow>", *count, naive(*count));
    }
}

fn row(name: &str, count: usize, ns: [f64; 3]) {
    let [insert, hit, miss] = ns;
    println!("| {name}, {count} | {insert:.1} | {hit:.1} | {miss:.1} | {:.1} |", 1000.0 / hit);
}

/// The tuple with this number; no two numbers have the same.
fn tuple(n: u32) -> Tuple {
    let end = |v4: u32, port| Endpoint {
        addr: std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets(),
        port,
    };
    let mixed = n.wrapping_mul(2_654_435_761);
    Tuple { a: end(0x0a00_0001, 80), b: end(mixed | 0x8000_0000, (mixed >> 31) as u16), realm: 0 }
}

fn key(n: u32) -> [u64; 2] {
    match tuple(n).key() {
        Key::V4(key) => key,
        Key::V6(_) => [0; 2],
    }
}

/// Numbers below `count`, each as likely as any other.
fn random(count: usize) -> impl Iterator<Item = u32> {
    let mut state = 88_172_645_463_325_252u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((u128::from(state) * count as u128) >> 64) as u32
    })
}

/// Makes what is asked for before the clock starts; nanoseconds for each.
fn per_key<K>(keys: Vec<K>, work: impl FnOnce(&[K])) -> f64 {
    let ns = timed(|| work(&keys));
    ns / keys.len() as f64
}

fn lookups(count: usize, beyond: usize) -> impl Iterator<Item = u32> {
    random(count).take(LOOKUPS).map(move |n| n + beyond as u32)
}

fn own(count: usize) -> [f64; 3] {
    let state = RandomState::with_seeds(1, 2, 3, 4);
    let hash = |key: &[u64; 2]| Key::V4(*key).hash_with(&state);
    let mut table = Table::<2, 8>::new(count + count / 8);
    let mut refused = 0;
    let insert = per_key((0..count as u32).map(key).collect(), |keys| {
        for key in keys {
            let done = table.insert(hash(key), key, &[key[0]; VALUE], false, |_| None);
            refused += u32::from(done == Insert::Full);
        }
    });
    // Two groups full by chance: a sensor gives an old tuple up then.
    assert!(refused as usize <= 1 + count / 10_000, "{refused} of {count} refused");
    let find = |keys: &[[u64; 2]]| {
        for batch in keys.chunks(BATCH) {
            let hashes: ArrayVec<u64, BATCH> = batch.iter().map(hash).collect();
            hashes.iter().for_each(|hash| table.touch_tags(*hash));
            let hints: ArrayVec<_, BATCH> = hashes.iter().map(|hash| table.guess(*hash)).collect();
            hints.iter().for_each(|hint| table.touch_slot(*hint));
            for ((key, hash), hint) in batch.iter().zip(&hashes).zip(hints) {
                black_box(table.find(*hash, key, hint));
            }
        }
    };
    let hit = per_key(lookups(count, 0).map(key).collect(), find);
    let miss = per_key(lookups(count, count).map(key).collect(), find);
    [insert, hit, miss]
}

fn packed(count: usize) -> [f64; 3] {
    let state = RandomState::with_seeds(1, 2, 3, 4);
    let mut map = hashbrown::HashMap::with_capacity_and_hasher(count, state);
    map_costs(
        count,
        key,
        |keys| {
            map.extend(keys.iter().map(|key| (*key, [key[0]; VALUE])));
            map
        },
        |map, key| {
            black_box(map.get(key).copied());
        },
    )
}

fn naive(count: usize) -> [f64; 3] {
    let syn = Record { flags: flags::SYN, ..Record::default() };
    let flow = Flow::unpack(&Entry::open(&syn, Side::A, 0), 0);
    let mut map: HashMap<Tuple, Flow> = HashMap::new();
    map_costs(
        count,
        tuple,
        |keys| {
            map.extend(keys.iter().map(|key| (*key, flow)));
            map
        },
        |map, key| {
            black_box(map.get(key).copied());
        },
    )
}

/// Costs of a map: `fill` puts the keys in, `get` looks one up.
fn map_costs<K, M>(
    count: usize,
    key: impl Fn(u32) -> K,
    fill: impl FnOnce(&[K]) -> M,
    get: impl Fn(&M, &K),
) -> [f64; 3] {
    let mut map = None;
    let insert = per_key((0..count as u32).map(&key).collect(), |keys| map = Some(fill(keys)));
    let Some(map) = map else { return [0.0; 3] };
    let cost = |beyond| {
        let keys = lookups(count, beyond).map(&key).collect();
        per_key(keys, |keys: &[K]| keys.iter().for_each(|key| get(&map, key)))
    };
    [insert, cost(0), cost(count)]
}

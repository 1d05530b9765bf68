//! Observing asks the allocator for nothing, once the outputs have had their room: counted, packet by
//! packet, for connections that open, close and come back, in a table with room and in a full one.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_tools::mix::Mix;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TUPLES: usize = 4_000;

/// What a few hundred thousand records ask of the allocator, with room for so many tuples.
fn asked_for(max_tuples: usize) -> (usize, Watch) {
    let mut mix = Mix::new(TUPLES);
    let mut out = Vec::with_capacity(1 << 12);
    let mut watch = Watch::new(Config {
        max_tuples,
        horizon_ns: 300_000_000_000,
        seeds: [1, 2, 3, 4],
        carries_data: true,
        ..Config::default()
    });
    let mut observe = |watch: &mut Watch, records: &[Record]| {
        for batch in records.chunks(64) {
            watch.observe(batch, &mut out);
            out.clear();
        }
    };
    let filling: Vec<Record> = std::iter::from_fn(|| mix.fill()).collect();
    observe(&mut watch, &filling);
    let records: Vec<Record> = (0..300_000).map(|_| mix.next_record()).collect();
    let region = Region::new(ALLOCATOR);
    observe(&mut watch, &records);
    let change = region.change();
    (change.allocations + change.reallocations + change.deallocations, watch)
}

#[test]
fn nothing_is_allocated_for_a_packet() {
    for max_tuples in [100_000, TUPLES + TUPLES / 16] {
        let (asked, watch) = asked_for(max_tuples);
        let counters = watch.counters();
        assert_eq!(asked, 0, "with room for {max_tuples}: {counters:?}");
        assert!(counters.contests > 100, "reuse was not exercised: {counters:?}");
        let given_up = counters.evicted_closed > 1000;
        assert_eq!(given_up, max_tuples < 100_000, "{counters:?}");
    }
}

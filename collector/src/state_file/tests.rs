//! What was saved is what is read, by whichever workers; what is not whole is not read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use xdpwatch_core::finding::Endpoint;
use xdpwatch_core::flow::{End, Flow, Marks, State, marks};
use xdpwatch_core::saved::Saved;
use xdpwatch_core::tuple::Tuple;
use xdpwatch_core::watch::{Config, Watch, owner_of};

use super::scale::Scale;
use super::{Head, Saver, load, misuse};

const NOW_US: u64 = 1_700_000_000_000_000;

fn head() -> Head {
    let scale = Scale { boot: "this".to_owned(), offset_ns: 5, drift_ns: -7 };
    Head { scale, written_ns: NOW_US * 1000, vlan_key: false }
}

fn any_end() -> impl Strategy<Value = End> {
    (any::<u32>(), any::<u32>(), any::<u16>(), 0u8..16)
        .prop_map(|(next, ts_val, window, scale)| End { next, ts_val, window, scale })
}

fn any_saved() -> impl Strategy<Value = Saved> {
    let times = (0u64..50_000_000, 0u64..50_000_000, 0u64..50_000_000);
    let numbers = (0u32..1 << 24, 0u32..1 << 24, any::<u32>(), 0usize..8, 0u16..1 << 12);
    let tuple = (any::<bool>(), any::<[u8; 2]>(), any::<[u16; 2]>(), 0u32..3);
    (times, numbers, [any_end(), any_end()], tuple).prop_map(|(times, numbers, ends, tuple)| {
        let (first, last, changed) = times;
        let (rearmed_ms, idle_ms, isn, state, marks) = numbers;
        let (is_v4, hosts, ports, realm) = tuple;
        let flow = Flow {
            first_us: NOW_US - first,
            last_us: NOW_US - last,
            changed_us: NOW_US - changed,
            rearmed_ms,
            idle_ms,
            isn,
            ends,
            state: State::ALL[state],
            marks: Marks(marks & !marks::CONTESTED),
        };
        let end = |n: usize| {
            let mut addr = [if is_v4 { 0 } else { 0x20 }; 16];
            addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, hosts[n]]);
            Endpoint { addr, port: ports[n] }
        };
        Saved { tuple: Tuple::between(end(0), end(1), realm).0, flow }
    })
}

fn watches(count: usize, seed: u64) -> Vec<Watch> {
    let watch =
        || Watch::new(Config { seeds: [seed; 4], max_tuples: 1 << 10, ..Config::default() });
    (0..count).map(|_| watch()).collect()
}

fn restore(watches: &mut [Watch], saved: &Saved) -> bool {
    let owner = owner_of(&saved.tuple.key(), 9, watches.len());
    watches[owner].restore(saved, NOW_US * 1000)
}

fn held(watches: &[Watch]) -> BTreeMap<Tuple, Flow> {
    let mut held = BTreeMap::new();
    for watch in watches {
        watch.held(|saved| assert!(held.insert(saved.tuple, saved.flow).is_none(), "{saved:?}"));
    }
    held
}

fn save(path: &Path, watches: &[Watch]) -> u64 {
    let saver = Saver::begin(path, &head());
    watches.iter().for_each(|watch| saver.add(watch));
    saver.finish().unwrap()
}

fn read(path: &Path) -> Result<Option<super::Loaded>, String> {
    load(path, false, Duration::from_secs(10), |_| Duration::from_secs(9))
        .map_err(|refused| refused.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn what_is_read_is_what_was_held(
        saved in prop::collection::vec(any_saved(), 0..200), before in 1usize..4, after in 1usize..4,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut old = watches(before, 1);
        saved.iter().for_each(|saved| { restore(&mut old, saved); });
        let expected = held(&old);
        prop_assert_eq!(save(&path, &old), expected.len() as u64);
        let mut new = watches(after, 2);
        let loaded = read(&path).unwrap().unwrap();
        prop_assert_eq!(&loaded.head, &head());
        loaded.each(0, |saved| assert!(restore(&mut new, saved), "{saved:?}")).unwrap();
        prop_assert_eq!(held(&new), expected);
    }
}

/// A file with some flows, changed by `change`: refused for this reason, and kept aside.
#[track_caller]
fn assert_refused(change: impl FnOnce(&mut Vec<u8>), reason: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut old = watches(1, 1);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..50 {
        restore(&mut old, &any_saved().new_tree(&mut runner).unwrap().current());
    }
    save(&path, &old);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let refused = read(&path).unwrap_err();
    assert!(refused.contains(reason), "{refused}");
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(matches!(&names[..], [name] if name.starts_with("state.damaged-")), "{names:?}");
    assert!(read(&path).unwrap().is_none(), "the next start finds none");
}

/// The same length, and another number in the head.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    // The head's checksum: behind the magic number, kind and length.
    let len = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[16..24]);
    hasher.update(&bytes[28..28 + len]);
    bytes[24..28].copy_from_slice(&hasher.finalize().to_le_bytes());
}

#[test]
fn what_is_not_whole_is_kept_aside_with_its_reason() {
    assert_refused(|bytes| bytes.truncate(16), "the end is missing");
    assert_refused(|bytes| bytes.truncate(100), "the end is missing");
    assert_refused(|bytes| bytes.truncate(bytes.len() - 20), "the end is missing");
    assert_refused(|bytes| bytes.push(0), "not as long as it says");
    assert_refused(|bytes| bytes[300] ^= 1, "a checksum does not fit");
    assert_refused(|bytes| bytes[20] ^= 1, "a checksum does not fit");
    assert_refused(|bytes| bytes[22] = 1, "the end is missing");
    assert_refused(|bytes| bytes[23] = 1, "an impossible length");
    assert_refused(|bytes| replace(bytes, "\"version\":1", "\"version\":2"), "another version");
    assert_refused(|bytes| replace(bytes, "\"words\":1", "\"words\":7"), "another version");
}

/// What is there is refused for this reason, by whoever reads and whoever writes, and stays as it is.
#[track_caller]
fn assert_left_alone(path: &Path, reason: &str) {
    let before = fs::metadata(path).unwrap();
    let refused = read(path).unwrap_err();
    assert!(refused.contains(reason), "{refused}");
    assert!(misuse(path).unwrap().contains(reason), "said before the start");
    let refused = Saver::begin(path, &head()).finish().unwrap_err();
    assert!(format!("{refused:#}").contains(reason), "{refused:#}");
    let after = fs::metadata(path).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
}

#[test]
fn what_is_no_state_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("short"), &super::blocks::MAGIC[..10]).unwrap();
    fs::write(path("capture"), [0xd4, 0xc3, 0xb2, 0xa1].repeat(9)).unwrap();
    // Whoever opened it to read, and waited, would wait for ever.
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), kind, 0o600.into(), 0).unwrap();
    assert_left_alone(&path("folder"), "a folder; give the name of a file in it");
    assert_left_alone(&path("short"), "no state file of xdpwatch; give another name");
    assert_left_alone(&path("capture"), "no state file of xdpwatch; give another name");
    assert_left_alone(&path("fifo"), "no regular file; give another name");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing beside them");
}

#[test]
fn an_empty_file_is_none_and_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::write(&path, "").unwrap();
    assert_eq!(misuse(&path), None);
    assert!(read(&path).unwrap().is_none());
    save(&path, &watches(1, 1));
    assert!(read(&path).unwrap().is_some());
}

#[test]
fn a_foreign_file_under_the_drafts_name_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::write(dir.path().join("state.new"), "somebody's").unwrap();
    let refused = Saver::begin(&path, &head()).finish().unwrap_err();
    assert!(format!("{refused:#}").contains("state.new: it is no state file"), "{refused:#}");
    assert_eq!(fs::read(dir.path().join("state.new")).unwrap(), b"somebody's");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    save(&path, &watches(1, 1));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        assert!(read(&path).is_err(), "byte {at}");
    }
}

#[test]
fn one_that_is_too_old_or_of_other_options_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    save(&path, &watches(1, 1));
    let old = load(&path, false, Duration::from_secs(10), |_| Duration::from_secs(11));
    assert!(old.unwrap_err().to_string().contains("11 s old"));
    let other = load(&path, true, Duration::from_secs(10), |_| Duration::ZERO);
    assert!(other.unwrap_err().to_string().contains("--vlan-key"));
    assert!(read(&path).unwrap().is_some());
}

#[test]
fn where_it_cannot_be_written_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("state");
    let error = Saver::begin(&path, &head()).finish().unwrap_err();
    assert!(format!("{error:#}").contains("let xdpwatch write"), "{error:#}");
}

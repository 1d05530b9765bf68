//! Capture files through the binary: every format, every way to be damaged, and the same findings
//! however many workers read them.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use common::{alerts, collision, pcap, pcapng, run, stderr, stdout, xdpwatch};

/// A time that is whole in every resolution used here.
const START_NS: u64 = 1_700_000_000_000_000_000;

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

fn replay(path: &Path, more: &[&str]) -> Output {
    let path = path.to_str().expect("a plain path");
    run(&[&["-r", path, "--json"], more].concat())
}

/// Writes the bytes to a file, replays it, and wants the one collision, firing and failed.
#[track_caller]
fn finds_the_collision(name: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let output = replay(&path, &[]);
    let found = alerts(&output);
    assert_eq!(found.len(), 2, "{name}: {}{}", stdout(&output), stderr(&output));
    assert!(found.iter().all(|alert| alert.contains("\"category\":\"paws\"")), "{name}");
    assert!(found[0].contains("\"timestamp\":\"2023-11-14T22:13:25.0000"), "{name}: {}", found[0]);
    assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
}

#[test]
fn every_pcap_variant_is_read() {
    let frames = collision(CLIENT, SERVER, START_NS);
    for (nanoseconds, big_endian) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = format!("ns-{nanoseconds}-be-{big_endian}.pcap");
        finds_the_collision(&name, &pcap(&frames, nanoseconds, big_endian, 1));
    }
    let raw: Vec<_> = frames.iter().map(|(at, frame)| (*at, frame[14..].to_vec())).collect();
    finds_the_collision("raw.pcap", &pcap(&raw, false, false, 101));
}

#[test]
fn pcapng_with_several_interfaces_is_read() {
    let frames = collision(CLIENT, SERVER, START_NS);
    for big_endian in [false, true] {
        finds_the_collision(&format!("be-{big_endian}.pcapng"), &pcapng(&frames, big_endian));
    }
}

#[test]
fn compressed_files_are_told_by_their_magic_numbers() {
    let plain = pcap(&collision(CLIENT, SERVER, START_NS), true, false, 1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    finds_the_collision("gzip-named.pcap", &gzip.finish().unwrap());
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    // Two frames with padding between them, as parallel compressors and tools write.
    let (head, tail) = plain.split_at(300);
    let mut zstd = ruzstd::encoding::compress_to_vec(head, level);
    zstd.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    zstd.extend(ruzstd::encoding::compress_to_vec(tail, level));
    finds_the_collision("zstd-named.pcap", &zstd);
}

#[test]
fn standard_input_is_a_file_too() {
    let bytes = pcapng(&collision(CLIENT, SERVER, START_NS), false);
    let mut child = xdpwatch()
        .args(["-r", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Small pieces: the section header arrives in parts.
    let mut stdin = child.stdin.take().unwrap();
    for piece in bytes.chunks(7) {
        stdin.write_all(piece).unwrap();
        stdin.flush().unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(alerts(&output).len(), 2);
    assert_eq!(output.status.code(), Some(0));
}

/// Cut at every byte: never a panic; exit status 1 and the reason, unless it ends with a packet.
#[track_caller]
fn cut_everywhere(bytes: &[u8], name: &str, whole: &[usize]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    for len in 0..=bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let output = replay(&path, &[]);
        let said = stderr(&output);
        assert!(!said.contains("panicked"), "{name} cut at {len}: {said}");
        if whole.contains(&len) {
            assert_eq!(output.status.code(), Some(0), "{name} cut at {len}: {said}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{name} cut at {len}: {said}");
            assert!(said.contains("read before that: "), "{name} cut at {len}: {said}");
        }
    }
}

#[test]
fn a_pcap_file_may_be_cut_anywhere() {
    let frames = &collision(CLIENT, SERVER, START_NS)[..3];
    let bytes = pcap(frames, true, false, 1);
    let ends: Vec<_> = (0..=3).map(|n| 24 + n * (16 + 66)).collect();
    assert_eq!(ends[3], bytes.len());
    cut_everywhere(&bytes, "cut.pcap", &ends);
}

#[test]
fn a_pcapng_file_may_be_cut_anywhere() {
    let frames = &collision(CLIENT, SERVER, START_NS)[..2];
    let bytes = pcapng(frames, true);
    let mut ends = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        at += u32::from_be_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        ends.push(at);
    }
    cut_everywhere(&bytes, "cut.pcapng", &ends);
}

#[test]
fn compressed_files_may_be_cut_too_and_lose_no_finding_so_far() {
    let mut frames = collision(CLIENT, SERVER, START_NS);
    let filler = frames[0].clone();
    frames.extend((0..20_000u32).map(|n| {
        let mut frame = filler.clone();
        // Ports and numbers that don't compress: the end of the data is far behind the collision.
        frame.0 += 20_000_000_000 + u64::from(n) * 1000;
        frame.1[34..36].copy_from_slice(&(n as u16).wrapping_mul(40_503).to_be_bytes());
        frame.1[38..42].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        frame
    }));
    let plain = pcap(&frames, true, false, 1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(&plain[..], level);
    for (name, bytes) in [("cut.pcap.gz", gzip), ("cut.pcap.zst", zstd)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, &bytes[..bytes.len() * 3 / 4]).unwrap();
        let output = replay(&path, &[]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).contains("cut off"), "{name}: {}", stderr(&output));
        assert_eq!(alerts(&output).len(), 2, "{name}: {}", stderr(&output));
    }
}

#[test]
fn what_follows_gzip_data_is_padding_another_member_or_junk() {
    let plain = pcap(&collision(CLIENT, SERVER, START_NS), true, false, 1);
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let (first, second) = plain.split_at(plain.len() / 2);
    let two = [gzip(first), gzip(second)].concat();
    finds_the_collision("two-members.pcap.gz", &two);
    finds_the_collision("padded.pcap.gz", &[&two[..], &[0; 700]].concat());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("junk.pcap.gz");
    fs::write(&path, [&two[..], b"<html>not found</html>"].concat()).unwrap();
    let output = replay(&path, &[]);
    let said = stderr(&output);
    assert_eq!((output.status.code(), alerts(&output).len()), (Some(1), 2), "{said}");
    let place = format!("trailing junk, no gzip data, from byte {} of the file on", two.len());
    assert!(said.contains(&place) && !said.contains("cut off"), "{said}");
    assert!(said.contains("read before that: 12 packets"), "{said}");
}

#[test]
fn modified_pcap_is_read_or_refused_with_the_cure() {
    let plain = pcap(&collision(CLIENT, SERVER, START_NS), false, false, 1);
    let mut bytes = 0xa1b2_cd34_u32.to_le_bytes().to_vec();
    bytes.extend(&plain[4..24]);
    let mut rest = &plain[24..];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        bytes.extend(&rest[..16]);
        // Interface index, protocol, packet type and padding stand between header and packet.
        bytes.extend([0; 8]);
        bytes.extend(&rest[16..16 + len]);
        rest = &rest[16 + len..];
    }
    finds_the_collision("modified.pcap", &bytes);
    bytes[..4].reverse();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("modified-be.pcap");
    fs::write(&path, &bytes).unwrap();
    let output = replay(&path, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("editcap -F pcap OLD NEW"), "{}", stderr(&output));
}

#[test]
fn damage_is_named() {
    let frames = collision(CLIENT, SERVER, START_NS);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.pcap");
    let mut huge = pcap(&frames, false, false, 1);
    let second = 24 + 82;
    huge[second + 8..second + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let unknown_link = pcap(&frames, false, false, 147);
    let cases = [
        (huge, "damaged"),
        (unknown_link, "link type 147 is not supported"),
        (b"GET / HTTP/1.1\r\n".to_vec(), "neither pcap nor pcapng"),
        (Vec::new(), "the file is empty"),
    ];
    for (bytes, reason) in cases {
        fs::write(&path, bytes).unwrap();
        let output = replay(&path, &[]);
        assert_eq!(output.status.code(), Some(1), "{reason}");
        assert!(stderr(&output).contains(reason), "{reason}: {}", stderr(&output));
    }
    let missing = replay(&dir.path().join("missing"), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("can't open it"), "{}", stderr(&missing));
}

#[test]
fn times_at_the_end_of_all_time_break_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.pcapng");
    let mut bytes = pcapng(&collision(CLIENT, SERVER, START_NS), false);
    // Every packet block's upper half of the time.
    let mut at = 0;
    while at < bytes.len() {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (kind, len) = (word(at), word(at + 4) as usize);
        if kind == 6 {
            bytes[at + 12..at + 16].fill(0xff);
        }
        at += len;
    }
    fs::write(&path, bytes).unwrap();
    let output = replay(&path, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!alerts(&output).is_empty(), "{}", stdout(&output));
}

#[test]
fn packets_out_of_order_are_counted_and_told() {
    let mut frames = collision(CLIENT, SERVER, START_NS);
    frames[2].0 -= 1_500_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("order.pcap");
    fs::write(&path, pcap(&frames, true, false, 1)).unwrap();
    let output = replay(&path, &[]);
    assert!(stderr(&output).contains("1 packets were older"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn one_damaged_time_moves_no_other_packet() {
    let frames = collision(CLIENT, SERVER, START_NS);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged-time.pcap");
    fs::write(&path, pcap(&frames, true, false, 1)).unwrap();
    let expected = alerts(&replay(&path, &[]));
    let hours = |n: u64| n * 3_600_000_000_000;
    for place in [0, 3, frames.len()] {
        let mut frames = frames.clone();
        frames.insert(place, (START_NS + hours(20_000), vec![0xff; 60]));
        fs::write(&path, pcap(&frames, true, false, 1)).unwrap();
        let output = replay(&path, &[]);
        assert_eq!(alerts(&output), expected, "at {place}");
        assert!(stderr(&output).contains("1 packets were hours ahead"), "{}", stderr(&output));
    }
    // A night without a packet is none.
    let later = collision(CLIENT, SERVER, START_NS + hours(9));
    fs::write(&path, pcap(&[frames, later].concat(), true, false, 1)).unwrap();
    let output = replay(&path, &[]);
    assert_eq!(alerts(&output).len(), 2 * expected.len());
    assert!(!stderr(&output).contains("hours ahead"), "{}", stderr(&output));
}

/// Many tuples, collisions among them, all at the same times.
fn crowd() -> Vec<u8> {
    let clients = (0..400u16).map(|n| (0x0a00_0100 + u32::from(n % 7), 20_000 + n));
    let mut frames: Vec<_> =
        clients.flat_map(|client| collision(client, SERVER, START_NS)).collect();
    frames.sort_by_key(|(at, _)| *at);
    pcap(&frames, true, false, 1)
}

#[test]
fn workers_and_batches_never_show_in_the_findings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crowd.pcap");
    fs::write(&path, crowd()).unwrap();
    for path in [path, common::capture("server-side.pcap"), common::capture("f5-side.pcap")] {
        let expected = alerts(&replay(&path, &[]));
        assert!(expected.len() >= 2, "{}: nothing to compare", path.display());
        for workers in ["1", "2", "4"] {
            for batch in ["1", "7", "64"] {
                let found = alerts(&replay(&path, &["--workers", workers, "--batch", batch]));
                assert_eq!(found, expected, "{} workers, batches of {batch}", workers);
            }
        }
    }
}

#[test]
fn each_file_is_a_vantage_point_of_its_own() {
    let file = common::capture("server-side.pcap");
    let file = file.to_str().unwrap();
    let once = alerts(&run(&["-r", file, "--json"]));
    let twice = alerts(&run(&["-r", file, "-r", file, "--json"]));
    assert_eq!(twice, [once.clone(), once].concat());
}

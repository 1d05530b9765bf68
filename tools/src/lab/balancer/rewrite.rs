//! New addresses, ports and clocks in an Ethernet/IPv4/TCP frame. Both checksums are made anew: the
//! sender's kernel may have left them to a network card that is not there.

use crate::frames::checksum;
use crate::lab::network::BALANCER_MAC;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Its new source.
    pub src: ([u8; 4], u16),
    /// Its new destination.
    pub dst: ([u8; 4], u16),
    /// The next host.
    pub dst_mac: [u8; 6],
    /// Added to TSval.
    pub ts_val: u32,
    /// Added to TSecr, unless that is 0 and says nothing.
    pub ts_ecr: u32,
}

const IP: usize = 14;

/// Makes the change. The frame must have been parsed before: its lengths are believed.
pub fn rewrite(frame: &mut [u8], change: &Change) {
    let header_len = usize::from(frame[IP] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let tcp = IP + header_len;
    let end = (IP + total_len).min(frame.len());
    frame[..6].copy_from_slice(&change.dst_mac);
    frame[6..12].copy_from_slice(&BALANCER_MAC);
    frame[IP + 12..IP + 16].copy_from_slice(&change.src.0);
    frame[IP + 16..IP + 20].copy_from_slice(&change.dst.0);
    frame[IP + 10..IP + 12].fill(0);
    let sum = checksum(&[&frame[IP..tcp]]);
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());

    frame[tcp..tcp + 2].copy_from_slice(&change.src.1.to_be_bytes());
    frame[tcp + 2..tcp + 4].copy_from_slice(&change.dst.1.to_be_bytes());
    if let Some(at) = timestamps(&frame[..end], tcp) {
        add(&mut frame[at..at + 4], change.ts_val);
        if frame[at + 4..at + 8] != [0; 4] {
            add(&mut frame[at + 4..at + 8], change.ts_ecr);
        }
    }
    frame[tcp + 16..tcp + 18].fill(0);
    let length = u32::try_from(end - tcp).unwrap_or(0).to_be_bytes();
    let sum = checksum(&[&change.src.0, &change.dst.0, &length, &[0, 6], &frame[tcp..end]]);
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}

fn add(number: &mut [u8], by: u32) {
    let sum = u32::from_be_bytes([number[0], number[1], number[2], number[3]]).wrapping_add(by);
    number.copy_from_slice(&sum.to_be_bytes());
}

/// Where the timestamps option's numbers stand (RFC 7323, 3.2).
fn timestamps(frame: &[u8], tcp: usize) -> Option<usize> {
    let end = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
    let mut at = tcp + 20;
    while at + 10 <= end.min(frame.len()) {
        match (frame[at], frame[at + 1]) {
            (8, 10) => return Some(at + 2),
            (0, _) => return None,
            (1, _) => at += 1,
            (_, length) => at += usize::from(length.max(2)),
        }
    }
    None
}

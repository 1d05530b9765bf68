//! Segments of a trace, and which of them the program selects: its findings with and without the others.

use std::path::Path;

use xdpwatch::capture::file::{CaptureFile, Packet};
use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::Finding;
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, locate, parse_record};
use xdpwatch_tools::selection::Selection;

/// A trace as it comes, and the rules' settings.
#[derive(Default)]
pub struct Trace {
    /// Its segments, and whether the program selects each.
    pub records: Vec<(Record, bool)>,
    /// When it ends.
    pub end_ns: u64,
    config: Config,
    limits: Limits,
    selection: Selection,
}

impl Trace {
    /// Nothing yet.
    pub fn new(config: Config, limits: Limits) -> Self {
        Self { config, limits, ..Self::default() }
    }

    /// A frame comes.
    pub fn add(&mut self, frame: &[u8], frame_len: u32, at_ns: u64) {
        let Ok(record) = parse_record(frame, frame_len, at_ns, Link::Ethernet) else { return };
        // What the program leaves wrapped up, the host unwraps: selected by nobody here.
        let located = locate(&frame, 0, frame_len as usize);
        let selected = located.is_ok_and(|located| self.selection.selects(&located, at_ns));
        self.records.push((record, selected));
        self.end_ns = self.end_ns.max(at_ns);
    }

    /// All frames of a capture come.
    pub fn add_capture(&mut self, path: &Path) {
        let mut file = CaptureFile::open(path).unwrap();
        let mut take = |packet: Packet<'_>| {
            self.add(packet.bytes, packet.frame_len, packet.at_ns);
        };
        while file.some(64, &mut take).unwrap() > 0 {}
    }

    /// How many segments the program leaves out.
    pub fn left_out(&self) -> usize {
        self.records.iter().filter(|(_, selected)| !selected).count()
    }

    /// What is found in all segments, or in those selected.
    pub fn findings(&self, all: bool) -> Vec<Finding> {
        let config =
            Config { carries_data: self.config.carries_data && all, ..self.config.clone() };
        let mut watch = Watch::new(Config { max_tuples: 1 << 14, ..config });
        let mut aggregate = Aggregate::new(&self.limits, [0; 4]);
        let (mut out, mut findings) = (Vec::new(), Vec::new());
        let mut say = |finding| findings.push(finding);
        for (record, selected) in &self.records {
            if all || *selected {
                watch.observe(&[*record], &mut out);
                out.drain(..).for_each(|output| aggregate.handle(&output, &mut say));
            }
        }
        watch.finish(self.end_ns, &mut out);
        out.drain(..).for_each(|output| aggregate.handle(&output, &mut say));
        aggregate.finish(self.end_ns, &mut say);
        findings
    }
}

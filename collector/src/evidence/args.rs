//! The command line's part about evidence.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::case::Choices;
use super::history::History;
use super::redact::Redactor;
use super::store::{Limits, Store};
use super::{Archive, Clerk};
use crate::usage::Usage;
use crate::value_args::duration;
use crate::worker::Detection;

/// The key file's name, where none is given, in the evidence folder.
const KEY_FILE: &str = ".redact-key";

/// Options about evidence files.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Evidence")]
pub struct EvidenceArgs {
    /// Write the packets behind each alert into a pcapng file in this folder, named by the alert's
    /// id: headers only, with comments
    #[arg(long, value_name = "DIR")]
    pub evidence_dir: Option<PathBuf>,
    /// Segments whose headers each worker remembers for that, 108 bytes each; fewer where headers are
    /// longer than 80 bytes
    #[arg(long, value_name = "N", default_value_t = 1 << 16, requires = "evidence_dir")]
    #[arg(value_parser = clap::value_parser!(u32).range(64..=1 << 28))]
    pub history: u32,
    /// Packets in an evidence file at most
    #[arg(long, value_name = "N", default_value_t = 256, requires = "evidence_dir")]
    #[arg(value_parser = clap::value_parser!(u16).range(16..))]
    pub evidence_packets: u16,
    /// Evidence files kept at most; the oldest are removed first
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "evidence_dir")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub evidence_files: u32,
    /// Bytes of all evidence files together, at most
    #[arg(long, value_name = "BYTES", default_value_t = 100_000_000, requires = "evidence_dir")]
    pub evidence_bytes: u64,
    /// Remove evidence files that were written longer ago than this
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "720h")]
    #[arg(requires = "evidence_dir")]
    pub evidence_age: Duration,
    /// Give every address in events and evidence files another one, always the same for the same key;
    /// ports, times and numbers stay
    #[arg(long)]
    pub redact: bool,
    /// The key for that, at least 32 random bytes; made if the file is not there [default:
    /// .redact-key in the evidence folder]
    #[arg(long, value_name = "FILE", requires = "redact")]
    pub redact_key: Option<PathBuf>,
}

/// Evidence as it was asked for; what every vantage point's part is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    archive: Arc<Archive>,
    redactor: Option<Redactor>,
    /// Segments remembered by each worker.
    pub depth: usize,
}

impl EvidenceArgs {
    /// What renames addresses, if that was asked for.
    ///
    /// # Errors
    /// No key is named, or it can't be had.
    pub fn redactor(&self) -> anyhow::Result<Option<Redactor>> {
        if !self.redact {
            return Ok(None);
        }
        let in_folder = self.evidence_dir.as_ref().map(|folder| folder.join(KEY_FILE));
        let Some(path) = self.redact_key.clone().or(in_folder) else {
            let cure = "--redact needs a key: say --redact-key FILE (it is made if not there)";
            anyhow::bail!(Usage(cure.to_owned()));
        };
        Redactor::open(&path).map(Some)
    }

    /// Opens the folder, if one was asked for.
    ///
    /// # Errors
    /// It can't be used, or the key of `--redact` can't.
    pub fn set_up(&self, detection: &Detection) -> anyhow::Result<Option<Setup>> {
        let Some(folder) = &self.evidence_dir else { return Ok(None) };
        let store = Store::open(folder, self.limits())?;
        Ok(Some(Setup {
            archive: Arc::new(Archive::new(store, self.choices(detection))),
            redactor: self.redactor()?,
            depth: self.history as usize,
        }))
    }

    /// How much is kept.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            files: self.evidence_files as usize,
            bytes: self.evidence_bytes,
            age: self.evidence_age,
        }
    }

    /// How cases are made for this detector.
    #[must_use]
    pub fn choices(&self, detection: &Detection) -> Choices {
        Choices {
            vlan_key: detection.vlan_key,
            all_reuse: detection.all_reuse,
            hosts: detection.hosts.clone(),
            limits: detection.limits.clone(),
            packets_max: self.evidence_packets.into(),
        }
    }
}

impl Setup {
    /// Who makes the files of the vantage point called `origin`.
    #[must_use]
    pub fn clerk(&self, origin: &str) -> Clerk {
        let redactor = self.redactor.clone();
        Clerk::new(Arc::clone(&self.archive), redactor, origin.to_owned())
    }

    /// Where the files go.
    #[must_use]
    pub fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }
}

// What the help says.
const _: () = assert!(History::BYTES_EACH == 108);

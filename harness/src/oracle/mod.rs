//! The write-order oracle: finds which prefix of the guest's own writes a recovered disk holds.
//!
//! QEMU's `blklogwrites` logs every write of a guest, below the guest and above the disk format
//! ([`WriteLog`]). A recovered disk is compared with every prefix of that log at once
//! ([`judge()`]): either it is *exactly the first 7,873 of 19,989 writes*, or the first sector that
//! matches no prefix is reported.
//!
//! What the log guarantees, and what it does not:
//! - An entry is appended **after** its write reached the disk, so the log is in completion order,
//!   and a QEMU that was killed may leave writes on its own disk that are not in the log
//!   ([`Options::in_flight_sectors`]).
//! - A flush is logged when it completes. A write that completed while the flush was running
//!   precedes it in the log although the guest may not rely on it: [`Verdict::EpochConsistent`] is
//!   strict in that respect.
//! - A write that failed on the disk is logged all the same.
//!
//! Sectors are 512 bytes everywhere in this module, whatever the log's own sector size is.
//!
//! # Example
//!
//! A disk of three sectors, a log of three writes, and a copy that received two of them:
//!
//! ```
//! use harness::oracle::{MemorySource, Options, WriteLog, judge};
//!
//! const SECTOR: usize = 512;
//!
//! /// Appends a write of one sector to a log: a header in a sector of its own, then the data.
//! fn log_write(log: &mut Vec<u8>, sector: u64, content: u8) {
//!     let flags = 0_u64;
//!     log.extend([sector, 1, flags, 0].map(u64::to_le_bytes).concat());
//!     log.resize(log.len().next_multiple_of(SECTOR), 0);
//!     log.extend([content; SECTOR]);
//! }
//!
//! // The superblock: magic number, version, number of entries, and the size of a log sector.
//! let mut log = [0x006a_7366_7773_6872_u64, 1, 3].map(u64::to_le_bytes).concat();
//! log.extend(512_u32.to_le_bytes());
//! log.resize(SECTOR, 0);
//! for (sector, content) in [(0, 1), (1, 2), (0, 3)] {
//!     log_write(&mut log, sector, content);
//! }
//! let disk_bytes = 3 * SECTOR as u64;
//! let log = WriteLog::from_bytes("example", log, disk_bytes)?;
//!
//! let disk = |contents: [u8; 3]| {
//!     MemorySource(contents.iter().flat_map(|content| [*content; SECTOR]).collect())
//! };
//! let base = disk([0, 0, 0]);
//! let options = Options::default();
//!
//! let found = judge(&base, &log, &disk([1, 2, 0]), &options)?;
//! assert_eq!(found.to_string(), "exact: the first 2 of 3 writes");
//!
//! // Sector 0 holds the third write, but sector 1 lacks the second one.
//! let found = judge(&base, &log, &disk([3, 0, 0]), &options)?;
//! assert!(!found.verdict.is_exact());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cut;
mod epoch;
mod error;
mod flip;
mod inexact;
mod judge;
mod ledger;
mod logformat;
mod options;
mod pass;
mod probe;
mod qcow2;
mod qcow2_header;
mod source;
mod tally;
mod verdict;
mod walk;
mod window;
mod writelog;

pub use cut::{Cut, CutRange, Position};
pub use error::{LogError, OracleError, SourceError};
pub use flip::{FlipSectors, Flipped, SelfTestError, flip_sectors, self_test};
pub use judge::judge;
pub use ledger::{JoinVerdict, LedgerIndex, LedgerJoin, Sighting, join};
pub use options::{DiscardReads, Options};
pub use qcow2::Qcow2Source;
pub use source::{BlockClient, ClientSource, MemorySource, RawSource, SectorSource, compare, compare_range};
pub use verdict::{Judgement, Misfit, SectorAt, UnknownCause, Verdict};
pub use writelog::{Entry, LogEnd, WriteLog};

/// Bytes per sector.
pub const SECTOR_BYTES: u64 = 512;
/// [`SECTOR_BYTES`] as an index.
pub(crate) const SECTOR: usize = SECTOR_BYTES as usize;

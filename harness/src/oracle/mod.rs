//! The write-order oracle: where a recovered disk stands in the order of the guest's own writes.
//!
//! Every write of a guest is logged below the guest and above the disk format by QEMU's `blklogwrites`
//! ([`WriteLog`]). A recovered disk is compared with every prefix of that log at once ([`judge`]): it is
//! *exactly the first 7,873 of 19,989 writes*, or the first sector that fits nowhere is named.
//!
//! What the log is, and what it is not:
//! - An entry is appended **after** its write reached the disk, so the order is that of completion, and a
//!   QEMU that was killed may leave writes on its own disk that no log entry tells of
//!   ([`Options::in_flight_sectors`]).
//! - A flush is logged when it completed. A write that completed while the flush ran stands before it in
//!   the log though the guest may not rely on it: [`Verdict::EpochConsistent`] is strict in that respect.
//! - A write that failed on the disk is logged all the same.
//!
//! Sectors are 512 bytes everywhere in this module, whatever the log's own sector size is.

mod cut;
mod epoch;
mod error;
mod flip;
mod inexact;
mod judge;
mod ledger;
mod logformat;
mod probe;
mod qcow2;
mod qcow2_header;
mod source;
mod tally;
mod verdict;
mod walk;
mod writelog;

pub use cut::{Cut, CutRange, Position};
pub use error::{LogError, OracleError, SourceError};
pub use flip::{BlindOracle, FlipSectors, Flipped, flip_sectors, must_object};
pub use judge::{DiscardReads, Options, judge};
pub use ledger::{JoinVerdict, LedgerIndex, LedgerJoin, Sighting, join};
pub use qcow2::Qcow2Source;
pub use source::{BlockClient, ClientSource, MemorySource, RawSource, SectorSource, compare, compare_range};
pub use verdict::{Judgement, Misfit, SectorAt, UnknownCause, Verdict};
pub use writelog::{Entry, LogEnd, WriteLog};

/// Bytes of a sector.
pub const SECTOR_BYTES: u64 = 512;
/// [`SECTOR_BYTES`] as an index.
pub(crate) const SECTOR: usize = SECTOR_BYTES as usize;

//! Options of a judgement.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a sector may hold after a discard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscardReads {
    /// Its old content or zeroes, which is what QEMU promises.
    #[default]
    OldOrZero,
    /// Zeroes, as on disks with `discard=unmap` and `detect-zeroes`.
    Zero,
    /// Its old content, as on disks that ignore discards.
    Old,
}

/// Options of a judgement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Options {
    /// Ranges of sectors that may differ, such as a boot partition edited by hydration. They do not
    /// affect the verdict; their differences are counted.
    pub exempt: Vec<Range<u64>>,
    /// What a sector may hold after a discard.
    pub discards: DiscardReads,
    /// Number of sectors that may have been written without reaching the log. Not 0 only for the
    /// own disk of a QEMU that was killed, because QEMU logs a write after it completed.
    pub in_flight_sectors: u64,
}

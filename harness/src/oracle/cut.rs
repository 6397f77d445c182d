//! Positions in the write order.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a write in its log, counted from 1. Flushes and marks have no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

/// A point in the write order: the first `n` writes are on the disk, and no other. `Cut(0)` is the
/// base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cut(pub u64);

impl Cut {
    /// Whether the write at `position` is on a disk at this cut.
    #[must_use]
    pub fn includes(self, position: Position) -> bool {
        position.0 <= self.0
    }
}

impl Position {
    /// The cut right after this write.
    #[must_use]
    pub fn cut(self) -> Cut {
        Cut(self.0)
    }
}

/// Cuts from `earliest` to `latest`, both included.
///
/// More than one cut fits when the writes between them change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutRange {
    /// First cut that fits.
    pub earliest: Cut,
    /// Last cut that fits.
    pub latest: Cut,
}

impl CutRange {
    /// The range of a single cut.
    #[must_use]
    pub fn at(cut: Cut) -> Self {
        Self { earliest: cut, latest: cut }
    }

    /// Whether `cut` lies in the range.
    #[must_use]
    pub fn contains(&self, cut: Cut) -> bool {
        self.earliest <= cut && cut <= self.latest
    }
}

/// A count formatted with thousands separators: `19,989`.
pub(crate) struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Grouped(self.0).fmt(f)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Grouped(self.0).fmt(f)
    }
}

impl fmt::Display for CutRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.earliest == self.latest {
            return self.latest.fmt(f);
        }
        write!(f, "{} to {}", self.earliest, self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (count, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (19_989, "19,989"), (1_234_567, "1,234,567")]
        {
            assert_eq!(Grouped(count).to_string(), text);
        }
    }
}

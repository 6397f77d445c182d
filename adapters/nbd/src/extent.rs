//! Ranges of an export, with the flags of a meta context.

/// Meta context that distinguishes holes and zeroes from data.
pub const ALLOCATION: &str = "base:allocation";

/// A range of bytes with the same flags in one meta context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// The context's flags. For [`ALLOCATION`]: 1 hole, 2 reads as zero. For a dirty bitmap: 1
    /// dirty.
    pub flags: u64,
}

impl Extent {
    /// Whether the range reads as zeroes, in [`ALLOCATION`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Whether the range is dirty, in a `qemu:dirty-bitmap:` context.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Adds an extent, joining it to the last one if they are adjacent and their flags are equal.
pub(crate) fn push(all: &mut Vec<Extent>, extent: Extent) {
    match all.last_mut() {
        _ if extent.length == 0 => {}
        Some(last) if last.flags == extent.flags && last.offset + last.length == extent.offset => {
            last.length += extent.length;
        }
        _ => all.push(extent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_equal_flags_are_joined() {
        let mut all = Vec::new();
        for (offset, length, flags) in [(0, 4, 0), (4, 4, 0), (8, 0, 1), (8, 4, 1)] {
            push(&mut all, Extent { offset, length, flags });
        }
        let lengths: Vec<_> = all.iter().map(|e| (e.offset, e.length, e.flags)).collect();
        assert_eq!(lengths, [(0, 8, 0), (8, 4, 1)]);
    }
}

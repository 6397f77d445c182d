//! Reads a file system's state from a superblock, of ext4, XFS or btrfs, that was saved before
//! mounting.

use std::path::Path;

use witness::protocol::FileSystemFinding;

const MAGIC_AT: usize = 0x38;
const MAGIC: u16 = 0xEF53;
const STATE_AT: usize = 0x3A;
const STATE_ERRORS: u16 = 0x2;
const INCOMPAT_AT: usize = 0x60;
const INCOMPAT_NEEDS_RECOVERY: u32 = 0x4;

const XFS_MAGIC: &[u8] = b"XFSB";
/// Of a log that has to be replayed XFS's superblock says nothing; of damage that a repair has to
/// mend it does.
const XFS_INCOMPAT_AT: usize = 0xD8;
const XFS_NEEDS_REPAIR: u8 = 0x10;

const BTRFS_MAGIC: &[u8] = b"_BHRfS_M";
const BTRFS_MAGIC_AT: usize = 0x40;
const BTRFS_FLAGS_AT: usize = 0x38;
const BTRFS_ERROR: u8 = 0x4;
/// Address of the log of what was made durable since the last transaction.
const BTRFS_LOG_AT: usize = 0x60;

/// Parses the saved superblock of the disk with this role.
pub(crate) fn finding(role: &str, saved: &Path) -> Result<FileSystemFinding, String> {
    let bytes =
        std::fs::read(saved).map_err(|e| format!("no superblock of the {role} disk was saved: {e}"))?;
    parse(role, &bytes).ok_or_else(|| format!("the {role} disk's superblock is none of ext4, XFS or btrfs"))
}

fn parse(role: &str, bytes: &[u8]) -> Option<FileSystemFinding> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.starts_with(XFS_MAGIC) {
        // Its numbers have the most significant byte first.
        let errors = bytes.get(XFS_INCOMPAT_AT + 3)? & XFS_NEEDS_REPAIR != 0;
        return Some(FileSystemFinding { role: role.to_owned(), needed_recovery: false, errors });
    }
    if bytes.get(BTRFS_MAGIC_AT..)?.starts_with(BTRFS_MAGIC) {
        let errors = bytes[BTRFS_FLAGS_AT] & BTRFS_ERROR != 0;
        let needed_recovery = bytes.get(BTRFS_LOG_AT..BTRFS_LOG_AT + 8)?.iter().any(|byte| *byte != 0);
        return Some(FileSystemFinding { role: role.to_owned(), needed_recovery, errors });
    }
    (u16_at(MAGIC_AT)? == MAGIC).then_some(())?;
    Some(FileSystemFinding {
        role: role.to_owned(),
        needed_recovery: u32_at(INCOMPAT_AT)? & INCOMPAT_NEEDS_RECOVERY != 0,
        errors: u16_at(STATE_AT)? & STATE_ERRORS != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(state: u16, incompat: u32) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[MAGIC_AT..MAGIC_AT + 2].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[STATE_AT..STATE_AT + 2].copy_from_slice(&state.to_le_bytes());
        bytes[INCOMPAT_AT..INCOMPAT_AT + 4].copy_from_slice(&incompat.to_le_bytes());
        bytes
    }

    #[test]
    fn each_flag_is_read_independently() {
        let flags = |state, incompat| {
            let finding = parse("data", &superblock(state, incompat)).expect("ext4");
            (finding.needed_recovery, finding.errors)
        };
        assert_eq!(flags(1, 0x2c2), (false, false));
        assert_eq!(flags(1, 0x2c6), (true, false));
        assert_eq!(flags(3, 0x2c2), (false, true));
    }

    #[test]
    fn xfs_says_whether_it_needs_repair() {
        let mut bytes = [XFS_MAGIC, &[0; 508]].concat();
        assert_eq!(parse("data", &bytes).map(|finding| finding.errors), Some(false));
        bytes[XFS_INCOMPAT_AT + 3] = XFS_NEEDS_REPAIR;
        assert_eq!(parse("data", &bytes).map(|finding| finding.errors), Some(true));
    }

    #[test]
    fn btrfs_says_whether_it_has_a_log_and_an_error() {
        let mut bytes = vec![0; 1024];
        bytes[BTRFS_MAGIC_AT..][..BTRFS_MAGIC.len()].copy_from_slice(BTRFS_MAGIC);
        let flags = |bytes: &[u8]| parse("data", bytes).map(|found| (found.needed_recovery, found.errors));
        assert_eq!(flags(&bytes), Some((false, false)));
        bytes[BTRFS_LOG_AT + 2] = 1;
        assert_eq!(flags(&bytes), Some((true, false)));
        bytes[BTRFS_FLAGS_AT] = BTRFS_ERROR;
        assert_eq!(flags(&bytes), Some((true, true)));
    }

    #[test]
    fn other_bytes_are_no_superblock() {
        assert!(parse("data", &[]).is_none());
        assert!(parse("data", &[0; 1024]).is_none());
    }
}

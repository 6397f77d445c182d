//! Reads a file system's state from a superblock, of ext4 or XFS, that was saved before mounting.

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

/// Parses the saved superblock of the disk with this role.
pub(crate) fn finding(role: &str, saved: &Path) -> Result<FileSystemFinding, String> {
    let bytes =
        std::fs::read(saved).map_err(|e| format!("no superblock of the {role} disk was saved: {e}"))?;
    parse(role, &bytes).ok_or_else(|| format!("the {role} disk's superblock is none of ext4 or XFS"))
}

fn parse(role: &str, bytes: &[u8]) -> Option<FileSystemFinding> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.starts_with(XFS_MAGIC) {
        // Its numbers have the most significant byte first.
        let errors = bytes.get(XFS_INCOMPAT_AT + 3)? & XFS_NEEDS_REPAIR != 0;
        return Some(FileSystemFinding { role: role.to_owned(), needed_recovery: false, errors });
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
    fn other_bytes_are_no_superblock() {
        assert!(parse("data", &[]).is_none());
        assert!(parse("data", &[0; 1024]).is_none());
    }
}

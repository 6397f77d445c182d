//! A file is a fixed VHD only if its footer says so in every field.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use camino::Utf8PathBuf;
use rustix::fs::{MemfdFlags, memfd_create};
use standins::vhd::{ALIGNMENT, verify};

const FOOTER: usize = 512;

/// Runs the target: the first byte is the number of sectors before the footer, in units that make
/// both aligned and other sizes; the rest is the footer. With an odd second byte its checksum is
/// made right, so that the fields behind it are reached.
pub fn run(input: &[u8]) {
    let Some(([size, fixed], rest)) = input.split_first_chunk::<2>() else { return };
    let content = u64::from(size % 8) * ALIGNMENT / 2;
    let mut footer = [0; FOOTER];
    let length = rest.len().min(FOOTER);
    footer[..length].copy_from_slice(&rest[..length]);
    if fixed & 1 != 0 {
        let sum: u32 = footer
            .iter()
            .enumerate()
            .filter(|(at, _)| !(64..68).contains(at))
            .map(|(_, b)| u32::from(*b))
            .sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    }
    let file = File::from(memfd_create("disk", MemfdFlags::CLOEXEC).expect("a file in memory"));
    // A file that is shorter than a footer, too.
    let written = if fixed & 2 == 0 { &footer[..] } else { &footer[..length.min(FOOTER - 1)] };
    file.write_all_at(written, content).expect("a file in memory");
    let path = Utf8PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let Ok(vhd) = verify(&path) else { return };
    assert!(written.len() == FOOTER && footer.starts_with(b"conectix"));
    assert_eq!(footer[60..64], 2_u32.to_be_bytes());
    assert_eq!(footer[48..56], vhd.bytes.to_be_bytes());
    assert!(vhd.bytes == content && content > 0 && content.is_multiple_of(ALIGNMENT));
}

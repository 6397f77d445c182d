//! The `newc` archive format, which the kernel unpacks as its initial RAM disk.

use std::io;

use crate::tree::{Node, Tree};

/// Loaders append one RAM disk to the next; the kernel requires each to start at a multiple of
/// four.
const ALIGNMENT: usize = 512;
const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// The highest level of compression that needs no special option. An image is built once and booted
/// often.
const LEVEL: i32 = 19;

/// The tree as a RAM disk: its archive, compressed. An emulated guest is slow to read a disk before
/// its own driver does: SeaBIOS reads IDE disks word by word. Unpacking takes less time.
///
/// # Errors
/// There is not enough memory.
pub(crate) fn ramdisk(tree: &Tree) -> io::Result<Vec<u8>> {
    let mut out = zstd::bulk::compress(&archive(tree), LEVEL)?;
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    Ok(out)
}

/// The tree as an uncompressed archive. The owner is root and all times are zero, so equal trees
/// give equal bytes.
fn archive(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (path, node)) in tree.iter().enumerate() {
        let (mode, data): (u32, &[u8]) = match node {
            Node::Dir { mode } => (DIR | mode, &[]),
            Node::File { mode, bytes } => (FILE | mode, bytes),
            Node::Link { target } => (LINK | 0o777, target.as_bytes()),
        };
        entry(&mut out, index as u32 + 1, mode, path, data);
    }
    entry(&mut out, 0, 0, "TRAILER!!!", &[]);
    out
}

fn entry(out: &mut Vec<u8>, inode: u32, mode: u32, name: &str, data: &[u8]) {
    let name_bytes = name.len() as u32 + 1;
    let fields = [inode, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name_bytes, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_aligned_and_the_trailer_ends_the_archive() {
        let mut tree = Tree::default();
        tree.program("init", "#!/bin/sh\n");
        tree.link("bin/sh", "busybox");
        let bytes = archive(&tree);
        let starts: Vec<usize> =
            bytes.windows(6).enumerate().filter(|(_, w)| w == b"070701").map(|(i, _)| i).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|start| start % 4 == 0));
    }

    #[test]
    fn a_ram_disk_is_its_archive_compressed_and_aligned() {
        let mut tree = Tree::default();
        tree.program("init", "#!/bin/sh\n".repeat(1000));
        let packed = ramdisk(&tree).expect("compressed");
        assert_eq!(packed.len() % ALIGNMENT, 0);
        assert_eq!(ramdisk(&tree).expect("compressed"), packed, "equal trees give equal bytes");
        let frame = zstd::zstd_safe::find_frame_compressed_size(&packed).expect("one frame");
        assert!(packed[frame..].iter().all(|byte| *byte == 0), "zeroes follow, which the kernel skips");
        let unpacked = zstd::bulk::decompress(&packed[..frame], 1 << 20).expect("unpacked");
        assert_eq!(unpacked, archive(&tree));
    }
}

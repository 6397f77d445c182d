//! Writes a volume group as LVM2 stores it, onto one physical volume.
//!
//! LVM's own tools work on block devices only, which an ordinary user cannot make. The guest's LVM
//! reads what is written here, so a mistake shows at the first boot.

use std::fmt::Write as _;

use crate::shape::EXTENTS_OFFSET;
use crate::tools::BUILD_TIME;

const SECTOR: u64 = 512;
/// Size of an extent in bytes.
pub(super) const EXTENT: u64 = 1024 * 1024;
/// The label is in the second sector.
const LABEL_AT: usize = 512;
/// Byte offset of the metadata area, behind the sectors in which a label may be.
const METADATA_AT: u64 = 4096;
/// The text begins one sector behind the header of the area.
const TEXT_AT: u64 = 512;
/// Initial value of LVM's checksums.
const CHECKSUM_SEED: u32 = 0xf597_a6cf;
/// Magic number of a metadata area.
const AREA_MAGIC: &[u8; 16] = b"\x20LVM2\x20x[5A%r0N*>";

/// A logical volume, in a single piece.
pub(super) struct Volume {
    pub(super) name: &'static str,
    pub(super) extents: u64,
}

/// The first [`EXTENTS_OFFSET`] bytes of the only physical volume, of `bytes` bytes, of a group.
pub(super) fn header(group: &str, bytes: u64, volumes: &[Volume]) -> Vec<u8> {
    let text = metadata(group, bytes, volumes);
    let mut out = vec![0; EXTENTS_OFFSET as usize];
    put(&mut out, LABEL_AT, &label(bytes));
    put(&mut out, METADATA_AT as usize, &area_header(&text));
    put(&mut out, (METADATA_AT + TEXT_AT) as usize, &text);
    out
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// LVM's checksum: CRC-32 with a seed of its own and without the final inversion.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!CHECKSUM_SEED);
    hasher.update(bytes);
    !hasher.finalize()
}

/// An identifier of 32 characters, as LVM prints it without dashes.
fn identifier(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex()[..32].to_owned()
}

/// The same identifier as the metadata's text has it: 6-4-4-4-4-4-6.
fn dashed(name: &str) -> String {
    let id = identifier(name);
    let mut parts = Vec::new();
    let mut at = 0;
    for length in [6, 4, 4, 4, 4, 4, 6] {
        parts.push(&id[at..at + length]);
        at += length;
    }
    parts.join("-")
}

const PHYSICAL: &str = "pv0";

/// The sector that says that this is a physical volume.
fn label(bytes: u64) -> Vec<u8> {
    let area_bytes = EXTENTS_OFFSET - METADATA_AT;
    let mut volume = Vec::new();
    volume.extend_from_slice(identifier(PHYSICAL).as_bytes());
    // The size; then data areas and metadata areas as pairs of offset and size, each list ended by
    // zeroes. The extension says that the volume belongs to a group, and lists no boot areas.
    for number in [bytes, EXTENTS_OFFSET, 0, 0, 0, METADATA_AT, area_bytes, 0, 0] {
        volume.extend_from_slice(&number.to_le_bytes());
    }
    for number in [2u32, 1] {
        volume.extend_from_slice(&number.to_le_bytes());
    }
    volume.resize(volume.len() + 16, 0);
    let mut checked = Vec::new();
    checked.extend_from_slice(&32u32.to_le_bytes());
    checked.extend_from_slice(b"LVM2 001");
    checked.extend_from_slice(&volume);
    checked.resize(SECTOR as usize - 20, 0);
    let mut sector = Vec::new();
    sector.extend_from_slice(b"LABELONE");
    sector.extend_from_slice(&(LABEL_AT as u64 / SECTOR).to_le_bytes());
    sector.extend_from_slice(&checksum(&checked).to_le_bytes());
    sector.extend_from_slice(&checked);
    sector
}

/// The header of the metadata area, which names the place of the current text.
fn area_header(text: &[u8]) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.extend_from_slice(AREA_MAGIC);
    checked.extend_from_slice(&1u32.to_le_bytes());
    for number in [METADATA_AT, EXTENTS_OFFSET - METADATA_AT, TEXT_AT, text.len() as u64] {
        checked.extend_from_slice(&number.to_le_bytes());
    }
    checked.extend_from_slice(&checksum(text).to_le_bytes());
    checked.resize(SECTOR as usize - 4, 0);
    let mut header = checksum(&checked).to_le_bytes().to_vec();
    header.extend_from_slice(&checked);
    header
}

/// The text that describes the group, with the byte that ends it.
fn metadata(group: &str, bytes: u64, volumes: &[Volume]) -> Vec<u8> {
    let mut logical = String::new();
    let mut first = 0;
    for Volume { name, extents } in volumes {
        // Writing to a `String` cannot fail.
        let _ = write!(
            logical,
            "{name} {{\nid = \"{id}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\n\
             creation_time = {BUILD_TIME}\ncreation_host = \"roundtrip\"\nsegment_count = 1\n\
             segment1 {{\nstart_extent = 0\nextent_count = {extents}\ntype = \"striped\"\nstripe_count = 1\n\
             stripes = [\n\"{PHYSICAL}\", {first}\n]\n}}\n}}\n",
            id = dashed(name),
        );
        first += extents;
    }
    let text = format!(
        "{group} {{\nid = \"{group_id}\"\nseqno = 1\nformat = \"lvm2\"\n\
         status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\nextent_size = {extent}\n\
         max_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\
         physical_volumes {{\n{PHYSICAL} {{\nid = \"{physical_id}\"\ndevice = \"/dev/unknown\"\n\
         status = [\"ALLOCATABLE\"]\nflags = []\ndev_size = {sectors}\npe_start = {extents_at}\n\
         pe_count = {count}\n}}\n}}\nlogical_volumes {{\n{logical}}}\n}}\n\
         contents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"\"\n\
         creation_host = \"roundtrip\"\ncreation_time = {BUILD_TIME}\n\0",
        group_id = dashed(group),
        extent = EXTENT / SECTOR,
        physical_id = dashed(PHYSICAL),
        sectors = bytes / SECTOR,
        extents_at = EXTENTS_OFFSET / SECTOR,
        count = (bytes - EXTENTS_OFFSET) / EXTENT,
    );
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_lvm() {
        // The table-driven code in LVM's sources gives its seed for no bytes.
        assert_eq!(checksum(&[]), CHECKSUM_SEED);
        // CRC-32 with LVM's seed is CRC-32 of the same bytes if the seed is the usual one.
        let mut usual = crc32fast::Hasher::new_with_initial(!0xffff_ffff);
        usual.update(b"123456789");
        assert_eq!(usual.finalize(), 0xcbf4_3926);
    }

    #[test]
    fn label_and_metadata_are_where_lvm_looks_for_them() {
        let volumes = [Volume { name: "root", extents: 3 }, Volume { name: "swap", extents: 2 }];
        let header = header("group", 8 * EXTENT, &volumes);
        assert_eq!(&header[512..520], b"LABELONE");
        assert_eq!(&header[4100..4116], AREA_MAGIC);
        let text = String::from_utf8_lossy(&header[4608..]);
        assert!(text.contains("pe_count = 7\n") && text.contains("\"pv0\", 3\n"), "{text}");
        assert_eq!(dashed("root").len(), 38);
    }
}

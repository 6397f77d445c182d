//! Packs of made-up disks and logs.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use super::blocks::Division;
use super::folder::PackFolder;
use super::index::{BLOCK_BYTES, INDEX, Index, PACKED, PackedFile, Part};
use super::write::PackWriter;

const DISK_BYTES: u64 = 64 << 10;

fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
    (keep, dir)
}

/// Writes a disk with holes, on which each of the given blocks is filled with one value.
fn disk(path: &Utf8Path, bytes: u64, blocks: &[(u64, u8)]) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes).unwrap();
    for (block, value) in blocks {
        let at = block * BLOCK_BYTES;
        let length = BLOCK_BYTES.min(bytes.saturating_sub(at)) as usize;
        file.write_all_at(&vec![*value; length], at).unwrap();
    }
}

/// A log in the dm-log-writes format: writes of so many sectors, each filled with one value.
fn log(writes: &[(u64, u64, u8)]) -> Vec<u8> {
    let mut log = [0x006a_7366_7773_6872_u64, 1, writes.len() as u64].map(u64::to_le_bytes).concat();
    log.extend(512_u32.to_le_bytes());
    log.resize(512, 0);
    for (sector, sectors, value) in writes {
        log.extend([*sector, *sectors, 0, 0].map(u64::to_le_bytes).concat());
        log.resize(log.len().next_multiple_of(512), 0);
        log.extend(vec![*value; 512 * *sectors as usize]);
    }
    log
}

/// A scenario's directory with two disks and a log, packed into it.
fn packed(dir: &Utf8Path) -> PackFolder {
    disk(&dir.join("base.raw"), DISK_BYTES, &[(0, 1), (3, 2), (4, 2)]);
    disk(&dir.join("recovered.raw"), DISK_BYTES - 100, &[(0, 1), (3, 2), (9, 7), (15, 8)]);
    std::fs::write(dir.join("disk.writes"), log(&[(72, 8, 7), (0, 3, 9), (75, 16, 7)])).unwrap();
    pack(dir, vec![])
}

fn pack(dir: &Utf8Path, siblings: Vec<Utf8PathBuf>) -> PackFolder {
    let folder = dir.join(PACKED);
    let mut writer = PackWriter::new(folder.clone(), siblings).unwrap();
    let logs = Division::Log(DISK_BYTES);
    for (name, division) in
        [("base.raw", &Division::Disk), ("recovered.raw", &Division::Disk), ("disk.writes", &logs)]
    {
        writer.add(name, &dir.join(name), division).unwrap();
    }
    writer.finish().unwrap();
    PackFolder::open(folder).unwrap()
}

fn files_in(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().path().to_owned()).collect()
}

#[test]
fn every_file_is_restored_byte_for_byte() {
    let (_keep, dir) = scratch();
    let packed = packed(&dir);
    packed.equals_files_in(&dir).unwrap();
    let names: Vec<_> = packed.files().map(|name| (name, dir.join(format!("{name}.again")))).collect();
    packed.unpack(&names).unwrap();
    for (name, again) in names {
        assert!(std::fs::read(dir.join(name)).unwrap() == std::fs::read(again).unwrap(), "{name}");
    }
}

#[test]
fn content_that_a_disk_has_from_its_log_is_stored_once() {
    let (_keep, dir) = scratch();
    packed(&dir);
    let index = Index::decode(&std::fs::read(dir.join(PACKED).join(INDEX)).unwrap()).unwrap();
    // Blocks of ones, twos, sevens and eights (a short one at the end of the disk), the headers of
    // three writes, the write of three sectors, and the ends of the last write, which begins in the
    // middle of a block.
    assert_eq!(index.places().unwrap().len(), 4 + 3 + 1 + 2);
}

#[test]
fn a_file_that_differs_anywhere_from_its_packed_copy_is_noticed() {
    for (name, at) in
        [("base.raw", 0), ("base.raw", 2 * 4096), ("recovered.raw", 9 * 4096), ("disk.writes", 600)]
    {
        let (_keep, dir) = scratch();
        let packed = packed(&dir);
        std::fs::File::options().write(true).open(dir.join(name)).unwrap().write_all_at(&[0x55], at).unwrap();
        assert!(packed.equals_files_in(&dir).is_err(), "byte {at} of {name}");
    }
}

#[test]
fn every_altered_byte_of_the_packs_and_the_index_is_noticed() {
    let (_keep, dir) = scratch();
    packed(&dir);
    for path in files_in(&dir.join(PACKED)) {
        let original = std::fs::read(&path).unwrap();
        for at in 0..original.len() {
            let mut altered = original.clone();
            altered[at] ^= 1 << (at % 8);
            std::fs::write(&path, altered).unwrap();
            let noticed = match PackFolder::open(dir.join(PACKED)) {
                Ok(packed) => !packed.damages().is_empty(),
                Err(_) => true,
            };
            assert!(noticed, "byte {at} of {path}");
        }
        for length in [0, 1, original.len() - 1] {
            std::fs::write(&path, &original[..length]).unwrap();
            let opened = PackFolder::open(dir.join(PACKED));
            assert!(opened.map_or(true, |packed| !packed.damages().is_empty()), "{length} bytes of {path}");
        }
        std::fs::write(&path, original).unwrap();
    }
    assert!(PackFolder::open(dir.join(PACKED)).unwrap().damages().is_empty());
}

#[test]
fn a_pack_that_a_sibling_has_is_shared_unless_it_was_altered() {
    let (_keep, run) = scratch();
    let scenarios = ["one", "two", "three"].map(|name| run.join(name));
    scenarios.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let [one, two, three] = &scenarios;
    packed(one);
    let packs = |dir: &Utf8Path| {
        let mut packs = files_in(&dir.join(PACKED));
        packs.retain(|path| path.extension() == Some("pack"));
        packs
    };
    let links = |dir: &Utf8Path| -> Vec<u64> {
        packs(dir).iter().map(|path| std::fs::metadata(path).unwrap().nlink()).collect()
    };
    for dir in [two, three] {
        for name in ["base.raw", "recovered.raw", "disk.writes"] {
            std::fs::copy(one.join(name), dir.join(name)).unwrap();
        }
    }
    pack(two, vec![one.join(PACKED)]);
    assert_eq!(links(two), [2]);
    std::fs::write(&packs(one)[0], b"altered").unwrap();
    let third = pack(three, vec![one.join(PACKED), two.join(PACKED)]);
    assert_eq!((links(three), third.damages()), (vec![1], vec![]));
}

#[test]
fn what_is_not_packed_or_does_not_fit_is_refused_before_anything_is_written() {
    let (_keep, dir) = scratch();
    let packed = packed(&dir);
    assert!(packed.unpack(&[("../base.raw", dir.join("x"))]).is_err());
    let existing = dir.join("base.raw");
    assert!(packed.unpack(&[("base.raw", existing)]).is_err(), "nothing is overwritten");
    assert!(!dir.join("x").exists());
}

#[test]
fn an_index_that_no_suite_writes_is_refused() {
    let part = |at, first, count| Part { at, first, count };
    let hostile = [
        vec![part(0, 0, u64::MAX)],
        vec![part(0, u64::MAX, 2)],
        vec![part(0, 99, 1)],
        vec![part(u64::MAX, 0, 1)],
        vec![part(DISK_BYTES, 0, 1)],
        vec![part(0, 0, 1), part(0, 0, 1)],
    ];
    for parts in hostile {
        let (_keep, dir) = scratch();
        packed(&dir);
        let path = dir.join(PACKED).join(INDEX);
        let mut index = Index::decode(&std::fs::read(&path).unwrap()).unwrap();
        let words = format!("{parts:?}");
        index.files.push(PackedFile { path: "hostile.raw".to_owned(), bytes: DISK_BYTES, parts });
        std::fs::write(&path, index.encode().unwrap()).unwrap();
        assert!(PackFolder::open(dir.join(PACKED)).is_err(), "{words}");
    }
    for blocks in [vec![(1, 0)], vec![(1, BLOCK_BYTES + 1)], vec![(u64::MAX, 1)], vec![(1 << 20, 4096)]] {
        let (_keep, dir) = scratch();
        packed(&dir);
        let path = dir.join(PACKED).join(INDEX);
        let mut index = Index::decode(&std::fs::read(&path).unwrap()).unwrap();
        index.packs[0].blocks = blocks;
        std::fs::write(&path, index.encode().unwrap()).unwrap();
        assert!(PackFolder::open(dir.join(PACKED)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_disks_and_any_log_are_restored(
        blocks in prop::collection::vec((0_u64..16, any::<u8>()), 0..12),
        writes in prop::collection::vec((0_u64..100, 1_u64..20, any::<u8>()), 0..8),
        bytes in 1_u64..DISK_BYTES,
        tail in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let (_keep, dir) = scratch();
        disk(&dir.join("base.raw"), DISK_BYTES, &blocks);
        let inside: Vec<_> = blocks.iter().copied().filter(|(block, _)| block * BLOCK_BYTES < bytes).collect();
        disk(&dir.join("recovered.raw"), bytes, &inside);
        let mut content = log(&writes);
        // Unfinished entries at the end, as a killed QEMU leaves them.
        content.resize(content.len() + 512, 0);
        content.extend(tail);
        std::fs::write(dir.join("disk.writes"), content).unwrap();
        let packed = pack(&dir, vec![]);
        packed.equals_files_in(&dir).unwrap();
        let names: Vec<_> = packed.files().map(|name| (name, dir.join(format!("{name}.again")))).collect();
        packed.unpack(&names).unwrap();
        for (name, again) in names {
            prop_assert!(std::fs::read(dir.join(name)).unwrap() == std::fs::read(again).unwrap());
        }
    }
}

#[test]
fn an_index_that_would_need_much_memory_is_refused() {
    let (_keep, dir) = scratch();
    packed(&dir);
    let path = dir.join(PACKED).join(INDEX);
    let digest = "0".repeat(64);
    let pack = serde_json::json!({"content": digest, "stored": digest, "blocks": [[16_384, 1]]});
    let many = |count: usize| vec![pack.clone(); count];
    let part = serde_json::json!({"at": 0, "first": 0, "count": 16_384});
    let files: Vec<_> = (0..300)
        .map(|number| serde_json::json!({"path": format!("{number}.raw"), "bytes": 1 << 20, "parts": [part]}))
        .collect();
    for (packs, files, why) in [(many(200), vec![], "names more than"), (many(1), files, "its files have")] {
        let text = serde_json::json!({"version": 1, "packs": packs, "files": files}).to_string();
        let mut bytes = miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6);
        bytes.extend(*blake3::hash(&bytes).as_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", PackFolder::open(dir.join(PACKED)).err().expect("refused"));
        assert!(error.contains(why), "{error}");
    }
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(PackFolder::open(dir.join(PACKED)).is_err());
}

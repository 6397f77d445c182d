//! Real file systems of each width, edited by a FAT driver and tampered with sector by sector.

use std::io::{Cursor, Read as _, Write as _};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use super::*;
use crate::tree::Tree;
use crate::volume::{Geometry, Volume, Width};

const LOADER: &str = "/syslinux.cfg";
const ENTRY: &str = "/loader/entries/roundtrip.conf";
const KERNEL: &str = "/vmlinuz";
const EDITED: [&str; 2] = [LOADER, ENTRY];
const WIDTHS: [(FatType, Width, usize); 3] = [
    (FatType::Fat12, Width::Fat12, 192 << 10),
    (FatType::Fat16, Width::Fat16, 4 << 20),
    (FatType::Fat32, Width::Fat32, 40 << 20),
];

type Fat<'a> = FileSystem<Cursor<&'a mut Vec<u8>>>;

fn with_fat(bytes: &mut Vec<u8>, work: impl FnOnce(&Fat<'_>)) {
    let fat = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
    work(&fat);
    fat.unmount().unwrap();
}

fn put(fat: &Fat<'_>, path: &str, content: &[u8]) {
    let mut file = fat.root_dir().create_file(&path[1..]).unwrap();
    file.truncate().unwrap();
    file.write_all(content).unwrap();
}

fn partition(width: FatType, bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; bytes];
    let options = FormatVolumeOptions::new().bytes_per_cluster(512).fat_type(width).max_root_dir_entries(64);
    fatfs::format_volume(Cursor::new(&mut bytes), options).unwrap();
    with_fat(&mut bytes, |fat| {
        for dir in ["loader", "loader/entries"] {
            fat.root_dir().create_dir(dir).unwrap();
        }
        put(fat, KERNEL, &[7; 5000]);
        put(fat, LOADER, &[1; 500]);
        put(fat, ENTRY, &[1; 500]);
        put(fat, "/roundtrip.env", b"DHCP=no\n");
    });
    bytes
}

/// Each width, before and after a driver has made both edited files longer.
fn edited_partitions() -> impl Iterator<Item = (Width, Vec<u8>, Vec<u8>)> {
    WIDTHS.into_iter().map(|(width, as_width, bytes)| {
        let before = partition(width, bytes);
        let mut after = before.clone();
        with_fat(&mut after, |fat| EDITED.iter().for_each(|path| put(fat, path, &[2; 1500])));
        (as_width, before, after)
    })
}

fn clusters(bytes: &[u8], path: &str) -> Vec<usize> {
    let geometry = Geometry::read(bytes).unwrap();
    let tree = Tree::read(Volume { bytes, geometry: &geometry }).unwrap();
    tree.find(path).unwrap().clusters.iter().map(|cluster| geometry.cluster(*cluster).start).collect()
}

/// The damage that is found if the byte at an offset is altered after the edit.
fn damage_of_altered(before: &[u8], after: &[u8], at: usize) -> Vec<Damage> {
    let mut altered = after.to_vec();
    altered[at] ^= 0x55;
    compare(before, &altered, &EDITED).unwrap().damage
}

#[test]
fn an_edit_by_a_driver_is_explained_and_its_sectors_are_listed() {
    for (width, before, after) in edited_partitions() {
        assert_eq!(Geometry::read(&before).unwrap().width, width);
        let found = compare(&before, &after, &EDITED).unwrap();
        assert_eq!(found.damage, [], "{width:?}");
        let differ = |sector: &u64| {
            let at = *sector as usize * SECTOR;
            before[at..at + SECTOR] != after[at..at + SECTOR]
        };
        let all: Vec<_> = (0..(before.len() / SECTOR) as u64).filter(differ).collect();
        let explained: Vec<_> = found.explained.into_iter().flatten().collect();
        assert_eq!(explained, all, "{width:?}");
        // Four new clusters, and what describes them.
        assert!((6..16).contains(&all.len()), "{width:?}: {} sectors", all.len());
    }
}

#[test]
fn the_same_edit_is_damage_where_nothing_may_be_edited_and_of_the_one_file_that_may_not() {
    for (width, before, after) in edited_partitions() {
        let found = compare(&before, &after, &[]).unwrap();
        assert!(found.damage.len() >= 6, "{width:?}: {found:?}");
        let found = compare(&before, &after, &[LOADER]).unwrap();
        let of_entry = |damage: &Damage| damage.place.contains(ENTRY) || damage.place.contains("/loader");
        assert!(found.damage.iter().any(of_entry), "{width:?}: {found:?}");
        assert!(compare(&before, &before, &[]).unwrap() == Differences::default());
    }
}

#[test]
fn a_changed_sector_in_an_edited_file_is_explained_and_in_another_file_it_is_damage() {
    for (width, before, after) in edited_partitions() {
        for cluster in clusters(&after, LOADER) {
            assert_eq!(damage_of_altered(&before, &after, cluster + 100), [], "{width:?}");
        }
        for cluster in clusters(&after, KERNEL) {
            let damage = damage_of_altered(&before, &after, cluster);
            assert_eq!(damage.len(), 1, "{width:?}");
            assert_eq!(damage[0].sector as usize * SECTOR, cluster);
            assert!(damage[0].place.ends_with("of /vmlinuz"), "{damage:?}");
        }
    }
}

#[test]
fn the_slack_of_another_file_and_free_clusters_are_not_exempt() {
    for (width, before, after) in edited_partitions() {
        // The kernel has 5,000 bytes, so the last of its clusters is not full.
        let slack = clusters(&after, KERNEL).last().unwrap() + 511;
        assert!(damage_of_altered(&before, &after, slack)[0].place.contains(KERNEL), "{width:?}");
        let geometry = Geometry::read(&after).unwrap();
        let free = geometry.cluster(geometry.clusters_end - 1).start;
        let damage = damage_of_altered(&before, &after, free);
        assert!(damage[0].place.ends_with("which no file used"), "{width:?}: {damage:?}");
    }
}

#[test]
fn the_allocation_of_other_files_is_not_exempt_in_any_copy() {
    for (width, before, after) in edited_partitions() {
        let geometry = Geometry::read(&after).unwrap();
        let kernel = geometry.cluster_at(clusters(&after, KERNEL)[1]).unwrap() as usize;
        for table in &geometry.tables {
            let byte = (0..table.len()).find(|at| geometry.entries_at(*at).start == kernel).unwrap();
            let mut altered = after.clone();
            altered[table.start + byte] ^= 0x04;
            // A first copy that joins two chains is no sound file system.
            let damage = compare(&before, &altered, &EDITED).map(|found| found.damage);
            let caught = damage.is_err() || damage.is_ok_and(|damage| damage[0].place.contains("copy"));
            assert!(caught, "{width:?}");
        }
    }
}

#[test]
fn records_of_other_files_are_not_exempt_except_for_the_date_of_the_last_access() {
    for (width, before, after) in edited_partitions() {
        let geometry = Geometry::read(&after).unwrap();
        let tree = Tree::read(Volume { bytes: &after, geometry: &geometry }).unwrap();
        let kernel = *tree.find(KERNEL).unwrap().records.last().unwrap();
        let loader = *tree.find(LOADER).unwrap().records.last().unwrap();
        assert_eq!(damage_of_altered(&before, &after, loader + 24), [], "{width:?}");
        assert_eq!(damage_of_altered(&before, &after, kernel + 18), [], "{width:?}");
        let damage = damage_of_altered(&before, &after, kernel + 24);
        assert!(
            damage[0].place.contains("root directory") || damage[0].place.ends_with("of /"),
            "{damage:?}"
        );
    }
}

#[test]
fn the_boot_sector_is_exempt_only_for_the_flags_of_a_driver() {
    for (width, before, after) in edited_partitions() {
        let geometry = Geometry::read(&before).unwrap();
        let flagged = |bits: u8| {
            let mut altered = after.clone();
            altered[geometry.flags_at] ^= bits;
            compare(&before, &altered, &EDITED).unwrap().damage.len()
        };
        assert_eq!([flagged(1), flagged(2), flagged(0x80)], [0, 0, 1], "{width:?}");
        assert_eq!(damage_of_altered(&before, &after, 200)[0].place, "the boot sector");
        for counters in geometry.counters {
            let at = counters * SECTOR;
            assert_eq!(damage_of_altered(&before, &after, at + 490), [], "{width:?}");
            assert_eq!(damage_of_altered(&before, &after, at + 100).len(), 1, "{width:?}");
        }
    }
}

#[test]
fn a_file_that_was_replaced_by_a_new_one_in_free_clusters_is_explained() {
    for (width, as_width, bytes) in WIDTHS {
        let before = partition(width, bytes);
        let mut after = before.clone();
        with_fat(&mut after, |fat| {
            put(fat, "/new.cfg", &[3; 1500]);
            fat.root_dir().remove(&LOADER[1..]).unwrap();
            fat.root_dir().rename("new.cfg", &fat.root_dir(), &LOADER[1..]).unwrap();
        });
        let mut text = Vec::new();
        with_fat(&mut after.clone(), |fat| {
            fat.root_dir().open_file(&LOADER[1..]).unwrap().read_to_end(&mut text).unwrap();
        });
        assert_eq!(text, [3; 1500]);
        let found = compare(&before, &after, &[LOADER]).unwrap();
        assert_eq!(found.damage, [], "{as_width:?}");
    }
}

#[test]
fn clusters_that_an_edited_file_takes_from_another_one_are_damage() {
    let before = partition(FatType::Fat16, 4 << 20);
    let mut after = before.clone();
    with_fat(&mut after, |fat| {
        fat.root_dir().remove(&KERNEL[1..]).unwrap();
        put(fat, LOADER, &[4; 3000]);
    });
    let found = compare(&before, &after, &[LOADER]).unwrap();
    assert!(found.damage.iter().any(|damage| damage.place.contains("root directory")), "{found:?}");
}

#[test]
fn what_is_no_fat_file_system_or_another_one_is_an_error() {
    let fat = partition(FatType::Fat12, 192 << 10);
    let other = partition(FatType::Fat16, 4 << 20);
    assert!(matches!(compare(&[0; 4096], &[0; 4096], &[]), Err(FatError::NotFat(_))));
    assert!(matches!(compare(&fat, &other, &[]), Err(FatError::Damaged(_))));
    assert!(compare(&[], &fat, &[]).is_err() && compare(&fat, &[], &[]).is_err());
    let mut broken = fat.clone();
    let table = Geometry::read(&fat).unwrap().tables[0].clone();
    broken[table].fill(0x11);
    assert!(compare(&fat, &broken, &EDITED).is_err());
    // No content may make it panic.
    for at in 0..SECTOR {
        for value in [0, 1, 0x7f, 0xff] {
            let mut odd = fat.clone();
            odd[at] = value;
            let _ = compare(&fat, &odd, &EDITED);
            let _ = compare(&odd, &odd, &EDITED);
        }
    }
}

#[test]
fn a_name_without_end_is_refused_before_it_takes_time_and_memory() {
    let mut bytes = partition(FatType::Fat16, 4 << 20);
    let geometry = Geometry::read(&bytes).unwrap();
    for at in geometry.fixed_root.clone().step_by(32) {
        bytes[at..at + 32].fill(b'a');
        bytes[at + 11] = 0x0f;
    }
    let error = compare(&bytes, &bytes, &[]).unwrap_err();
    assert_eq!(error, FatError::Damaged("a name has more than 20 parts".to_owned()));
}

#[test]
fn one_long_chain_for_many_files_is_refused_before_it_takes_time_and_memory() {
    let mut bytes = partition(FatType::Fat16, 4 << 20);
    let geometry = Geometry::read(&bytes).unwrap();
    let table = geometry.tables[0].start;
    for cluster in 2..geometry.clusters_end as usize - 1 {
        bytes[table + 2 * cluster..][..2].copy_from_slice(&(cluster as u16 + 1).to_le_bytes());
    }
    for (number, at) in geometry.fixed_root.clone().step_by(32).enumerate() {
        bytes[at..at + 32].fill(0);
        bytes[at..at + 11].copy_from_slice(format!("FILE{number:04}BIN").as_bytes());
        bytes[at + 26] = 2;
    }
    let last = table + 2 * (geometry.clusters_end as usize - 1);
    bytes[last..last + 2].fill(0xff);
    let error = compare(&bytes, &bytes, &[]).unwrap_err();
    assert_eq!(error, FatError::Damaged("the files of a directory share clusters".to_owned()));
}

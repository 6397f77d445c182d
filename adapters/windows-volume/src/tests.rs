use std::io::{Cursor, Read};
use std::sync::OnceLock;

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::NtfsVolumeFlags;
use ntfs::{Ntfs, NtfsReadSeek};
use proptest::prelude::*;

use crate::*;

fn registry(volume: &[u8]) -> Result<Registry, VolumeError> {
    Registry::read(&SystemHive::find(volume)?.bytes)
}

/// The hive as the crate `ntfs` finds it, and the place on the volume of each of its clusters.
fn by_other_reader(volume: &[u8]) -> (Vec<u8>, Vec<u64>, NtfsVolumeFlags) {
    let mut device = Cursor::new(volume);
    let mut ntfs = Ntfs::new(&mut device).unwrap();
    ntfs.read_upcase_table(&mut device).unwrap();
    let flags = ntfs.volume_info(&mut device).unwrap().flags();
    let mut file = ntfs.root_directory(&mut device).unwrap();
    for name in SYSTEM_HIVE.split('/').skip(1) {
        let index = file.directory_index(&mut device).unwrap();
        let mut finder = index.finder();
        let entry = NtfsFileNameIndex::find(&mut finder, &ntfs, &mut device, name).unwrap().unwrap();
        file = entry.to_file(&ntfs, &mut device).unwrap();
    }
    let data = file.data(&mut device, "").unwrap().unwrap();
    let attribute = data.to_attribute().unwrap();
    let mut value = attribute.value(&mut device).unwrap();
    let places = (0..value.len()).step_by(4096).map(|at| {
        value.seek(&mut device, std::io::SeekFrom::Start(at)).unwrap();
        value.data_position().value().unwrap().get()
    });
    let places = places.collect();
    value.seek(&mut device, std::io::SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    value.attach(&mut device).read_to_end(&mut bytes).unwrap();
    (bytes, places, flags)
}

#[test]
fn both_readers_find_the_same_hive_in_pieces() {
    let volume = WindowsVolume::default().bytes().unwrap();
    assert_eq!(volume.len() as u64, VOLUME_BYTES);
    let hive = SystemHive::find(&volume).unwrap();
    assert!(hive.extents.0.len() > 1, "{:?}", hive.extents);
    let (bytes, places, flags) = by_other_reader(&volume);
    assert!(bytes == hive.bytes);
    let ours: Vec<_> = (0..bytes.len() as u64).step_by(4096).map(|at| hive.extents.place(at)).collect();
    assert_eq!(ours, places.into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(flags, NtfsVolumeFlags::empty());
    assert_eq!(hive.extents.place(bytes.len() as u64), None);
}

#[test]
fn a_machine_has_the_start_types_that_it_was_installed_with() {
    let starts = vec![("storvsc".to_owned(), StartType::MANUAL), ("Dhcp".to_owned(), StartType::DISABLED)];
    let installed = WindowsVolume { starts, current: 2, ..WindowsVolume::default() };
    let registry = registry(&installed.bytes().unwrap()).unwrap();
    assert_eq!((registry.current(), registry.control_sets()), (2, vec![1, 2]));
    let expected = [
        ("storvsc", StartType::MANUAL),
        ("vmbus", StartType::BOOT),
        ("Dhcp", StartType::DISABLED),
        ("VMTools", StartType::AUTOMATIC),
    ];
    for (service, start) in expected {
        assert_eq!(registry.start(service), Ok(start), "{service}");
    }
    assert!(registry.start("nothing").is_err());
    let unknown = WindowsVolume { current: 3, ..WindowsVolume::default() };
    assert!(unknown.bytes().is_err());
}

#[test]
fn every_difference_of_two_hives_is_listed() {
    let usual = registry(&WindowsVolume::default().bytes().unwrap()).unwrap();
    assert_eq!(usual.differences(&usual), []);
    let starts = vec![("VMTools".to_owned(), StartType::DISABLED)];
    let other = WindowsVolume { starts, current: 2, ..WindowsVolume::default() };
    let found = registry(&other.bytes().unwrap()).unwrap().differences(&usual);
    let start = |set| Difference::Start {
        set,
        service: "VMTools".to_owned(),
        before: StartType::AUTOMATIC,
        after: StartType::DISABLED,
    };
    let select = |name: &str| Difference::Other(format!("\\Select\\{name}"));
    assert_eq!(found, [start(1), start(2), select("Current"), select("Default")]);
}

#[test]
fn each_state_is_what_it_says() {
    let bytes = |state| WindowsVolume { state, ..WindowsVolume::default() }.bytes().unwrap();
    let clean = bytes(VolumeState::Clean);
    assert!(matches!(registry(&bytes(VolumeState::Damaged)), Err(VolumeError::Hive(_))));
    assert_eq!(registry(&bytes(VolumeState::Unfinished)), Err(VolumeError::Unfinished));
    assert_eq!(registry(&bytes(VolumeState::Hibernated)), registry(&clean));
    assert_ne!(bytes(VolumeState::Hibernated), clean);
    assert_eq!(by_other_reader(&bytes(VolumeState::Dirty)).2, NtfsVolumeFlags::IS_DIRTY);
}

#[test]
fn a_key_below_itself_has_an_end() {
    let mut hive = usual().1.bytes.clone();
    let number = |hive: &[u8], at: usize| u32::from_le_bytes(hive[at..at + 4].try_into().unwrap());
    let cell = |offset: u32| 4096 + offset as usize + 4;
    let root = number(&hive, 36);
    let list = cell(number(&hive, cell(root) + 28));
    // The list holds the place of each key and a hash of its name, here that of the root.
    let hash = b"ROOT".iter().fold(0_u32, |hash, unit| hash.wrapping_mul(37).wrapping_add(u32::from(*unit)));
    hive[list + 4..list + 8].copy_from_slice(&root.to_le_bytes());
    hive[list + 8..list + 12].copy_from_slice(&hash.to_le_bytes());
    let refused = Registry::read(&hive).unwrap_err();
    assert!(matches!(refused, VolumeError::Hive(_)) && !refused.to_string().contains("hash"), "{refused}");
}

#[test]
fn a_file_larger_than_its_volume_is_refused() {
    let (volume, hive) = usual();
    // Runs state the size that is allocated, that of the data, and how much of it was written.
    let sizes = (hive.bytes.len() as u64).to_le_bytes().repeat(3);
    let at = volume.windows(sizes.len()).position(|bytes| bytes == sizes).expect("the runs of the hive");
    let mut larger = volume.clone();
    for size in [at + 8, at + 16] {
        larger[size..size + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    }
    let refused = SystemHive::find(&larger).unwrap_err().to_string();
    assert!(refused.contains("larger than the volume"), "{refused}");
}

#[test]
fn the_partition_is_found_by_its_entry() {
    let mut sector = [0; 512];
    let bytes = 1 << 20..5 << 20;
    sector[462..478].copy_from_slice(&partition_entry(&bytes));
    assert_eq!(partition(&sector, 8 << 20), None);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(partition(&sector, 8 << 20), Some(bytes));
    assert_eq!(partition(&sector, 4 << 20), None);
    assert_eq!(partition(&sector[..500], 8 << 20), None);
}

/// The usual volume, made once.
fn usual() -> &'static (Vec<u8>, SystemHive) {
    static USUAL: OnceLock<(Vec<u8>, SystemHive)> = OnceLock::new();
    USUAL.get_or_init(|| {
        let volume = WindowsVolume::default().bytes().unwrap();
        let hive = SystemHive::find(&volume).unwrap();
        (volume, hive)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// Volumes and hives with overwritten parts are read or refused.
    #[test]
    fn damage_is_refused_at_most(places in prop::collection::vec((any::<u32>(), any::<u8>()), 1..40)) {
        let (mut volume, mut hive) = (usual().0.clone(), usual().1.bytes.clone());
        for (at, byte) in &places {
            let length = hive.len();
            hive[*at as usize % length] = *byte;
            // The boot sector and the table of files.
            let window = if at % 4 == 0 { 512 } else { 128 * 1024 };
            volume[*at as usize % window] = *byte;
        }
        let _ = Registry::read(&hive);
        let _ = registry(&volume);
    }

    #[test]
    fn what_is_cut_off_is_refused(length in 0_usize..20_000) {
        let (volume, hive) = usual();
        prop_assert!(Registry::read(&hive.bytes[..length]).is_err());
        prop_assert!(SystemHive::find(&volume[..length]).is_err());
        prop_assert_eq!(SystemHive::find(&volume[length..]).is_ok(), length == 0);
    }
}

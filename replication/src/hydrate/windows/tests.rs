use std::sync::{Arc, Mutex};

use contract::ErrorCode;
use nbd::{Export, Extent, Refusal};
use proptest::prelude::*;
use windows_volume::{
    Difference, Registry, StartType, SystemHive, VOLUME_BYTES, VolumeState, WindowsVolume, partition_entry,
};

use super::*;

/// Where the volume begins on the disk.
const AT: usize = 1 << 20;

struct Disk(Mutex<Vec<u8>>);

impl Export for Disk {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let at = offset as usize;
        buffer.copy_from_slice(&self.0.lock().unwrap()[at..at + buffer.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        let at = offset as usize;
        self.0.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        self.write(offset, &vec![0; length as usize])
    }

    fn flush(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn extents(&self, _context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
        Ok(None)
    }
}

/// A disk with one partition, the volume.
fn disk(volume: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; AT];
    disk[446..462].copy_from_slice(&partition_entry(&(AT as u64..AT as u64 + VOLUME_BYTES)));
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend_from_slice(volume);
    disk
}

/// Edits a disk; returns it afterwards, and the result.
fn edited(disk: Vec<u8>, change: Change, edits: RegistryEdits) -> (Vec<u8>, Result<Vec<Changed>, CoreError>) {
    let export = Arc::new(Disk(Mutex::new(disk)));
    let served = nbd::serve("windows", Arc::clone(&export) as Arc<dyn Export>);
    let result = edit(&served.uri(), change, edits);
    let disk = export.0.lock().unwrap().clone();
    (disk, result)
}

fn registry(disk: &[u8]) -> Registry {
    Registry::read(&SystemHive::find(&disk[AT..]).unwrap().bytes).unwrap()
}

fn start(service: &str, set: u32, before: StartType, after: StartType) -> Difference {
    Difference::Start { set, service: service.to_owned(), before, after }
}

fn lacking(current: u32, state: VolumeState) -> WindowsVolume {
    let starts = [("storvsc", StartType::MANUAL), ("Dhcp", StartType::DISABLED)];
    WindowsVolume { starts: starts.map(|(name, start)| (name.to_owned(), start)).to_vec(), current, state }
}

#[test]
fn drivers_and_dhcp_are_made_ready_in_the_current_control_set() {
    for current in [1, 2] {
        let before = disk(&lacking(current, VolumeState::Clean).bytes().unwrap());
        let (after, changed) = edited(before.clone(), Change::MakeReady, RegistryEdits::Needed);
        let services: Vec<_> = changed.unwrap().into_iter().map(|changed| changed.service).collect();
        assert_eq!(services, ["storvsc", "Dhcp"]);
        let expected = [
            start("Dhcp", current, StartType::DISABLED, StartType::AUTOMATIC),
            start("storvsc", current, StartType::MANUAL, StartType::BOOT),
        ];
        assert_eq!(registry(&after).differences(&registry(&before)), expected);
        let differing = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        // Two numbers of writes, the checksum, which they leave as it is, and two start types.
        assert_eq!(differing, 4);
        assert_eq!(edited(after.clone(), Change::MakeReady, RegistryEdits::Needed), (after, Ok(Vec::new())));
    }
}

#[test]
fn tools_are_disabled_and_then_start_as_before() {
    let usual = disk(&WindowsVolume::default().bytes().unwrap());
    let (disabled, changed) = edited(usual.clone(), Change::DisableTools, RegistryEdits::Needed);
    assert_eq!(changed.unwrap()[0].before, 2);
    assert_eq!(registry(&disabled).start("VMTools"), Ok(StartType::DISABLED));
    let (enabled, _) = edited(disabled, Change::EnableTools(2), RegistryEdits::Needed);
    assert_eq!(registry(&enabled).differences(&registry(&usual)), []);
    // Whoever enabled them meanwhile keeps what they chose.
    let (same, changed) = edited(usual.clone(), Change::EnableTools(3), RegistryEdits::Needed);
    assert_eq!((same, changed), (usual, Ok(Vec::new())));
}

#[test]
fn a_disk_without_windows_is_left_as_it_is() {
    for other in [vec![0; AT], {
        let mut disk = disk(&[0; 4096]);
        disk[450] = 0x83;
        disk
    }] {
        let mut other = other;
        other[510..512].copy_from_slice(&[0x55, 0xaa]);
        let left = edited(other.clone(), Change::MakeReady, RegistryEdits::Needed);
        assert_eq!(left, (other, Ok(Vec::new())));
    }
}

#[test]
fn a_volume_that_must_not_be_written_is_refused_and_left_as_it_is() {
    let states = [
        (VolumeState::Hibernated, "hibernated"),
        (VolumeState::Dirty, "dirty"),
        (VolumeState::Unfinished, "did not end"),
        (VolumeState::Damaged, "damaged"),
    ];
    for (state, why) in states {
        let before = disk(&lacking(1, state).bytes().unwrap());
        let (after, result) = edited(before.clone(), Change::MakeReady, RegistryEdits::Needed);
        let error = result.unwrap_err();
        assert_eq!(error.code, ErrorCode::HydrationFailed);
        assert!(error.message.contains(why), "{state:?}: {error}");
        assert!(before == after, "{state:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    /// Volumes with overwritten parts are edited or refused; what is refused is left as it is.
    #[test]
    fn hostile_volumes_are_refused_at_most(
        places in prop::collection::vec((any::<u32>(), any::<u8>(), any::<bool>()), 1..30)
    ) {
        let mut volume = lacking(1, VolumeState::Clean).bytes().unwrap();
        let hive = SystemHive::find(&volume).unwrap().extents;
        for (at, byte, in_hive) in places {
            let place = if in_hive { hive.place(u64::from(at) % 24_000).unwrap() as usize } else {
                at as usize % if at % 4 == 0 { 512 } else { 128 * 1024 }
            };
            volume[place] = byte;
        }
        let before = disk(&volume);
        let (after, result) = edited(before.clone(), Change::MakeReady, RegistryEdits::Needed);
        prop_assert!(result.is_ok() || before == after);
    }
}

//! Makes the volume of one machine out of the committed one.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use crate::files::{Extents, Files, SystemHive, attribute};
use crate::registry::{Registry, StartType};
use crate::{VOLUME_BYTES, VolumeError};

/// The committed volume, as `fixture/make.py` packs it.
const PACKED: &[u8] = include_bytes!("../fixture/volume.bin");
/// The file of a hibernated system; without its first bytes there is none.
const HIBERNATION: &str = "/hiberfil.sys";
const HIBERNATED: &[u8; 4] = b"HIBR";
/// Number of the file that describes the volume.
const VOLUME_FILE: u64 = 3;
/// Number of the file with a copy of the first records.
const MIRROR_FILE: u64 = 1;
/// Offset of the flags in the description, and the flag of a volume that has to be checked.
const FLAGS: u64 = 10;
const DIRTY: u8 = 1;
/// Offsets in a hive: the number of the last write that began, and the checksum of the header.
const BEGUN: usize = 4;
const CHECKSUM: usize = 508;

/// State of a volume and its hive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeState {
    /// The system was shut down.
    #[default]
    Clean,
    /// The system was hibernated: it goes on with what it knows of the volume, so that nobody else
    /// may write to it.
    Hibernated,
    /// The volume has to be checked before it is used.
    Dirty,
    /// A write to the hive was begun and not ended.
    Unfinished,
    /// The hive's keys are overwritten.
    Damaged,
}

/// A volume to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsVolume {
    /// Drivers and services that start otherwise than in the committed hive, in which the cloud's
    /// drivers start at boot and DHCP and VMware Tools are automatic. In all control sets.
    pub starts: Vec<(String, StartType)>,
    /// The current control set, 1 or 2.
    pub current: u32,
    /// State.
    pub state: VolumeState,
}

impl Default for WindowsVolume {
    fn default() -> Self {
        Self { starts: Vec::new(), current: 1, state: VolumeState::Clean }
    }
}

impl WindowsVolume {
    /// The volume.
    ///
    /// # Errors
    /// The hive has no such service or control set.
    pub fn bytes(&self) -> Result<Vec<u8>, VolumeError> {
        let mut volume = unpack()?;
        let hive = SystemHive::find(&volume)?;
        let registry = Registry::read(&hive.bytes)?;
        if !registry.control_sets().contains(&self.current) {
            return Err(VolumeError::NoKey(format!("control set {}", self.current)));
        }
        for set in registry.control_sets() {
            for (service, start) in &self.starts {
                let at = registry.start_at(set, service)?;
                put(&mut volume, &hive.extents, at, &start.0.to_le_bytes())?;
            }
        }
        for (name, number) in [("Current", self.current), ("Default", self.current)] {
            let at = registry.number_at("\\Select", name)?;
            put(&mut volume, &hive.extents, at, &number.to_le_bytes())?;
        }
        self.put_into_state(&mut volume, &hive)?;
        Ok(volume)
    }

    fn put_into_state(&self, volume: &mut [u8], hive: &SystemHive) -> Result<(), VolumeError> {
        match self.state {
            VolumeState::Clean => Ok(()),
            VolumeState::Hibernated => {
                let files = Files::read(volume)?;
                let file = files.extents(files.number(HIBERNATION)?)?;
                put(volume, &file, 0, HIBERNATED)
            }
            VolumeState::Dirty => make_dirty(volume),
            VolumeState::Unfinished => {
                let mut header = hive.bytes.get(..CHECKSUM).unwrap_or_default().to_vec();
                if let Some(begun) = header.get_mut(BEGUN) {
                    *begun = begun.wrapping_add(1);
                }
                let words = header.chunks_exact(4);
                let words = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                let checksum = words.fold(0, |sum, word| sum ^ word);
                header.extend(checksum.to_le_bytes());
                put(volume, &hive.extents, 0, &header)
            }
            VolumeState::Damaged => {
                let keys = hive.bytes.len() as u64 / 2;
                put(volume, &hive.extents, keys, &[0x5a; 512])
            }
        }
    }
}

/// Sets the flag in the description of the volume and in the copy of it.
fn make_dirty(volume: &mut [u8]) -> Result<(), VolumeError> {
    let files = Files::read(volume)?;
    let (value, _) = files.resident(VOLUME_FILE, attribute::VOLUME)?;
    let record = files.record_extents(VOLUME_FILE).unwrap_or_default();
    let record_bytes: u64 = record.0.iter().map(|sector| sector.end - sector.start).sum();
    let mirror = files.extents(MIRROR_FILE)?;
    put(volume, &record, value + FLAGS, &[DIRTY])?;
    put(volume, &mirror, VOLUME_FILE * record_bytes + value + FLAGS, &[DIRTY])
}

/// Writes into a file, in place.
fn put(volume: &mut [u8], file: &Extents, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
    for (index, byte) in data.iter().enumerate() {
        let place = file.place(offset + index as u64).and_then(|at| usize::try_from(at).ok());
        let place = place.and_then(|at| volume.get_mut(at));
        *place.ok_or_else(|| VolumeError::Ntfs("a file is shorter than it should be".to_owned()))? = *byte;
    }
    Ok(())
}

/// Undoes what `packed` in `fixture/make.py` does.
fn unpack() -> Result<Vec<u8>, VolumeError> {
    let steps = decompress_to_vec_zlib_with_limit(PACKED, VOLUME_BYTES as usize);
    let steps = steps.map_err(|error| VolumeError::Ntfs(format!("the committed volume: {error}")))?;
    let words = steps.chunks_exact(2).scan(0_u16, |word, step| {
        *word = word.wrapping_add(u16::from_le_bytes([step[0], step[1]]));
        Some(word.to_le_bytes())
    });
    Ok(words.flatten().collect())
}

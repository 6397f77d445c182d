//! The NTFS volume with the hive: found with the crate `ntfs`, which only reads, and written in
//! place, sector by sector.

use std::cell::RefCell;
use std::io::{BufReader, SeekFrom};
use std::ops::Range;
use std::rc::Rc;

use contract::CoreError;
use nbd::Client;
use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::NtfsVolumeFlags;
use ntfs::{Ntfs, NtfsFile, NtfsReadSeek};

use super::hive::Hive;
use crate::hydrate::stream::DiskStream;
use crate::transfer::nbd_error;

/// Path of the hive.
const HIVE: [&str; 4] = ["Windows", "System32", "config", "SYSTEM"];
/// The file that a hibernated system leaves, and how it begins.
const HIBERNATION: &str = "hiberfil.sys";
const HIBERNATED: &[u8] = b"HIBR";
/// Unit of reads and writes, in bytes. Clusters are multiples of it.
const SECTOR: u64 = 512;
/// Largest hive that is read, in bytes. Windows itself allows no more.
const LARGEST: u64 = 1 << 30;

type Device = BufReader<DiskStream>;

/// Where the hive is.
pub(super) struct Volume {
    /// Offset on the disk of each sector of the hive.
    sectors: Vec<u64>,
}

impl Volume {
    /// Finds the hive in a partition; `None` if there is none. If `careful`, a volume that must not
    /// be written is refused.
    pub(super) fn open(
        client: &Rc<RefCell<Client>>,
        partition: Range<u64>,
        careful: bool,
    ) -> Result<Option<Self>, String> {
        let start = partition.start;
        let mut device = BufReader::new(DiskStream::new(Rc::clone(client), partition));
        let broken = |error: ntfs::NtfsError| format!("the NTFS volume cannot be read: {error}");
        let mut ntfs = Ntfs::new(&mut device).map_err(broken)?;
        ntfs.read_upcase_table(&mut device).map_err(broken)?;
        let Some(hive) = find(&ntfs, &mut device, &HIVE).map_err(broken)? else { return Ok(None) };
        if careful {
            ensure_writable(&ntfs, &mut device)?;
        }
        let sectors = places(&hive, &mut device).map_err(broken)?;
        let sectors = sectors.ok_or("the registry hive does not lie in whole sectors of the volume")?;
        Ok(Some(Self { sectors: sectors.into_iter().map(|sector| start + sector).collect() }))
    }

    /// The content of the hive.
    pub(super) fn read(&self, client: &Rc<RefCell<Client>>) -> Result<Vec<u8>, CoreError> {
        let mut content = vec![0; self.sectors.len() * SECTOR as usize];
        for (place, sector) in self.sectors.iter().zip(content.chunks_exact_mut(SECTOR as usize)) {
            client.borrow_mut().read(*place, sector).map_err(nbd_error)?;
        }
        Ok(content)
    }

    /// Writes the sectors of the hive that were changed, in the order in which Windows does: first
    /// the header says that a write has begun, then come the values, then the header says that it
    /// has ended. Whoever finds it in between knows that the hive is not whole.
    pub(super) fn write(&self, client: &Rc<RefCell<Client>>, hive: &Hive) -> Result<(), CoreError> {
        let mut client = client.borrow_mut();
        let mut put = |writes: &[(usize, Vec<u8>)]| {
            for (sector, content) in writes {
                client.write(self.sectors[*sector], content).map_err(nbd_error)?;
            }
            client.flush().map_err(nbd_error)
        };
        hive.writes(SECTOR as usize).iter().try_for_each(|writes| put(writes))
    }
}

/// The file of a path; `None` if there is none.
fn find<'n>(ntfs: &'n Ntfs, device: &mut Device, path: &[&str]) -> ntfs::Result<Option<NtfsFile<'n>>> {
    let mut file = ntfs.root_directory(device)?;
    for name in path {
        let index = file.directory_index(device)?;
        let mut finder = index.finder();
        let Some(entry) = NtfsFileNameIndex::find(&mut finder, ntfs, device, name) else { return Ok(None) };
        let next = entry?.to_file(ntfs, device)?;
        file = next;
    }
    Ok(Some(file))
}

/// The system must be neither hibernated, because it would go on with what it knows of the volume,
/// nor is the volume to be checked first.
fn ensure_writable(ntfs: &Ntfs, device: &mut Device) -> Result<(), String> {
    let broken = |error: ntfs::NtfsError| format!("the NTFS volume cannot be read: {error}");
    let flags = ntfs.volume_info(device).map_err(broken)?.flags();
    if flags.intersects(NtfsVolumeFlags::IS_DIRTY | NtfsVolumeFlags::CHKDSK_UNDERWAY) {
        return Err("the NTFS volume is marked as dirty: Windows has to check it first".to_owned());
    }
    let Some(file) = find(ntfs, device, &[HIBERNATION]).map_err(broken)? else { return Ok(()) };
    let mut beginning = [0; HIBERNATED.len()];
    if let Some(data) = file.data(device, "") {
        let data = data.map_err(broken)?;
        let mut value = data.to_attribute().and_then(|attribute| attribute.value(device)).map_err(broken)?;
        // A shorter file is not that of a hibernated system.
        value.read(device, &mut beginning).map_err(broken)?;
    }
    match beginning.eq_ignore_ascii_case(HIBERNATED) {
        true => {
            Err("Windows is hibernated: its NTFS volume must not be changed until it is shut down".to_owned())
        }
        false => Ok(()),
    }
}

/// The place on the volume of each sector of a file; `None` if a part of the file has no place, or
/// one that does not begin with a sector.
fn places(file: &NtfsFile<'_>, device: &mut Device) -> ntfs::Result<Option<Vec<u64>>> {
    let Some(data) = file.data(device, "") else { return Ok(None) };
    let data = data?;
    let attribute = data.to_attribute()?;
    let plain = attribute.flags().is_empty() && !attribute.is_resident();
    let mut value = attribute.value(device)?;
    let size = value.len();
    if !plain || !size.is_multiple_of(SECTOR) || size > LARGEST {
        return Ok(None);
    }
    let mut sectors = Vec::new();
    for at in (0..size).step_by(SECTOR as usize) {
        value.seek(device, SeekFrom::Start(at))?;
        let Some(place) = value.data_position().value() else { return Ok(None) };
        sectors.push(place.get());
    }
    Ok(sectors.iter().all(|place| place.is_multiple_of(SECTOR)).then_some(sectors))
}

//! What a faulty core does at a site beside what it was asked to do.

use std::sync::Arc;
use std::time::Duration;

use contract::{
    Access, Bytes, MachineId, MachineSpec, MachineView, Network, NicSpec, Platform, PlatformError,
    PlatformErrorKind, PowerState, VolumeId,
};
use images::layout::{BOOT_BYTES, BOOT_OFFSET};
use simulator::SimSite;

/// Granularity in which a core compares disks.
const GRAIN: u64 = 64 * 1024;
/// Size of a sector in bytes.
const SECTOR: usize = 512;
/// How much of a volume is read at once, in bytes.
const CHUNK: usize = 1024 * 1024;
/// How the settings inside a guest begin.
const SETTINGS: &[u8] = b"DHCP=";

/// Makes an empty volume that is a byte shorter than another one, and returns its name.
pub(super) async fn shorter(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
) -> Result<VolumeId, PlatformError> {
    let view = platform.volume(volume).await?;
    let short = VolumeId(format!("{volume}-short"));
    platform.create_volume(&short, Bytes(view.size.0 - 1), view.datastore.as_ref()).await?;
    Ok(short)
}

/// A refusal of a call that the platform behind would have carried out.
pub(super) fn refusal(message: &str) -> PlatformError {
    let (site, message) = ("this site".to_owned(), message.to_owned());
    PlatformError { site, kind: PlatformErrorKind::Failed, message }
}

/// Does something with a volume's content through an export.
async fn edit<T: Send + 'static>(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
    access: Access,
    edit: impl FnOnce(&mut nbd::Client) -> Result<T, nbd::Error> + Send + 'static,
) -> Result<T, PlatformError> {
    let export = platform.export_volume(volume, access).await?;
    let uri = export.uri.clone();
    let edited = tokio::task::spawn_blocking(move || edit(&mut nbd::Client::connect(&uri)?)).await;
    platform.close_export(&export.id).await?;
    let failed = |message: String| PlatformError {
        site: "a faulty core".to_owned(),
        kind: PlatformErrorKind::Failed,
        message,
    };
    edited.map_err(|panic| failed(panic.to_string()))?.map_err(|error| failed(error.to_string()))
}

/// Inverts one sector in every so many bytes of a volume, within a range.
async fn invert(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
    range: std::ops::Range<u64>,
    every: u64,
) -> Result<(), PlatformError> {
    let invert = move |disk: &mut nbd::Client| {
        let mut sector = [0; SECTOR];
        let end = range.end.min(disk.size());
        let mut at = range.start;
        while at + SECTOR as u64 <= end {
            disk.read(at, &mut sector)?;
            sector.iter_mut().for_each(|byte| *byte = !*byte);
            disk.write(at, &sector)?;
            at += every;
        }
        Ok(())
    };
    edit(platform, volume, Access::Write, invert).await
}

/// Replaces a line of the settings inside the guest by another one of the same length. A guest
/// without such a line is left as it is. Returns whether there was one.
pub(super) async fn edit_guest_settings(
    platform: &Arc<dyn Platform>,
    spec: &MachineSpec,
    from: &'static str,
    to: &'static str,
) -> Result<bool, PlatformError> {
    let Some((_, system)) = spec.disks.first() else { return Ok(false) };
    let replace = move |disk: &mut nbd::Client| {
        let mut replaced = false;
        let mut chunk = vec![0; CHUNK];
        let end = (BOOT_OFFSET + BOOT_BYTES).min(disk.size());
        for at in (BOOT_OFFSET..end).step_by(CHUNK) {
            let length = CHUNK.min((end - at) as usize);
            disk.read(at, &mut chunk[..length])?;
            // The file is shorter than a sector and begins at one.
            let sectors = chunk[..length].chunks_exact_mut(SECTOR).enumerate();
            for (index, sector) in sectors.filter(|(_, sector)| sector.starts_with(SETTINGS)) {
                let place = sector.windows(from.len()).position(|text| text == from.as_bytes());
                if let Some(place) = place {
                    sector[place..place + to.len()].copy_from_slice(to.as_bytes());
                    disk.write(at + (index * SECTOR) as u64, sector)?;
                    replaced = true;
                }
            }
        }
        Ok(replaced)
    };
    edit(platform, system, Access::Write, replace).await
}

/// Alters something in every grain of a replica's base, so that no comparison finds it equal.
/// Returns whether the volume was a base.
pub(super) async fn destroy(platform: &Arc<dyn Platform>, volume: &VolumeId) -> Result<bool, PlatformError> {
    let view = platform.volume(volume).await?;
    let is_base = view.parent.is_none() && view.allocated.0 > 0;
    if is_base {
        invert(platform, volume, 0..view.size.0, GRAIN).await?;
    }
    Ok(is_base)
}

/// Alters a sector of the boot partition.
pub(super) async fn edit_boot_partition(
    platform: &Arc<dyn Platform>,
    spec: &MachineSpec,
) -> Result<(), PlatformError> {
    let Some((_, system)) = spec.disks.first() else { return Ok(()) };
    let start = SimSite::boot_partition().start;
    invert(platform, system, start..start + SECTOR as u64, GRAIN).await
}

/// Writes zeroes to the last sector of a machine's first disk.
pub(super) async fn clear_last_sector(
    platform: &Arc<dyn Platform>,
    spec: &MachineSpec,
) -> Result<(), PlatformError> {
    let Some((_, system)) = spec.disks.first() else { return Ok(()) };
    let clear = |disk: &mut nbd::Client| disk.write(disk.size() - SECTOR as u64, &[0; SECTOR]);
    edit(platform, system, Access::Write, clear).await
}

/// Alters a sector of a machine's boot partition as soon as the machine is off.
pub(super) fn spoil_once_off(platform: Arc<dyn Platform>, machine: MachineId) {
    drop(tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let Ok(view) = platform.machine(&machine).await else { return };
            let Some(system) = view.disks.first() else { return };
            if view.power == PowerState::Off {
                let start = SimSite::boot_partition().start;
                drop(invert(&platform, &system.volume, start..start + SECTOR as u64, GRAIN).await);
                return;
            }
        }
    }));
}

/// The volume below this one, or the volume itself.
pub(super) async fn below(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
) -> Result<VolumeId, PlatformError> {
    Ok(platform.volume(volume).await?.parent.unwrap_or_else(|| volume.clone()))
}

/// A sector and where it is, in bytes.
pub(super) type SectorAt = (u64, [u8; SECTOR]);

/// The first sector of `base` that reads otherwise in `top`, as it is in `base`.
pub(super) async fn first_change(
    platform: &Arc<dyn Platform>,
    top: &VolumeId,
    base: &VolumeId,
) -> Result<Option<SectorAt>, PlatformError> {
    let above = content(platform, top).await?;
    let below = content(platform, base).await?;
    let (above, below) = (above.as_chunks().0, below.as_chunks().0);
    let changed = below.iter().zip(above).position(|(below, above)| below != above);
    Ok(changed.map(|index| ((index * SECTOR) as u64, below[index])))
}

/// Writes the first sector in which a machine's system disk differs from the volume below it into
/// that volume.
pub(super) async fn edit_below(
    platform: &Arc<dyn Platform>,
    spec: &MachineSpec,
) -> Result<(), PlatformError> {
    let Some((_, system)) = spec.disks.first() else { return Ok(()) };
    let below = below(platform, system).await?;
    match first_change(platform, &below, system).await? {
        Some(edited) => write_sector(platform, &below, edited).await,
        None => Ok(()),
    }
}

/// Writes a sector into a volume.
pub(super) async fn write_sector(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
    (at, sector): SectorAt,
) -> Result<(), PlatformError> {
    edit(platform, volume, Access::Write, move |disk| disk.write(at, &sector)).await
}

async fn content(platform: &Arc<dyn Platform>, volume: &VolumeId) -> Result<Vec<u8>, PlatformError> {
    let read = |disk: &mut nbd::Client| {
        let mut content = vec![0; usize::try_from(disk.size()).unwrap_or(0)];
        for (index, chunk) in content.chunks_mut(CHUNK).enumerate() {
            disk.read((index * CHUNK) as u64, chunk)?;
        }
        Ok(content)
    };
    edit(platform, volume, Access::Read, read).await
}

/// A disk of another machine that is off, if `volume` is a disk of a machine and there is one of
/// its size.
pub(super) async fn foreign(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
) -> Result<Option<VolumeId>, PlatformError> {
    let machines = platform.machines().await?;
    let has = |machine: &&MachineView| machine.disks.iter().any(|disk| disk.volume == *volume);
    let Some(own) = machines.iter().find(has) else { return Ok(None) };
    let size = own.disks.iter().find(|disk| disk.volume == *volume).map(|disk| disk.size);
    let others = machines.iter().filter(|other| other.id != own.id && other.power == PowerState::Off);
    let disk = others.flat_map(|other| &other.disks).find(|disk| Some(disk.size) == size);
    Ok(disk.map(|disk| disk.volume.clone()))
}

/// Whether a volume is a disk of a machine that is off.
pub(super) async fn is_disk_of_stopped_machine(
    platform: &Arc<dyn Platform>,
    volume: &VolumeId,
) -> Result<bool, PlatformError> {
    let machines = platform.machines().await?;
    let mut stopped = machines.iter().filter(|machine| machine.power == PowerState::Off);
    Ok(stopped.any(|machine| machine.disks.iter().any(|disk| disk.volume == *volume)))
}

/// Makes a machine anew, with disks of its own over the old ones.
pub(super) async fn make_anew(platform: &Arc<dyn Platform>, id: &MachineId) -> Result<(), PlatformError> {
    let MachineView { firmware, os, memory, disks, guest, placement, boot_entry, more_nics, .. } =
        platform.machine(id).await?;
    let mut new = Vec::new();
    for disk in disks {
        let volume = VolumeId(format!("{}-anew", disk.volume));
        platform.derive_volume(&volume, &disk.volume).await?;
        new.push((disk.id, volume));
    }
    let disks = new;
    let network = Network::Production;
    let more_nics = more_nics.iter().map(NicSpec::from).collect();
    let id = id.clone();
    let spec =
        MachineSpec { id, firmware, os, memory, disks, network, guest, placement, boot_entry, more_nics };
    platform.delete_machine(&spec.id).await?;
    platform.create_machine(&spec).await.map(drop)
}

/// Opens a machine's first disk for a second.
pub(super) async fn open_first_disk(
    platform: &Arc<dyn Platform>,
    id: &MachineId,
) -> Result<(), PlatformError> {
    let machine = platform.machine(id).await?;
    let Some(disk) = machine.disks.first() else { return Ok(()) };
    let export = platform.export_volume(&disk.volume, Access::Read).await?;
    platform.close_export(&export.id).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

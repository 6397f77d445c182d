//! A target machine: deltas over a point, made bootable, put into a machine, started, and taken down again.

use std::sync::Arc;

use contract::{
    CoreError, DiskId, DiskView, ErrorCode, MachineId, MachineSpec, MachineView, Network, Platform,
    PowerState, RecoveryPoint, SiteId, VolumeId,
};

use crate::core::Inner;
use crate::exports;
use crate::hydrate::{self as hydration, due};
use crate::item::{Item, Record, Volumes};
use crate::jobs::Job;

/// Names for deltas over a point, one a disk. `keep` stores them before anything of that name is made.
pub(crate) async fn name_disks(
    core: &Inner,
    item: &Item,
    point: &RecoveryPoint,
    purpose: &str,
    keep: impl FnOnce(&mut Record, Volumes),
) -> Result<Volumes, CoreError> {
    let mut named = Volumes::new();
    core.update(item, |record| {
        let number = record.next();
        let name = |disk: &DiskId| VolumeId(format!("{}-{disk}-{purpose}{number}", item.id));
        named = point.volumes.iter().map(|(disk, _)| (disk.clone(), name(disk))).collect();
        keep(record, named.clone());
    })
    .await?;
    Ok(named)
}

/// Makes the named deltas over a point.
pub(crate) async fn derive_disks(
    core: &Inner,
    item: &Item,
    point: &RecoveryPoint,
    disks: &Volumes,
) -> Result<(), CoreError> {
    let platform = core.platform(&item.record.lock().await.recovery.0)?;
    for ((_, name), (_, below)) in disks.iter().zip(&point.volumes) {
        platform.derive_volume(name, below).await?;
    }
    Ok(())
}

/// The extra step, where it is due (HY-01 to HY-07).
pub(crate) async fn hydrate_if_due(
    core: &Inner,
    item: &Item,
    job: &Job,
    disks: &Volumes,
) -> Result<(), CoreError> {
    let (site, reason) = {
        let record = item.record.lock().await;
        (record.recovery.0.clone(), due::reason(&record.origin))
    };
    match reason {
        Some(reason) => {
            let because = format!("{} ({})", reason.because, reason.rule);
            hydrate(core, job, &site, disks, &because).await
        }
        None => Ok(()),
    }
}

/// Makes disks boot on a site's hardware.
pub(crate) async fn hydrate(
    core: &Inner,
    job: &Job,
    site: &SiteId,
    disks: &Volumes,
    because: &str,
) -> Result<(), CoreError> {
    job.step("hydrate", async {
        let done = hydrate_disks(core, site, disks).await?;
        job.note(&format!("{done}; due because {because}"))
    })
    .await
}

/// Makes the target copy boot on the target's hardware; the point below it is not touched (HY-03, HY-06, HY-08).
async fn hydrate_disks(core: &Inner, site: &SiteId, disks: &Volumes) -> Result<String, CoreError> {
    if core.tap().is_some_and(|tap| !tap.hydrates()) {
        return Ok("left out".to_owned());
    }
    let platform = core.platform(site)?;
    let drivers = platform.site().await?.boot_drivers;
    let Some((_, boot_disk)) = disks.first() else {
        return Err(CoreError::new(ErrorCode::HydrationFailed, "the machine has no disk"));
    };
    let export = platform.export_volume(boot_disk, contract::Access::Write).await?;
    let uri = export.uri.clone();
    let repairs = crate::transfer::blocking(move || hydration::repair(&uri, &drivers)).await;
    exports::close(&platform, &export.id).await?;
    Ok(repairs?.to_string())
}

/// Makes a machine on the recovery side; it stays off.
pub(crate) async fn create_machine(
    core: &Inner,
    item: &Item,
    machine: &MachineId,
    disks: &Volumes,
    network: Network,
) -> Result<MachineView, CoreError> {
    let record = item.record.lock().await.clone();
    let platform = core.platform(&record.recovery.0)?;
    let mut placement = record.target.placement.clone();
    if network != record.target.network.unwrap_or_default() {
        // Subnet and address were chosen for the network that serves; a test failover's has others (TF-04).
        (placement.subnet, placement.address) = (None, None);
    }
    let mut spec = MachineSpec {
        id: machine.clone(),
        firmware: record.origin.firmware,
        os: record.origin.os,
        memory: record.target.memory,
        disks: disks.clone(),
        network,
        guest: record.origin.guest.clone(),
        placement,
    };
    if let Some(tap) = core.tap() {
        tap.shape(&mut spec);
    }
    Ok(platform.create_machine(&spec).await?)
}

/// Starts a machine. An answer may get lost: what counts is whether the machine runs.
pub(crate) async fn start(core: &Inner, site: &SiteId, machine: &MachineId) -> Result<(), CoreError> {
    let platform = core.platform(site)?;
    let Err(error) = platform.start(machine).await else { return Ok(()) };
    match platform.machine(machine).await {
        Ok(view) if view.power == PowerState::On => Ok(()),
        _ => Err(error.into()),
    }
}

/// Whether a machine is there and stands on `disks`. One that only has the name is somebody else's, and not touched.
pub(crate) async fn is_ours(
    platform: &Arc<dyn Platform>,
    machine: &MachineId,
    disks: &Volumes,
) -> Result<bool, CoreError> {
    let ours = |view: &MachineView| {
        let stands = |disk: &DiskView| disks.iter().any(|(_, volume)| *volume == disk.volume);
        view.id == *machine && !view.disks.is_empty() && view.disks.iter().all(stands)
    };
    Ok(platform.machines().await?.iter().any(ours))
}

/// Deletes what a failover built, whole or in part.
pub(crate) async fn remove_target(platform: &Arc<dyn Platform>, record: &Record) -> Result<(), CoreError> {
    let machine = &record.recovery.1;
    if is_ours(platform, machine, &record.built).await? {
        platform.power_off(machine).await?;
        platform.delete_machine(machine).await?;
    }
    for (_, volume) in &record.built {
        platform.delete_volume(volume).await?;
    }
    Ok(())
}

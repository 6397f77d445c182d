//! The target machine of a failover or test failover on the recovery side.
//!
//! Its disks are deltas over a recovery point, so nothing is copied and the point stays unchanged.

use std::sync::Arc;

use contract::{
    Access, CoreError, DiskId, DiskView, ErrorCode, GuestOs, MachineId, MachineSpec, MachineView, Network,
    NicSpec, Phase, Platform, PlatformKind, PointId, PowerState, RecoveryPoint, Side, SiteId, Step, VolumeId,
};

use crate::context::Context;
use crate::exports;
use crate::fault_hook::{BootEntries, RegistryEdits};
use crate::hydrate::windows::{Change, Changed};
use crate::hydrate::{self, Repairs, due};
use crate::item::Item;
use crate::jobs::job::Job;
use crate::state::{Progress, Record, SourceIdentity, Volumes};
use crate::transfer::blocking;

/// Builds a target machine over a point, starts it and makes the recovery side active.
pub(super) async fn build_and_switch(
    ctx: &Context,
    item: &Item,
    job: &Job,
    point: &RecoveryPoint,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    if !record.built.is_empty() {
        let platform = ctx.platform(&record.recovery.0)?;
        job.step("remove half-built target", remove_target(&platform, &record)).await?;
    }
    ctx.update(item, |record| record.progress.note_target_off()).await?;
    let disks = name_disks(ctx, item, point, "run", |record, disks| record.built = disks).await?;
    job.step("build target disks", derive_disks(ctx, item, point, &disks)).await?;
    let tools_started = adapt_disks(ctx, item, job, &disks).await?;
    ctx.update(item, |record| record.tools_started = tools_started).await?;
    let machine = item.record.lock().await.recovery.1.clone();
    let network = item.record.lock().await.target.network.unwrap_or(Network::Production);
    let created = create_machine(ctx, item, &machine, &disks, network);
    let created = job.step("create target machine", created).await?;
    ctx.update(item, |record| record.recovery_resource_group = created.placement.resource_group).await?;
    start_and_switch(ctx, item, job, &point.id, Side::Recovery, disks).await
}

/// Starts the target machine and makes its side active. `built` are the disks that the recovery
/// side keeps for the item's machine.
pub(super) async fn start_and_switch(
    ctx: &Context,
    item: &Item,
    job: &Job,
    point: &PointId,
    to: Side,
    built: Volumes,
) -> Result<(), CoreError> {
    let (site, machine) = item.record.lock().await.on(to).clone();
    ctx.update(item, |record| record.progress.note_target_starting()).await?;
    job.step("start target machine", start(ctx, &site, &machine)).await?;
    ctx.update(item, |record| {
        record.protection.phase = Phase::CommitPending;
        record.protection.active = to;
        record.failed_over_to = Some(point.clone());
        record.progress = Progress::Idle;
        record.route = None;
        if to == Side::Primary {
            // The machine is in use, so it is no longer removed if an operation fails.
            record.created_target = None;
        }
        record.built = built;
        record.replication_error = None;
    })
    .await
}

/// Chooses volume names for deltas over a point. `record_names` stores them before a volume of that
/// name is created.
pub(super) async fn name_disks(
    ctx: &Context,
    item: &Item,
    point: &RecoveryPoint,
    purpose: &str,
    record_names: impl FnOnce(&mut Record, Volumes),
) -> Result<Volumes, CoreError> {
    let mut named = Volumes::new();
    ctx.update(item, |record| {
        let number = record.next_number();
        let name = |disk: &DiskId| VolumeId(format!("{}-{disk}-{purpose}{number}", item.id));
        named = point.volumes.iter().map(|(disk, _)| (disk.clone(), name(disk))).collect();
        record_names(record, named.clone());
    })
    .await?;
    Ok(named)
}

/// Creates the named deltas over a point.
pub(super) async fn derive_disks(
    ctx: &Context,
    item: &Item,
    point: &RecoveryPoint,
    disks: &Volumes,
) -> Result<(), CoreError> {
    let platform = ctx.platform(&item.record.lock().await.recovery.0)?;
    for ((_, name), (_, below)) in disks.iter().zip(&point.volumes) {
        platform.derive_volume(name, below).await?;
    }
    Ok(())
}

/// Hydrates the target's disks, if the machine needs it (HY-01 to HY-07), lets firmware find their
/// boot loader (FX-62), and disables VMware Tools where they are of no use (FO-16). Returns how
/// those started, if they did.
pub(super) async fn adapt_disks(
    ctx: &Context,
    item: &Item,
    job: &Job,
    disks: &Volumes,
) -> Result<Option<u32>, CoreError> {
    let (site, source) = {
        let record = item.record.lock().await;
        (record.recovery.0.clone(), record.source_identity.clone())
    };
    let target = ctx.platform(&site)?.site().await?.kind;
    if let Some(reason) = due::reason(&source, target) {
        let because = format!("{} ({})", reason.because, reason.rule);
        hydrate(ctx, job, &site, (source.os, disks), &because).await?;
    } else if source.os == GuestOs::Windows && ctx.registry_edits() == RegistryEdits::Everywhere {
        edit_registry(ctx, &site, disks, Change::MakeReady).await?;
    }
    if let Some(entry) = loader_to_copy(ctx, &source, target) {
        job.step("copy the boot loader to where firmware looks for it", async {
            let copied =
                on_boot_disk(ctx, &site, disks, move |uri| hydrate::copy_loader(uri, &entry)).await?;
            job.note(if copied { "copied" } else { "there was one" })
        })
        .await?;
    }
    let has_tools = source.os == GuestOs::Windows && source.kind.profile().vmware_tools;
    let mut started = None;
    if has_tools && !target.profile().vmware_tools {
        // A machine that runs with tools it has no use for is better than none.
        job.try_step("disable VMware Tools", async {
            let changed = edit_registry(ctx, &site, disks, Change::DisableTools).await?;
            started = changed.first().map(|tools| tools.before);
            job.note(if started.is_some() { "disabled" } else { "there was nothing to disable" })
        })
        .await?;
    }
    Ok(started)
}

/// The boot loader that only the source's firmware variables name, if the target's will not.
fn loader_to_copy(ctx: &Context, source: &SourceIdentity, target: PlatformKind) -> Option<String> {
    let copies = match ctx.boot_entries() {
        BootEntries::Both | BootEntries::OnlyInClouds => target.profile().is_cloud,
        BootEntries::OnlyLoaders => true,
        BootEntries::OnlyEntries => false,
    };
    source.boot_entry.clone().filter(|_| copies)
}

/// Lets VMware Tools start again that the failover disabled (FB-15), on the disks of a machine that
/// has come back.
pub(super) async fn enable_tools(
    ctx: &Context,
    job: &Job,
    site: &SiteId,
    disks: &Volumes,
    started: u32,
) -> Result<(), CoreError> {
    let enable = async {
        let changed = edit_registry(ctx, site, disks, Change::EnableTools(started)).await?;
        job.note(if changed.is_empty() { "they were enabled" } else { "enabled" })
    };
    job.try_step("enable VMware Tools", enable).await.map(drop)
}

/// Makes disks bootable on a site's hardware.
pub(super) async fn hydrate(
    ctx: &Context,
    job: &Job,
    site: &SiteId,
    (os, disks): (GuestOs, &Volumes),
    because: &str,
) -> Result<(), CoreError> {
    job.step(Step::HYDRATE, async {
        let mut done = hydrate_disks(ctx, site, disks).await?;
        if os == GuestOs::Windows {
            let changed = edit_registry(ctx, site, disks, Change::MakeReady).await?;
            done.services.extend(changed.into_iter().map(|changed| changed.service));
        }
        job.note(&format!("{done}; due because {because}"))
    })
    .await
}

/// Repairs the boot disk. The point below it is not changed (HY-03, HY-06, HY-08).
async fn hydrate_disks(ctx: &Context, site: &SiteId, disks: &Volumes) -> Result<Repairs, CoreError> {
    if ctx.fault_hook().is_some_and(|hook| !hook.hydrates()) {
        return Ok(Repairs::default());
    }
    let drivers = ctx.platform(site)?.site().await?.boot_drivers;
    on_boot_disk(ctx, site, disks, move |uri| hydrate::repair(uri, &drivers)).await
}

/// Changes the registry of the boot disk, if that is a Windows disk.
async fn edit_registry(
    ctx: &Context,
    site: &SiteId,
    disks: &Volumes,
    change: Change,
) -> Result<Vec<Changed>, CoreError> {
    let edits = ctx.registry_edits();
    on_boot_disk(ctx, site, disks, move |uri| hydrate::windows::edit(uri, change, edits)).await
}

/// Does work on the boot disk, which is given by its address.
async fn on_boot_disk<T: Send + 'static>(
    ctx: &Context,
    site: &SiteId,
    disks: &Volumes,
    work: impl FnOnce(&str) -> Result<T, CoreError> + Send + 'static,
) -> Result<T, CoreError> {
    let platform = ctx.platform(site)?;
    let Some((_, boot_disk)) = disks.first() else {
        return Err(CoreError::new(ErrorCode::HydrationFailed, "the machine has no disk"));
    };
    let export = platform.export_volume(boot_disk, Access::Write).await?;
    let uri = export.uri.clone();
    let done = blocking(move || work(&uri)).await;
    exports::close(&platform, &export.id).await?;
    done
}

/// Creates a machine on the recovery side, powered off.
pub(super) async fn create_machine(
    ctx: &Context,
    item: &Item,
    machine: &MachineId,
    disks: &Volumes,
    network: Network,
) -> Result<MachineView, CoreError> {
    let record = item.record.lock().await.clone();
    let platform = ctx.platform(&record.recovery.0)?;
    let mut placement = record.target.placement.clone();
    if network != record.target.network.unwrap_or_default() {
        // Subnet and address belong to the network of the failover; the network of a test failover
        // has others (TF-04).
        placement.subnet = None;
        placement.address = None;
    }
    let mut spec = MachineSpec {
        id: machine.clone(),
        firmware: record.source_identity.firmware,
        os: record.source_identity.os,
        memory: record.target.memory,
        disks: disks.clone(),
        network,
        guest: record.source_identity.guest.clone(),
        placement,
        boot_entry: record.source_identity.boot_entry.clone(),
        more_nics: more_nics(&record, network),
    };
    if matches!(ctx.boot_entries(), BootEntries::OnlyLoaders | BootEntries::OnlyInClouds) {
        spec.boot_entry = None;
    }
    if let Some(hook) = ctx.fault_hook() {
        hook.shape(&mut spec);
    }
    Ok(platform.create_machine(&spec).await?)
}

/// The further network cards of a machine on the recovery side: as many as the source has, each as
/// the settings ask for it (FX-65). The network of a test failover has other subnets and addresses
/// (TF-04).
fn more_nics(record: &Record, network: Network) -> Vec<NicSpec> {
    let wanted = &record.target;
    let production = network == wanted.network.unwrap_or_default();
    let any = NicSpec { network, ..NicSpec::default() };
    let card =
        |number: usize| wanted.more_nics.get(number).filter(|_| production).cloned().unwrap_or(any.clone());
    (0..record.source_identity.more_nics.len()).map(card).collect()
}

/// Starts a machine. The platform's answer may get lost, so what counts is whether the machine
/// runs.
pub(super) async fn start(ctx: &Context, site: &SiteId, machine: &MachineId) -> Result<(), CoreError> {
    let platform = ctx.platform(site)?;
    let Err(error) = platform.start(machine).await else { return Ok(()) };
    match platform.machine(machine).await {
        Ok(view) if view.power == PowerState::On => Ok(()),
        _ => Err(error.into()),
    }
}

/// Whether a machine exists and uses only `disks`. A machine of that name with other disks is not
/// the item's and must not be touched.
pub(super) async fn is_ours(
    platform: &Arc<dyn Platform>,
    machine: &MachineId,
    disks: &Volumes,
) -> Result<bool, CoreError> {
    let ours = |view: &MachineView| {
        let is_known = |disk: &DiskView| disks.iter().any(|(_, volume)| *volume == disk.volume);
        view.id == *machine && !view.disks.is_empty() && view.disks.iter().all(is_known)
    };
    Ok(platform.machines().await?.iter().any(ours))
}

/// Deletes the machine that a failover built, complete or not.
pub(super) async fn remove_target(platform: &Arc<dyn Platform>, record: &Record) -> Result<(), CoreError> {
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

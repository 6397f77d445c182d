//! The machine on the primary side to which an item fails back, and what its replication back goes
//! through.
//!
//! Original location: the machine that the item came from; only differences are written to its
//! disks. Alternate location: that machine does not exist, or another site is requested. Then a
//! machine is created there when reprotection begins, not when it fails back (RE-05).

use contract::{
    ComponentId, CoreError, DiskId, DiskView, ErrorCode, MachineId, MachineSpec, Network, Placement,
    PlatformErrorKind, PlatformKind, PowerState, ReprotectRequest, Side, SiteId, Step, VolumeId,
};

use crate::context::Context;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::target::is_ours;
use crate::state::{CreatedTarget, SourceIdentity, Volumes};
use crate::table::Pair;

/// Ensures that a machine exists at the site that the request names.
pub(super) async fn ensure_target(
    ctx: &Context,
    item: &Item,
    job: &Job,
    request: &ReprotectRequest,
) -> Result<(), CoreError> {
    if item.record.lock().await.created_target.is_some() {
        job.step("remove half-made machine", discard_target(ctx, item)).await?;
    }
    let original = item.record.lock().await.primary.clone();
    let at = (request.failback_site.clone().unwrap_or_else(|| original.0.clone()), original.1.clone());
    if at != original {
        // The original machine must not run beside its replacement. Its site may be unreachable, so
        // this is only an attempt.
        job.try_step("turn off the original machine", power_off(ctx, &original)).await?;
    }
    let exists = exists(ctx, &at).await?;
    if exists && at != original {
        let text = format!("there is already a machine {} at {}; rename or remove it", at.1, at.0);
        return Err(CoreError::new(ErrorCode::NameTaken, text));
    }
    if exists && is_strange(ctx, item, &at).await? {
        let text =
            format!("machine {} at {} is not the one that was protected; rename or remove it", at.1, at.0);
        return Err(CoreError::new(ErrorCode::NameTaken, text));
    }
    if !exists {
        let datastore = request.datastore.as_ref();
        let created = create(ctx, item, at, datastore, Placement::default());
        job.step(Step::CREATE_MACHINE, created).await?;
    }
    Ok(())
}

/// Whether neither the UUID of the machine of this name nor any of its disks is that of the machine
/// that was protected: somebody else has made it, and it must not be touched (FX-24).
async fn is_strange(ctx: &Context, item: &Item, at: &(SiteId, MachineId)) -> Result<bool, CoreError> {
    let known = item.record.lock().await.source_identity.clone();
    let view = ctx.platform(&at.0)?.machine(&at.1).await?;
    let is_known = view.disks.iter().any(|disk| known.volumes.contains(&disk.volume));
    Ok(!known.uuid.is_empty() && !view.uuid.is_empty() && view.uuid != known.uuid && !is_known)
}

/// Powers a machine off, if it exists.
pub(super) async fn power_off(ctx: &Context, at: &(SiteId, MachineId)) -> Result<(), CoreError> {
    if exists(ctx, at).await? {
        ctx.platform(&at.0)?.power_off(&at.1).await?;
    }
    Ok(())
}

/// Warns of a machine that runs although the item runs on the other side. Whoever started it, or
/// left it on, has to learn that its writes are lost (FX-25). If the site does not answer, whatever
/// comes next says so.
pub(super) async fn warn_if_both_ran(
    ctx: &Context,
    job: &Job,
    other: &(SiteId, MachineId),
) -> Result<(), CoreError> {
    if !runs(ctx, other).await.unwrap_or(false) {
        return Ok(());
    }
    let text = format!(
        "{} at {} ran beside the machine that failed over; what it has written since is overwritten",
        other.1, other.0
    );
    job.warn("note that both sides ran", text).await
}

/// Whether a machine exists and is on.
pub(super) async fn runs(ctx: &Context, at: &(SiteId, MachineId)) -> Result<bool, CoreError> {
    let machines = ctx.platform(&at.0)?.machines().await?;
    Ok(machines.iter().any(|view| view.id == at.1 && view.power == PowerState::On))
}

async fn exists(ctx: &Context, at: &(SiteId, MachineId)) -> Result<bool, CoreError> {
    Ok(ctx.platform(&at.0)?.machines().await?.iter().any(|view| view.id == at.1))
}

/// Creates the primary machine again at its site, on the given host and its original switch (HF-11,
/// HF-22, HF-23).
pub(super) async fn create_again(
    ctx: &Context,
    item: &Item,
    host: Option<ComponentId>,
) -> Result<(), CoreError> {
    let (at, switch) = {
        let record = item.record.lock().await;
        (record.primary.clone(), record.source_identity.switch.clone())
    };
    create(ctx, item, at, None, Placement { host, switch, ..Placement::default() }).await
}

/// Creates a machine with empty disks as large as the cloud machine's, powered off. Records it
/// first.
async fn create(
    ctx: &Context,
    item: &Item,
    at: (SiteId, MachineId),
    datastore: Option<&ComponentId>,
    placement: Placement,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let cloud = ctx.platform(&record.recovery.0)?.machine(&record.recovery.1).await?;
    let mut disks = Volumes::new();
    ctx.update(item, |record| {
        let number = record.next_number();
        let name = |disk: &DiskId| VolumeId(format!("{}-{disk}-home{number}", item.id));
        disks = cloud.disks.iter().map(|disk| (disk.id.clone(), name(&disk.id))).collect();
        let replaces = std::mem::replace(&mut record.primary, at.clone());
        let uuid = std::mem::take(&mut record.source_identity.uuid);
        record.created_target = Some(CreatedTarget { at: at.clone(), disks: disks.clone(), replaces, uuid });
    })
    .await?;
    create_recorded(ctx, item, &at, &cloud.disks, &disks, datastore, placement).await
}

async fn create_recorded(
    ctx: &Context,
    item: &Item,
    at: &(SiteId, MachineId),
    like: &[DiskView],
    disks: &Volumes,
    datastore: Option<&ComponentId>,
    placement: Placement,
) -> Result<(), CoreError> {
    let platform = ctx.platform(&at.0)?;
    for (disk, (_, volume)) in like.iter().zip(disks) {
        match platform.create_volume(volume, disk.size, datastore).await {
            // It was created before a restart of the core. Its content is compared anyway.
            Err(error) if error.kind == PlatformErrorKind::Exists => {}
            created => drop(created?),
        }
    }
    let record = item.record.lock().await.clone();
    let identity = record.source_identity;
    let mut spec = MachineSpec {
        id: at.1.clone(),
        firmware: identity.firmware,
        os: identity.os,
        memory: identity.memory,
        disks: disks.clone(),
        network: Network::Production,
        guest: identity.guest,
        placement,
        boot_entry: identity.boot_entry,
        more_nics: identity.more_nics,
    };
    if at.0 != record.registered_at {
        // Subnets and addresses belong to the networks of the site where it was.
        spec.more_nics.iter_mut().for_each(|nic| (nic.subnet, nic.address) = (None, None));
    } else if spec.placement.address.is_none() {
        spec.placement.address = identity.address;
    }
    if let Some(hook) = ctx.fault_hook() {
        hook.shape(&mut spec);
    }
    match platform.create_machine(&spec).await {
        Err(error) if error.kind == PlatformErrorKind::Exists && is_ours(&platform, &at.1, disks).await? => {
            Ok(())
        }
        created => Ok(created.map(drop)?),
    }
}

/// Prepares both ends of replication: makes the target's disks writable, and lets the agent of the
/// active machine send.
pub(super) async fn prepare_ends(
    ctx: &Context,
    item: &Item,
    job: &Job,
    request: &ReprotectRequest,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    if record.pair != Pair::Vmware {
        return Ok(());
    }
    let (site, machine) = &record.primary;
    if record.protection.active == Side::Recovery && kind_of(ctx, site).await?.profile().master_target {
        let platform = ctx.platform(site)?;
        let snapshots = platform.machine(machine).await?.snapshots;
        if snapshots > 0 {
            job.step(Step::MERGE_SNAPSHOTS, async {
                platform.merge_snapshots(machine).await?;
                job.note(&format!("{snapshots} levels"))
            })
            .await?;
        }
        if let Some(target) = &request.master_target {
            job.step("attach disks to master target", async {
                Ok(platform.attach_to_master_target(machine, target).await?)
            })
            .await?;
        }
    }
    job.step("register agent", register_agent(ctx, item, request.process_server.as_ref())).await
}

/// Lets the agent of the active machine send through a process server. On the primary side this
/// enters the machine into the configuration server's database, and the machine's current
/// properties are recorded for a later failback.
pub(super) async fn register_agent(
    ctx: &Context,
    item: &Item,
    server: Option<&ComponentId>,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let side = record.protection.active;
    let (site, machine) = record.on(side).clone();
    let platform = ctx.platform(&site)?;
    platform.connect_agent(&machine, server).await?;
    if side == Side::Recovery {
        return Ok(());
    }
    let identity = SourceIdentity::of(kind_of(ctx, &site).await?, &platform.machine(&machine).await?);
    ctx.update(item, |record| {
        record.source_identity = identity;
        record.registered_at = site;
    })
    .await
}

/// Moves the target's disks from the master target back to the target itself (RE-14).
pub(super) async fn reattach_disks(ctx: &Context, item: &Item, job: &Job) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    if record.route.is_none_or(|route| route.master_target.is_none()) {
        return Ok(());
    }
    let (site, machine) = record.primary;
    let platform = ctx.platform(&site)?;
    job.step("attach disks to machine", async { Ok(platform.detach_from_master_target(&machine).await?) })
        .await
}

/// Whether the machine fails back to another kind of platform than it was protected on.
pub(super) async fn changes_platform(ctx: &Context, item: &Item) -> Result<bool, CoreError> {
    let (site, kind) = {
        let record = item.record.lock().await;
        (record.primary.0.clone(), record.source_identity.kind)
    };
    Ok(kind_of(ctx, &site).await? != kind)
}

async fn kind_of(ctx: &Context, site: &SiteId) -> Result<PlatformKind, CoreError> {
    Ok(ctx.platform(site)?.site().await?.kind)
}

/// Removes a machine that was created as failback target, if there is one. What cannot be removed
/// stays recorded and is removed at the next attempt.
pub(super) async fn discard_target_best_effort(ctx: &Context, item: &Item) {
    if item.record.lock().await.created_target.is_none() {
        return;
    }
    if let Err(error) = discard_target(ctx, item).await {
        tracing::warn!(item = %item.id, %error, "cannot remove the machine created as failback target");
    }
}

async fn discard_target(ctx: &Context, item: &Item) -> Result<(), CoreError> {
    let Some(target) = item.record.lock().await.created_target.clone() else { return Ok(()) };
    ctx.update(item, |record| {
        record.primary = target.replaces.clone();
        record.source_identity.uuid.clone_from(&target.uuid);
    })
    .await?;
    remove(ctx, &target).await?;
    ctx.update(item, |record| record.created_target = None).await
}

/// Removes a machine that was created as failback target, with its disks.
pub(super) async fn remove(ctx: &Context, target: &CreatedTarget) -> Result<(), CoreError> {
    let (site, machine) = &target.at;
    let platform = ctx.platform(site)?;
    if is_ours(&platform, machine, &target.disks).await? {
        platform.power_off(machine).await?;
        platform.delete_machine(machine).await?;
    }
    for (_, volume) in &target.disks {
        platform.delete_volume(volume).await?;
    }
    Ok(())
}

//! Where a machine comes back to, and what its way back goes through.
//!
//! Original location: the machine it came from, whose disks take only what differs. Alternate location: there is none,
//! or another site is asked for; then a machine is made there when replication begins, not when it fails back (RE-05).

use contract::{
    ComponentId, CoreError, DiskId, ErrorCode, MachineId, MachineSpec, Network, Placement, PlatformErrorKind,
    PlatformKind, ReprotectRequest, Side, SiteId, VolumeId,
};

use crate::core::Inner;
use crate::item::{Item, Origin, Placed, Volumes};
use crate::jobs::Job;
use crate::table::Pair;
use crate::target::is_ours;

/// Sees to it that there is a machine to come back to at the site that the request asks for.
pub(crate) async fn settle(
    core: &Inner,
    item: &Item,
    job: &Job,
    request: &ReprotectRequest,
) -> Result<(), CoreError> {
    if item.record.lock().await.placed.is_some() {
        job.step("remove half-made machine", give_up(core, item)).await?;
    }
    let original = item.record.lock().await.primary.clone();
    let at = (request.failback_site.clone().unwrap_or_else(|| original.0.clone()), original.1.clone());
    if at != original {
        // Nothing is written to it; but of two that run only one is right, and its site may be gone.
        job.try_step("turn off the original machine", turn_off(core, &original)).await?;
    }
    let exists = exists(core, &at).await?;
    if exists && at != original {
        let text = format!("there is a machine {} at {} already; rename or remove it", at.1, at.0);
        return Err(CoreError::new(ErrorCode::NameTaken, text));
    }
    if !exists {
        job.step("create machine", make(core, item, at, request.datastore.as_ref(), Placement::default()))
            .await?;
    }
    Ok(())
}

/// Turns a machine off, if there is one.
pub(crate) async fn turn_off(core: &Inner, at: &(SiteId, MachineId)) -> Result<(), CoreError> {
    if exists(core, at).await? {
        core.platform(&at.0)?.power_off(&at.1).await?;
    }
    Ok(())
}

async fn exists(core: &Inner, at: &(SiteId, MachineId)) -> Result<bool, CoreError> {
    Ok(core.platform(&at.0)?.machines().await?.iter().any(|view| view.id == at.1))
}

/// Makes the machine again where it was, on this host and the switch that it hung on (HF-11, HF-22, HF-23).
pub(crate) async fn make_again(
    core: &Inner,
    item: &Item,
    host: Option<ComponentId>,
) -> Result<(), CoreError> {
    let (at, switch) = {
        let record = item.record.lock().await;
        (record.primary.clone(), record.origin.switch.clone())
    };
    make(core, item, at, None, Placement { host, switch, ..Placement::default() }).await
}

/// Makes a machine with empty disks as large as the cloud machine's; it stays off.
async fn make(
    core: &Inner,
    item: &Item,
    at: (SiteId, MachineId),
    datastore: Option<&ComponentId>,
    placement: Placement,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let cloud = core.platform(&record.recovery.0)?.machine(&record.recovery.1).await?;
    let mut disks = Volumes::new();
    core.update(item, |record| {
        let number = record.next();
        let name = |disk: &DiskId| VolumeId(format!("{}-{disk}-home{number}", item.id));
        disks = cloud.disks.iter().map(|disk| (disk.id.clone(), name(&disk.id))).collect();
        let replaces = std::mem::replace(&mut record.primary, at.clone());
        record.placed = Some(Placed { at: at.clone(), disks: disks.clone(), replaces });
    })
    .await?;
    create(core, item, &at, &cloud.disks, &disks, datastore, placement).await
}

/// Makes disks and a machine of these names on the primary side.
async fn create(
    core: &Inner,
    item: &Item,
    at: &(SiteId, MachineId),
    like: &[contract::DiskView],
    disks: &Volumes,
    datastore: Option<&ComponentId>,
    placement: Placement,
) -> Result<(), CoreError> {
    let platform = core.platform(&at.0)?;
    for (disk, (_, volume)) in like.iter().zip(disks) {
        match platform.create_volume(volume, disk.size, datastore).await {
            // Made before the core was stopped; what is in it is compared anyway.
            Err(error) if error.kind == PlatformErrorKind::Exists => {}
            made => drop(made?),
        }
    }
    let origin = item.record.lock().await.origin.clone();
    let spec = MachineSpec {
        id: at.1.clone(),
        firmware: origin.firmware,
        os: origin.os,
        memory: origin.memory,
        disks: disks.clone(),
        network: Network::Production,
        guest: origin.guest,
        placement,
    };
    match platform.create_machine(&spec).await {
        Err(error) if error.kind == PlatformErrorKind::Exists && is_ours(&platform, &at.1, disks).await? => {
            Ok(())
        }
        made => Ok(made.map(drop)?),
    }
}

/// Prepares both ends of replication: the disks that are written, and the agent that sends.
pub(crate) async fn set_out(
    core: &Inner,
    item: &Item,
    job: &Job,
    request: &ReprotectRequest,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    if record.pair != Pair::Vmware {
        return Ok(());
    }
    let (site, machine) = &record.primary;
    if record.protection.active == Side::Recovery && kind_of(core, site).await? == PlatformKind::Vmware {
        let platform = core.platform(site)?;
        let snapshots = platform.machine(machine).await?.snapshots;
        if snapshots > 0 {
            job.step("merge snapshots", async {
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
    job.step("register agent", register(core, item, request.process_server.as_ref())).await
}

/// Lets the agent of the machine that runs send through a process server. On the primary side that enters the machine
/// into the configuration server's database, and what it is now is what comes back later.
pub(crate) async fn register(
    core: &Inner,
    item: &Item,
    server: Option<&ComponentId>,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let side = record.protection.active;
    let (site, machine) = record.on(side).clone();
    let platform = core.platform(&site)?;
    platform.connect_agent(&machine, server).await?;
    if side == Side::Recovery {
        return Ok(());
    }
    let origin = Origin::of(kind_of(core, &site).await?, &platform.machine(&machine).await?);
    core.update(item, |record| {
        record.origin = origin;
        record.registered_at = site;
    })
    .await
}

/// Hangs the disks of the machine to come back to on itself (RE-14).
pub(crate) async fn arrive(core: &Inner, item: &Item, job: &Job) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    if record.route.is_none_or(|route| route.master_target.is_none()) {
        return Ok(());
    }
    let (site, machine) = record.primary;
    let platform = core.platform(&site)?;
    job.step("attach disks to machine", async { Ok(platform.detach_from_master_target(&machine).await?) })
        .await
}

/// Whether the machine comes back to other hardware than it was made for.
pub(crate) async fn changes_platform(core: &Inner, item: &Item) -> Result<bool, CoreError> {
    let (site, kind) = {
        let record = item.record.lock().await;
        (record.primary.0.clone(), record.origin.kind)
    };
    Ok(kind_of(core, &site).await? != kind)
}

async fn kind_of(core: &Inner, site: &SiteId) -> Result<PlatformKind, CoreError> {
    Ok(core.platform(site)?.site().await?.kind)
}

/// Takes back what was made for a way back that did not begin. What cannot be removed now is when it next begins.
pub(crate) async fn clear(core: &Inner, item: &Item) {
    if item.record.lock().await.placed.is_none() {
        return;
    }
    if let Err(error) = give_up(core, item).await {
        tracing::warn!(item = %item.id, %error, "a half-made machine could not be removed");
    }
}

async fn give_up(core: &Inner, item: &Item) -> Result<(), CoreError> {
    let Some(placed) = item.record.lock().await.placed.clone() else { return Ok(()) };
    core.update(item, |record| record.primary = placed.replaces.clone()).await?;
    remove(core, &placed).await?;
    core.update(item, |record| record.placed = None).await
}

/// Removes a machine that was made to come back to, with its disks.
pub(crate) async fn remove(core: &Inner, placed: &Placed) -> Result<(), CoreError> {
    let (site, machine) = &placed.at;
    let platform = core.platform(site)?;
    if is_ours(&platform, machine, &placed.disks).await? {
        platform.power_off(machine).await?;
        platform.delete_machine(machine).await?;
    }
    for (_, volume) in &placed.disks {
        platform.delete_volume(volume).await?;
    }
    Ok(())
}

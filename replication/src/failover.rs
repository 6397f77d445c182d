//! Failover in both directions, change of point, commit.

use std::sync::Arc;

use contract::{
    CoreError, Direction, DiskId, ErrorCode, FailoverKind, FailoverRequest, GuestOs, ItemId, JobId, JobKind,
    MachineId, MachineSpec, Network, Operation, Phase, Platform, PointChoice, PointId, PowerState,
    RecoveryPoint, Side, SiteId, VolumeId,
};

use crate::core::Inner;
use crate::engine::transfer_once;
use crate::item::{Item, Record, Replica, Volumes};
use crate::jobs::Job;
use crate::processor::{not_replicating, process_all};
use crate::protect::delete_points;
use crate::resume::Order;
use crate::table::Pair;
use crate::{back_to_hyperv, drill, hydrate};

pub(crate) async fn fail_over(core: &Arc<Inner>, request: &FailoverRequest) -> Result<JobId, CoreError> {
    let item = core.find(&request.item).await?;
    let kind = match request.kind {
        FailoverKind::Unplanned => JobKind::UnplannedFailover,
        FailoverKind::Planned => JobKind::PlannedFailover,
    };
    let check = |record: &Record| check(core, record, request);
    core.run(&item, kind, Order::Failover(request.clone()), check).await
}

/// What a failover request must bring, by where the item stands.
fn check(core: &Inner, record: &Record, request: &FailoverRequest) -> Result<Direction, CoreError> {
    let direction = Direction::from_side(record.protection.active);
    let operation = match request.kind {
        FailoverKind::Unplanned => Operation::UnplannedFailover,
        FailoverKind::Planned => Operation::PlannedFailover,
    };
    core.check(record, operation)?;
    if request.direction != direction {
        let text = format!("{} fails over {direction:?}, not {:?}", record.id, request.direction);
        return Err(CoreError::new(ErrorCode::WrongDirection, text));
    }
    if is_back_to_hyperv(record) {
        back_to_hyperv::check(request)?;
        return Ok(direction);
    }
    if request.kind == FailoverKind::Planned && request.point != PointChoice::Latest {
        let text = "a planned failover starts from the latest point (PF-05)";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    choose(record.replica.as_ref().ok_or_else(not_replicating)?, &request.point)?;
    Ok(direction)
}

fn is_back_to_hyperv(record: &Record) -> bool {
    record.pair == Pair::HyperV && record.protection.active == Side::Recovery
}

pub(crate) async fn work(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let before = item.record.lock().await.clone();
    if is_back_to_hyperv(&before) {
        let result = back_to_hyperv::fail_back(core, item, job, request).await;
        if result.is_err() {
            // The cloud machine stays the good copy, and goes on serving (HF-21).
            core.platform(&before.recovery.0)?.start(&before.recovery.1).await?;
        }
        return result;
    }
    let back = request.direction == Direction::RecoveryToPrimary;
    if before.drill.is_some() {
        job.step("clean up test failover", drill::remove(core, item)).await?;
    }
    let mut reached = Reached::Nothing;
    let result = attempt(core, item, job, request, back, &mut reached).await;
    if let Err(error) = &result {
        settle(core, item, error, back, reached).await?;
    }
    result
}

/// How far a failover came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Whatever was built can be taken down again.
    Nothing,
    /// The original disks are partly merged.
    Merging,
}

async fn attempt(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
    back: bool,
    reached: &mut Reached,
) -> Result<(), CoreError> {
    let begun = item.record.lock().await.merging.clone();
    if let Some(point) = begun {
        *reached = Reached::Merging;
        return into_original(core, item, job, &point).await;
    }
    let point = prepare(core, item, job, request, back).await?;
    if back {
        job.checkpoint()?;
        core.update(item, |record| record.merging = Some(point.clone())).await?;
        *reached = Reached::Merging;
        return into_original(core, item, job, &point).await;
    }
    onto_new(core, item, job, &point).await
}

/// After a failover that failed: whoever served goes on serving. What can be tried again stays protected; after a
/// cancellation (FO-12), or with disks half merged, replication does not come back by itself.
async fn settle(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    error: &CoreError,
    back: bool,
    reached: Reached,
) -> Result<(), CoreError> {
    core.stop_engine(item).await;
    let record = item.record.lock().await.clone();
    let recovery = core.platform(&record.recovery.0)?;
    if back {
        recovery.start(&record.recovery.1).await?;
    } else {
        remove_target(&recovery, &record).await?;
        core.update(item, |record| record.built.clear()).await?;
    }
    if error.code == ErrorCode::Cancelled || reached == Reached::Merging {
        return core
            .update(item, |record| {
                record.protection.phase = Phase::Stopped;
                record.merging = None;
            })
            .await;
    }
    core.start_engine(item).await;
    Ok(())
}

/// Everything up to the choice of point: the source's end, the last transfer, the processing.
async fn prepare(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
    back: bool,
) -> Result<RecoveryPoint, CoreError> {
    // A planned failover is refused without a shutdown (PF-04), and a failback never leaves both sides running
    // (LC-10): there the shutdown is no option.
    let shutdown = shut_down_source(core, item, request);
    let must = back || request.kind == FailoverKind::Planned;
    let is_down = match (must, request.shut_down_source) {
        (true, _) => job.step("shut down source", shutdown).await.map(|()| true)?,
        (false, true) => job.try_step("shut down source", shutdown).await?,
        (false, false) => false,
    };
    job.step("stop replication", async {
        core.stop_engine(item).await;
        Ok(())
    })
    .await?;
    if is_down {
        let last = async { transfer_once(core, item).await.map(drop) };
        if must {
            job.step("transfer last changes", last).await?;
        } else {
            job.try_step("transfer last changes", last).await?;
        }
    }
    if request.point == PointChoice::Latest {
        job.step("process received data", async {
            let made = process_all(core, item).await?;
            job.note(&format!("{made} transfers were waiting"))
        })
        .await?;
    }
    let record = item.record.lock().await;
    choose(record.replica.as_ref().ok_or_else(not_replicating)?, &request.point)
}

async fn shut_down_source(core: &Inner, item: &Item, request: &FailoverRequest) -> Result<(), CoreError> {
    let (site, machine) = {
        let record = item.record.lock().await;
        record.on(record.protection.active).clone()
    };
    let done = core.platform(&site)?.shut_down(&machine, request.shutdown_within).await;
    done.map_err(|error| CoreError::new(ErrorCode::ShutdownFailed, error.to_string()))
}

/// The point a choice means now. *Latest* and *latest processed* differ in what was processed before.
pub(crate) fn choose(replica: &Replica, choice: &PointChoice) -> Result<RecoveryPoint, CoreError> {
    let found = match choice {
        PointChoice::Latest | PointChoice::LatestProcessed => replica.points.last(),
        PointChoice::Custom(id) => {
            let point = replica.point(id);
            let gone = || CoreError::new(ErrorCode::PointExpired, format!("there is no recovery point {id}"));
            return point.cloned().ok_or_else(gone);
        }
    };
    found.cloned().ok_or_else(|| CoreError::new(ErrorCode::NoRecoveryPoint, "there is no recovery point yet"))
}

/// Out: a new machine on deltas over the point, so that nothing is copied and the point stays as it is.
async fn onto_new(core: &Inner, item: &Item, job: &Job, point: &RecoveryPoint) -> Result<(), CoreError> {
    let leftover = item.record.lock().await.clone();
    if !leftover.built.is_empty() {
        let platform = core.platform(&leftover.recovery.0)?;
        job.step("remove half-built target", remove_target(&platform, &leftover)).await?;
    }
    let disks = name_disks(core, item, point, "run", |record, disks| record.built = disks).await?;
    job.step("build target disks", derive_disks(core, item, point, &disks)).await?;
    hydrate_if_due(core, item, job, &disks).await?;
    let machine = item.record.lock().await.recovery.1.clone();
    let created = create_machine(core, item, &machine, &disks, Network::Production);
    job.step("create target machine", created).await?;
    finish(core, item, job, &point.id, Side::Recovery, disks).await
}

/// Back: the points are merged into the original machine's own disks.
async fn into_original(core: &Inner, item: &Item, job: &Job, point: &RecoveryPoint) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let platform = core.platform(&record.primary.0)?;
    job.step("merge into original disks", async {
        let newer: Vec<_> = replica.points.iter().skip_while(|p| p.id != point.id).skip(1).cloned().collect();
        delete_points(&platform, &newer, &replica.base).await?;
        for ((_, top), (_, base)) in point.volumes.iter().zip(&replica.base) {
            platform.merge_volumes(top, base).await?;
        }
        Ok(())
    })
    .await?;
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.points.clear();
            replica.landed.clear();
        }
    })
    .await?;
    finish(core, item, job, &point.id, Side::Primary, record.built.clone()).await
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

/// Starts the target, then the item changes sides.
async fn finish(
    core: &Inner,
    item: &Item,
    job: &Job,
    point: &PointId,
    to: Side,
    built: Volumes,
) -> Result<(), CoreError> {
    let (site, machine) = item.record.lock().await.on(to).clone();
    job.step("start target machine", start(core, &site, &machine)).await?;
    core.update(item, |record| {
        record.protection.phase = Phase::CommitPending;
        record.protection.active = to;
        record.failed_over_to = Some(point.clone());
        record.merging = None;
        record.built = built;
        record.trouble = None;
    })
    .await
}

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

/// The extra step, where it is due: VMware's Linux machines and physical ones, not ordinary Hyper-V machines or
/// those of a region (HY-02, HY-03, HY-04, HY-07).
pub(crate) async fn hydrate_if_due(
    core: &Inner,
    item: &Item,
    job: &Job,
    disks: &Volumes,
) -> Result<(), CoreError> {
    if item.record.lock().await.pair != Pair::Vmware {
        return Ok(());
    }
    job.step("hydrate", async {
        let done = hydrate_disks(core, item, disks).await?;
        job.note(&done)
    })
    .await
}

/// Makes the target copy boot on the target's hardware; the point below it is not touched (HY-03, HY-06, HY-08).
async fn hydrate_disks(core: &Inner, item: &Item, disks: &Volumes) -> Result<String, CoreError> {
    let platform = core.platform(&item.record.lock().await.recovery.0)?;
    let drivers = platform.site().await?.boot_drivers;
    let Some((_, boot_disk)) = disks.first() else {
        return Err(CoreError::new(ErrorCode::HydrationFailed, "the machine has no disk"));
    };
    let export = platform.export_volume(boot_disk, contract::Access::Write).await?;
    let uri = export.uri.clone();
    let added = crate::transfer::blocking(move || hydrate::add_boot_drivers(&uri, &drivers)).await;
    platform.close_export(&export.id).await?;
    let added = added?;
    Ok(if added.is_empty() {
        "nothing was lacking".to_owned()
    } else {
        format!("added {}", added.join(", "))
    })
}

/// Makes a machine on the recovery side; it stays off.
pub(crate) async fn create_machine(
    core: &Inner,
    item: &Item,
    machine: &MachineId,
    disks: &Volumes,
    network: Network,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let platform = core.platform(&record.recovery.0)?;
    let firmware = match core.platform(&record.primary.0)?.machine(&record.primary.1).await {
        Ok(machine) => machine.firmware,
        // The whole primary site may be gone (FO-09).
        Err(_) => contract::Firmware::Bios,
    };
    let spec = MachineSpec {
        id: machine.clone(),
        firmware,
        os: GuestOs::Linux,
        memory: record.target.memory,
        disks: disks.clone(),
        network,
    };
    platform.create_machine(&spec).await?;
    Ok(())
}

/// Builds the target again from another point (FO-02).
pub(crate) async fn change_point(
    core: &Arc<Inner>,
    item: &ItemId,
    choice: &PointChoice,
) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    let check = |record: &Record| {
        core.check(record, Operation::ChangePoint)?;
        choose(record.replica.as_ref().ok_or_else(not_replicating)?, choice)?;
        Ok(Direction::from_side(record.protection.active.other()))
    };
    core.run(&item, JobKind::ChangePoint, Order::ChangePoint(choice.clone()), check).await
}

pub(crate) async fn rebuild(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    choice: &PointChoice,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let point = choose(record.replica.as_ref().ok_or_else(not_replicating)?, choice)?;
    let platform = core.platform(&record.recovery.0)?;
    job.step("remove target machine", remove_target(&platform, &record)).await?;
    core.update(item, |record| record.built.clear()).await?;
    onto_new(core, item, job, &point).await
}

/// Deletes what a failover built, whole or in part.
async fn remove_target(platform: &Arc<dyn Platform>, record: &Record) -> Result<(), CoreError> {
    let machine = &record.recovery.1;
    if platform.machines().await?.iter().any(|view| view.id == *machine) {
        platform.power_off(machine).await?;
        platform.delete_machine(machine).await?;
    }
    for (_, volume) in &record.built {
        platform.delete_volume(volume).await?;
    }
    Ok(())
}

pub(crate) async fn commit(core: &Arc<Inner>, item: &ItemId) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    let check = |record: &Record| {
        core.check(record, Operation::Commit)?;
        Ok(Direction::from_side(record.protection.active.other()))
    };
    core.run(&item, JobKind::Commit, Order::Commit, check).await
}

pub(crate) async fn finalise(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    match record.protection.active {
        Side::Recovery => job.step("delete recovery points", merge_points(core, item, &record)).await?,
        Side::Primary => job.step("remove cloud machine", remove_cloud(core, &record)).await?,
    }
    core.update(item, |record| {
        record.protection.phase = Phase::Committed;
        if record.protection.active == Side::Primary {
            record.built.clear();
        }
        if let Some(replica) = record.replica.take()
            && replica.side == Side::Recovery
        {
            record.seed = Some(replica.base);
        }
    })
    .await
}

/// Merges the points up to the chosen one into the base, under the running machine, and deletes the rest (FO-04).
async fn merge_points(core: &Inner, item: &Item, record: &Record) -> Result<(), CoreError> {
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let platform = core.platform(&record.recovery.0)?;
    if replica.points.is_empty() {
        // Done before the core was stopped.
        return Ok(());
    }
    let chosen = record.failed_over_to.as_ref().and_then(|id| replica.point(id));
    let chosen = chosen.ok_or_else(|| CoreError::new(ErrorCode::PointExpired, "the chosen point is gone"))?;
    let newer: Vec<_> = replica.points.iter().skip_while(|p| p.id != chosen.id).skip(1).cloned().collect();
    delete_points(&platform, &newer, &replica.base).await?;
    for ((_, top), (_, base)) in chosen.volumes.iter().zip(&replica.base) {
        platform.merge_volumes(top, base).await?;
    }
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.points.clear();
            replica.landed.clear();
        }
    })
    .await?;
    // Transfers that were never processed are of no use any more.
    match std::fs::remove_dir_all(core.landing_dir(&item.id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CoreError::new(ErrorCode::Store, format!("the landing log cannot be cleared: {error}")))
        }
        _ => Ok(()),
    }
}

/// Removes the cloud machine and its disks (FB-11, HF-16). Their last content is merged into the replica below,
/// which stays as seed, so that what travels next is only what changed since (HF-18, C-18).
async fn remove_cloud(core: &Inner, record: &Record) -> Result<(), CoreError> {
    let platform = core.platform(&record.recovery.0)?;
    let machines = platform.machines().await?;
    if let Some(view) = machines.iter().find(|view| view.id == record.recovery.1)
        && view.power == PowerState::On
    {
        let text = format!("cloud machine {} still runs", view.id);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    platform.delete_machine(&record.recovery.1).await?;
    for (disk, volume) in &record.built {
        match record.seed.iter().flatten().find(|(seeded, _)| seeded == disk) {
            Some((_, seed)) => platform.merge_volumes(volume, seed).await?,
            None => platform.delete_volume(volume).await?,
        }
    }
    Ok(())
}

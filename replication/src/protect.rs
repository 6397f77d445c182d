//! Protection begins and ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::{
    CoreError, Direction, EnableProtection, ErrorCode, ItemId, JobId, Operation, Phase, Platform,
    PlatformErrorKind, Protection, Side, VolumeId,
};

use crate::configuration;
use crate::core::{Inner, unknown};
use crate::engine::synchronise;
use crate::item::{Item, Origin, Record, Replica, Volumes};
use crate::jobs::Job;
use crate::order::Order;
use crate::place;
use crate::policy;
use crate::processor::delete_unfinished;
use crate::table::Pair;
use crate::target::remove_target;
use crate::{group, thinning};

pub(crate) async fn enable(core: &Arc<Inner>, request: &EnableProtection) -> Result<JobId, CoreError> {
    let item = admit(core, request).await?;
    core.run(&item, Order::Enable(Box::new(request.clone()))).await
}

/// Makes a machine an item, if it can be one.
pub(crate) async fn admit(core: &Inner, request: &EnableProtection) -> Result<Arc<Item>, CoreError> {
    core.ready().await;
    if request.primary == request.recovery {
        let text = "the primary and the recovery site are the same";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    let policy = core.policies().get(&request.policy)?;
    if request.item.0.is_empty() {
        return Err(CoreError::new(ErrorCode::BadRequest, "an item needs a name"));
    }
    let (primary, recovery) = (core.platform(&request.primary)?, core.platform(&request.recovery)?);
    let kinds = (primary.site().await?.kind, recovery.site().await?.kind);
    let pair = Pair::of(kinds.0, kinds.1).ok_or_else(|| {
        let text = format!("no machine moves from {:?} to {:?}", kinds.0, kinds.1);
        CoreError::new(ErrorCode::BadRequest, text)
    })?;
    if (policy.policy.source, policy.direction) != (kinds.0, Direction::PrimaryToRecovery) {
        let text = format!("policy {} is not for {:?} machines on their way out", policy.id, kinds.0);
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    let machine = primary.machine(&request.machine).await.map_err(|error| match error.kind {
        PlatformErrorKind::NotFound => unknown("machine", &request.machine),
        _ => error.into(),
    })?;
    let record = Record {
        id: request.item.clone(),
        pair,
        protection: Protection { phase: Phase::InitialReplication, active: Side::Primary },
        primary: (request.primary.clone(), request.machine.clone()),
        recovery: (request.recovery.clone(), request.target.machine.clone()),
        origin: Origin::of(kinds.0, &machine),
        registered_at: request.primary.clone(),
        placed: None,
        group_there: None,
        route: None,
        target: request.target.clone(),
        policy: request.policy.clone(),
        group: request.group.clone(),
        replica: None,
        seed: None,
        built: Volumes::new(),
        failed_over_to: None,
        trouble: None,
        warning: None,
        rest_asked: None,
        issues: Vec::new(),
        test_failover: None,
        test_failover_performed: false,
        sync_incomplete: false,
        served: false,
        starting: false,
        completing: false,
        committing: false,
        merging: None,
        pending: None,
        counter: 0,
    };
    group::check_member(core, &record).await?;
    core.refuse_taken(&record).await?;
    let target = &request.target.machine;
    if recovery.machines().await?.iter().any(|machine| machine.id == *target) {
        let text = format!("{} has a machine {target} already; choose another name", request.recovery);
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    core.add_item(record).await
}

pub(crate) async fn begin(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let result = first_copy(core, item, job).await;
    let Err(error) = result else { return Ok(()) };
    // The machine is as unprotected as before, and may be protected again. The item goes last: without it a core that
    // is stopped here would not know what it had begun.
    let record = item.record.lock().await.clone();
    let tracking = stop_tracking(core, &record).await;
    let replica = delete_replica(core, &record).await;
    core.remove_item(item).await?;
    match tracking.and(replica) {
        Ok(()) => Err(error),
        Err(more) => Err(CoreError::new(error.code, format!("{error}; and afterwards: {more}"))),
    }
}

async fn first_copy(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    if item.record.lock().await.pair == Pair::Vmware {
        job.step("register agent", place::register(core, item, None)).await?;
        let record = item.record.lock().await.clone();
        // Its site may not have answered when the policy was made.
        if !core.policies().leads_to(&record.policy, &record.primary.0) {
            let servers = policy::servers(core, record.origin.kind).await;
            core.policies().associate(&core.store, &record.policy, servers)?;
        }
    }
    job.try_step("check configuration", configuration::look(core, item)).await?;
    let base = job.step("create replica", create_replica(core, item)).await?;
    core.update(item, |record| {
        let round = record.next();
        record.replica = Some(Replica::new(Side::Recovery, round, base));
    })
    .await?;
    job.step("initial replication", async {
        let bytes = synchronise(core, item, job).await?;
        job.note(&format!("{} travelled", contract::Bytes(bytes)))
    })
    .await?;
    core.start_engine(item).await;
    Ok(())
}

/// Empty volumes on the recovery side, as large as the machine's disks.
async fn create_replica(core: &Inner, item: &Item) -> Result<Volumes, CoreError> {
    let (source, machine, target) = {
        let record = item.record.lock().await;
        let (site, machine) = record.primary.clone();
        (core.platform(&site)?, machine, core.platform(&record.recovery.0)?)
    };
    let mut base = Volumes::new();
    for disk in source.machine(&machine).await?.disks {
        let volume = VolumeId(format!("{}-{}-replica", item.id, disk.id));
        match target.create_volume(&volume, disk.size, None).await {
            // Made before the core was stopped; what is in it is compared anyway.
            Err(error) if error.kind == PlatformErrorKind::Exists => {}
            made => drop(made?),
        }
        base.push((disk.id, volume));
    }
    Ok(base)
}

pub(crate) async fn disable(core: &Arc<Inner>, item: &ItemId) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    core.run(&item, Order::Disable).await
}

pub(crate) fn check_end(core: &Inner, record: &Record) -> Result<Direction, CoreError> {
    core.check(record, Operation::DisableProtection)?;
    Ok(Direction::from_side(record.protection.active))
}

pub(crate) async fn end(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    job.step("stop replication", async {
        core.stop_engine(item).await;
        // From here on points go: should this fail, nothing can be asked but to end it again.
        core.update(item, |record| {
            if record.replica.is_some() {
                record.protection.phase = Phase::Stopped;
            }
        })
        .await
    })
    .await?;
    job.step("remove test machine", crate::test_failover::remove(core, item)).await?;
    thinning::finish(core, item).await?;
    let record = item.record.lock().await.clone();
    if record.protection.active == Side::Primary && !record.built.is_empty() {
        // A failover that failed could not take it down.
        let recovery = core.platform(&record.recovery.0)?;
        job.step("remove half-built target", remove_target(&recovery, &record)).await?;
    }
    job.step("stop change tracking", stop_tracking(core, &record)).await?;
    job.step("delete replica", delete_replica(core, &record)).await?;
    core.remove_item(item).await
}

/// Nothing that an item leaves behind on a machine goes on costing it.
async fn stop_tracking(core: &Inner, record: &Record) -> Result<(), CoreError> {
    let (site, machine) = record.on(record.protection.active);
    core.platform(site)?.stop_tracking(machine).await?;
    Ok(())
}

/// Deletes points and replica, but no disk of any machine: on the primary side the replica *is* the machine's
/// disks, and while the machine runs on the recovery side it stands on what is kept there.
async fn delete_replica(core: &Inner, record: &Record) -> Result<(), CoreError> {
    core.clear_landing(&record.id)?;
    let mut kept: BTreeSet<&VolumeId> = record.seed.iter().flatten().map(|(_, volume)| volume).collect();
    if let Some(replica) = &record.replica {
        let platform = core.platform(&record.on(replica.side).0)?;
        delete_unfinished(&platform, &record.id, replica).await?;
        delete_points(&platform, &replica.points, &replica.base).await?;
        if replica.side == Side::Recovery {
            kept.extend(replica.base.iter().map(|(_, volume)| volume));
        }
    }
    if record.protection.active == Side::Primary {
        let platform = core.platform(&record.recovery.0)?;
        for volume in kept {
            platform.delete_volume(volume).await?;
        }
    }
    if let Some(placed) = &record.placed {
        place::remove(core, placed).await?;
    }
    Ok(())
}

/// Deletes the volumes of points, newest first, but not the base.
pub(crate) async fn delete_points(
    platform: &Arc<dyn Platform>,
    points: &[contract::RecoveryPoint],
    base: &Volumes,
) -> Result<(), CoreError> {
    for point in points.iter().rev() {
        for (_, volume) in &point.volumes {
            if base.iter().all(|(_, kept)| kept != volume) {
                platform.delete_volume(volume).await?;
            }
        }
    }
    Ok(())
}

//! Enabling and disabling protection.

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::{
    Bytes, CoreError, Direction, EnableProtection, ErrorCode, MachineView, Operation, Phase,
    PlatformErrorKind, PlatformKind, Protection, Side, VolumeId,
};

use crate::context::Context;
use crate::error::unknown;
use crate::full_sync::synchronise;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::operations::target::remove_target;
use crate::operations::{failback_target, test_failover};
use crate::state::{Progress, Record, Replica, SourceIdentity, Volumes};
use crate::table::Pair;
use crate::{configuration, consistency_group, point_volumes, policy, replication_tasks, retention};

/// Makes a machine an item, or refuses the request.
pub(crate) async fn admit(ctx: &Context, request: &EnableProtection) -> Result<Arc<Item>, CoreError> {
    ctx.wait_until_recovered().await;
    if request.primary == request.recovery {
        let text = "the primary and the recovery site are the same";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    let policy = ctx.policies.get(&request.policy)?;
    if request.item.0.is_empty() {
        return Err(CoreError::new(ErrorCode::BadRequest, "an item needs a name"));
    }
    let primary = ctx.platform(&request.primary)?;
    let recovery = ctx.platform(&request.recovery)?;
    let kind = primary.site().await?.kind;
    let recovery_kind = recovery.site().await?.kind;
    let pair = Pair::of(kind, recovery_kind).ok_or_else(|| {
        let text = format!("no machine moves from {kind:?} to {recovery_kind:?}");
        CoreError::new(ErrorCode::BadRequest, text)
    })?;
    if (policy.policy.source, policy.direction) != (kind, Direction::PrimaryToRecovery) {
        let text = format!("policy {} is not a failover policy for {kind:?} machines", policy.id);
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    let machine = primary.machine(&request.machine).await.map_err(|error| match error.kind {
        PlatformErrorKind::NotFound => unknown("machine", &request.machine),
        _ => error.into(),
    })?;
    let mut record = new_record(request, pair, kind, &machine);
    record.replicating_since = Some(ctx.now());
    consistency_group::check_member(ctx, &record).await?;
    ctx.refuse_duplicate(&record).await?;
    let target = &request.target.machine;
    if recovery.machines().await?.iter().any(|machine| machine.id == *target) {
        let text = format!("{} already has a machine {target}; choose another name", request.recovery);
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    ctx.add_item(record).await
}

fn new_record(request: &EnableProtection, pair: Pair, kind: PlatformKind, machine: &MachineView) -> Record {
    Record {
        id: request.item.clone(),
        pair,
        protection: Protection { phase: Phase::InitialReplication, active: Side::Primary },
        primary: (request.primary.clone(), request.machine.clone()),
        recovery: (request.recovery.clone(), request.target.machine.clone()),
        source_identity: SourceIdentity::of(kind, machine),
        registered_at: request.primary.clone(),
        created_target: None,
        recovery_resource_group: None,
        route: None,
        target: request.target.clone(),
        policy: request.policy.clone(),
        group: request.group.clone(),
        replica: None,
        seed: None,
        built: Volumes::new(),
        failed_over_to: None,
        replicating_since: None,
        replication_error: None,
        quiesce_warning: None,
        tools_started: None,
        quiesce_attempted: None,
        issues: Vec::new(),
        test_failover: None,
        test_failover_performed: false,
        progress: Progress::Idle,
        active_command: None,
        counter: 0,
    }
}

/// Starts the protection of an admitted item. If that fails, removes the item and everything
/// created for it.
pub(crate) async fn enable(ctx: &Arc<Context>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let result = first_copy(ctx, item, job).await;
    let Err(error) = result else { return Ok(()) };
    // The item is removed last, because its record names what has to be removed, also after a
    // restart of the core.
    let record = item.record.lock().await.clone();
    let tracking = stop_tracking(ctx, &record).await;
    let replica = delete_replica(ctx, &record).await;
    ctx.remove_item(item).await?;
    match tracking.and(replica) {
        Ok(()) => Err(error),
        Err(more) => Err(CoreError::new(error.code, format!("{error}; the clean-up failed too: {more}"))),
    }
}

async fn first_copy(ctx: &Arc<Context>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    if item.record.lock().await.pair == Pair::Vmware {
        job.step("register agent", failback_target::register_agent(ctx, item, None)).await?;
        let record = item.record.lock().await.clone();
        // The site may not have answered when the policy was created.
        if !ctx.policies.is_associated(&record.policy, &record.primary.0) {
            let servers = policy::servers(ctx.platforms(), record.source_identity.kind).await;
            ctx.policies.associate(&ctx.store, &record.policy, servers)?;
        }
    }
    job.try_step("check configuration", configuration::check(ctx, item)).await?;
    let base = job.step("create replica", create_replica(ctx, item)).await?;
    ctx.update(item, |record| {
        let round = record.next_number();
        record.replica = Some(Replica::new(Side::Recovery, round, base));
    })
    .await?;
    job.step("initial replication", async {
        let bytes = synchronise(ctx, item, job).await?;
        job.note(&format!("{} transferred", Bytes(bytes)))
    })
    .await?;
    replication_tasks::start(ctx, item).await;
    Ok(())
}

/// Creates empty volumes on the recovery side, as large as the machine's disks.
async fn create_replica(ctx: &Context, item: &Item) -> Result<Volumes, CoreError> {
    let (source, machine, target) = {
        let record = item.record.lock().await;
        let (site, machine) = record.primary.clone();
        (ctx.platform(&site)?, machine, ctx.platform(&record.recovery.0)?)
    };
    let mut base = Volumes::new();
    for disk in source.machine(&machine).await?.disks {
        let volume = VolumeId(format!("{}-{}-replica", item.id, disk.id));
        match target.create_volume(&volume, disk.size, None).await {
            // It was created before a restart of the core. Its content is compared anyway.
            Err(error) if error.kind == PlatformErrorKind::Exists => {}
            created => drop(created?),
        }
        base.push((disk.id, volume));
    }
    Ok(base)
}

/// Whether protection can be disabled. Returns the direction of replication.
pub(crate) fn check_disable(record: &Record) -> Result<Direction, CoreError> {
    check_state(record, Operation::DisableProtection)?;
    Ok(Direction::from_side(record.protection.active))
}

/// Ends the protection of an item and removes everything created for it.
pub(crate) async fn disable(ctx: &Arc<Context>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    job.step("stop replication", async {
        replication_tasks::stop(item).await;
        // From here on points are deleted. If a later step fails, disabling protection is all that
        // can be requested.
        ctx.update(item, |record| {
            if record.replica.is_some() {
                record.protection.phase = Phase::Stopped;
            }
        })
        .await
    })
    .await?;
    // A site that is lost may never come back, and the machine has to be free to be protected
    // elsewhere. What is left there is a warning then.
    let gone = is_replica_lost(ctx, item).await;
    job.step_or_warn(gone, "remove test machine", test_failover::remove(ctx, item)).await?;
    if !gone {
        retention::finish_merge(ctx, item).await?;
    }
    let record = item.record.lock().await.clone();
    if record.protection.active == Side::Primary && !record.built.is_empty() {
        // A failed failover could not remove its target.
        let recovery = ctx.platform(&record.recovery.0)?;
        job.step_or_warn(gone, "remove half-built target", remove_target(&recovery, &record)).await?;
    }
    job.step("stop change tracking", stop_tracking(ctx, &record)).await?;
    job.step_or_warn(gone, "delete replica", delete_replica(ctx, &record)).await?;
    ctx.remove_item(item).await
}

/// Whether the site that holds the replica does not answer.
async fn is_replica_lost(ctx: &Context, item: &Item) -> bool {
    let record = item.record.lock().await.clone();
    let Some(replica) = &record.replica else { return false };
    let Ok(platform) = ctx.platform(&record.on(replica.side).0) else { return false };
    platform.site().await.is_err_and(|error| error.kind == PlatformErrorKind::Unreachable)
}

/// Stops change tracking on the active machine, which would otherwise go on costing it performance.
async fn stop_tracking(ctx: &Context, record: &Record) -> Result<(), CoreError> {
    let (site, machine) = record.on(record.protection.active);
    ctx.platform(site)?.stop_tracking(machine).await?;
    Ok(())
}

/// Deletes points and replica, but no disk of a machine: on the primary side the replica *is* the
/// machine's disks, and a machine that runs on the recovery side uses the volumes kept there.
async fn delete_replica(ctx: &Context, record: &Record) -> Result<(), CoreError> {
    ctx.clear_landing(&record.id)?;
    let mut kept: BTreeSet<&VolumeId> = record.seed.iter().flatten().map(|(_, volume)| volume).collect();
    if let Some(replica) = &record.replica {
        let platform = ctx.platform(&record.on(replica.side).0)?;
        point_volumes::delete_unfinished(&platform, &record.id, replica).await?;
        point_volumes::delete(&platform, &replica.points, &replica.base).await?;
        if replica.side == Side::Recovery {
            kept.extend(replica.base.iter().map(|(_, volume)| volume));
        }
    }
    if record.protection.active == Side::Primary {
        let platform = ctx.platform(&record.recovery.0)?;
        for volume in kept {
            platform.delete_volume(volume).await?;
        }
    }
    if let Some(target) = &record.created_target {
        failback_target::remove(ctx, target).await?;
    }
    Ok(())
}

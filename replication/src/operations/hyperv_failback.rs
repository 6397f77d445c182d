//! Failback to Hyper-V: planned, straight from committed, in two phases or as one full download
//! (HF-01 to HF-21).

use std::sync::Arc;

use contract::{
    Access, Acknowledge, ChangeId, ComponentId, CoreError, DataSync, DiskSnapshot, ErrorCode,
    FailoverRequest, Phase, Platform, PointChoice, PointId, PowerState, Side, Step,
};
use nbd::{ALLOCATION, Client};

use crate::context::Context;
use crate::exports;
use crate::fault_hook::GRAIN;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::{failback_target, source, target};
use crate::state::{Progress, Volumes};
use crate::transfer::{self, Source, blocking, nbd_error};

/// Whether the request has what a failback to Hyper-V needs. Returns when to synchronise the data.
pub(super) fn check(request: &FailoverRequest) -> Result<DataSync, CoreError> {
    if request.point != PointChoice::Latest {
        let text =
            "a failback to Hyper-V transfers the machine's current state; there are no points to choose";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    request.data_sync.ok_or_else(|| {
        let text = "a failback to Hyper-V needs `data_sync`, which says when to synchronise the data";
        CoreError::new(ErrorCode::BadRequest, text)
    })
}

pub(super) async fn perform(
    ctx: &Context,
    item: &Item,
    job: &Job,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let sync = check(request)?;
    // From here to the end the primary machine's disks are a mixture of old and new content
    // (HF-19).
    ctx.update(item, |record| record.progress.begin_data_sync()).await?;
    if let Some(host) = host_for_new_machine(ctx, item, request).await? {
        job.step(Step::CREATE_MACHINE, failback_target::create_again(ctx, item, host)).await?;
    }
    let (original, started_by_this_job) = {
        let record = item.record.lock().await;
        (record.primary.clone(), record.progress.machines().target_may_run)
    };
    if !started_by_this_job {
        failback_target::warn_if_both_ran(ctx, job, &original).await?;
    }
    let disks = job.step("find original disks", original_disks(ctx, item)).await?;
    // Finding the disks has powered the machine off, even if this job had started it before a
    // restart of the core.
    ctx.update(item, |record| record.progress.note_target_off()).await?;
    match sync {
        DataSync::BeforeFailover => {
            let since = job.step("synchronise data", copy(ctx, item, job, &disks, Pass::Differences)).await?;
            if !item.record.lock().await.progress.is_completing() {
                job.wait_for_completion().await?;
                ctx.update(item, |record| record.progress.complete_data_sync()).await?;
            }
            job.step("shut down cloud machine", source::shut_down(ctx, item, request)).await?;
            job.step("transfer last changes", copy(ctx, item, job, &disks, Pass::Since(since))).await?;
        }
        DataSync::DuringFailover => {
            job.step("shut down cloud machine", source::shut_down(ctx, item, request)).await?;
            job.step("download data", copy(ctx, item, job, &disks, Pass::Everything)).await?;
        }
    }
    let (site, machine) = item.record.lock().await.primary.clone();
    ctx.update(item, |record| record.progress.note_target_starting()).await?;
    job.step("start target machine", target::start(ctx, &site, &machine)).await?;
    ctx.update(item, |record| {
        record.progress = Progress::Idle;
        record.created_target = None;
        record.protection.phase = Phase::CommitPending;
        record.protection.active = Side::Primary;
        record.failed_over_to = Some(PointId(format!("{}-synchronised", record.id)));
    })
    .await
}

/// If the primary machine does not exist, the host on which to create it (HF-11, HF-22). The outer
/// `None`: the machine exists. The inner `None`: any host.
async fn host_for_new_machine(
    ctx: &Context,
    item: &Item,
    request: &FailoverRequest,
) -> Result<Option<Option<ComponentId>>, CoreError> {
    let record = item.record.lock().await.clone();
    let (site, machine) = &record.primary;
    if ctx.platform(site)?.machines().await?.iter().any(|view| view.id == *machine) {
        return Ok(None);
    }
    if record.created_target.is_some() {
        // An earlier attempt has created some of its disks.
        failback_target::discard_target_best_effort(ctx, item).await;
    }
    let requested = request.alternate.as_ref().map(|alternate| alternate.host.clone());
    Ok(Some(requested.or(record.source_identity.host)))
}

/// The disks of the primary machine, which is powered off if it runs.
async fn original_disks(ctx: &Context, item: &Item) -> Result<Volumes, CoreError> {
    let (site, machine) = item.record.lock().await.primary.clone();
    let platform = ctx.platform(&site)?;
    let view = platform.machine(&machine).await?;
    if view.power == PowerState::On {
        platform.power_off(&machine).await?;
    }
    Ok(view.disks.into_iter().map(|disk| (disk.id, disk.volume)).collect())
}

/// Which content of a disk is copied.
enum Pass {
    /// Chunks that differ from the target (HF-09).
    Differences,
    /// Changes since an earlier snapshot (HF-07).
    Since(ChangeId),
    /// Everything that is allocated, without comparison (HF-10).
    Everything,
}

/// Copies the cloud machine's disks into the original ones. Returns the change id of the copied
/// state.
async fn copy(
    ctx: &Context,
    item: &Item,
    job: &Job,
    disks: &Volumes,
    pass: Pass,
) -> Result<ChangeId, CoreError> {
    let record = item.record.lock().await.clone();
    let cloud = ctx.platform(&record.recovery.0)?;
    let target = ctx.platform(&record.primary.0)?;
    let since = match &pass {
        Pass::Since(change) => Some(change),
        Pass::Differences | Pass::Everything => None,
    };
    let snapshot = cloud.open_snapshot(&record.recovery.1, since).await?;
    let copied = copy_snapshot(&target, &snapshot, disks, job, matches!(pass, Pass::Everything)).await;
    let acknowledge = if copied.is_ok() { Acknowledge::Advance } else { Acknowledge::Keep };
    let closed = cloud.close_snapshot(&snapshot.id, acknowledge).await;
    let bytes = copied?;
    closed?;
    job.note(&format!("{} transferred", contract::Bytes(bytes)))?;
    Ok(snapshot.change_id)
}

async fn copy_snapshot(
    target: &Arc<dyn Platform>,
    snapshot: &DiskSnapshot,
    disks: &Volumes,
    job: &Job,
    everything: bool,
) -> Result<u64, CoreError> {
    let mut total = 0;
    for (disk, (_, volume)) in snapshot.disks.iter().zip(disks) {
        job.checkpoint()?;
        let export = target.export_volume(volume, Access::Write).await?;
        let source = Source {
            uri: disk.uri.clone(),
            changed: disk.changed.clone(),
            against: export.uri.clone(),
            grain: GRAIN,
        };
        let job = job.clone();
        let copied =
            blocking(move || if everything { download(&source, &job) } else { update(&source, &job) }).await;
        exports::close(target, &export.id).await?;
        total += copied?;
    }
    Ok(total)
}

/// Writes what the target lacks. Returns the number of bytes written.
fn update(source: &Source, job: &Job) -> Result<u64, CoreError> {
    let mut client = Client::connect(&source.against).map_err(nbd_error)?;
    let mut bytes = 0;
    let mut sink = |offset: u64, data: &[u8]| {
        job.checkpoint()?;
        bytes += data.len() as u64;
        transfer::write(&mut client, offset, data)
    };
    transfer::send(source, &mut sink, &|_| ())?;
    client.flush().map_err(nbd_error)?;
    Ok(bytes)
}

/// Writes everything that is allocated. Returns the number of bytes written, without zeroes.
fn download(source: &Source, job: &Job) -> Result<u64, CoreError> {
    let mut client = Client::connect_with(&source.uri, &[ALLOCATION]).map_err(nbd_error)?;
    let mut target = Client::connect(&source.against).map_err(nbd_error)?;
    let mut bytes = 0;
    for extent in client.extents(ALLOCATION).map_err(nbd_error)? {
        job.checkpoint()?;
        if extent.is_zero() {
            target.zero(extent.offset, extent.length).map_err(nbd_error)?;
            continue;
        }
        let mut buffer = vec![0; nbd::MAX_REQUEST];
        let mut at = extent.offset;
        while at < extent.offset + extent.length {
            job.checkpoint()?;
            let count = (extent.offset + extent.length - at).min(buffer.len() as u64) as usize;
            client.read(at, &mut buffer[..count]).map_err(nbd_error)?;
            target.write(at, &buffer[..count]).map_err(nbd_error)?;
            at += count as u64;
            bytes += count as u64;
        }
    }
    target.flush().map_err(nbd_error)?;
    Ok(bytes)
}

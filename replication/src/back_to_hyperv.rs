//! Failback to Hyper-V: planned, straight from committed, in two phases or as one full download (HF-01 to HF-21).

use std::sync::Arc;

use contract::{
    Access, Acknowledge, ChangeId, ComponentId, CoreError, DataSync, DiskSnapshot, ErrorCode,
    FailoverRequest, Phase, Platform, PointChoice, PointId, Side,
};
use nbd::{ALLOCATION, Client};

use crate::core::Inner;
use crate::failover::shut_down_source;
use crate::item::{Item, Record, Volumes};
use crate::jobs::Job;
use crate::place;
use crate::transfer::{self, Source, blocking};
use crate::{exports, processor, target};

/// What a failback to Hyper-V needs in its request.
pub(crate) fn check(request: &FailoverRequest) -> Result<DataSync, CoreError> {
    if request.point != PointChoice::Latest {
        let text =
            "a failback to Hyper-V brings down the machine as it is; there are no points to choose from";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    request.data_sync.ok_or_else(|| {
        let text = "a failback to Hyper-V needs to be told when to synchronise the data";
        CoreError::new(ErrorCode::BadRequest, text)
    })
}

pub(crate) async fn fail_back(
    core: &Inner,
    item: &Item,
    job: &Job,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let sync = check(request)?;
    // From here to the end the primary machine is half old, half new (HF-19).
    core.update(item, |record| record.sync_incomplete = true).await?;
    if let Some(host) = host_to_make_at(core, item, request).await? {
        job.step("create machine", place::make_again(core, item, host)).await?;
    }
    let disks = job.step("find original disks", original_disks(core, item)).await?;
    // It is off, whatever an earlier life of this job had done.
    core.update(item, |record| record.starting = false).await?;
    match sync {
        DataSync::BeforeFailover => {
            let since =
                job.step("synchronise data", copy(core, item, job, &disks, Pass::Differences)).await?;
            if !item.record.lock().await.completing {
                job.wait_for_completion().await?;
                // A core that is stopped after this goes on without a second word: the cloud machine may be off.
                core.update(item, |record| record.completing = true).await?;
            }
            job.step("shut down cloud machine", shut_down_source(core, item, request)).await?;
            job.step("transfer last changes", copy(core, item, job, &disks, Pass::Since(since))).await?;
        }
        DataSync::DuringFailover => {
            job.step("shut down cloud machine", shut_down_source(core, item, request)).await?;
            job.step("download data", copy(core, item, job, &disks, Pass::Everything)).await?;
        }
    }
    let (site, machine) = item.record.lock().await.primary.clone();
    core.update(item, |record| record.starting = true).await?;
    job.step("start target machine", target::start(core, &site, &machine)).await?;
    core.update(item, |record: &mut Record| {
        record.sync_incomplete = false;
        record.placed = None;
        (record.served, record.starting, record.completing) = (false, false, false);
        record.placed = None;
        record.protection.phase = Phase::CommitPending;
        record.protection.active = Side::Primary;
        record.failed_over_to = Some(PointId(format!("{}-synchronised", record.id)));
    })
    .await
}

/// The host at which the machine has to be made, if there is none (HF-11, HF-22); `None`: it is there.
async fn host_to_make_at(
    core: &Inner,
    item: &Item,
    request: &FailoverRequest,
) -> Result<Option<Option<ComponentId>>, CoreError> {
    let record = item.record.lock().await.clone();
    let (site, machine) = &record.primary;
    let exists = core.platform(site)?.machines().await?.into_iter().find(|view| view.id == *machine);
    // One that an earlier attempt has begun to make is begun anew.
    let half_made = exists.is_none() && record.placed.is_some();
    if half_made {
        place::clear(core, item).await;
    }
    let host = request.alternate.as_ref().map(|alternate| alternate.host.clone()).or(record.origin.host);
    Ok(exists.is_none().then_some(host))
}

async fn original_disks(core: &Inner, item: &Item) -> Result<Volumes, CoreError> {
    let (site, machine) = item.record.lock().await.primary.clone();
    let platform = core.platform(&site)?;
    let view = platform.machine(&machine).await?;
    if view.power == contract::PowerState::On {
        platform.power_off(&machine).await?;
    }
    Ok(view.disks.into_iter().map(|disk| (disk.id, disk.volume)).collect())
}

/// What of a disk travels.
enum Pass {
    /// Chunks that differ from what is there (HF-09).
    Differences,
    /// What changed since that moment (HF-07).
    Since(ChangeId),
    /// All that is allocated, uncompared (HF-10).
    Everything,
}

/// Copies the cloud machine's disks into the original ones. Returns the moment copied.
async fn copy(
    core: &Inner,
    item: &Item,
    job: &Job,
    disks: &Volumes,
    pass: Pass,
) -> Result<ChangeId, CoreError> {
    let record = item.record.lock().await.clone();
    let cloud = core.platform(&record.recovery.0)?;
    let target = core.platform(&record.primary.0)?;
    let since = match &pass {
        Pass::Since(change) => Some(change),
        Pass::Differences | Pass::Everything => None,
    };
    let view = cloud.open_snapshot(&record.recovery.1, since).await?;
    let copied = copy_snapshot(&target, &view, disks, job, matches!(pass, Pass::Everything)).await;
    let acknowledge = if copied.is_ok() { Acknowledge::Advance } else { Acknowledge::Keep };
    let closed = cloud.close_snapshot(&view.id, acknowledge).await;
    let bytes = copied?;
    closed?;
    job.note(&format!("{} travelled", contract::Bytes(bytes)))?;
    Ok(view.change_id)
}

async fn copy_snapshot(
    target: &Arc<dyn Platform>,
    view: &DiskSnapshot,
    disks: &Volumes,
    job: &Job,
    everything: bool,
) -> Result<u64, CoreError> {
    let mut total = 0;
    for (disk, (_, volume)) in view.disks.iter().zip(disks) {
        job.checkpoint()?;
        let export = target.export_volume(volume, Access::Write).await?;
        let (uri, changed, against) = (disk.uri.clone(), disk.changed.clone(), export.uri.clone());
        let stop = job.clone();
        let copied = blocking(move || {
            if everything { download(&uri, &against, &stop) } else { update(uri, changed, against, &stop) }
        })
        .await;
        exports::close(target, &export.id).await?;
        total += copied?;
    }
    Ok(total)
}

fn update(uri: String, changed: Option<String>, against: String, job: &Job) -> Result<u64, CoreError> {
    let mut client = Client::connect(&against).map_err(transfer::link)?;
    let mut bytes = 0;
    let mut sink = |offset: u64, data: &[u8]| {
        job.checkpoint()?;
        bytes += data.len() as u64;
        processor::write(&mut client, offset, data)
    };
    transfer::send(&Source { uri, changed, against }, &mut sink, &|_| ())?;
    client.flush().map_err(transfer::link)?;
    Ok(bytes)
}

fn download(uri: &str, against: &str, job: &Job) -> Result<u64, CoreError> {
    let mut source = Client::connect_with(uri, &[ALLOCATION]).map_err(transfer::link)?;
    let mut target = Client::connect(against).map_err(transfer::link)?;
    let mut bytes = 0;
    for extent in source.extents(ALLOCATION).map_err(transfer::link)? {
        job.checkpoint()?;
        if extent.is_zero() {
            target.zero(extent.offset, extent.length).map_err(transfer::link)?;
            continue;
        }
        let mut buffer = vec![0; nbd::MAX_REQUEST];
        let mut at = extent.offset;
        while at < extent.offset + extent.length {
            job.checkpoint()?;
            let count = (extent.offset + extent.length - at).min(buffer.len() as u64) as usize;
            source.read(at, &mut buffer[..count]).map_err(transfer::link)?;
            target.write(at, &buffer[..count]).map_err(transfer::link)?;
            (at, bytes) = (at + count as u64, bytes + count as u64);
        }
    }
    target.flush().map_err(transfer::link)?;
    Ok(bytes)
}

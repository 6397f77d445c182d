//! One transfer: the changes of one machine, or of all machines of a group at one moment, into new
//! points or their landing logs.

use std::path::PathBuf;
use std::sync::Arc;

use contract::{
    Access, Acknowledge, Bytes, ChangeId, Consistency, CoreError, DiskSnapshot, ErrorCode, GroupPointId,
    MachineId, Platform, PlatformErrorKind, SnapshotDisk, SnapshotRequest, Verification,
};
use tokio::sync::MutexGuard;

use crate::context::Context;
use crate::direct_transfer::{self, Alterations, Failure};
use crate::error::not_replicating;
use crate::exports::open_all;
use crate::fault_hook::Verifying;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::landing_log::Writer;
use crate::point_volumes::PointBuild;
use crate::processor::process_all;
use crate::resync;
use crate::state::Landed;
use crate::transfer::{self, Source, blocking};

/// The machine from which an item's changes are read.
struct ChangeSource {
    platform: Arc<dyn Platform>,
    machine: MachineId,
    since: Option<ChangeId>,
}

impl ChangeSource {
    async fn of(ctx: &Context, item: &Item) -> Result<Self, CoreError> {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        let (site, machine) = record.on(replica.side.other()).clone();
        Ok(Self { platform: ctx.platform(&site)?, machine, since: replica.received.clone() })
    }
}

/// Transfers one machine, crash-consistent (RP-17). Returns the number of the transfer.
pub(crate) async fn transfer_one(ctx: &Context, item: &Item) -> Result<u64, CoreError> {
    let source = ChangeSource::of(ctx, item).await?;
    let snapshot = source.platform.open_snapshot(&source.machine, source.since.as_ref()).await?;
    land(ctx, item, &source, &snapshot, Consistency::Crash, None).await
}

/// Transfers items that replicate from one site, several of them at one moment. If application
/// consistency is asked for and the guests cannot be quiesced, the transfer is crash-consistent.
/// Returns the number of each item's transfer, or why it failed.
pub(crate) async fn transfer_together(
    ctx: &Context,
    items: &[Arc<Item>],
    consistency: Consistency,
) -> Result<Vec<Result<u64, CoreError>>, CoreError> {
    if let ([item], Consistency::Crash) = (items, consistency) {
        return Ok(vec![transfer_one(ctx, item).await]);
    }
    let mut sources = Vec::new();
    for item in items {
        sources.push(ChangeSource::of(ctx, item).await?);
    }
    let Some(first) = sources.first() else { return Ok(Vec::new()) };
    let machines = sources.iter().map(|source| (source.machine.clone(), source.since.clone())).collect();
    let mut request = SnapshotRequest { machines, consistency };
    let mut opened = first.platform.open_snapshots(&request).await;
    if consistency == Consistency::App {
        record_quiesce(ctx, items, opened.as_ref().err().map(ToString::to_string)).await?;
        if opened.as_ref().is_err_and(|error| error.kind == PlatformErrorKind::NotQuiesced) {
            // A crash-consistent point is better than none.
            request.consistency = Consistency::Crash;
            opened = first.platform.open_snapshots(&request).await;
        }
    }
    let snapshots = match opened {
        Ok(snapshots) => snapshots,
        // One machine without a snapshot must not keep the others from their points.
        Err(_) if items.len() > 1 => return Ok(transfer_each(ctx, items).await),
        Err(error) => return Err(error.into()),
    };
    let multi_vm = (items.len() > 1).then(|| snapshots.first().map(group_point_id)).flatten();
    let mut landed = Vec::new();
    for ((item, source), snapshot) in items.iter().zip(&sources).zip(&snapshots) {
        landed.push(land(ctx, item, source, snapshot, request.consistency, multi_vm.clone()).await);
    }
    Ok(landed)
}

/// Transfers items one after another.
async fn transfer_each(ctx: &Context, items: &[Arc<Item>]) -> Vec<Result<u64, CoreError>> {
    let mut landed = Vec::new();
    for item in items {
        landed.push(transfer_one(ctx, item).await);
    }
    landed
}

/// The id that the points of a group at one moment share. It contains the change id of one
/// snapshot, so that it is unique.
fn group_point_id(snapshot: &DiskSnapshot) -> GroupPointId {
    GroupPointId(format!("moment-{}-{}", snapshot.taken_at.0, snapshot.change_id))
}

/// Records an attempt at an application-consistent point, and why it failed, if it did.
async fn record_quiesce(
    ctx: &Context,
    items: &[Arc<Item>],
    failure: Option<String>,
) -> Result<(), CoreError> {
    let now = ctx.now();
    let warning = failure.map(|why| format!("no application-consistent point could be taken: {why}"));
    for item in items {
        ctx.update(item, |record| {
            record.quiesce_attempted = Some(now);
            record.quiesce_warning.clone_from(&warning);
        })
        .await?;
    }
    Ok(())
}

/// Compares all disks of a machine with its replica, and transfers what differs. Records what was
/// found, and returns it.
pub(crate) async fn verify(ctx: &Context, item: &Item, job: &Job) -> Result<Verification, CoreError> {
    let _one_at_a_time = Arc::clone(&item.receiving).lock_owned().await;
    let source = ChangeSource::of(ctx, item).await?;
    let snapshot = source.platform.open_snapshot(&source.machine, source.since.as_ref()).await?;
    let pass = Pass::Verification(job);
    land_by(ctx, item, (&source, &snapshot), pass, (Consistency::Crash, None)).await?;
    let record = item.record.lock().await;
    let found = record.replica.as_ref().and_then(|replica| replica.verified);
    found.ok_or_else(not_replicating)
}

/// How a snapshot is received.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// What the source reports as changed.
    Changes,
    /// What differs, with the progress shown by a job.
    Verification(&'a Job),
}

/// Receives a snapshot's changes into the landing log and closes it.
async fn land(
    ctx: &Context,
    item: &Item,
    source: &ChangeSource,
    snapshot: &DiskSnapshot,
    consistency: Consistency,
    multi_vm: Option<GroupPointId>,
) -> Result<u64, CoreError> {
    land_by(ctx, item, (source, snapshot), Pass::Changes, (consistency, multi_vm)).await
}

async fn land_by(
    ctx: &Context,
    item: &Item,
    (source, snapshot): (&ChangeSource, &DiskSnapshot),
    pass: Pass<'_>,
    (consistency, multi_vm): (Consistency, Option<GroupPointId>),
) -> Result<u64, CoreError> {
    let resync = resync::needed(source.since.as_ref(), snapshot);
    let received = async {
        resync::begin(ctx, item, resync).await?;
        receive_snapshot(ctx, item, snapshot, pass).await
    };
    let received = received.await;
    let acknowledge = if received.is_ok() { Acknowledge::Advance } else { Acknowledge::Keep };
    let closed = source.platform.close_snapshot(&snapshot.id, acknowledge).await;
    let Received { number, bytes, different, point } = match (received, closed) {
        (Ok(received), Ok(())) => received,
        (Ok(received), Err(error)) => {
            resync::abort(ctx, item, resync).await;
            if let Some(point) = received.point {
                discard(&point.build).await;
            }
            return Err(error.into());
        }
        (Err(error), _) => {
            resync::abort(ctx, item, resync).await;
            return Err(error);
        }
    };
    let landed = Landed {
        number,
        change: snapshot.change_id.clone(),
        time: snapshot.taken_at,
        bytes,
        consistency,
        multi_vm,
    };
    let (point, _alone) =
        point.map(|NewPoint { build, alone }| (build.into_point(landed.clone()), alone)).unzip();
    ctx.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.received = Some(landed.change.clone());
            replica.received_count = number;
            if matches!(pass, Pass::Verification(_)) {
                let compared = Bytes(snapshot.disks.iter().map(|disk| disk.size.0).sum());
                replica.verified =
                    Some(Verification { at: snapshot.taken_at, compared, different: Bytes(different) });
            }
            resync::finish(replica, resync, snapshot, Bytes(bytes));
            match point {
                Some(point) => replica.add_processed(point),
                None => replica.landed.push(landed),
            }
        }
    })
    .await?;
    item.landed.send_replace(number);
    Ok(number)
}

/// A transfer in the landing log, or in a new point.
struct Received<'a> {
    /// Its number.
    number: u64,
    /// The number of its content bytes.
    bytes: u64,
    /// Bytes that differed and that the source had not reported, if it was a verification.
    different: u64,
    /// Its point. `None`: it is in the landing log.
    point: Option<NewPoint<'a>>,
}

/// A point that is complete and not recorded.
struct NewPoint<'a> {
    build: PointBuild,
    /// Nobody else makes or merges points of the item until this one is recorded.
    alone: MutexGuard<'a, ()>,
}

/// Deletes the volumes of a point that cannot be used. If that fails, the next attempt deletes
/// them.
async fn discard(build: &PointBuild) {
    if let Err(error) = build.delete().await {
        tracing::warn!(%error, "cannot delete an incomplete point");
    }
}

/// Makes a point of the changes without the landing log. `None` if the transfer has to land: others
/// wait there, somebody makes or merges points, or the replica's site fails.
async fn receive_directly<'a>(
    ctx: &Context,
    item: &'a Item,
    snapshot: &DiskSnapshot,
    ends: &[Bytes],
) -> Result<Option<Received<'a>>, CoreError> {
    let Ok(alone) = item.processing.try_lock() else { return Ok(None) };
    let (build, number) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        if !replica.landed.is_empty() || replica.pending_merge.is_some() {
            return Ok(None);
        }
        let number = replica.received_count + 1;
        (PointBuild::plan(ctx, &record, number)?, number)
    };
    let alterations = Alterations::of(ctx, ends.to_vec(), number);
    match direct_transfer::receive(snapshot, ctx.grain(), &build, alterations).await {
        Ok(bytes) => {
            Ok(Some(Received { number, bytes, different: 0, point: Some(NewPoint { build, alone }) }))
        }
        Err(failure) => {
            discard(&build).await;
            match failure {
                Failure::Source(error) => Err(error),
                Failure::Target(error) => {
                    tracing::warn!(item = %item.id, %error, "a point cannot be made; its transfer lands first");
                    Ok(None)
                }
            }
        }
    }
}

/// Makes a point of what the replica lacks of a snapshot, or writes it into the landing log.
async fn receive_snapshot<'a>(
    ctx: &Context,
    item: &'a Item,
    snapshot: &DiskSnapshot,
    pass: Pass<'_>,
) -> Result<Received<'a>, CoreError> {
    // Without a change record the snapshot is compared with the newest content, so everything that
    // has landed must be processed first.
    let verifies = matches!(pass, Pass::Verification(_));
    let compare = verifies || snapshot.disks.iter().any(|disk| disk.changed.is_none());
    if compare {
        process_all(ctx, item).await?;
    }
    let notices = ctx.fault_hook().is_none_or(|hook| hook.notices_growth());
    let (target, head, number, ends) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        if replica.has_other_disks(snapshot) {
            return Err(other_disks(snapshot, replica.disks.len()));
        }
        if let Some((disk, size)) = replica.resized(snapshot).filter(|_| notices) {
            return Err(resized(disk, size));
        }
        let ends = if notices { Vec::new() } else { replica.sizes.clone() };
        let target = ctx.platform(&record.on(replica.side).0)?;
        (target, replica.head().clone(), replica.received_count + 1, ends)
    };
    if !compare && let Some(received) = receive_directly(ctx, item, snapshot, &ends).await? {
        return Ok(received);
    }
    let opened = open_all(&target, &head, compare.then_some(Access::Read)).await?;
    let compares = ctx.fault_hook().is_none_or(|hook| hook.compares());
    let disks = snapshot.disks.iter().zip(opened.uris()).enumerate();
    let sent = disks.filter(|(_, (disk, _))| disk.changed.is_some() || compares);
    let reception = Reception {
        dir: ctx.landing_dir(&item.id),
        number,
        sources: sent.map(|(index, (disk, against))| Sent::of(index, disk, against, ctx.grain())).collect(),
        ends,
        verifying: ctx.verifying(),
        job: match pass {
            Pass::Changes => None,
            Pass::Verification(job) => Some(job.clone()),
        },
    };
    let received = blocking(move || reception.receive()).await;
    opened.close(received).await
}

/// A disk of a snapshot that is sent.
struct Sent {
    /// Its index in the machine.
    index: usize,
    size: Bytes,
    source: Source,
}

impl Sent {
    fn of(index: usize, disk: &SnapshotDisk, against: String, grain: u64) -> Self {
        let source = Source { uri: disk.uri.clone(), changed: disk.changed.clone(), against, grain };
        Self { index, size: disk.size, source }
    }
}

/// What it takes to receive a snapshot.
///
/// All of it is done in one piece of blocking work. Otherwise, where many machines have more work
/// than there are threads, each of them would keep a file and its buffer open while it waits.
struct Reception {
    dir: PathBuf,
    number: u64,
    sources: Vec<Sent>,
    /// Where the content of each disk ends that is received; of a disk without one, all is.
    ends: Vec<Bytes>,
    verifying: Verifying,
    /// The job that shows the progress, if it is a verification.
    job: Option<Job>,
}

impl Reception {
    fn receive(self) -> Result<Received<'static>, CoreError> {
        let mut writer = Writer::create(&self.dir, self.number).map_err(landing_failed)?;
        let total = self.sources.iter().map(|sent| sent.size.0).sum();
        let (mut done, mut different) = (0, 0);
        for sent in &self.sources {
            let progress = |offset: u64| {
                if let Some(job) = &self.job {
                    job.progress(done + offset, total);
                }
            };
            different += self.receive_disk(sent, &mut writer, &progress)?;
            done += sent.size.0;
        }
        let bytes = writer.seal().map_err(landing_failed)?;
        Ok(Received { number: self.number, bytes, different, point: None })
    }

    /// Returns how many bytes differed that the source had not reported.
    fn receive_disk(
        &self,
        Sent { index, source, .. }: &Sent,
        writer: &mut Writer,
        progress: &dyn Fn(u64),
    ) -> Result<u64, CoreError> {
        let end = self.ends.get(*index).map_or(u64::MAX, |size| size.0);
        let repairs = self.job.is_none() || self.verifying != Verifying::RepairsNothing;
        let mut sink = |offset: u64, data: &[u8]| {
            if offset >= end || !repairs {
                return Ok(());
            }
            writer.push(*index, offset, data).map_err(landing_failed)
        };
        match self.job {
            None => transfer::send(source, &mut sink, progress).map(|()| 0),
            Some(_) => transfer::verify(source, self.verifying, &mut sink, progress),
        }
    }
}

/// FX-27: a point without a disk, or with one that the machine no longer has, would look complete,
/// so none is made.
pub(crate) fn other_disks(snapshot: &DiskSnapshot, replicas: usize) -> CoreError {
    let text = format!(
        "the machine has {} disks now, which are not the {replicas} that are replicated; disable its protection \
         and enable it again",
        snapshot.disks.len()
    );
    CoreError::new(ErrorCode::DiskResized, text)
}

/// EX-R12: a point without the new end of a disk would look complete, so none is made.
fn resized(disk: &SnapshotDisk, replica: Bytes) -> CoreError {
    let text = format!(
        "disk {} has {} now and its replica {replica}; disable protection of the machine and enable it again",
        disk.id, disk.size
    );
    CoreError::new(ErrorCode::DiskResized, text)
}

fn landing_failed(error: std::io::Error) -> CoreError {
    let code =
        if error.kind() == std::io::ErrorKind::StorageFull { ErrorCode::Platform } else { ErrorCode::Store };
    CoreError::new(code, format!("the landing log cannot be written: {error}"))
}

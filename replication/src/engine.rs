//! The two tasks behind a protected item: one receives changes, one processes them.

use std::sync::Arc;

use contract::{Access, Consumed, CoreError, ErrorCode, Platform, View};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at};

use crate::core::Inner;
use crate::exports::open_all;
use crate::item::{Item, Landed, Volumes};
use crate::jobs::Job;
use crate::landing::Writer;
use crate::processor::{not_replicating, process_all};
use crate::transfer::{self, Source, blocking};

/// Longest pause after failed transfers, in intervals.
const LONGEST_PAUSE: u32 = 64;

/// Running replication of one item.
pub(crate) struct Engine {
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Engine {
    /// Starts both tasks.
    pub(crate) fn start(core: &Arc<Inner>, item: &Arc<Item>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (landed_tell, landed) = watch::channel(0);
        let receiver = receive(Arc::clone(core), Arc::clone(item), stopped.clone(), landed_tell);
        let processor = process(Arc::clone(core), Arc::clone(item), stopped, landed);
        Self { stop, tasks: [tokio::spawn(receiver), tokio::spawn(processor)] }
    }

    /// Stops both and returns once nothing is under way (FO-11). What has landed stays landed.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has stopped too.
            let _ = task.await;
        }
    }
}

/// Receives changes at the policy's interval until told to stop; after a failure it tries again.
async fn receive(
    core: Arc<Inner>,
    item: Arc<Item>,
    mut stopped: watch::Receiver<bool>,
    landed: watch::Sender<u64>,
) {
    let interval = Duration::from(item.record.lock().await.policy.interval);
    let mut pause = 1;
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        match transfer_once(&core, &item).await {
            Ok(number) => {
                landed.send_replace(number);
                pause = 1;
                core.clear_trouble(&item).await;
            }
            Err(error) => {
                tracing::warn!(item = %item.id, %error, "a transfer failed");
                core.report_trouble(&item, error.message).await;
                // Ever longer pauses, up to a limit (EX-R10).
                pause = (pause * 2).min(LONGEST_PAUSE);
                ticks.reset_after(interval * pause);
            }
        }
    }
}

async fn process(
    core: Arc<Inner>,
    item: Arc<Item>,
    mut stopped: watch::Receiver<bool>,
    mut landed: watch::Receiver<u64>,
) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            more = landed.changed() => {
                if more.is_err() {
                    return;
                }
            }
        }
        // What has landed stays landed; the next arrival tries again.
        if let Err(error) = process_all(&core, &item).await {
            tracing::warn!(item = %item.id, %error, "processing failed");
            core.report_trouble(&item, error.message).await;
        }
    }
}

/// One transfer from a fresh view into the landing log. Returns its number.
pub(crate) async fn transfer_once(core: &Inner, item: &Item) -> Result<u64, CoreError> {
    let (source, machine, since, number) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        let (site, machine) = record.on(replica.side.other()).clone();
        (core.platform(&site)?, machine, replica.received.clone(), replica.received_count + 1)
    };
    let view = source.open_view(&machine, since.as_ref()).await?;
    let received = receive_view(core, item, &view, number).await;
    let consumed = if received.is_ok() { Consumed::Yes } else { Consumed::No };
    let closed = source.close_view(&view.id, consumed).await;
    let bytes = received?;
    closed?;
    let landed = Landed { number, change: view.change_id.clone(), time: view.taken_at, bytes };
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.received = Some(landed.change.clone());
            replica.received_count = number;
            replica.landed.push(landed);
        }
    })
    .await?;
    Ok(number)
}

/// Writes what the replica lacks of a view into the landing log. Returns the bytes that travelled.
async fn receive_view(core: &Inner, item: &Item, view: &View, number: u64) -> Result<u64, CoreError> {
    // Without a record of changes the newest content is needed for comparison: all that landed, processed.
    let compare = view.disks.iter().any(|disk| disk.changed.is_none());
    if compare {
        process_all(core, item).await?;
    }
    let (target, head) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        (core.platform(&record.on(replica.side).0)?, replica.head().clone())
    };
    let dir = core.landing_dir(&item.id);
    let mut writer = blocking(move || Writer::create(&dir, number).map_err(landing_failed)).await?;
    let opened = open_all(&target, &head, compare.then_some(Access::Read)).await?;
    for (index, (disk, against)) in view.disks.iter().zip(opened.uris()).enumerate() {
        let source = Source { uri: disk.uri.clone(), changed: disk.changed.clone(), against };
        let sent = blocking(move || {
            let mut sink =
                |offset: u64, data: &[u8]| writer.push(index, offset, data).map_err(landing_failed);
            transfer::send(&source, &mut sink, &|_| ()).map(|()| writer)
        })
        .await;
        match sent {
            Ok(more) => writer = more,
            Err(error) => return opened.close(Err(error)).await,
        }
    }
    opened.close(Ok(())).await?;
    blocking(move || writer.seal().map_err(landing_failed)).await
}

/// The first full pass: writes whatever the base lacks straight into it, and makes it the first point.
pub(crate) async fn synchronise(core: &Inner, item: &Item, job: &Job) -> Result<u64, CoreError> {
    let (source, machine, target, base) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        let (site, machine) = record.on(replica.side.other()).clone();
        let target = core.platform(&record.on(replica.side).0)?;
        (core.platform(&site)?, machine, target, replica.base.clone())
    };
    let view = source.open_view(&machine, None).await?;
    let copied = copy_view(&target, &view, &base, job).await;
    let consumed = if copied.is_ok() { Consumed::Yes } else { Consumed::No };
    let closed = source.close_view(&view.id, consumed).await;
    let bytes = copied?;
    closed?;
    core.first_point(item, &view, &base, bytes).await?;
    Ok(bytes)
}

async fn copy_view(
    target: &Arc<dyn Platform>,
    view: &View,
    base: &Volumes,
    job: &Job,
) -> Result<u64, CoreError> {
    let whole = view.disks.iter().map(|disk| disk.size.0).sum();
    let (mut total, mut before) = (0, 0);
    for (disk, (_, volume)) in view.disks.iter().zip(base) {
        let export = target.export_volume(volume, Access::Write).await?;
        let source = Source { uri: disk.uri.clone(), changed: None, against: export.uri.clone() };
        let job = job.clone();
        let copied = blocking(move || {
            let mut client = nbd::Client::connect(&source.against).map_err(transfer::link)?;
            let mut bytes = 0;
            let mut sink = |offset: u64, data: &[u8]| {
                bytes += data.len() as u64;
                crate::processor::write(&mut client, offset, data)
            };
            transfer::send(&source, &mut sink, &|offset| job.progress(before + offset, whole))?;
            client.flush().map_err(transfer::link)?;
            Ok(bytes)
        })
        .await;
        target.close_export(&export.id).await?;
        total += copied?;
        before += disk.size.0;
    }
    Ok(total)
}

fn landing_failed(error: std::io::Error) -> CoreError {
    let code =
        if error.kind() == std::io::ErrorKind::StorageFull { ErrorCode::Platform } else { ErrorCode::Store };
    CoreError::new(code, format!("the landing log cannot be written: {error}"))
}

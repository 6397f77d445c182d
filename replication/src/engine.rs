//! The two tasks behind a protected item: one receives changes, one processes them.

use std::sync::Arc;

use contract::{Access, Consumed, CoreError, ErrorCode, Platform, View};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::core::Inner;
use crate::item::{Item, Landed, Volumes};
use crate::jobs::Job;
use crate::landing::Writer;
use crate::processor::{not_replicating, process_all};
use crate::transfer::{self, Source, blocking};

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

/// Receives changes at the policy's interval until told to stop or until it fails.
async fn receive(
    core: Arc<Inner>,
    item: Arc<Item>,
    mut stopped: watch::Receiver<bool>,
    landed: watch::Sender<u64>,
) {
    let interval = item.record.lock().await.policy.interval.into();
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
            }
            Err(error) => {
                tracing::warn!(item = %item.id, %error, "replication halted");
                core.report_trouble(&item, error.message).await;
                return;
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
        if let Err(error) = process_all(&core, &item).await {
            tracing::warn!(item = %item.id, %error, "processing halted");
            core.report_trouble(&item, error.message).await;
            return;
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
    for (index, source) in sources(&target, view, &head, compare).await?.into_iter().enumerate() {
        let OpenSource { source, export } = source;
        let sent = blocking(move || {
            let mut sink =
                |offset: u64, data: &[u8]| writer.push(index, offset, data).map_err(landing_failed);
            transfer::send(&source, &mut sink, &|_| ()).map(|()| writer)
        })
        .await;
        if let Some(export) = export {
            target.close_export(&export).await?;
        }
        writer = sent?;
    }
    blocking(move || writer.seal().map_err(landing_failed)).await
}

/// A disk to read, and the export that must be closed afterwards.
pub(crate) struct OpenSource {
    pub(crate) source: Source,
    pub(crate) export: Option<contract::ExportId>,
}

/// Pairs each disk of a view with the replica's newest content.
pub(crate) async fn sources(
    target: &Arc<dyn Platform>,
    view: &View,
    head: &Volumes,
    compare: bool,
) -> Result<Vec<OpenSource>, CoreError> {
    let mut all = Vec::new();
    for (disk, (_, volume)) in view.disks.iter().zip(head) {
        let export = if compare { Some(target.export_volume(volume, Access::Read).await?) } else { None };
        let source = Source {
            uri: disk.uri.clone(),
            changed: disk.changed.clone(),
            against: export.as_ref().map(|e| e.uri.clone()).unwrap_or_default(),
        };
        all.push(OpenSource { source, export: export.map(|e| e.id) });
    }
    Ok(all)
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

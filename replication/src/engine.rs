//! The two tasks behind a protected item: one receives changes, one processes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::{Access, Acknowledge, Consistency, CoreError, DiskSnapshot, Platform};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at};

use crate::core::Inner;
use crate::exports;
use crate::fill::fill;
use crate::group::led_by;
use crate::item::{Item, Volumes};
use crate::jobs::Job;
use crate::processor::{not_replicating, process_all};
use crate::receive::transfer_together;
use crate::transfer::{Source, blocking};

/// Longest pause after failed transfers, in intervals.
const LONGEST_PAUSE: u32 = 64;
/// Where a policy cannot be found, which is a fault of the store.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Of the time between two application-consistent points, how much passes before a failed one is tried again.
const REST_AGAIN: u64 = 4;

/// Running replication of one item.
pub(crate) struct Engine {
    item: Arc<Item>,
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Engine {
    /// Starts both tasks.
    pub(crate) fn start(core: &Arc<Inner>, item: &Arc<Item>) -> Self {
        let (stop, stopped) = watch::channel(false);
        item.replicating.store(true, Ordering::Release);
        let landed = item.landed.subscribe();
        let receiver = receive(Arc::clone(core), Arc::clone(item), stopped.clone());
        let processor = process(Arc::clone(core), Arc::clone(item), stopped, landed);
        Self { item: Arc::clone(item), stop, tasks: [tokio::spawn(receiver), tokio::spawn(processor)] }
    }

    /// Stops both and returns once nothing is under way (FO-11). What has landed stays landed.
    pub(crate) async fn stop(self) {
        self.item.replicating.store(false, Ordering::Release);
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has stopped too.
            let _ = task.await;
        }
        // The group's leader may have it in hand.
        drop(self.item.receiving.lock().await);
    }
}

/// Receives changes at the policy's interval until told to stop; after a failure it tries again.
async fn receive(core: Arc<Inner>, item: Arc<Item>, mut stopped: watch::Receiver<bool>) {
    let interval = async || {
        let policy = core.policies().in_force(&*item.record.lock().await);
        policy.map_or(LONGEST_INTERVAL, |view| view.policy.interval.into())
    };
    let mut every = interval().await;
    let mut pause = 1;
    let mut ticks = ticking(every, every);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        if receive_once(&core, &item).await {
            pause = 1;
        } else {
            // Ever longer pauses, up to a limit (EX-R10).
            pause = (pause * 2).min(LONGEST_PAUSE);
            ticks.reset_after(every * pause);
        }
        let asked = interval().await;
        if asked != every {
            every = asked;
            ticks = ticking(every, every * pause);
        }
    }
}

fn ticking(every: Duration, first: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One transfer of all that this item's task transfers. Returns whether all went well.
async fn receive_once(core: &Inner, item: &Arc<Item>) -> bool {
    let mut items = Vec::new();
    let mut held = Vec::new();
    for member in led_by(core, item).await {
        let guard = Arc::clone(&member.receiving).lock_owned().await;
        // It may have been told to stop while it was waited for; the task's own item ends with the task.
        if member.replicating.load(Ordering::Acquire) {
            held.push(guard);
            items.push(member);
        }
    }
    let consistency = if rest_is_due(core, item).await { Consistency::App } else { Consistency::Crash };
    let landed = match transfer_together(core, &items, consistency).await {
        Ok(landed) => landed,
        Err(error) => items.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut well = true;
    for (item, landed) in items.iter().zip(landed) {
        match landed {
            // What is received is well once it is processed too.
            Ok(_) => {}
            Err(error) => {
                well = false;
                tracing::warn!(item = %item.id, %error, "a transfer failed");
                core.report_trouble(item, error.message).await;
            }
        }
    }
    well
}

/// Whether the next point shall be application-consistent (PO-04, RP-06).
async fn rest_is_due(core: &Inner, item: &Item) -> bool {
    let record = item.record.lock().await;
    let Some(replica) = &record.replica else { return false };
    let Some(every) =
        core.policies().in_force(&record).ok().and_then(|view| view.policy.app_consistent_every)
    else {
        return false;
    };
    let now = core.now();
    let since_asked = record.rest_asked.map(|asked| now.since(asked));
    match (replica.last_at_rest(), since_asked) {
        (Some(last), _) if now.since(last) < every => false,
        (_, Some(passed)) if record.warning.is_some() => passed.0 >= every.0 / REST_AGAIN,
        _ => true,
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
        match process_all(&core, &item).await {
            // What is received and processed is well; either alone is not.
            Ok(_) => core.clear_trouble(&item).await,
            Err(error) => {
                tracing::warn!(item = %item.id, %error, "processing failed");
                core.report_trouble(&item, error.message).await;
            }
        }
    }
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
    let view = source.open_snapshot(&machine, None).await?;
    let copied = copy_snapshot(&target, &view, &base, job).await;
    let acknowledge = if copied.is_ok() { Acknowledge::Advance } else { Acknowledge::Keep };
    let closed = source.close_snapshot(&view.id, acknowledge).await;
    let bytes = copied?;
    closed?;
    core.first_point(item, &view, &base, bytes).await?;
    Ok(bytes)
}

async fn copy_snapshot(
    target: &Arc<dyn Platform>,
    view: &DiskSnapshot,
    base: &Volumes,
    job: &Job,
) -> Result<u64, CoreError> {
    let whole = view.disks.iter().map(|disk| disk.size.0).sum();
    let (mut total, mut before) = (0, 0);
    for (disk, (_, volume)) in view.disks.iter().zip(base) {
        let export = target.export_volume(volume, Access::Write).await?;
        let source = Source { uri: disk.uri.clone(), changed: None, against: export.uri.clone() };
        let job = job.clone();
        let copied = blocking(move || fill(&source, &|offset| job.progress(before + offset, whole))).await;
        exports::close(target, &export.id).await?;
        total += copied?;
        before += disk.size.0;
    }
    Ok(total)
}

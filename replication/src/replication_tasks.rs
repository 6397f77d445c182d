//! The two background tasks of a protected item: one receives changes, the other processes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::{Consistency, Millis};
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::clock::Ticks;
use crate::consistency_group::led_by;
use crate::context::Context;
use crate::fault_hook::Quiescing;
use crate::item::{Item, ReplicationTasks};
use crate::processor::process_all;
use crate::receive::transfer_together;

/// Longest pause after failed transfers, as a multiple of the policy's interval.
const LONGEST_PAUSE: u64 = 64;
/// Interval if the policy cannot be found, which only a damaged store can cause.
const LONGEST_INTERVAL: Millis = Millis(3600 * 1000);
/// A failed application-consistent point is tried again after this fraction of the policy's time
/// between two of them.
const QUIESCE_RETRY: u64 = 4;

/// Starts both tasks.
pub(crate) async fn start(ctx: &Arc<Context>, item: &Arc<Item>) {
    let (stop, stopped) = watch::channel(false);
    item.replicating.store(true, Ordering::Release);
    let landed = item.landed.subscribe();
    let receiver = receive(Arc::clone(ctx), Arc::clone(item), stopped.clone());
    let processor = process(Arc::clone(ctx), Arc::clone(item), stopped, landed);
    // Outside the span of the job that starts them: the tasks outlive it.
    let span = tracing::info_span!(parent: None, "replication", item = %item.id);
    let handles = [tokio::spawn(receiver.instrument(span.clone())), tokio::spawn(processor.instrument(span))];
    *item.tasks.lock().await = Some(ReplicationTasks { stop, handles });
}

/// Stops both tasks and returns when no transfer is under way any more (FO-11). Landed transfers
/// are kept.
pub(crate) async fn stop(item: &Item) {
    // Locked to the end, so that a concurrent stop waits for this one.
    let mut running = item.tasks.lock().await;
    let Some(tasks) = running.take() else { return };
    item.replicating.store(false, Ordering::Release);
    tasks.stop.send_replace(true);
    for handle in tasks.handles {
        // A task that panicked has stopped too.
        let _ = handle.await;
    }
    // The leader of the item's group may be transferring it.
    drop(item.receiving.lock().await);
}

/// Receives changes at the policy's interval until stopped. After failures the pauses grow.
async fn receive(ctx: Arc<Context>, item: Arc<Item>, mut stopped: watch::Receiver<bool>) {
    let interval = async || {
        let policy = ctx.policies.in_force(&*item.record.lock().await);
        policy.map_or(LONGEST_INTERVAL, |view| view.policy.interval)
    };
    let mut every = interval().await;
    let mut pause = 1;
    let mut ticks = Ticks::start(ctx.clock(), every, every);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = ticks.tick() => {}
        }
        if receive_once(&ctx, &item).await {
            pause = 1;
        } else {
            // EX-R10
            pause = (pause * 2).min(LONGEST_PAUSE);
            ticks.pause(Millis(every.0 * pause));
        }
        // The policy may have changed.
        let current = interval().await;
        if current != every {
            every = current;
            ticks = Ticks::start(ctx.clock(), Millis(every.0 * pause), every);
        }
    }
}

/// Makes one transfer of all items that this item's task is responsible for. Returns whether all
/// succeeded.
async fn receive_once(ctx: &Context, item: &Arc<Item>) -> bool {
    let mut items = Vec::new();
    let mut guards = Vec::new();
    for member in led_by(ctx, item).await {
        let guard = Arc::clone(&member.receiving).lock_owned().await;
        // A member may have stopped replicating while its lock was awaited.
        if member.replicating.load(Ordering::Acquire) {
            guards.push(guard);
            items.push(member);
        }
    }
    let consistency =
        if app_consistency_is_due(ctx, item).await { Consistency::App } else { Consistency::Crash };
    let landed = match transfer_together(ctx, &items, consistency).await {
        Ok(landed) => landed,
        Err(error) => items.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut all_succeeded = true;
    for (item, landed) in items.iter().zip(landed) {
        // A success does not clear an earlier error; that happens when the transfer is processed.
        if let Err(error) = landed {
            all_succeeded = false;
            tracing::warn!(item = %item.id, %error, "a transfer failed");
            ctx.set_replication_error(item, error).await;
        }
    }
    all_succeeded
}

/// Whether the next point is to be application-consistent (PO-04, RP-06).
async fn app_consistency_is_due(ctx: &Context, item: &Item) -> bool {
    let record = item.record.lock().await;
    let Some(replica) = &record.replica else { return false };
    let Some(every) = ctx.policies.in_force(&record).ok().and_then(|view| view.policy.app_consistent_every)
    else {
        return false;
    };
    let now = ctx.now();
    let quiescing = ctx.fault_hook().map_or(Quiescing::AtOnce, |hook| hook.quiescing());
    if quiescing == Quiescing::Always {
        return true;
    }
    let since_attempt = record.quiesce_attempted.map(|attempted| now.since(attempted));
    match (replica.last_app_consistent(), since_attempt) {
        (Some(last), _) if now.since(last) < every => false,
        (_, Some(passed)) if record.quiesce_warning.is_some() => passed.0 >= every.0 / QUIESCE_RETRY,
        (None, None) if quiescing == Quiescing::Later => {
            replica.points.first().is_some_and(|first| now.since(first.time) >= every)
        }
        _ => true,
    }
}

/// Processes each transfer that lands, until stopped.
async fn process(
    ctx: Arc<Context>,
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
        match process_all(&ctx, &item).await {
            // Replication works if transfers are both received and processed.
            Ok(_) => ctx.clear_replication_error(&item).await,
            // The transfers stay in the landing log; the next one that lands tries again.
            Err(error) => {
                tracing::warn!(item = %item.id, %error, "processing failed");
                ctx.set_replication_error(&item, error).await;
            }
        }
    }
}

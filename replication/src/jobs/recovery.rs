//! Recovery: resumes replication and jobs after a restart of the core.
//!
//! A job is resumed by executing its command again, which is safe because every step can be
//! repeated: a step stores the names of what it creates before it creates it, replaces leftovers of
//! those names, and accepts that what it deletes may be gone.

use std::sync::Arc;

use contract::{CoreError, Phase};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::context::Context;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::jobs::runner::{execute, finish};
use crate::state::{ActiveCommand, Command, Record};
use crate::{replication_tasks, retention};

/// Recovers every item in the store. Returns once replication is resumed and every item's job is
/// known; the jobs themselves go on in the background.
pub(crate) async fn recover_items(ctx: &Arc<Context>) {
    close_all(ctx).await;
    let (recovering, mut recovered) = mpsc::channel::<()>(1);
    for item in ctx.all_items().await {
        let span = tracing::info_span!("recovery", item = %item.id);
        ctx.tasks.spawn(recover(Arc::clone(ctx), item, recovering.clone()).instrument(span));
    }
    drop(recovering);
    // Nothing is ever sent; the channel closes when every item has dropped its sender.
    let _ = recovered.recv().await;
    ctx.set_recovered();
}

/// Closes everything that jobs have left open, of this process or of the previous one.
pub(crate) async fn close_all(ctx: &Context) {
    for (site, platform) in ctx.platforms() {
        // A site that cannot be reached has nothing open that could be in the way.
        if let Err(error) = platform.close_all().await {
            tracing::warn!(%site, %error, "cannot close what interrupted jobs left open");
        }
    }
}

/// Recovers one item: first its replication, then its job.
async fn recover(ctx: Arc<Context>, item: Arc<Item>, recovering: mpsc::Sender<()>) {
    finish_arrived(&ctx, &item).await;
    if let Err(error) = resume_replication(&ctx, &item).await {
        ctx.set_replication_error(&item, error).await;
    }
    // Read before a new job can start.
    let active = active_job(&ctx, &item).await;
    drop(recovering);
    let Some((active, job)) = active else { return };
    match job {
        Some(job) if !job.state().ended() => {
            if let Err(error) = job.mark_interrupted() {
                tracing::error!(job = %job.id(), %error, "cannot store that the job is resumed");
            }
            let span = job.span();
            execute(ctx, item, job, active.command).instrument(span).await;
        }
        _ => {
            // The job had ended; only the item's record did not say so yet.
            let cleared = ctx.update(&item, |record| record.active_command = None).await;
            item.set_job(None);
            if let Err(error) = cleared {
                tracing::error!(%error, "cannot clear the item's ended job");
            }
        }
    }
}

/// The item's active command and the job that executes it.
async fn active_job(ctx: &Context, item: &Item) -> Option<(ActiveCommand, Option<Job>)> {
    let active = item.record.lock().await.active_command.clone()?;
    let job = ctx.jobs.lock().await.get(&active.job).cloned();
    Some((active, job))
}

/// Ends a job that had done everything except to end.
async fn finish_arrived(ctx: &Context, item: &Item) {
    let Some((active, Some(job))) = active_job(ctx, item).await else { return };
    let arrived = has_arrived(&active, &*item.record.lock().await);
    if arrived && !job.state().ended() {
        finish(ctx, item, &job, Ok(())).await;
    }
}

/// Whether the item is in the state that the command leads to. Reaching it is the last thing a
/// command does.
fn has_arrived(active: &ActiveCommand, record: &Record) -> bool {
    let row = active.command.operation().and_then(|operation| record.pair.find(active.from, operation));
    let to = row.and_then(|row| row.to);
    active.from != record.protection && to == Some(record.protection)
}

/// Starts replication again, unless the item's job takes care of it.
async fn resume_replication(ctx: &Arc<Context>, item: &Arc<Item>) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let command = record.active_command.as_ref().map(|active| &active.command);
    if record.protection.phase == Phase::Protected && command.is_none_or(Command::runs_beside_replication) {
        // A merge that had begun is finished before anything else is processed. If it cannot be
        // finished yet, replication starts all the same, and the next processing tries again.
        let finished = retention::finish_merge(ctx, item).await;
        replication_tasks::start(ctx, item).await;
        finished?;
    }
    Ok(())
}

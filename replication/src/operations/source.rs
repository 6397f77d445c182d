//! The source of a failover: the machine on the active side. It is shut down, and started again if
//! the failover fails.

use contract::{CoreError, ErrorCode, FailoverRequest, PlatformError, PlatformErrorKind, PowerState};

use crate::context::Context;
use crate::item::Item;
use crate::operations::target::{self, remove_target};

/// Shuts down the source. Records first that it ran, because it has to run again if the failover
/// fails.
pub(super) async fn shut_down(
    ctx: &Context,
    item: &Item,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let (site, machine) = {
        let record = item.record.lock().await;
        record.on(record.protection.active).clone()
    };
    let platform = ctx.platform(&site)?;
    let failed = |error: PlatformError| CoreError::new(ErrorCode::ShutdownFailed, error.to_string());
    if platform.machine(&machine).await.map_err(failed)?.power == PowerState::On {
        ctx.update(item, |record| record.progress.note_source_ran()).await?;
    }
    let done = platform.shut_down(&machine, request.shutdown_within).await;
    done.map_err(failed)
}

/// After a failed failover: takes the target down and starts a source that ran before. The source
/// is not started while the target may run (LC-10).
pub(super) async fn restart_after_failure(
    ctx: &Context,
    item: &Item,
    is_failback: bool,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let (site, machine) = record.on(record.protection.active);
    let target_down = if is_failback {
        let (site, machine) = &record.primary;
        match ctx.platform(site)?.power_off(machine).await {
            // The machine was not created yet.
            Err(error) if error.kind == PlatformErrorKind::NotFound => Ok(()),
            done => done.map_err(CoreError::from),
        }
    } else {
        remove_target(&ctx.platform(&record.recovery.0)?, &record).await
    };
    let machines = record.progress.machines();
    if machines.source_ran && (target_down.is_ok() || !machines.target_may_run) {
        target::start(ctx, site, machine).await?;
        ctx.update(item, |record| record.progress.note_source_restarted()).await?;
    }
    target_down?;
    ctx.update(item, |record| {
        record.progress.note_target_off();
        if !is_failback {
            record.built.clear();
        }
    })
    .await
}

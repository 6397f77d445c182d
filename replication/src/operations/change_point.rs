//! Change of point: builds the target machine again from another recovery point (FO-02).

use std::sync::Arc;

use contract::{CoreError, Direction, ErrorCode, Operation, PointChoice};

use crate::context::Context;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::operations::target;
use crate::points::choose;
use crate::state::Record;

/// Whether the point can be changed. Returns the direction of the failover.
pub(crate) fn check(ctx: &Context, record: &Record, choice: &PointChoice) -> Result<Direction, CoreError> {
    check_state(record, Operation::ChangePoint)?;
    if record.progress.is_committing() {
        let text = format!("a commit of {} has begun; commit it again", record.id);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    choose(ctx, record, choice)?;
    Ok(Direction::from_side(record.protection.active.other()))
}

pub(crate) async fn perform(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    choice: &PointChoice,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let point = choose(ctx, &record, choice)?;
    let platform = ctx.platform(&record.recovery.0)?;
    job.step("remove target machine", target::remove_target(&platform, &record)).await?;
    // Until there is another machine, nothing can be committed.
    ctx.update(item, |record| {
        record.built.clear();
        record.failed_over_to = None;
    })
    .await?;
    target::build_and_switch(ctx, item, job, &point).await
}

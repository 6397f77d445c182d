//! Verification: the source is compared with its replica, while replication goes on (FX-41 to
//! FX-45).

use contract::{CoreError, Direction, Operation, Step};

use crate::context::Context;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::processor::process_all;
use crate::receive;
use crate::state::Record;

/// Whether the item can be verified. Returns the direction of replication.
pub(crate) fn check(record: &Record) -> Result<Direction, CoreError> {
    check_state(record, Operation::Verify)?;
    Ok(Direction::from_side(record.protection.active))
}

/// Compares all disks, and repairs what differs with a recovery point.
pub(crate) async fn perform(ctx: &Context, item: &Item, job: &Job) -> Result<(), CoreError> {
    let found = job.step("compare with source", receive::verify(ctx, item, job)).await?;
    job.step(Step::PROCESS_RECEIVED, async { process_all(ctx, item).await.map(drop) }).await?;
    if found.different.0 > 0 {
        let text = format!(
            "{} of {} differed without being reported as changed; the newest recovery point has them",
            found.different, found.compared
        );
        job.warn("report differences", text).await?;
    }
    Ok(())
}

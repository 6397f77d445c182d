//! Replication groups: machines whose recovery points are taken at the same moments (RP-11).
//!
//! Among the members that replicate from one site, the first by id is the leader. Its task
//! transfers all of them at once, and the tasks of the other members do nothing. A member that
//! stops replicating waits for the transfer under way; if it was the leader, the next member takes
//! over.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::{CoreError, ErrorCode, GroupId, Side, SiteId};

use crate::context::Context;
use crate::item::Item;
use crate::state::Record;

/// The items that the task of `item` transfers together: all members if `item` leads its group,
/// nothing if another member leads it, and `item` alone if it is in no group.
pub(crate) async fn led_by(ctx: &Context, item: &Arc<Item>) -> Vec<Arc<Item>> {
    let Some(own) = key(&*item.record.lock().await) else { return vec![Arc::clone(item)] };
    let mut members = Vec::new();
    for other in ctx.all_items().await {
        let replicates = other.replicating.load(Ordering::Acquire);
        if replicates && key(&*other.record.lock().await).as_ref() == Some(&own) {
            members.push(other);
        }
    }
    // All items are sorted by id, and so are the members.
    if members.first().is_some_and(|first| first.id == item.id) { members } else { Vec::new() }
}

/// What members must have in common to be transferred together: group, receiving side and source
/// site. `None` if the item is in no group.
fn key(record: &Record) -> Option<(GroupId, Side, SiteId)> {
    let side = record.replica.as_ref()?.side;
    Some((record.group.clone()?, side, record.on(side.other()).0.clone()))
}

/// Refuses a machine whose group replicates between other sites.
pub(crate) async fn check_member(ctx: &Context, record: &Record) -> Result<(), CoreError> {
    let Some(group) = &record.group else { return Ok(()) };
    for other in ctx.all_items().await {
        let other = other.record.lock().await;
        let sites = |record: &Record| (record.primary.0.clone(), record.recovery.0.clone());
        if other.group.as_ref() == Some(group) && sites(&other) != sites(record) {
            let text = format!(
                "group {group} replicates between other sites than {}; choose another group",
                record.id
            );
            return Err(CoreError::new(ErrorCode::BadRequest, text));
        }
    }
    Ok(())
}

//! Replication groups: machines whose recovery points share moments (RP-11).
//!
//! Of the members that replicate from one site, the first by name leads: its task transfers all of them at one moment,
//! and the tasks of the others leave it to it. A member that stops replicating waits for the transfer under way, and
//! the next one leads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::{CoreError, GroupId, Side, SiteId};

use crate::core::Inner;
use crate::item::{Item, Record};

/// The items that one task transfers together: those of its group if `item` leads it, else none, or `item` alone if it
/// is in no group.
pub(crate) async fn led_by(core: &Inner, item: &Arc<Item>) -> Vec<Arc<Item>> {
    let Some(own) = line(&*item.record.lock().await) else { return vec![Arc::clone(item)] };
    let mut members = Vec::new();
    for other in core.all_items().await {
        let replicates = other.replicating.load(Ordering::Acquire);
        if replicates && line(&*other.record.lock().await).as_ref() == Some(&own) {
            members.push(other);
        }
    }
    // Sorted by name, as all items are.
    if members.first().is_some_and(|first| first.id == item.id) { members } else { Vec::new() }
}

/// What members must have in common to be transferred together; `None` if the item is in no group.
fn line(record: &Record) -> Option<(GroupId, Side, SiteId)> {
    let side = record.replica.as_ref()?.side;
    Some((record.group.clone()?, side, record.on(side.other()).0.clone()))
}

/// Whether a machine may join a group: all members lie between the same sites.
pub(crate) async fn check_member(core: &Inner, record: &Record) -> Result<(), CoreError> {
    let Some(group) = &record.group else { return Ok(()) };
    for other in core.all_items().await {
        let other = other.record.lock().await;
        let sites = |record: &Record| (record.primary.0.clone(), record.recovery.0.clone());
        if other.group.as_ref() == Some(group) && sites(&other) != sites(record) {
            let text =
                format!("group {group} lies between other sites than {}; choose another group", record.id);
            return Err(CoreError::new(contract::ErrorCode::BadRequest, text));
        }
    }
    Ok(())
}

//! Which machines the items use. No two items share one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use contract::{CoreError, ErrorCode, ItemId, MachineId, SiteId};

use crate::state::Record;

/// The items that use each machine.
type Users = BTreeMap<(SiteId, MachineId), BTreeSet<ItemId>>;

/// The machines of all items, so that a new item is checked without looking at each other one.
#[derive(Default)]
pub(crate) struct MachinesInUse(Mutex<Uses>);

#[derive(Default)]
struct Uses {
    protected: Users,
    targets: Users,
}

impl MachinesInUse {
    /// Notes the machines of a new item.
    pub(crate) fn add(&self, record: &Record) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Uses { protected, targets } = &mut *uses;
        for (users, machine) in [(protected, &record.primary), (targets, &record.recovery)] {
            users.entry(machine.clone()).or_default().insert(record.id.clone());
        }
    }

    /// Forgets the machines of an item.
    pub(crate) fn remove(&self, record: &Record) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Uses { protected, targets } = &mut *uses;
        for (users, machine) in [(protected, &record.primary), (targets, &record.recovery)] {
            let Some(items) = users.get_mut(machine) else { continue };
            items.remove(&record.id);
            if items.is_empty() {
                users.remove(machine);
            }
        }
    }

    /// Notes a change of an item, which rarely concerns its machines.
    pub(crate) fn change(&self, before: &Record, after: &Record) {
        if (&before.primary, &before.recovery) != (&after.primary, &after.recovery) {
            self.remove(before);
            self.add(after);
        }
    }

    /// Refuses an item that shares its machine or its target with another.
    pub(crate) fn refuse_shared(&self, record: &Record) -> Result<(), CoreError> {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let user = |users: &Users, machine| users.get(machine).and_then(BTreeSet::first).cloned();
        let text = if let Some(other) = user(&uses.protected, &record.primary) {
            format!("machine {} is already protected as item {other}", record.primary.1)
        } else if let Some(other) = user(&uses.targets, &record.recovery) {
            format!("machine {} is already the target of item {other}", record.recovery.1)
        } else {
            return Ok(());
        };
        Err(CoreError::new(ErrorCode::AlreadyProtected, text))
    }
}

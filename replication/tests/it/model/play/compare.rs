//! The comparison of the core and the sites with the model.

use contract::{Health, ItemView, Millis, Operation, Phase, Side, Timestamp};

use super::Play;
use crate::model::disks::never_both;
use crate::model::reference::{Item, Power, index};
use crate::model::system::System;

impl Play {
    /// Compares the core and the sites with the model, and reads what the rules leave undetermined.
    pub(super) async fn look(&mut self) -> Result<(), String> {
        never_both(&self.system, &self.may_overlap)?;
        for side in [Side::Primary, Side::Recovery] {
            let found = self.system.power(side, &System::machine(side));
            let due = *self.model.power[index(side)].get_or_insert(found);
            if found != due {
                return Err(format!("the {side:?} machine is {found:?} and should be {due:?}"));
            }
        }
        let view = self.system.item().await;
        match (&view, self.model.item.as_mut()) {
            (None, None) => {}
            (Some(view), Some(item)) => {
                item.test_failover.get_or_insert(view.test_failover.is_some());
                item.chosen.get_or_insert(view.failed_over_to.is_some());
                item.fixed.get_or_insert(!view.allowed.contains(&Operation::ChangePoint));
                item.has_points.get_or_insert(!view.points.is_empty());
                self.same(view)?;
            }
            (view, item) => {
                return Err(format!("there is an item: {}, due: {}", view.is_some(), item.is_some()));
            }
        }
        self.test_machine()
    }

    fn same(&self, view: &ItemView) -> Result<(), String> {
        let Some(item) = &self.model.item else { return Ok(()) };
        let mut allowed = view.allowed.clone();
        allowed.sort();
        let mut due = self.model.allowed();
        due.sort();
        let pending = item.phase == Phase::CommitPending;
        let facts = [
            ("phase", format!("{:?}", view.protection.phase), format!("{:?}", item.phase)),
            ("active side", format!("{:?}", view.protection.active), format!("{:?}", item.active)),
            ("allowed", format!("{allowed:?}"), format!("{due:?}")),
            (
                "has points",
                (!view.points.is_empty()).to_string(),
                (item.has_points == Some(true)).to_string(),
            ),
            (
                "test failover",
                view.test_failover.is_some().to_string(),
                (item.test_failover == Some(true)).to_string(),
            ),
            (
                "incomplete synchronisation",
                view.synchronisation_incomplete.to_string(),
                item.incomplete.to_string(),
            ),
            ("has a job", view.job.is_some().to_string(), item.waits.to_string()),
            (
                "failed over to a point",
                (view.failed_over_to.is_some() || !pending).to_string(),
                (item.chosen == Some(true) || !pending).to_string(),
            ),
        ];
        if let Some((what, is, due)) = facts.iter().find(|(_, is, due)| is != due) {
            return Err(format!("{what}: {is}, due: {due}; {view:?}"));
        }
        healthy(view, item)
    }

    /// Checks that there is no test machine without a test failover. An interrupted test failover
    /// may leave one.
    fn test_machine(&self) -> Result<(), String> {
        let found = self.system.power(Side::Recovery, &System::test_machine());
        let due = self.model.item.as_ref().is_some_and(|item| item.test_failover == Some(true));
        if !due && found != Power::Absent {
            return Err(format!("a test machine without a test failover: {found:?}"));
        }
        Ok(())
    }
}

/// Checks that the item's health is possible in its phase.
fn healthy(view: &ItemView, item: &Item) -> Result<(), String> {
    let due: &[Health] = match item.phase {
        _ if item.incomplete => &[Health::Critical],
        Phase::CommitPending | Phase::Committed => &[Health::NotApplicable],
        Phase::Stopped => &[Health::Critical],
        Phase::InitialReplication | Phase::Protected => &[Health::Healthy, Health::Warning, Health::Critical],
    };
    if due.contains(&view.health) { Ok(()) } else { Err(format!("health {:?}, due: {due:?}", view.health)) }
}

/// The time within which an item that replicates has a new point.
pub(super) fn due_within(view: &ItemView) -> Millis {
    Millis(view.policy.policy.interval.0 * 5 / 2)
}

/// Checks that an item has had a point since this time, unless its health is critical.
pub(super) fn fresh(view: &ItemView, began: Timestamp) -> Result<(), String> {
    let newest = view.points.iter().rfind(|point| point.processed).map(|point| point.time);
    if view.health != Health::Critical && newest.is_none_or(|newest| newest < began) {
        return Err(format!("its health is {:?}, and it has had no point since {}", view.health, began.0));
    }
    Ok(())
}

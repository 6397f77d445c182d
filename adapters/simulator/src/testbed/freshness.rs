//! Freshness: a recovered machine has everything that its source wrote before the time of its
//! recovery point, and nothing that was written after it.

use std::sync::Arc;

use contract::{Consistency, Direction, ItemView, MachineId, PointChoice, RecoveryPoint, SiteId, Timestamp};

use super::error::{NotFresh, WrongPoint};
use super::{Boots, Testbed, TestbedError};
use crate::{SimBoot, SimWrite};

impl Boots {
    /// Checks that the target was started with every write that the source flushed before `from`,
    /// and with none that it made after `until`. For a recovery point both are the time that the
    /// core shows for it.
    ///
    /// # Errors
    /// [`TestbedError::NotFresh`] if that is not so; [`TestbedError::NotAPrefix`] if the target's
    /// disks are no prefix of the source's writes.
    pub fn check_freshness(&self, from: Timestamp, until: Timestamp) -> Result<(), TestbedError> {
        let log = self.source.log();
        let most = self.contained()?.writes;
        let fewest = self.fewest_writes()?;
        // What was not flushed, a loss of power may undo.
        let missing = || log.iter().skip(most).filter(|write| write.flushed && write.at < from);
        let lacks = missing().next();
        let excess = log.iter().take(fewest).find(|write| write.at > until);
        if lacks.is_none() && excess.is_none() {
            return Ok(());
        }
        let number = |write: &SimWrite| write.record().map(|record| record.number);
        Err(NotFresh {
            machine: self.target.machine.clone(),
            point: from,
            writes: most,
            lacks: lacks.map(|write| write.at),
            records: missing().filter_map(number).collect(),
            excess: excess.map(|write| write.at),
        }
        .into())
    }
}

/// The newest of some points, if there are any.
fn newest<'a>(points: impl Iterator<Item = &'a RecoveryPoint>) -> Option<&'a RecoveryPoint> {
    points.max_by_key(|point| point.time)
}

impl Testbed {
    /// Checks the completed failover of one machine; see [`Self::check_recovery_in_plan`].
    ///
    /// # Errors
    /// [`TestbedError::WrongPoint`], [`TestbedError::NotFresh`] or [`TestbedError::NotAPrefix`] if
    /// that is not so.
    pub async fn check_recovery(&self, before: &ItemView, choice: &PointChoice) -> Result<(), TestbedError> {
        self.check_recovery_in_plan(before, std::slice::from_ref(before), choice).await
    }

    /// Checks a completed failover, in either direction: the point is the one that was asked for,
    /// and the machine was started with what its source had written by the point's time. `before`
    /// is the item just before the failover, and `all` are the items that failed over with it.
    ///
    /// # Errors
    /// [`TestbedError::WrongPoint`], [`TestbedError::NotFresh`] or [`TestbedError::NotAPrefix`] if
    /// that is not so.
    pub async fn check_recovery_in_plan(
        &self,
        before: &ItemView,
        all: &[ItemView],
        choice: &PointChoice,
    ) -> Result<(), TestbedError> {
        let after = self.item(&before.id).await?;
        let id = after.failed_over_to.as_ref();
        let mut shown = after.points.iter().chain(&before.points);
        // A core that does not show the point has nothing that could be compared.
        let Some(chosen) = shown.find(|point| Some(&point.id) == id) else { return Ok(()) };
        if !is_choice(chosen, before, all, choice) {
            let choice = choice.clone();
            return Err(WrongPoint { item: before.id.clone(), choice, chosen: chosen.id.clone() }.into());
        }
        let (from, to) = match before.policy.direction {
            Direction::PrimaryToRecovery => (&before.primary, &before.recovery),
            Direction::RecoveryToPrimary => (&before.recovery, &after.primary),
        };
        let boots = Boots { source: self.last_boot(from)?, target: self.last_boot(to)? };
        // A point from before the source's last boot belongs to an earlier log of writes.
        if chosen.time < boots.source.started {
            return Ok(());
        }
        boots.check_freshness(chosen.time, chosen.time)
    }

    fn last_boot(&self, (site, machine): &(SiteId, MachineId)) -> Result<Arc<SimBoot>, TestbedError> {
        let site = match site.0.as_str() {
            "primary" => &self.primary,
            "recovery" => &self.recovery,
            _ => &self.other,
        };
        let not_started = || TestbedError::NotStarted { machine: format!("{machine} at {}", site.label()) };
        site.last_boot(machine).ok_or_else(not_started)
    }
}

/// Whether a point is what was asked for, given what there was to choose from.
fn is_choice(chosen: &RecoveryPoint, before: &ItemView, all: &[ItemView], choice: &PointChoice) -> bool {
    let is_at_least = |best: Option<&RecoveryPoint>| best.is_none_or(|best| chosen.time >= best.time);
    let processed = || before.points.iter().filter(|point| point.processed);
    let quiesced = || processed().filter(|point| point.consistency == Consistency::App);
    let is_quiesced = chosen.consistency == Consistency::App;
    let is_alone = before.group.is_none();
    match choice {
        PointChoice::Latest => is_at_least(newest(before.points.iter())),
        PointChoice::LatestProcessed => is_at_least(newest(processed())),
        PointChoice::LatestMultiVm if is_alone => is_at_least(newest(processed())),
        PointChoice::LatestAppConsistent => is_quiesced && is_at_least(newest(quiesced())),
        PointChoice::LatestMultiVmAppConsistent if is_alone => is_quiesced && is_at_least(newest(quiesced())),
        PointChoice::LatestMultiVm => {
            chosen.multi_vm.is_some()
                && is_at_least(newest(processed().filter(|it| is_shared(it, before, all))))
        }
        PointChoice::LatestMultiVmAppConsistent => {
            let shared = newest(quiesced().filter(|it| is_shared(it, before, all)));
            chosen.multi_vm.is_some() && is_quiesced && is_at_least(shared)
        }
        PointChoice::Custom(id) => chosen.id == *id,
    }
}

/// Whether every item of the group among `all` has a processed point of the same moment.
fn is_shared(point: &RecoveryPoint, of: &ItemView, all: &[ItemView]) -> bool {
    let has = |item: &ItemView| item.points.iter().any(|it| it.processed && it.multi_vm == point.multi_vm);
    point.multi_vm.is_some() && all.iter().filter(|item| item.group == of.group).all(has)
}

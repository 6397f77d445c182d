//! Freshness: a recovered machine has everything that its source wrote before the time of its
//! recovery point, and nothing that was written after it.

use contract::{Consistency, Direction, ItemView, PointChoice, RecoveryPoint, Timestamp};

use super::error::{NotFresh, WrongPoint};
use super::{Boots, Testbed, TestbedError};
use crate::SimWrite;

impl Boots {
    /// Checks that the target was started with every write that the source made before `from`, and
    /// with none that it made after `until`. For a recovery point both are the time that the core
    /// shows for it.
    ///
    /// # Errors
    /// [`TestbedError::NotFresh`] if that is not so; [`TestbedError::NotAPrefix`] if the target's
    /// disks are no prefix of the source's writes.
    pub fn check_freshness(&self, from: Timestamp, until: Timestamp) -> Result<(), TestbedError> {
        let log = self.source.log();
        let most = self.contained()?.writes;
        let fewest = self.fewest_writes()?;
        let lacks = log.iter().skip(most).find(|write| write.at < from);
        let excess = log.iter().take(fewest).find(|write| write.at > until);
        if lacks.is_none() && excess.is_none() {
            return Ok(());
        }
        let number = |write: &SimWrite| write.record().map(|record| record.number);
        let missing = log.iter().skip(most).filter(|write| write.at < from);
        Err(NotFresh {
            machine: self.target.machine.clone(),
            point: from,
            writes: most,
            lacks: lacks.map(|write| write.at),
            records: missing.filter_map(number).collect(),
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
    /// Checks a completed failover out of the primary site: the point is the one that was asked
    /// for, and the machine was started with what its source had written by the point's time.
    /// `before` is the item just before the failover.
    ///
    /// # Errors
    /// [`TestbedError::WrongPoint`], [`TestbedError::NotFresh`] or [`TestbedError::NotAPrefix`] if
    /// that is not so.
    pub async fn check_recovery(&self, before: &ItemView, choice: &PointChoice) -> Result<(), TestbedError> {
        let after = self.item(&before.id).await?;
        let id = after.failed_over_to.as_ref();
        let mut shown = after.points.iter().chain(&before.points);
        // A core that does not show the point has nothing that could be compared.
        let Some(chosen) = shown.find(|point| Some(&point.id) == id) else { return Ok(()) };
        if !is_choice(chosen, before, choice) {
            let choice = choice.clone();
            return Err(WrongPoint { item: before.id.clone(), choice, chosen: chosen.id.clone() }.into());
        }
        let (site, machine) = &before.primary;
        let source = match site.0.as_str() {
            "primary" => self.primary.last_boot(machine),
            _ => self.other.last_boot(machine),
        };
        let target = self.recovery.last_boot(&before.recovery.1);
        let (Some(source), Some(target)) = (source, target) else {
            return Err(TestbedError::NotStarted { machine: format!("the copy of {machine}") });
        };
        // A point from before the source's last boot belongs to an earlier log of writes.
        if before.policy.direction != Direction::PrimaryToRecovery || chosen.time < source.started {
            return Ok(());
        }
        Boots { source, target }.check_freshness(chosen.time, chosen.time)
    }
}

/// Whether a point is what was asked for, given what there was to choose from.
fn is_choice(chosen: &RecoveryPoint, before: &ItemView, choice: &PointChoice) -> bool {
    let is_at_least = |best: Option<&RecoveryPoint>| best.is_none_or(|best| chosen.time >= best.time);
    let processed = || before.points.iter().filter(|point| point.processed);
    match choice {
        PointChoice::Latest => is_at_least(newest(before.points.iter())),
        PointChoice::LatestProcessed => is_at_least(newest(processed())),
        PointChoice::LatestAppConsistent => {
            let quiesced = processed().filter(|point| point.consistency == Consistency::App);
            chosen.consistency == Consistency::App && is_at_least(newest(quiesced))
        }
        PointChoice::Custom(id) => chosen.id == *id,
        PointChoice::LatestMultiVm | PointChoice::LatestMultiVmAppConsistent => true,
    }
}

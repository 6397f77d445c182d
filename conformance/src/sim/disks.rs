//! Comparisons of disks.

use contract::{Platform, PowerState, RecoveryPoint};
use simulator::testbed::{Boots, Testbed, TestbedError, cloud_machine};
use simulator::{SimBoot, SimSite, Snapshot};

use crate::rules::RuleLog;
use crate::rules::ids::FO_10;

/// Granularity of the comparisons, in bytes.
const SECTOR: usize = 512;

/// Whether a machine was started from these disks. Its boot partition may differ, because hydration
/// edits it.
pub(crate) fn booted_from(boot: &SimBoot, disks: &[Snapshot]) -> bool {
    let hydrated = SimSite::hydrated();
    let matches = |(disk, (base, expected)): (usize, (&Snapshot, &Snapshot))| {
        let allowed = |offset: &u64| disk == hydrated.disk && hydrated.bytes.contains(offset);
        base.size() == expected.size() && base.differences(expected, SECTOR).iter().all(allowed)
    };
    let bases = boot.bases();
    bases.len() == disks.len() && bases.iter().zip(disks).enumerate().all(matches)
}

/// Records whether a recovered machine has every write that its source made before the time of the
/// recovery point that it was started from, and no later one (FO-10).
///
/// # Errors
/// Its disks are no prefix of the source's writes.
pub(crate) fn check_freshness(
    rules: &mut RuleLog,
    boots: &Boots,
    point: &RecoveryPoint,
) -> Result<(), TestbedError> {
    match boots.check_freshness(point.time, point.time) {
        Ok(()) => rules.check(FO_10, true, format!("{} has what was written before it", point.id)),
        Err(TestbedError::NotFresh(found)) => rules.check(FO_10, false, found.to_string()),
        Err(other) => return Err(other),
    }
    Ok(())
}

/// Whether the cloud machine of `web` is on; `None` if there is no such machine.
///
/// # Errors
/// The cloud does not answer.
pub(crate) async fn power_of_copy(testbed: &Testbed) -> Result<Option<PowerState>, TestbedError> {
    let machines = testbed.recovery.machines().await?;
    Ok(machines.into_iter().find(|machine| machine.id == cloud_machine("web")).map(|machine| machine.power))
}

/// Whether two machines' disks have the same content.
pub(crate) fn same_content(one: &[Snapshot], other: &[Snapshot]) -> bool {
    let same = |(one, other): (&Snapshot, &Snapshot)| {
        one.size() == other.size() && one.differences(other, SECTOR).is_empty()
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Bytes of a disk that are not zero, in pieces of `piece` bytes.
pub(crate) fn nonzero_bytes(disk: &Snapshot, piece: u64) -> u64 {
    let is_set = |index: &u64| disk.bytes(index * piece, piece as usize).iter().any(|byte| *byte != 0);
    (0..disk.size() / piece).filter(is_set).count() as u64 * piece
}

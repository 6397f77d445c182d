//! Comparisons of disks.

use contract::{Millis, Platform, PowerState, RecoveryPoint, Timestamp, VolumeView};
use simulator::testbed::{Boots, TestbedError, cloud_machine, kept};
use simulator::{SimBoot, SimSite, Snapshot};

use crate::rules::ids::{FO_10, RP_18};
use crate::rules::{RuleId, RuleLog};
use crate::sim::testbed::Testbed;

/// Granularity of the comparisons, in bytes.
const SECTOR: usize = 512;

/// Whether a machine was started from these disks, apart from what hydration had to edit.
pub(crate) fn booted_from(boot: &SimBoot, disks: &[Snapshot]) -> bool {
    let hydrated = boot.hydrated_since(disks);
    let matches = |(disk, (base, expected)): (usize, (&Snapshot, &Snapshot))| {
        let allowed =
            |offset: &u64| hydrated.iter().any(|part| part.disk == disk && part.bytes.contains(offset));
        base.size() == expected.size() && base.differences(expected, SECTOR).iter().all(allowed)
    };
    let bases = boot.bases();
    bases.len() == disks.len() && bases.iter().zip(disks).enumerate().all(matches)
}

/// Volumes of a site that no disk of its machines uses, directly or as a base.
///
/// # Errors
/// A disk of a machine is missing.
pub(crate) async fn strays(site: &SimSite) -> Result<Vec<String>, TestbedError> {
    let mut used = Vec::new();
    for machine in site.machines().await? {
        let mut next: Vec<_> = machine.disks.into_iter().map(|disk| disk.volume).collect();
        while let Some(volume) = next.pop() {
            let volume = kept("a volume that a machine uses", site.volume(&volume).await)?;
            let VolumeView { id, parent, .. } = volume;
            used.push(id);
            next.extend(parent);
        }
    }
    let all = site.volumes().into_iter();
    Ok(all.filter(|volume| !used.contains(volume)).map(|volume| volume.0).collect())
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

/// How much the age that a core shows for a recovery point may differ from the measured one.
const AGE_TOLERANCE: Millis = Millis(5_000);

/// Records whether the age that the core shows for an application-consistent point, when a machine
/// fails over to it, is the age of the last write that the machine was started with (RP-18).
/// `asked` is when the failover was asked for.
///
/// # Errors
/// The machine's disks are no prefix of its source's writes.
pub(crate) fn check_age(
    rules: &mut RuleLog,
    boots: &Boots,
    point: &RecoveryPoint,
    asked: Timestamp,
) -> Result<(), TestbedError> {
    let shown = asked.since(point.time);
    let measured = asked.since(Timestamp(boots.validity()?.from));
    let found = format!("the point is shown as {shown} old, its last write was {measured} old");
    rules.check(RP_18, shown.0.abs_diff(measured.0) <= AGE_TOLERANCE.0, found);
    Ok(())
}

/// Records under a rule whether a machine that came back to `site` has everything that its copy
/// wrote and nothing else, and is up.
///
/// # Errors
/// It was not started.
pub(crate) fn check_returned(
    rules: &mut RuleLog,
    rule: RuleId,
    testbed: &Testbed,
    (machine, site): (&str, &SimSite),
) -> Result<(), TestbedError> {
    let found = match testbed.check_returned(machine, site) {
        Ok(()) => {
            let boot = testbed.failback_boots(machine, site)?.target;
            let runs = boot.up.is_ok() && boot.ended().is_none();
            let found = format!("{machine} came back with everything that its copy wrote; up: {:?}", boot.up);
            rules.check(rule, runs, found);
            return Ok(());
        }
        Err(TestbedError::NotFresh(found)) => found.to_string(),
        Err(TestbedError::NotAPrefix(found)) => found.to_string(),
        Err(other) => return Err(other),
    };
    rules.check(rule, false, found);
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

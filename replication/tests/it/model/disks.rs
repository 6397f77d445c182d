//! What must be true of the disks, and of which machines run at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::{Millis, Side, Timestamp};
use simulator::testbed::lost;
use simulator::{Allowed, Cut, SimBoot, Snapshot, cut_of, last_record};

use crate::model::system::System;

/// What a recovered machine must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Everything that the source wrote (LC-09).
    All,
    /// A prefix of what the source wrote (FO-10). With a time and a bound: no more may be lost of
    /// what was acknowledged at that time than the bound says.
    Prefix(Option<(Timestamp, Millis)>),
}

/// Compares a boot with what its source wrote in its boots from number `since` on. A point may
/// belong to an earlier boot than the last one.
pub fn recovered(
    system: &System,
    source: Side,
    since: u32,
    target: &SimBoot,
    required: Required,
) -> Result<(), String> {
    if let Err(why) = &target.up {
        return Err(format!("{} does not come up: {why}", target.machine));
    }
    let boots = system.boots(source);
    let newest = boots.last().ok_or("the source never ran")?;
    let of = |boot: &Arc<SimBoot>| {
        Some((Arc::clone(boot), place(boot, &target.bases(), &target.hydrated_since(&boot.bases()))?))
    };
    let mut candidates = boots.iter().rev().take_while(|boot| boot.number >= since);
    let found = candidates.find_map(of);
    let (boot, cut) = found.ok_or_else(|| {
        let before = newest.bases();
        let cut = cut_of(&before, &newest.log(), &target.bases(), &target.hydrated_since(&before));
        format!(
            "{} boot {} was started from disks that its source never had: {cut:?}",
            target.machine, target.number
        )
    })?;
    let all = newest.log().len();
    match required {
        Required::All if boot.number != newest.number || cut != all => Err(format!(
            "{} contains {cut} writes of boot {} and must contain all {all} of boot {}",
            target.machine, boot.number, newest.number
        )),
        Required::Prefix(Some((asked, bound))) => {
            let record = if boot.number == newest.number { last_record(&newest.log(), cut) } else { 0 };
            let lost = lost(newest, record, asked);
            if lost <= bound {
                Ok(())
            } else {
                Err(format!("{lost} are lost, and no more than {bound} may be"))
            }
        }
        _ => Ok(()),
    }
}

/// How many writes of a boot lead to these disks, apart from the bytes in `allowed`; `None` if no
/// number does.
fn place(boot: &SimBoot, disks: &[Snapshot], allowed: &[Allowed]) -> Option<usize> {
    match cut_of(&boot.bases(), &boot.log(), disks, allowed) {
        Cut::Exact(range) => Some(*range.end()),
        Cut::EpochConsistent(_) | Cut::Broken(_) | Cut::OtherDisks(_) | Cut::Unknown(_) => None,
    }
}

/// Checks that every processed point contains a state that its source had.
pub async fn points_are_intact(system: &System, source: Side, since: u32) -> Result<(), String> {
    let Some(view) = system.item().await else { return Ok(()) };
    let site = system.site(source.other());
    for point in view.points.iter().filter(|point| point.processed) {
        let disks: Option<Vec<_>> = point.volumes.iter().map(|(_, volume)| site.snapshot(volume)).collect();
        let disks = disks.ok_or_else(|| format!("the volumes of {} are gone", point.id))?;
        let boots = system.boots(source);
        let mut since = boots.iter().filter(|boot| boot.number >= since);
        if !since.any(|boot| place(boot, &disks, &[]).is_some()) {
            return Err(format!("{} never existed on its source", point.id));
        }
    }
    Ok(())
}

/// Checks that the machines of both sides never ran at the same time, except during the boots of
/// the primary machine in `allowed` (LC-10).
pub fn never_both(system: &System, allowed: &BTreeSet<u32>) -> Result<(), String> {
    let end = |boot: &SimBoot| boot.ended().map_or(Timestamp(u64::MAX), |(at, _)| at);
    let there = system.boots(Side::Recovery);
    for here in system.boots(Side::Primary).iter().filter(|boot| !allowed.contains(&boot.number)) {
        let beside = there.iter().find(|there| here.started < end(there) && there.started < end(here));
        if let Some(there) = beside {
            return Err(format!(
                "primary boot {} and recovery boot {} ran at the same time",
                here.number, there.number
            ));
        }
    }
    Ok(())
}

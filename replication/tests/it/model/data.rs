//! What must be true of the disks and of who runs when.

use std::collections::BTreeSet;
use std::sync::Arc;

use contract::{Millis, Side, Timestamp};
use simulator::{Cut, SimBoot, SimSite, Snapshot, cut_of, last_record};

use crate::model::suite::Suite;
use crate::support::lost;

/// What a recovered machine must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Everything that the source wrote (LC-09).
    All,
    /// The first so many writes of it, without a hole (FO-10), and of what there was when the failover was asked for
    /// all but the last so many milliseconds.
    Prefix(Option<(Timestamp, Millis)>),
}

/// Compares a boot with what its source wrote since boot number `since`. A point may be of an earlier boot than the
/// last one.
pub fn recovered(
    suite: &Suite,
    source: Side,
    since: u32,
    target: &SimBoot,
    demand: Demand,
) -> Result<(), String> {
    if let Err(why) = &target.up {
        return Err(format!("{} does not come up: {why}", target.machine));
    }
    let boots = suite.boots(source);
    let newest = boots.last().ok_or("the source never ran")?;
    let of = |boot: &Arc<SimBoot>| match place(boot, &target.bases()) {
        Some(cut) => Some((Arc::clone(boot), cut)),
        None => None,
    };
    let mut candidates = boots.iter().rev().take_while(|boot| boot.number >= since);
    let found = candidates.find_map(of);
    let (boot, cut) = found.ok_or_else(|| {
        let cut = cut_of(&newest.bases(), &newest.log(), &target.bases(), &[SimSite::hydrated()]);
        format!("{} boot {} holds what its source never had: {cut:?}", target.machine, target.number)
    })?;
    let all = newest.log().len();
    match demand {
        Demand::All if boot.number != newest.number || cut != all => Err(format!(
            "{} holds {cut} writes of boot {} and should hold all {all} of boot {}",
            target.machine, boot.number, newest.number
        )),
        Demand::Prefix(Some((asked, bound))) => {
            let record = if boot.number == newest.number { last_record(&newest.log(), cut) } else { 0 };
            let lost = lost(newest, record, asked);
            if lost <= bound { Ok(()) } else { Err(format!("{lost} are lost, and not {bound} at most")) }
        }
        _ => Ok(()),
    }
}

/// How many writes of a boot lead to these disks, if that is so.
fn place(boot: &SimBoot, disks: &[Snapshot]) -> Option<usize> {
    match cut_of(&boot.bases(), &boot.log(), disks, &[SimSite::hydrated()]) {
        Cut::Exact(range) => Some(*range.end()),
        Cut::Broken(_) | Cut::Unknown(_) => None,
    }
}

/// Every processed point of an item that replicates is a state in which its source was.
pub async fn points_hold(suite: &Suite, source: Side, since: u32) -> Result<(), String> {
    let Some(view) = suite.item().await else { return Ok(()) };
    let site = suite.site(source.other());
    for point in view.points.iter().filter(|point| point.processed) {
        let disks: Option<Vec<_>> = point.volumes.iter().map(|(_, volume)| site.snapshot(volume)).collect();
        let disks = disks.ok_or_else(|| format!("{} stands on volumes that are gone", point.id))?;
        let boots = suite.boots(source);
        let mut since = boots.iter().filter(|boot| boot.number >= since);
        if !since.any(|boot| place(boot, &disks).is_some()) {
            return Err(format!("{} never existed on its source", point.id));
        }
    }
    Ok(())
}

/// A machine that runs has on its disks what its own guest wrote, whatever was done below.
pub fn untouched(suite: &Suite) -> Result<(), String> {
    for side in [Side::Primary, Side::Recovery] {
        let (site, machine) = (suite.site(side), Suite::machine(side));
        let (Some(boot), Some(spec)) = (site.last_boot(&machine), site.spec(&machine)) else { continue };
        if boot.ended().is_some() {
            continue;
        }
        let disks: Option<Vec<_>> = spec.disks.iter().map(|(_, volume)| site.snapshot(volume)).collect();
        let disks = disks.ok_or_else(|| format!("{machine} runs on disks that are gone"))?;
        let log = boot.log();
        let cut = cut_of(&boot.bases(), &log, &disks, &[]);
        if !matches!(&cut, Cut::Exact(range) if *range.end() == log.len()) {
            return Err(format!("the disks of {machine} were changed under it: {cut:?}"));
        }
    }
    Ok(())
}

/// Both sides never ran at once, except beside the boots of the primary machine in `may` (LC-10).
pub fn never_both(suite: &Suite, may: &BTreeSet<u32>) -> Result<(), String> {
    let end = |boot: &SimBoot| boot.ended().map_or(Timestamp(u64::MAX), |(at, _)| at);
    let there = suite.boots(Side::Recovery);
    for here in suite.boots(Side::Primary).iter().filter(|boot| !may.contains(&boot.number)) {
        let beside = there.iter().find(|there| here.started < end(there) && there.started < end(here));
        if let Some(there) = beside {
            return Err(format!(
                "primary boot {} and recovery boot {} ran at once",
                here.number, there.number
            ));
        }
    }
    Ok(())
}

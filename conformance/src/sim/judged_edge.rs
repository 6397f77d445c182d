//! Judges one edge of a simulated cycle.

use contract::{Millis, Timestamp};
use simulator::testbed::Boots;
use simulator::{Cut, SimWrite, Snapshot, cut_of, last_record};

use crate::outcome::{DiskEvidence, DiskOutcome, EdgeEvidence, EdgeOutcome, Rpo, Rto, Verdict};

/// A failover or a failback to be judged.
pub(super) struct Edge {
    pub(super) name: String,
    pub(super) boots: Boots,
    /// When the source stopped serving.
    pub(super) disaster: Timestamp,
    /// When the core was asked to fail over or back.
    pub(super) began: Timestamp,
    pub(super) tolerated_loss: Millis,
}

/// Finds how many of the source's writes the target's disks contain, and compares that with what
/// the guest found inside.
pub(super) fn judge(edge: &Edge) -> EdgeOutcome {
    let Boots { source, target } = &edge.boots;
    let log = source.log();
    let hydrated = target.hydrated_since(&source.bases());
    let (cut, otherwise, words) = match cut_of(&source.bases(), &log, &target.bases(), &hydrated) {
        Cut::Exact(range) => {
            let words = format!("exact: the first {} of {} writes", range.end(), log.len());
            (Some(("exact", *range.end())), Verdict::Fail, words)
        }
        Cut::EpochConsistent(epoch) => {
            (Some(("epoch-consistent", epoch.flushed)), Verdict::Fail, epoch.to_string())
        }
        Cut::Broken(mismatch) => (None, Verdict::Fail, format!("{mismatch:?}")),
        Cut::OtherDisks(sizes) => (None, Verdict::Fail, sizes.to_string()),
        Cut::Unknown(why) => (None, Verdict::Unknown, why),
    };
    let oracle = cut.map_or("broken", |(oracle, _)| oracle);
    let cut = cut.map(|(_, cut)| cut);
    let record = cut.map_or(0, |cut| last_record(&log, cut));
    // A guest that has written no record since it was started finds those of before.
    let before = source.found.as_ref().map_or(0, |found| found.contiguous);
    let record = if record == 0 { before } else { record };
    let lost = edge.boots.lost(record, edge.disaster);
    let missing = &log[cut.unwrap_or(log.len())..];
    let why = match cut {
        Some(_) => objection(edge, record, lost, missing).unwrap_or_default(),
        None => words.clone(),
    };
    let is_lost = |ack: &&simulator::Ack| ack.number > record && ack.at <= edge.disaster;
    EdgeOutcome {
        name: edge.name.clone(),
        verdict: if why.is_empty() { Verdict::Pass } else { otherwise },
        why,
        disks: vec![DiskOutcome {
            name: "all".to_owned(),
            oracle: oracle.to_owned(),
            cut: cut.map(|cut| cut as u64),
            of: log.len() as u64,
            compared: source.bases().iter().map(Snapshot::size).sum(),
            words,
            second_reader: "not asked: simulated".to_owned(),
            evidence: DiskEvidence::default(),
        }],
        rpo: Rpo {
            ms: lost.0,
            records: source.acks().iter().filter(is_lost).count() as u64,
            writes: missing.len() as u64,
            bytes: missing.iter().map(|write| u64::from(write.length)).sum(),
            acknowledged: None,
            survived: None,
            claimed_ms: None,
        },
        rto: Rto { ms: target.up.as_ref().map_or(0, |up| up.since(edge.began).0), ..Rto::default() },
        sent: None,
        flip: None,
        evidence: EdgeEvidence::default(),
    }
}

/// What is wrong with a machine whose disks contain the ledger up to `record` and lack the last
/// writes of its source; `None` if nothing is.
fn objection(edge: &Edge, record: u64, lost: Millis, missing: &[SimWrite]) -> Option<String> {
    let target = &edge.boots.target;
    if let Err(why) = &target.up {
        return Some(format!("the recovered machine did not come up: {why}"));
    }
    let inside = target.found.as_ref().map(|found| (found.contiguous, found.highest));
    if inside != Some((record, record)) {
        return Some(format!(
            "the disks contain the ledger up to record {record}, the guest finds {inside:?}"
        ));
    }
    let tolerated = edge.tolerated_loss;
    if lost > tolerated {
        return Some(format!("{lost} of data were lost, {tolerated} are tolerated"));
    }
    let first = missing.first().filter(|_| tolerated == Millis(0))?;
    let records: Vec<_> = missing.iter().filter_map(|write| write.record()).map(|it| it.number).collect();
    let count = missing.len();
    Some(format!(
        "the last {count} writes, from {} ms on, are missing, with the records {records:?}",
        first.at.0
    ))
}

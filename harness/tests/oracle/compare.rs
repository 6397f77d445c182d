//! Compares the oracle's verdict with that of the model.

use std::ops::Range;

use harness::oracle::{Judgement, MemorySource, Options, Verdict, judge};

use crate::build::sectors;
use crate::model::{Allowed, History, Op, is_exempt, ranges, wrong};

pub fn judged(history: &History, disk: &[u8], exempt: &[Range<u64>]) -> Judgement {
    let options = Options { exempt: exempt.to_vec(), discards: history.discards, ..Options::default() };
    let base = MemorySource(sectors(&history.base));
    judge(&base, &history.log(), &MemorySource(sectors(disk)), &options).unwrap()
}

/// One disk that `allowed` permits.
pub fn materialise(allowed: &Allowed, choice: u64) -> Vec<u8> {
    let pick = |(i, contents): (usize, &std::collections::BTreeSet<u8>)| {
        let index = (choice >> (i % 64)) as usize % contents.len();
        contents.iter().nth(index).copied().unwrap_or_default()
    };
    allowed.iter().enumerate().map(pick).collect()
}

/// Damage to a disk, of kinds that occur in real replication.
#[derive(Clone, Debug)]
pub enum Damage {
    Set { sector: usize, content: u8 },
    FromCut { cut: usize, start: usize, count: usize },
}

pub fn apply(disk: &mut [u8], states: &[Allowed], damage: &Damage, choice: u64) {
    match *damage {
        Damage::Set { sector, content } => {
            let len = disk.len();
            disk[sector % len] = content;
        }
        Damage::FromCut { cut, start, count } => {
            let other = materialise(&states[cut % states.len()], choice);
            let start = start % disk.len();
            let end = (start + count).min(disk.len());
            disk[start..end].copy_from_slice(&other[start..end]);
        }
    }
}

/// Compares everything in the oracle's judgement with the result of trying all cuts.
pub fn check(history: &History, states: &[Allowed], disk: &[u8], exempt: &[Range<u64>]) {
    let judgement = judged(history, disk, exempt);
    let per_cut: Vec<usize> = states.iter().map(|state| wrong(state, disk, exempt).len()).collect();
    let feasible = ranges((0..).zip(&per_cut).filter(|(_, wrong)| **wrong == 0).map(|(cut, _)| cut));
    let foreign: Vec<usize> = (0..disk.len())
        .filter(|s| !is_exempt(*s, exempt) && states.iter().all(|state| !state[*s].contains(&disk[*s])))
        .collect();
    let torn = (1..states.len()).find(|cut| {
        let either = |s: &usize| wrong(&states[*cut], &disk_only(disk, states, *cut, *s), exempt).is_empty();
        (0..disk.len()).all(|s| either(&s))
    });
    check_class(history, disk, exempt, &judgement.verdict, &feasible, &foreign, torn);
    check_best_fit(&judgement.verdict, &per_cut);
    check_ages(&judgement.verdict, states, disk, exempt);
    check_reasons(&judgement.verdict, states, disk, exempt);
    check_exempt(&judgement, states, disk, exempt);
}

/// A disk that is right at `cut` except for sector `s`, taken from `disk` unless it was right
/// before.
fn disk_only(disk: &[u8], states: &[Allowed], cut: usize, s: usize) -> Vec<u8> {
    let mut only = materialise(&states[cut], 0);
    if !states[cut - 1][s].contains(&disk[s]) {
        only[s] = disk[s];
    }
    only
}

fn check_class(
    history: &History,
    disk: &[u8],
    exempt: &[Range<u64>],
    verdict: &Verdict,
    feasible: &[harness::oracle::CutRange],
    foreign: &[usize],
    torn: Option<usize>,
) {
    let epoch = || {
        let epochs = history.epochs();
        let found =
            epochs.iter().rev().find_map(|e| Some((e.clone(), history.largest_subset(e, disk, exempt)?)));
        found.map(|(epoch, size)| (epoch.start as u64, size))
    };
    match verdict {
        Verdict::Exact { feasible: found, .. } => assert_eq!(found, feasible),
        other => assert!(feasible.is_empty(), "{other} where {feasible:?} fits"),
    }
    match verdict {
        Verdict::Exact { .. } => {}
        Verdict::Foreign { misfit, .. } => assert_eq!(Some(misfit.sector as usize), foreign.first().copied()),
        other => assert!(foreign.is_empty(), "{other} where sectors {foreign:?} are foreign"),
    }
    match verdict {
        Verdict::Exact { .. } | Verdict::Foreign { .. } => {}
        Verdict::EpochConsistent { barrier, end, lost, .. } => {
            assert_eq!(Some((barrier.0, end.0 - barrier.0 - lost.len() as u64)), epoch());
            assert!(lost.iter().all(|write| (barrier.0 + 1..=end.0).contains(&write.0)), "{lost:?}");
            assert!(lost.is_sorted(), "{lost:?}");
        }
        Verdict::Torn { write, .. } => {
            assert_eq!((epoch(), torn), (None, Some(write.0 as usize)));
        }
        Verdict::Reordered { .. } => assert_eq!((epoch(), torn), (None, None)),
        Verdict::Unknown { .. } => panic!("a complete log leaves nothing unknown"),
    }
}

fn check_best_fit(verdict: &Verdict, per_cut: &[usize]) {
    let least = per_cut.iter().min().copied();
    let misfit = match verdict {
        Verdict::Foreign { misfit, .. } | Verdict::Reordered { misfit, .. } => misfit,
        Verdict::Torn { misfit, .. } => {
            assert_eq!(misfit.differing() as usize, per_cut[misfit.best_fit.0 as usize]);
            return;
        }
        _ => return,
    };
    assert_eq!(Some(misfit.differing() as usize), least);
    assert_eq!(Some(per_cut[misfit.best_fit.0 as usize]), least);
}

/// A sector's age follows from the nearest cut at which it is right; if two are equally near, the
/// earlier counts.
fn check_ages(verdict: &Verdict, states: &[Allowed], disk: &[u8], exempt: &[Range<u64>]) {
    let (Verdict::Torn { misfit, .. } | Verdict::Reordered { misfit, .. } | Verdict::Foreign { misfit, .. }) =
        verdict
    else {
        return;
    };
    let best = misfit.best_fit.0 as usize;
    let mut ages = [0; 3];
    for sector in wrong(&states[best], disk, exempt) {
        let right = |cut: &usize| states[*cut][sector].contains(&disk[sector]);
        let earlier = (0..best).rev().find(right).map(|cut| best - cut);
        let later = (best..states.len()).find(right).map(|cut| cut - best);
        ages[match (earlier, later) {
            (None, None) => 2,
            (Some(_), None) => 0,
            (Some(earlier), Some(later)) if earlier <= later => 0,
            _ => 1,
        }] += 1;
    }
    assert_eq!([misfit.stale, misfit.ahead, misfit.foreign], ages);
}

/// Checks the facts that a verdict names.
fn check_reasons(verdict: &Verdict, states: &[Allowed], disk: &[u8], exempt: &[Range<u64>]) {
    let right =
        |sector: u64, cut: u64| states[cut as usize][sector as usize].contains(&disk[sector as usize]);
    match verdict {
        Verdict::Reordered { stale, ahead, disagree, misfit } => {
            let named = stale.or(*ahead).unwrap();
            assert_eq!((named.sector, named.write), (misfit.sector, *disagree));
            if let Some(at) = stale {
                assert!(right(at.sector, at.write.0 - 1) && !right(at.sector, at.write.0));
            }
            if let Some(at) = ahead {
                assert!(!right(at.sector, at.write.0 - 1) && right(at.sector, at.write.0));
            }
            if let (Some(stale), Some(ahead)) = (stale, ahead) {
                assert!(stale.write <= ahead.write && stale.sector != ahead.sector);
            }
        }
        Verdict::Torn { write, new, old, misfit } => {
            let sectors = (0..disk.len() as u64).filter(|s| !is_exempt(*s as usize, exempt));
            assert!(*new > 0 && *old > 0 && sectors.clone().any(|s| s == misfit.sector));
            assert_eq!(sectors.clone().filter(|s| !right(*s, write.0)).count() as u64, *old);
            assert_eq!(sectors.filter(|s| !right(*s, write.0 - 1)).count() as u64, *new);
        }
        _ => {}
    }
}

/// Exempt sectors are counted separately and affect nothing else.
fn check_exempt(judgement: &Judgement, states: &[Allowed], disk: &[u8], exempt: &[Range<u64>]) {
    let exempted = (0..disk.len()).filter(|s| is_exempt(*s, exempt)).count();
    assert_eq!(judgement.sectors_compared as usize, disk.len() - exempted);
    if let Some(cut) = judgement.verdict.cut() {
        let state = &states[cut.latest.0 as usize];
        let differing = (0..disk.len()).filter(|s| is_exempt(*s, exempt) && !state[*s].contains(&disk[*s]));
        assert_eq!(judgement.exempt_differences as usize, differing.count());
    }
}

/// Flushes often, so that an epoch has few enough writes to try all subsets.
pub fn flushed(history: History) -> History {
    let ops = history.ops.chunks(6).flat_map(|ops| ops.iter().cloned().chain([Op::Flush])).collect();
    History { ops, ..history }
}

//! The oracle's verdict on a random disk of a random history equals that of the brute-force model.

use arbitrary::{Result, Unstructured};
use harness::oracle::DiscardReads;

use crate::compare::{Damage, apply, check, flushed, materialise};
use crate::model::{CONTENTS, History, Op};

/// Runs the target.
pub fn run(input: &[u8]) {
    // An input that ends early yields zeroes and empty lists, so this never fails.
    compare(&mut Unstructured::new(input)).expect("choices are total");
}

fn compare(from: &mut Unstructured<'_>) -> Result<()> {
    let history = flushed(history(from)?);
    let states = history.states();
    let choice = from.arbitrary()?;
    let mut disk = materialise(&states[from.choose_index(states.len())?], choice);
    for _ in 0..from.int_in_range(0..=3)? {
        apply(&mut disk, &states, &damage(from)?, choice.rotate_left(17));
    }
    let mut exempt = Vec::new();
    for _ in 0..from.int_in_range(0..=2)? {
        let start = from.int_in_range(0..=63)?;
        exempt.push(start..start + from.int_in_range(0..=5)?);
    }
    let all_exempt = (0..disk.len() as u64).all(|s| exempt.iter().any(|range| range.contains(&s)));
    if !all_exempt {
        check(&history, &states, &disk, &exempt);
    }
    Ok(())
}

fn history(from: &mut Unstructured<'_>) -> Result<History> {
    let sectors = from.int_in_range(8..=64)?;
    let base = contents(from, sectors)?;
    let discards = *from.choose(&[DiscardReads::OldOrZero, DiscardReads::Zero, DiscardReads::Old])?;
    let mut ops = Vec::new();
    for _ in 0..from.int_in_range(0..=24)? {
        ops.push(op(from, sectors)?);
    }
    Ok(History { base, ops, discards })
}

fn op(from: &mut Unstructured<'_>, disk: usize) -> Result<Op> {
    let sector = from.int_in_range(0..=disk - 1)?;
    let longest = disk - sector;
    Ok(match from.int_in_range(0..=8)? {
        0 => Op::Flush,
        1 | 2 => {
            let count = from.int_in_range(1..=longest.min(12))?;
            Op::Discard { sector: sector as u64, count: count as u64 }
        }
        _ => {
            let count = from.int_in_range(1..=longest.min(6))?;
            Op::Write { sector: sector as u64, contents: contents(from, count)? }
        }
    })
}

fn contents(from: &mut Unstructured<'_>, count: usize) -> Result<Vec<u8>> {
    (0..count).map(|_| from.int_in_range(0..=CONTENTS - 1)).collect()
}

fn damage(from: &mut Unstructured<'_>) -> Result<Damage> {
    let sector = from.int_in_range(0..=63)?;
    if from.ratio(2, 5)? {
        return Ok(Damage::Set { sector, content: from.int_in_range(0..=CONTENTS)? });
    }
    Ok(Damage::FromCut { cut: from.int_in_range(0..=63)?, start: sector, count: from.int_in_range(1..=15)? })
}

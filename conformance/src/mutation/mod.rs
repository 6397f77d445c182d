//! Judges every mutant: `cargo xtask mutants`.
//!
//! - `judge`: runs the checks in memory that have to find a mutant, and says what they found
//! - `gate`: every guarantee that is judged in memory is broken by a mutant, or excused in writing
//! - `on_guests`: which mutants have to be found by which scenarios of the real tier

mod gate;
mod judge;
mod on_guests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Instant;

use crate::mutants::mutants;

pub use self::judge::{Checks, Judged, judge};
pub use self::on_guests::{GuestRow, rows};

/// Judges all mutants, or those with these names, prints a line for each, and returns whether all
/// are as they have to be.
#[must_use]
pub fn run(names: &[String], checks: Checks) -> bool {
    let began = Instant::now();
    let chosen: Vec<_> =
        mutants().filter(|mutant| names.is_empty() || names.iter().any(|name| name == mutant.name)).collect();
    let in_memory: Vec<_> = chosen.iter().copied().filter(|mutant| !mutant.breaks.is_empty()).collect();
    let judged = judge::judge_all(&in_memory, checks, |judged| println!("{judged}"));
    let objections: Vec<_> = judged.iter().filter_map(Judged::objection).collect();
    let gaps = if names.is_empty() { gate::gaps() } else { Vec::new() };
    print!("{}", summary(&judged, &objections, &gaps, began));
    !judged.is_empty() && objections.is_empty() && gaps.is_empty()
}

fn summary(judged: &[Judged], objections: &[String], gaps: &[String], began: Instant) -> String {
    let mut text = String::new();
    for line in objections.iter().chain(gaps) {
        let _ = writeln!(text, "{line}");
    }
    let killed = judged.iter().filter(|judged| judged.is_killed()).count();
    let classes: BTreeSet<_> = judged.iter().map(|judged| judged.mutant.class).collect();
    let _ = writeln!(
        text,
        "{killed} of {} mutants in {} classes killed by the rules that they name; {} objections, {} guarantees \
         without a mutant; {} s",
        judged.len(),
        classes.len(),
        objections.len(),
        gaps.len(),
        began.elapsed().as_secs()
    );
    text
}

#[cfg(test)]
mod tests;

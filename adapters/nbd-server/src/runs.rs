//! Ranges of a disk: where it holds zeroes, and how a request is divided.

use crate::disk::Run;

/// Name of the meta context that distinguishes holes and zeroes from data.
pub const ALLOCATION: &str = "base:allocation";
/// Flags of a range of zeroes in [`ALLOCATION`]: a hole, which reads as zeroes.
pub const ZERO: u32 = 3;
/// Unit in which [`zero_runs`] distinguishes zeroes from data.
pub const GRAIN: usize = 64 * 1024;

static ZEROES: [u8; GRAIN] = [0; GRAIN];

/// Splits bytes into ranges of zeroes and of data, with the flags of [`ALLOCATION`]; adjacent
/// ranges of the same kind are joined.
#[must_use]
pub fn zero_runs(bytes: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    for grain in bytes.chunks(GRAIN) {
        let zero = *grain == ZEROES[..grain.len()];
        push(&mut runs, (grain.len() as u64, if zero { ZERO } else { 0 }));
    }
    runs
}

/// Adds a range, joining it to the last one if the flags are equal.
pub fn push(runs: &mut Vec<Run>, (length, flags): Run) {
    match runs.last_mut() {
        Some(last) if last.1 == flags => last.0 += length,
        _ => runs.push((length, flags)),
    }
}

/// Splits a range at multiples of `step`; yields offset and length of each piece.
pub fn pieces(offset: u64, length: u64, step: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        let piece = (step - at % step).min(end - at);
        at += piece;
        (piece > 0).then(|| (at - piece, piece))
    })
}

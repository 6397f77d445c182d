//! The server's side of the NBD protocol: fixed newstyle handshake, structured replies and meta
//! contexts. It needs only the standard library, so that a small static program can link it.
//!
//! [`serve`] handles one connection, whatever it is made of. What it serves implements [`Disks`]
//! and [`Disk`]. All offsets and lengths are in bytes.

mod disk;
mod handshake;
mod protocol;
mod transmission;

use std::io::{self, BufReader, BufWriter, Read, Write};

pub use disk::{Disk, Disks, Features, Refused, Run, errno};

/// Size of the write buffer of a connection.
const WRITE_BUFFER: usize = 256 * 1024;
/// Name of the meta context that distinguishes holes and zeroes from data.
pub const ALLOCATION: &str = "base:allocation";
/// Flags of a range of zeroes in [`ALLOCATION`]: a hole, which reads as zeroes.
pub const ZERO: u32 = 3;
/// Unit in which [`zero_runs`] distinguishes zeroes from data.
pub const GRAIN: usize = 64 * 1024;

/// Serves one client until it disconnects.
///
/// # Errors
/// The connection broke, or the client violated the protocol. The connection must be closed then.
pub fn serve(from: impl Read, to: impl Write, disks: &dyn Disks) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut to = BufWriter::with_capacity(WRITE_BUFFER, to);
    match handshake::agree(&mut from, &mut to, disks)? {
        Some(agreed) => transmission::serve(&mut from, &mut to, agreed),
        None => Ok(()),
    }
}

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

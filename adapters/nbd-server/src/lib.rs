//! The server's side of the NBD protocol: fixed newstyle handshake, structured replies and meta
//! contexts. It needs only the standard library, so that a small static program can link it.
//!
//! [`serve`] handles one connection, whatever it is made of. What it serves implements [`Disks`]
//! and [`Disk`]. All offsets and lengths are in bytes.

mod disk;
mod handshake;
mod protocol;
mod runs;
mod transmission;

use std::io::{self, BufReader, BufWriter, Read, Write};

pub use disk::{Disk, Disks, Features, Refused, Run, errno};
pub use runs::{ALLOCATION, GRAIN, ZERO, pieces, push, zero_runs};

/// Size of the write buffer of a connection.
const WRITE_BUFFER: usize = 256 * 1024;

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

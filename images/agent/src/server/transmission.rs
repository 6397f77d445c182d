//! The transmission phase: reads and block status.

use std::fs::File;
use std::io::{self, Read, Write};

use super::handshake::{Agreed, Context};
use crate::changes::{CHUNK, Chunks};
use crate::device::{self, Buffer};
use crate::wire::{self, ReadNumbers};

/// Bytes read at a time.
const PIECE: u64 = 1024 * 1024;
/// Unit in which zeroes are distinguished from data, in bytes.
const GRAIN: u64 = 64 * 1024;
/// Bytes covered by one block status of zeroes, which are found by reading: the client should not
/// wait long.
const STATUS_BYTES: u64 = 32 * PIECE;
/// Flags of `base:allocation` for zeroes, and of a changed range.
const ZERO: u32 = 3;
const DIRTY: u32 = 1;

static ZEROES: [u8; GRAIN as usize] = [0; GRAIN as usize];

struct Request {
    flags: u16,
    kind: u16,
    cookie: u64,
    offset: u64,
    length: u32,
}

/// A range: length and flags.
type Run = (u64, u32);

/// Answers requests until the client disconnects.
pub(super) fn serve(from: &mut impl Read, to: &mut impl Write, agreed: &Agreed) -> io::Result<()> {
    let mut disk =
        Disk { agreed, file: device::open(&agreed.disk.node, false)?, buffer: Buffer::new(PIECE as usize) };
    loop {
        let request = read_request(from)?;
        let within = request.offset.checked_add(u64::from(request.length));
        let within = within.is_some_and(|end| end <= agreed.disk.bytes) && request.length > 0;
        match request.kind {
            wire::CMD_DISCONNECT => return Ok(()),
            wire::CMD_READ if within && request.length <= wire::LONGEST_READ => disk.read(to, &request)?,
            wire::CMD_BLOCK_STATUS if within && !agreed.contexts.is_empty() => disk.status(to, &request)?,
            wire::CMD_READ | wire::CMD_BLOCK_STATUS => refuse(to, agreed.structured, &request, wire::EINVAL)?,
            kind => {
                refuse(to, agreed.structured, &request, wire::EPERM)?;
                to.flush()?;
                // The payload of a write would follow; no client should send one to a read-only
                // export.
                return Err(io::Error::other(format!("request {kind} on a read-only disk")));
            }
        }
        to.flush()?;
    }
}

fn read_request(from: &mut impl Read) -> io::Result<Request> {
    if from.u32()? != wire::REQUEST {
        return Err(io::Error::other("not a request"));
    }
    Ok(Request {
        flags: from.u16()?,
        kind: from.u16()?,
        cookie: from.u64()?,
        offset: from.u64()?,
        length: from.u32()?,
    })
}

fn refuse(to: &mut impl Write, structured: bool, request: &Request, error: u32) -> io::Result<()> {
    if !structured {
        return wire::simple_reply(to, error, request.cookie);
    }
    wire::chunk(to, wire::CHUNK_DONE, wire::CHUNK_ERROR, request.cookie, 6)?;
    to.write_all(&error.to_be_bytes())?;
    to.write_all(&0_u16.to_be_bytes())
}

struct Disk<'a> {
    agreed: &'a Agreed,
    file: File,
    buffer: Buffer,
}

impl Disk<'_> {
    fn bytes_at(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        self.buffer.read(&self.file, self.agreed.disk.bytes, offset, length as usize)
    }

    fn read(&mut self, to: &mut impl Write, request: &Request) -> io::Result<()> {
        if self.agreed.structured { self.read_in_chunks(to, request) } else { self.read_at_once(to, request) }
    }

    fn read_at_once(&mut self, to: &mut impl Write, request: &Request) -> io::Result<()> {
        let mut all = Vec::new();
        for (offset, length) in pieces(request.offset, u64::from(request.length), PIECE) {
            match self.bytes_at(offset, length) {
                Ok(bytes) => all.extend_from_slice(bytes),
                Err(_) => return refuse(to, false, request, wire::EIO),
            }
        }
        wire::simple_reply(to, 0, request.cookie)?;
        to.write_all(&all)
    }

    /// Sends a structured reply, in which zeroes are sent as holes.
    fn read_in_chunks(&mut self, to: &mut impl Write, request: &Request) -> io::Result<()> {
        for (offset, length) in pieces(request.offset, u64::from(request.length), PIECE) {
            let Ok(bytes) = self.bytes_at(offset, length) else {
                return refuse(to, true, request, wire::EIO);
            };
            let mut at = offset;
            let mut rest = bytes;
            for (run, flags) in zero_runs(bytes) {
                let (part, more) = rest.split_at(run as usize);
                send_run(to, request.cookie, at, part, flags == ZERO)?;
                (at, rest) = (at + run, more);
            }
        }
        wire::chunk(to, wire::CHUNK_DONE, wire::CHUNK_NONE, request.cookie, 0)
    }

    fn status(&mut self, to: &mut impl Write, request: &Request) -> io::Result<()> {
        let (last, contexts) = (self.agreed.contexts.len() - 1, &self.agreed.contexts);
        for (index, context) in contexts.iter().enumerate() {
            let Ok(mut runs) = self.runs(*context, request) else {
                return refuse(to, true, request, wire::EIO);
            };
            if request.flags & wire::FLAG_REQ_ONE != 0 {
                runs.truncate(1);
            }
            let flags = if index == last { wire::CHUNK_DONE } else { 0 };
            let length = 4 + 8 * runs.len() as u32;
            wire::chunk(to, flags, wire::CHUNK_BLOCK_STATUS, request.cookie, length)?;
            to.write_all(&(*context as u32).to_be_bytes())?;
            for (length, flags) in runs {
                to.write_all(&(length as u32).to_be_bytes())?;
                to.write_all(&flags.to_be_bytes())?;
            }
        }
        Ok(())
    }

    fn runs(&mut self, context: Context, request: &Request) -> io::Result<Vec<Run>> {
        let length = u64::from(request.length);
        let mut runs = Vec::new();
        match context {
            Context::Allocation => {
                for (offset, length) in pieces(request.offset, length.min(STATUS_BYTES), PIECE) {
                    zero_runs(self.bytes_at(offset, length)?).for_each(|run| push(&mut runs, run));
                }
            }
            Context::Changed => {
                let changed = self.agreed.disk.changed.as_ref();
                for (offset, length) in pieces(request.offset, length, CHUNK) {
                    let dirty = changed.is_some_and(|chunks: &Chunks| chunks.contains(&(offset / CHUNK)));
                    push(&mut runs, (length, if dirty { DIRTY } else { 0 }));
                }
            }
        }
        Ok(runs)
    }
}

fn send_run(to: &mut impl Write, cookie: u64, offset: u64, bytes: &[u8], zero: bool) -> io::Result<()> {
    if zero {
        wire::chunk(to, 0, wire::CHUNK_HOLE, cookie, 12)?;
        to.write_all(&offset.to_be_bytes())?;
        return to.write_all(&(bytes.len() as u32).to_be_bytes());
    }
    wire::chunk(to, 0, wire::CHUNK_DATA, cookie, 8 + bytes.len() as u32)?;
    to.write_all(&offset.to_be_bytes())?;
    to.write_all(bytes)
}

/// Splits bytes into ranges of zeroes and of data; adjacent ranges of the same kind are joined.
fn zero_runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut runs = Vec::new();
    for grain in bytes.chunks(GRAIN as usize) {
        let zero = *grain == ZEROES[..grain.len()];
        push(&mut runs, (grain.len() as u64, if zero { ZERO } else { 0 }));
    }
    runs.into_iter()
}

/// Adds a range, joining it to the last one if the flags are equal.
fn push(runs: &mut Vec<Run>, (length, flags): Run) {
    match runs.last_mut() {
        Some(last) if last.1 == flags => last.0 += length,
        _ => runs.push((length, flags)),
    }
}

/// Splits a range at multiples of `step`.
fn pieces(offset: u64, length: u64, step: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        let piece = (step - at % step).min(end - at);
        at += piece;
        (piece > 0).then(|| (at - piece, piece))
    })
}

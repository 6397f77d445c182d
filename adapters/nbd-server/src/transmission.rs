//! The transmission phase: the client's requests, answered one after another.

use std::io::{self, Read, Write};

use crate::disk::{Refused, errno, read_only};
use crate::handshake::{Agreed, context_number};
use crate::protocol::{self as wire, ReadNumbers};
use crate::runs::{ZERO, pieces, zero_runs};

/// Bytes read from a disk at a time, and sent before more are read.
const PIECE: u64 = 2 * 1024 * 1024;

struct Request {
    flags: u16,
    kind: u16,
    cookie: u64,
    offset: u64,
    length: u32,
}

/// The result of a request: whether it could be sent, and whether it succeeded.
type Sent = io::Result<Result<(), Refused>>;

/// Answers requests until the client disconnects.
pub(crate) fn serve(from: &mut impl Read, to: &mut impl Write, agreed: Agreed<'_>) -> io::Result<()> {
    let mut connection = Connection { agreed, buffer: Vec::new() };
    loop {
        let request = read_request(from)?;
        if request.kind == wire::CMD_DISCONNECT {
            return Ok(());
        }
        if let Err(refused) = connection.answer(from, to, &request)? {
            refuse(to, connection.agreed.structured, &request, &refused)?;
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

fn refuse(to: &mut impl Write, structured: bool, request: &Request, refused: &Refused) -> io::Result<()> {
    if !structured {
        return wire::simple_reply(to, refused.errno, request.cookie);
    }
    let message = refused.message.as_bytes();
    let message = &message[..message.len().min(4096)];
    let length = 6 + message.len() as u32;
    wire::chunk(to, wire::CHUNK_DONE, wire::CHUNK_ERROR, request.cookie, length)?;
    to.write_all(&refused.errno.to_be_bytes())?;
    to.write_all(&(message.len() as u16).to_be_bytes())?;
    to.write_all(message)
}

/// The reply to a request that succeeded and returns nothing.
fn done(to: &mut impl Write, structured: bool, request: &Request) -> io::Result<()> {
    if structured {
        return wire::chunk(to, wire::CHUNK_DONE, wire::CHUNK_NONE, request.cookie, 0);
    }
    wire::simple_reply(to, 0, request.cookie)
}

struct Connection<'a> {
    agreed: Agreed<'a>,
    buffer: Vec<u8>,
}

impl Connection<'_> {
    fn answer(&mut self, from: &mut impl Read, to: &mut impl Write, request: &Request) -> Sent {
        match request.kind {
            wire::CMD_READ => self.read(to, request),
            wire::CMD_BLOCK_STATUS => self.status(to, request),
            wire::CMD_WRITE => {
                let result = self.receive(from, request)?;
                self.finish(to, request, result)
            }
            wire::CMD_TRIM | wire::CMD_WRITE_ZEROES => {
                let result = self.within(request).and_then(|()| self.changeable());
                let zeroed = |()| self.agreed.disk.zero(request.offset, u64::from(request.length));
                let result = result.and_then(zeroed);
                self.finish(to, request, result)
            }
            wire::CMD_FLUSH => {
                let result = self.agreed.disk.flush();
                self.finish(to, request, result)
            }
            kind => Ok(Err(Refused::new(errno::EINVAL, format!("request {kind} is not known")))),
        }
    }

    /// Ends a request that returns nothing.
    fn finish(&mut self, to: &mut impl Write, request: &Request, result: Result<(), Refused>) -> Sent {
        let durable = request.flags & wire::FLAG_FUA != 0;
        match result.and_then(|()| if durable { self.agreed.disk.flush() } else { Ok(()) }) {
            Ok(()) => done(to, self.agreed.structured, request).map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn within(&self, request: &Request) -> Result<(), Refused> {
        let (length, size) = (u64::from(request.length), self.agreed.features.size);
        let end = request.offset.checked_add(length);
        if length > 0 && end.is_some_and(|end| end <= size) {
            return Ok(());
        }
        let text = format!("{length} bytes at {} are not inside a disk of {size} bytes", request.offset);
        // The protocol has one error for writes beyond the end and another for everything else.
        let write = matches!(request.kind, wire::CMD_WRITE | wire::CMD_WRITE_ZEROES);
        Err(Refused::new(if write { errno::ENOSPC } else { errno::EINVAL }, text))
    }

    fn changeable(&self) -> Result<(), Refused> {
        if self.agreed.features.writable { Ok(()) } else { Err(read_only()) }
    }

    /// Receives the payload of a write, also of one that is refused, and writes it.
    fn receive(&mut self, from: &mut impl Read, request: &Request) -> Sent {
        if request.length > wire::LONGEST_TRANSFER {
            return Err(io::Error::other(format!("a write of {} bytes", request.length)));
        }
        if let Err(refused) = self.within(request).and_then(|()| self.changeable()) {
            io::copy(&mut from.take(u64::from(request.length)), &mut io::sink())?;
            return Ok(Err(refused));
        }
        self.buffer.resize(request.length as usize, 0);
        from.read_exact(&mut self.buffer)?;
        Ok(self.agreed.disk.write(request.offset, &self.buffer))
    }

    fn read(&mut self, to: &mut impl Write, request: &Request) -> Sent {
        if let Err(refused) = self.within(request) {
            return Ok(Err(refused));
        }
        if request.length > wire::LONGEST_TRANSFER {
            return Ok(Err(Refused::new(errno::EINVAL, format!("a read of {} bytes", request.length))));
        }
        if self.agreed.structured { self.read_in_chunks(to, request) } else { self.read_at_once(to, request) }
    }

    fn read_at_once(&mut self, to: &mut impl Write, request: &Request) -> Sent {
        self.buffer.resize(request.length as usize, 0);
        if let Err(refused) = self.agreed.disk.read(request.offset, &mut self.buffer) {
            return Ok(Err(refused));
        }
        wire::simple_reply(to, 0, request.cookie)?;
        to.write_all(&self.buffer)?;
        Ok(Ok(()))
    }

    /// Sends a structured reply, in which zeroes are sent as holes.
    fn read_in_chunks(&mut self, to: &mut impl Write, request: &Request) -> Sent {
        for (skip, length) in pieces(0, u64::from(request.length), PIECE) {
            let offset = request.offset + skip;
            self.buffer.resize(length as usize, 0);
            if let Err(refused) = self.agreed.disk.read(offset, &mut self.buffer) {
                return Ok(Err(refused));
            }
            let (mut at, mut rest) = (offset, &self.buffer[..]);
            for (run, flags) in zero_runs(rest) {
                let (part, more) = rest.split_at(run as usize);
                send_run(to, request.cookie, at, part, flags == ZERO)?;
                (at, rest) = (at + run, more);
            }
        }
        done(to, true, request).map(Ok)
    }

    fn status(&mut self, to: &mut impl Write, request: &Request) -> Sent {
        if let Err(refused) = self.within(request) {
            return Ok(Err(refused));
        }
        let Some(last) = self.agreed.contexts.last().copied() else {
            return Ok(Err(Refused::new(errno::EINVAL, "no meta context was negotiated")));
        };
        for index in self.agreed.contexts.clone() {
            let context = &self.agreed.features.contexts[index];
            let runs = match self.agreed.disk.status(context, request.offset, u64::from(request.length)) {
                Ok(runs) => runs,
                Err(refused) => return Ok(Err(refused)),
            };
            let one = request.flags & wire::FLAG_REQ_ONE != 0;
            let runs = &runs[..if one { runs.len().min(1) } else { runs.len() }];
            let flags = if index == last { wire::CHUNK_DONE } else { 0 };
            let length = 4 + 8 * runs.len() as u32;
            wire::chunk(to, flags, wire::CHUNK_BLOCK_STATUS, request.cookie, length)?;
            to.write_all(&context_number(index).to_be_bytes())?;
            for (length, flags) in runs {
                to.write_all(&(*length as u32).to_be_bytes())?;
                to.write_all(&flags.to_be_bytes())?;
            }
        }
        Ok(Ok(()))
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

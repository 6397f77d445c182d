//! Constants of the NBD protocol, and reading and writing its big-endian numbers.

use std::io::{self, Read, Write};

/// First number sent by a server.
pub(crate) const HELLO: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// First number of every option.
pub(crate) const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// First number of every reply to an option.
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// First number of a request.
pub(crate) const REQUEST: u32 = 0x2560_9513;
/// First number of a simple reply.
pub(crate) const SIMPLE_REPLY: u32 = 0x6744_6698;
/// First number of a chunk of a structured reply.
pub(crate) const CHUNK: u32 = 0x668e_33ef;

/// Handshake flags of both sides: fixed newstyle, and no zeroes after the size.
pub(crate) const FIXED_NEWSTYLE: u16 = 1;
pub(crate) const NO_ZEROES: u16 = 2;
/// Flags of an export.
pub(crate) const EXPORT_HAS_FLAGS: u16 = 1;
pub(crate) const EXPORT_READ_ONLY: u16 = 1 << 1;
pub(crate) const EXPORT_FLUSH: u16 = 1 << 2;
pub(crate) const EXPORT_FUA: u16 = 1 << 3;
pub(crate) const EXPORT_TRIM: u16 = 1 << 5;
pub(crate) const EXPORT_WRITE_ZEROES: u16 = 1 << 6;
pub(crate) const EXPORT_MULTI_CONN: u16 = 1 << 8;

pub(crate) const OPT_EXPORT_NAME: u32 = 1;
pub(crate) const OPT_ABORT: u32 = 2;
pub(crate) const OPT_LIST: u32 = 3;
pub(crate) const OPT_INFO: u32 = 6;
pub(crate) const OPT_GO: u32 = 7;
pub(crate) const OPT_STRUCTURED_REPLY: u32 = 8;
pub(crate) const OPT_LIST_META_CONTEXT: u32 = 9;
pub(crate) const OPT_SET_META_CONTEXT: u32 = 10;

pub(crate) const REP_ACK: u32 = 1;
pub(crate) const REP_SERVER: u32 = 2;
pub(crate) const REP_INFO: u32 = 3;
pub(crate) const REP_META_CONTEXT: u32 = 4;
pub(crate) const REP_ERR_UNSUPPORTED: u32 = (1 << 31) + 1;
pub(crate) const REP_ERR_INVALID: u32 = (1 << 31) + 3;
pub(crate) const REP_ERR_UNKNOWN: u32 = (1 << 31) + 6;

pub(crate) const CMD_READ: u16 = 0;
pub(crate) const CMD_WRITE: u16 = 1;
pub(crate) const CMD_DISCONNECT: u16 = 2;
pub(crate) const CMD_FLUSH: u16 = 3;
pub(crate) const CMD_TRIM: u16 = 4;
pub(crate) const CMD_WRITE_ZEROES: u16 = 6;
pub(crate) const CMD_BLOCK_STATUS: u16 = 7;
/// Most bytes that one read or write may transfer.
pub(crate) const LONGEST_TRANSFER: u32 = 32 * 1024 * 1024;
/// Request flag: answer only when the change is durable.
pub(crate) const FLAG_FUA: u16 = 1;
/// Request flag: report only one extent.
pub(crate) const FLAG_REQ_ONE: u16 = 1 << 3;

pub(crate) const CHUNK_DONE: u16 = 1;
pub(crate) const CHUNK_NONE: u16 = 0;
pub(crate) const CHUNK_DATA: u16 = 1;
pub(crate) const CHUNK_HOLE: u16 = 2;
pub(crate) const CHUNK_BLOCK_STATUS: u16 = 5;
pub(crate) const CHUNK_ERROR: u16 = (1 << 15) + 1;

/// Reads big-endian numbers.
pub(crate) trait ReadNumbers: Read {
    fn u16(&mut self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.read_exact(&mut bytes)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read_exact(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Reads a text of `length` bytes.
    fn text(&mut self, length: usize) -> io::Result<String> {
        let mut bytes = vec![0; length];
        self.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }
}

impl<T: Read> ReadNumbers for T {}

/// Writes a reply to an option.
pub(crate) fn option_reply(to: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    to.write_all(&OPTION_REPLY.to_be_bytes())?;
    to.write_all(&option.to_be_bytes())?;
    to.write_all(&kind.to_be_bytes())?;
    to.write_all(&(data.len() as u32).to_be_bytes())?;
    to.write_all(data)
}

/// Writes the header of a chunk of a structured reply with `length` bytes of payload.
pub(crate) fn chunk(to: &mut impl Write, flags: u16, kind: u16, cookie: u64, length: u32) -> io::Result<()> {
    to.write_all(&CHUNK.to_be_bytes())?;
    to.write_all(&flags.to_be_bytes())?;
    to.write_all(&kind.to_be_bytes())?;
    to.write_all(&cookie.to_be_bytes())?;
    to.write_all(&length.to_be_bytes())
}

/// Writes the header of a simple reply.
pub(crate) fn simple_reply(to: &mut impl Write, error: u32, cookie: u64) -> io::Result<()> {
    to.write_all(&SIMPLE_REPLY.to_be_bytes())?;
    to.write_all(&error.to_be_bytes())?;
    to.write_all(&cookie.to_be_bytes())
}

//! The handshake: the client chooses a disk and meta contexts.

use std::io::{self, Read, Write};
use std::sync::Arc;

use agent::protocol::CHANGED;

use crate::exports::{ExportedDisk, Exports};
use crate::wire::{self, ReadNumbers};

/// Longest option, in bytes.
const LONGEST_OPTION: u32 = 64 * 1024;
/// Meta context that distinguishes zeroes from data.
const ALLOCATION: &str = "base:allocation";
/// Smallest, preferred and largest request size, as reported to clients.
const BLOCK_SIZES: [u32; 3] = [1, 65536, wire::LONGEST_READ];
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// A meta context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Marks zeroes.
    Allocation = 1,
    /// Marks changed ranges.
    Changed = 2,
}

impl Context {
    fn name(self) -> &'static str {
        match self {
            Self::Allocation => ALLOCATION,
            Self::Changed => CHANGED,
        }
    }

    fn offered(disk: &ExportedDisk) -> Vec<Self> {
        let changed = disk.changed.is_some().then_some(Self::Changed);
        [Self::Allocation].into_iter().chain(changed).collect()
    }
}

/// The result of a handshake.
pub(super) struct Agreed {
    pub(super) disk: Arc<ExportedDisk>,
    pub(super) structured: bool,
    pub(super) contexts: Vec<Context>,
}

/// The options negotiated so far.
#[derive(Default)]
struct Negotiation {
    structured: bool,
    contexts: Vec<Context>,
    /// The export that the contexts belong to.
    contexts_of: String,
}

/// Runs the handshake until the client has chosen a disk; `None` if it aborts.
pub(super) fn agree(
    from: &mut impl Read,
    to: &mut impl Write,
    exports: &Exports,
) -> io::Result<Option<Agreed>> {
    to.write_all(&wire::HELLO.to_be_bytes())?;
    to.write_all(&wire::OPTION.to_be_bytes())?;
    to.write_all(&(wire::FIXED_NEWSTYLE | wire::NO_ZEROES).to_be_bytes())?;
    to.flush()?;
    let flags = from.u32()?;
    if flags & u32::from(wire::FIXED_NEWSTYLE) == 0 {
        return Err(io::Error::other("the client does not support fixed newstyle"));
    }
    let zeroes = if flags & u32::from(wire::NO_ZEROES) == 0 { 124 } else { 0 };
    let mut negotiation = Negotiation::default();
    loop {
        let (option, data) = read_option(from)?;
        match option {
            wire::OPT_EXPORT_NAME => {
                let name = String::from_utf8(data).map_err(io::Error::other)?;
                let unknown = || io::Error::other(format!("there is no disk {name}"));
                let disk = exports.find(&name).ok_or_else(unknown)?;
                to.write_all(&disk.bytes.to_be_bytes())?;
                to.write_all(&wire::EXPORT_FLAGS.to_be_bytes())?;
                to.write_all(&vec![0; zeroes])?;
                to.flush()?;
                return Ok(Some(negotiation.agreed(disk, &name)));
            }
            wire::OPT_ABORT => {
                wire::option_reply(to, option, wire::REP_ACK, &[])?;
                to.flush()?;
                return Ok(None);
            }
            wire::OPT_GO | wire::OPT_INFO => {
                let name = first_text(&data)?;
                let found = exports.find(&name);
                describe(to, option, found.as_deref())?;
                to.flush()?;
                if let (wire::OPT_GO, Some(disk)) = (option, found) {
                    return Ok(Some(negotiation.agreed(disk, &name)));
                }
            }
            _ => negotiation.answer(to, option, &data, exports)?,
        }
        to.flush()?;
    }
}

impl Negotiation {
    fn agreed(self, disk: Arc<ExportedDisk>, name: &str) -> Agreed {
        let contexts = if self.contexts_of == name { self.contexts } else { Vec::new() };
        Agreed { disk, structured: self.structured, contexts }
    }

    fn answer(&mut self, to: &mut impl Write, option: u32, data: &[u8], exports: &Exports) -> io::Result<()> {
        match option {
            wire::OPT_LIST => {
                for name in exports.names() {
                    let length = (name.len() as u32).to_be_bytes();
                    let entry = [&length, name.as_bytes()].concat();
                    wire::option_reply(to, option, wire::REP_SERVER, &entry)?;
                }
                wire::option_reply(to, option, wire::REP_ACK, &[])
            }
            wire::OPT_STRUCTURED_REPLY => {
                self.structured = true;
                wire::option_reply(to, option, wire::REP_ACK, &[])
            }
            wire::OPT_SET_META_CONTEXT | wire::OPT_LIST_META_CONTEXT => {
                self.contexts(to, option, data, exports)
            }
            _ => wire::option_reply(to, option, wire::REP_ERR_UNSUPPORTED, &[]),
        }
    }

    fn contexts(
        &mut self,
        to: &mut impl Write,
        option: u32,
        mut data: &[u8],
        exports: &Exports,
    ) -> io::Result<()> {
        if !self.structured {
            return wire::option_reply(to, option, wire::REP_ERR_INVALID, &[]);
        }
        let name = read_text(&mut data)?;
        let Some(disk) = exports.find(&name) else {
            return wire::option_reply(to, option, wire::REP_ERR_UNKNOWN, &[]);
        };
        let mut wanted = Vec::new();
        for _ in 0..data.u32()? {
            wanted.push(read_text(&mut data)?);
        }
        let lists = option == wire::OPT_LIST_META_CONTEXT;
        let asked = |context: &Context| {
            let all_of_space = |query: &String| query.ends_with(':') && context.name().starts_with(query);
            let named = |query: &String| query == context.name() || (lists && all_of_space(query));
            (lists && wanted.is_empty()) || wanted.iter().any(named)
        };
        let chosen: Vec<_> = Context::offered(&disk).into_iter().filter(asked).collect();
        for context in &chosen {
            let number = if lists { 0 } else { *context as u32 };
            let entry = [&number.to_be_bytes(), context.name().as_bytes()].concat();
            wire::option_reply(to, option, wire::REP_META_CONTEXT, &entry)?;
        }
        if !lists {
            (self.contexts, self.contexts_of) = (chosen, name);
        }
        wire::option_reply(to, option, wire::REP_ACK, &[])
    }
}

fn read_option(from: &mut impl Read) -> io::Result<(u32, Vec<u8>)> {
    let (magic, option, length) = (from.u64()?, from.u32()?, from.u32()?);
    if magic != wire::OPTION || length > LONGEST_OPTION {
        return Err(io::Error::other(format!("not an option: {magic:#x}, {length} bytes")));
    }
    let mut data = vec![0; length as usize];
    from.read_exact(&mut data)?;
    Ok((option, data))
}

fn describe(to: &mut impl Write, option: u32, disk: Option<&ExportedDisk>) -> io::Result<()> {
    let Some(disk) = disk else {
        return wire::option_reply(to, option, wire::REP_ERR_UNKNOWN, &[]);
    };
    let export =
        [&INFO_EXPORT.to_be_bytes()[..], &disk.bytes.to_be_bytes(), &wire::EXPORT_FLAGS.to_be_bytes()];
    wire::option_reply(to, option, wire::REP_INFO, &export.concat())?;
    let sizes = BLOCK_SIZES.iter().flat_map(|size| size.to_be_bytes());
    let sizes: Vec<u8> = INFO_BLOCK_SIZE.to_be_bytes().into_iter().chain(sizes).collect();
    wire::option_reply(to, option, wire::REP_INFO, &sizes)?;
    wire::option_reply(to, option, wire::REP_ACK, &[])
}

fn first_text(mut data: &[u8]) -> io::Result<String> {
    read_text(&mut data)
}

/// Reads a text that is preceded by its length.
fn read_text(data: &mut &[u8]) -> io::Result<String> {
    let length = data.u32()? as usize;
    if length > data.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    data.text(length)
}

//! The handshake: the client chooses a disk and meta contexts.

use std::io::{self, Read, Write};

use crate::protocol::{self as wire, ReadNumbers};
use crate::{Disk, Disks, Features};

/// Longest option, in bytes.
const LONGEST_OPTION: u32 = 64 * 1024;
/// Smallest, preferred and largest request size, as reported to clients.
const BLOCK_SIZES: [u32; 3] = [1, 65536, wire::LONGEST_TRANSFER];
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// The result of a handshake.
pub(crate) struct Agreed<'a> {
    pub(crate) disk: Box<dyn Disk + 'a>,
    pub(crate) features: Features,
    pub(crate) structured: bool,
    /// The chosen contexts, by their number in the disk's list.
    pub(crate) contexts: Vec<usize>,
}

/// The options negotiated so far.
#[derive(Default)]
struct Negotiation {
    structured: bool,
    contexts: Vec<usize>,
    /// The export that the contexts belong to.
    contexts_of: String,
}

/// Runs the handshake until the client has chosen a disk; `None` if it aborts.
pub(crate) fn agree<'a>(
    from: &mut impl Read,
    to: &mut impl Write,
    disks: &'a dyn Disks,
) -> io::Result<Option<Agreed<'a>>> {
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
                let agreed = negotiation.agreed(disks.open(&name).ok_or_else(unknown)?, &name);
                to.write_all(&agreed.features.size.to_be_bytes())?;
                to.write_all(&export_flags(&agreed.features).to_be_bytes())?;
                to.write_all(&vec![0; zeroes])?;
                to.flush()?;
                return Ok(Some(agreed));
            }
            wire::OPT_ABORT => {
                wire::option_reply(to, option, wire::REP_ACK, &[])?;
                to.flush()?;
                return Ok(None);
            }
            wire::OPT_GO | wire::OPT_INFO => {
                let name = first_text(&data)?;
                let found = disks.open(&name);
                describe(to, option, found.as_deref())?;
                to.flush()?;
                if let (wire::OPT_GO, Some(disk)) = (option, found) {
                    return Ok(Some(negotiation.agreed(disk, &name)));
                }
            }
            _ => negotiation.answer(to, option, &data, disks)?,
        }
        to.flush()?;
    }
}

impl Negotiation {
    fn agreed<'a>(self, disk: Box<dyn Disk + 'a>, name: &str) -> Agreed<'a> {
        let contexts = if self.contexts_of == name { self.contexts } else { Vec::new() };
        Agreed { features: disk.features(), disk, structured: self.structured, contexts }
    }

    fn answer(&mut self, to: &mut impl Write, option: u32, data: &[u8], disks: &dyn Disks) -> io::Result<()> {
        match option {
            wire::OPT_LIST => {
                for name in disks.names() {
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
                self.contexts(to, option, data, disks)
            }
            _ => wire::option_reply(to, option, wire::REP_ERR_UNSUPPORTED, &[]),
        }
    }

    fn contexts(
        &mut self,
        to: &mut impl Write,
        option: u32,
        mut data: &[u8],
        disks: &dyn Disks,
    ) -> io::Result<()> {
        if !self.structured {
            return wire::option_reply(to, option, wire::REP_ERR_INVALID, &[]);
        }
        let name = read_text(&mut data)?;
        let Some(disk) = disks.open(&name) else {
            return wire::option_reply(to, option, wire::REP_ERR_UNKNOWN, &[]);
        };
        let mut wanted = Vec::new();
        for _ in 0..data.u32()? {
            wanted.push(read_text(&mut data)?);
        }
        let lists = option == wire::OPT_LIST_META_CONTEXT;
        let asked = |context: &str| {
            let all_of_space = |query: &String| query.ends_with(':') && context.starts_with(query);
            let named = |query: &String| query == context || (lists && all_of_space(query));
            (lists && wanted.is_empty()) || wanted.iter().any(named)
        };
        let mut chosen = Vec::new();
        for (index, context) in disk.features().contexts.iter().enumerate() {
            if !asked(context) {
                continue;
            }
            let number = if lists { 0 } else { context_number(index) };
            let entry = [&number.to_be_bytes(), context.as_bytes()].concat();
            wire::option_reply(to, option, wire::REP_META_CONTEXT, &entry)?;
            chosen.push(index);
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

/// The number that names a context in replies, from its place in the disk's list.
pub(crate) fn context_number(index: usize) -> u32 {
    index as u32 + 1
}

fn export_flags(features: &Features) -> u16 {
    let writable = wire::EXPORT_FUA | wire::EXPORT_TRIM | wire::EXPORT_WRITE_ZEROES;
    let multi_conn = if features.multi_conn { wire::EXPORT_MULTI_CONN } else { 0 };
    let access = if features.writable { writable } else { wire::EXPORT_READ_ONLY };
    wire::EXPORT_HAS_FLAGS | wire::EXPORT_FLUSH | access | multi_conn
}

fn describe(to: &mut impl Write, option: u32, disk: Option<&dyn Disk>) -> io::Result<()> {
    let Some(disk) = disk else {
        return wire::option_reply(to, option, wire::REP_ERR_UNKNOWN, &[]);
    };
    let features = disk.features();
    let (size, flags) = (features.size.to_be_bytes(), export_flags(&features).to_be_bytes());
    let export = [&INFO_EXPORT.to_be_bytes()[..], &size, &flags];
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

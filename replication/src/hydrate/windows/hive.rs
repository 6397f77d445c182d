//! A registry hive: a header, and cells that refer to each other by their offsets. Keys are found
//! from the root by their names.

use std::collections::BTreeSet;

/// Length of the header in bytes. Offsets of cells count from its end.
const HEADER: usize = 4096;
/// Fields of the header: numbers of the last write that began and of the last one that ended, the
/// offset of the root's cell, the length of all cells, and the checksum of what is before it.
const BEGUN: usize = 4;
const ENDED: usize = 8;
const ROOT: usize = 36;
const CELLS: usize = 40;
const CHECKSUM: usize = 508;
/// Flag of a key whose name has one byte for each letter.
const ONE_BYTE_KEY: u32 = 0x20;
/// The same of a value.
const ONE_BYTE_VALUE: u32 = 1;
/// Flag in the length of a value that holds its data itself.
const IN_VALUE: u32 = 0x8000_0000;
/// Type of a value that is a number of 32 bits.
const NUMBER: u32 = 4;

/// When a driver or service starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartType(pub(super) u32);

impl StartType {
    pub(super) const BOOT: Self = Self(0);
    pub(super) const AUTOMATIC: Self = Self(2);
    pub(super) const DISABLED: Self = Self(4);
}

/// A hive whose numbers can be changed.
pub(super) struct Hive {
    bytes: Vec<u8>,
    /// Offsets of the bytes that were changed.
    changed: BTreeSet<usize>,
}

type Result<T> = std::result::Result<T, String>;

impl Hive {
    /// Refuses a hive that is damaged or in which a write has not ended.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self> {
        let hive = Self { bytes, changed: BTreeSet::new() };
        if hive.bytes.len() <= HEADER || !hive.bytes.starts_with(b"regf") {
            return Err("the registry hive is damaged: it does not begin as one".to_owned());
        }
        if hive.number(CHECKSUM)? != checksum(&hive.bytes) {
            return Err("the registry hive is damaged: the checksum of its header is wrong".to_owned());
        }
        if hive.number(BEGUN)? != hive.number(ENDED)? {
            return Err("the registry hive has a write that did not end; Windows has to finish it".to_owned());
        }
        let cells = hive.number(CELLS)? as usize;
        if cells.checked_add(HEADER).is_none_or(|end| end > hive.bytes.len()) {
            return Err("the registry hive is damaged: it is cut off".to_owned());
        }
        Ok(hive)
    }

    /// The number of the control set that the machine starts with.
    pub(super) fn current_set(&self) -> Result<u32> {
        self.number(self.value(&["Select"], "Current")?)
    }

    /// The numbers of all control sets.
    pub(super) fn control_sets(&self) -> Result<Vec<u32>> {
        let mut sets = Vec::new();
        for key in self.keys(self.number(ROOT)?)? {
            let name = self.name(key)?.to_ascii_lowercase();
            sets.extend(name.strip_prefix("controlset").and_then(|number| number.parse::<u32>().ok()));
        }
        Ok(sets)
    }

    /// The start type of a driver or service.
    pub(super) fn start(&self, set: u32, service: &str) -> Result<StartType> {
        self.number(self.start_at(set, service)?).map(StartType)
    }

    /// Changes a start type.
    pub(super) fn set_start(&mut self, set: u32, service: &str, start: StartType) -> Result<()> {
        let at = self.start_at(set, service)?;
        self.bytes[at..at + 4].copy_from_slice(&start.0.to_le_bytes());
        self.changed.extend(at..at + 4);
        Ok(())
    }

    /// The sectors to write, with their content, in three groups of which each has to be stored
    /// before the next. None if nothing was changed.
    pub(super) fn writes(&self, sector_bytes: usize) -> Vec<Vec<(usize, Vec<u8>)>> {
        if self.changed.is_empty() {
            return Vec::new();
        }
        let header = |fields: &[usize]| {
            let mut header = self.bytes[..sector_bytes].to_vec();
            for field in fields {
                let number = u32::from_le_bytes([0, 1, 2, 3].map(|index| header[field + index]));
                header[*field..field + 4].copy_from_slice(&number.wrapping_add(1).to_le_bytes());
            }
            let sum = checksum(&header);
            header[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
            vec![(0, header)]
        };
        let sectors: BTreeSet<_> = self.changed.iter().map(|at| at / sector_bytes).collect();
        let content = |sector: usize| self.bytes[sector * sector_bytes..(sector + 1) * sector_bytes].to_vec();
        let values = sectors.into_iter().map(|sector| (sector, content(sector))).collect();
        vec![header(&[BEGUN]), values, header(&[BEGUN, ENDED])]
    }

    fn start_at(&self, set: u32, service: &str) -> Result<usize> {
        self.value(&[&format!("ControlSet{set:03}"), "Services", service], "Start")
    }

    /// Offset of the four bytes of a number.
    fn value(&self, path: &[&str], name: &str) -> Result<usize> {
        let mut key = self.number(ROOT)?;
        for wanted in path {
            key = self
                .child(key, wanted)?
                .ok_or_else(|| format!("the registry has no key {}", path.join("\\")))?;
        }
        let key = self.cell(key, b"nk")?.1;
        let count = field(key, 36, 4)? as usize;
        let missing = || format!("the registry has no value {}\\{name}", path.join("\\"));
        if count == 0 {
            return Err(missing());
        }
        let list = self.cell(field(key, 40, 4)?, b"")?.1;
        for index in 0..count {
            let (value_at, value) = self.cell(field(list, index * 4, 4)?, b"vk")?;
            let one_byte = field(value, 16, 2)? & ONE_BYTE_VALUE != 0;
            if !text(value, 20, field(value, 2, 2)? as usize, one_byte)?.eq_ignore_ascii_case(name) {
                continue;
            }
            let (length, kind) = (field(value, 4, 4)?, field(value, 12, 4)?);
            let at = match length {
                _ if kind != NUMBER => return Err(missing()),
                4 => self.cell(field(value, 8, 4)?, b"")?.0,
                length if length == IN_VALUE | 4 => value_at + 8,
                _ => return Err(missing()),
            };
            return self.number(at).map(|_| at);
        }
        Err(missing())
    }

    fn child(&self, key: u32, name: &str) -> Result<Option<u32>> {
        for below in self.keys(key)? {
            if self.name(below)?.eq_ignore_ascii_case(name) {
                return Ok(Some(below));
            }
        }
        Ok(None)
    }

    fn name(&self, key: u32) -> Result<String> {
        let key = self.cell(key, b"nk")?.1;
        text(key, 76, field(key, 72, 2)? as usize, field(key, 2, 2)? & ONE_BYTE_KEY != 0)
    }

    /// Cells of the keys below a key.
    fn keys(&self, key: u32) -> Result<Vec<u32>> {
        let key = self.cell(key, b"nk")?.1;
        if field(key, 20, 4)? == 0 {
            return Ok(Vec::new());
        }
        let list = self.cell(field(key, 28, 4)?, b"")?.1;
        if !list.starts_with(b"ri") {
            return entries(list);
        }
        let mut keys = Vec::new();
        for part in entries(list)? {
            let part = self.cell(part, b"")?.1;
            // A list of lists is not one of lists of lists.
            keys.extend(if part.starts_with(b"ri") { return Err(damaged()) } else { entries(part)? });
        }
        Ok(keys)
    }

    /// The content of a cell that is in use and begins with a signature, and its offset in the
    /// hive.
    fn cell(&self, offset: u32, signature: &[u8]) -> Result<(usize, &[u8])> {
        let at = (offset as usize).checked_add(HEADER).ok_or_else(damaged)?;
        let size = self.number(at)? as i32;
        let length = size.unsigned_abs() as usize;
        let end = HEADER + self.number(CELLS)? as usize;
        let content = at.checked_add(length).filter(|stop| size < 0 && *stop <= end);
        let content = content.and_then(|stop| self.bytes.get(at + 4..stop));
        content
            .filter(|content| content.starts_with(signature))
            .map(|content| (at + 4, content))
            .ok_or_else(damaged)
    }

    fn number(&self, at: usize) -> Result<u32> {
        field(&self.bytes, at, 4)
    }
}

/// The offsets in a list of keys, or of such lists.
fn entries(list: &[u8]) -> Result<Vec<u32>> {
    let step = match list.get(..2) {
        Some(b"lf" | b"lh") => 8,
        Some(b"li" | b"ri") => 4,
        _ => return Err(damaged()),
    };
    (0..field(list, 2, 2)? as usize).map(|index| field(list, 4 + index * step, 4)).collect()
}

/// A little-endian number of `length` bytes, at most four.
fn field(bytes: &[u8], at: usize, length: usize) -> Result<u32> {
    let found = at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or_else(damaged)?;
    Ok(found.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn text(bytes: &[u8], at: usize, length: usize, one_byte: bool) -> Result<String> {
    let bytes = bytes.get(at..at + length).ok_or_else(damaged)?;
    if one_byte {
        return Ok(bytes.iter().map(|byte| char::from(*byte)).collect());
    }
    let units: Vec<_> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16(&units).map_err(|_| damaged())
}

/// The checksum of a header. Two results are never used.
fn checksum(header: &[u8]) -> u32 {
    let words = header[..CHECKSUM].chunks_exact(4);
    let sum = words.fold(0, |sum, word| sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

fn damaged() -> String {
    "the registry hive is damaged".to_owned()
}

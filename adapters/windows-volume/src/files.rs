//! NTFS, as far as finding the bytes of a file needs it: the table of files, the names in it, and
//! the runs of clusters that a file's data has.

use std::collections::HashMap;
use std::ops::Range;

use crate::{SYSTEM_HIVE, VolumeError};

/// Number of the root directory in the table of files.
const ROOT: u64 = 5;
/// Attributes of a file, by their type.
pub(crate) mod attribute {
    pub(crate) const LIST: u32 = 0x20;
    pub(crate) const NAME: u32 = 0x30;
    pub(crate) const VOLUME: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const END: u32 = 0xffff_ffff;
}
/// Unit of the check words in a record of the table, in bytes.
const CHECKED: usize = 512;
/// Data that is compressed, encrypted or sparse.
const ENCODED: u16 = 0xc001;
/// Names of the DOS namespace are second names.
const DOS: u8 = 2;

/// Where the bytes of a file are on its volume, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(pub Vec<Range<u64>>);

impl Extents {
    /// The place on the volume of the byte at `offset` in the file.
    #[must_use]
    pub fn place(&self, mut offset: u64) -> Option<u64> {
        for extent in &self.0 {
            let length = extent.end - extent.start;
            if offset < length {
                return Some(extent.start + offset);
            }
            offset -= length;
        }
        None
    }

    fn read(&self, volume: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for extent in &self.0 {
            bytes.extend_from_slice(slice(volume, extent)?);
        }
        Some(bytes)
    }
}

/// The hive SYSTEM on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemHive {
    /// Where it is.
    pub extents: Extents,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl SystemHive {
    /// Finds the hive on a volume.
    ///
    /// # Errors
    /// The volume is no NTFS that can be read, or has no such file.
    pub fn find(volume: &[u8]) -> Result<Self, VolumeError> {
        let files = Files::read(volume)?;
        let extents = files.extents(files.number(SYSTEM_HIVE)?)?;
        let bytes = extents.read(volume).ok_or_else(|| damaged("the hive lies outside of it"))?;
        Ok(Self { extents, bytes })
    }
}

pub(crate) fn damaged(what: &str) -> VolumeError {
    VolumeError::Ntfs(what.to_owned())
}

/// The table of files of a volume.
pub(crate) struct Files<'a> {
    volume: &'a [u8],
    cluster: u64,
    record_bytes: usize,
    table: Extents,
    /// Files by their directory and their name in upper case.
    names: HashMap<(u64, String), u64>,
}

impl<'a> Files<'a> {
    pub(crate) fn read(volume: &'a [u8]) -> Result<Self, VolumeError> {
        if volume.get(3..11) != Some(b"NTFS    ") {
            return Err(damaged("it does not begin as NTFS does"));
        }
        let sector = u64::from(number(volume, 11, 2)? as u16);
        let byte = |at| number(volume, at, 1).map(|byte| byte as u8);
        let cluster = sector.saturating_mul(power_or_count(byte(13)?, 1));
        let record_bytes = power_or_count(byte(64)?, cluster);
        if cluster == 0
            || !(1024..=4096).contains(&record_bytes)
            || !record_bytes.is_multiple_of(CHECKED as u64)
        {
            return Err(damaged("its sizes are impossible"));
        }
        let first =
            number(volume, 48, 8)?.checked_mul(cluster).ok_or_else(|| damaged("no table of files"))?;
        let first = first..first.saturating_add(record_bytes);
        let record_bytes = record_bytes as usize;
        let mut files =
            Self { volume, cluster, record_bytes, table: Extents(vec![first]), names: HashMap::new() };
        files.table = files.extents(0)?;
        files.names = files.names();
        Ok(files)
    }

    /// Number of a file by its path.
    pub(crate) fn number(&self, path: &str) -> Result<u64, VolumeError> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.names.get(&(at, name.to_uppercase()));
            at = *found.ok_or_else(|| VolumeError::NoFile(path.to_owned()))?;
        }
        Ok(at)
    }

    fn names(&self) -> HashMap<(u64, String), u64> {
        let bytes: u64 = self.table.0.iter().map(|extent| extent.end - extent.start).sum();
        let mut names = HashMap::new();
        for file in 0..bytes / self.record_bytes as u64 {
            // Records that are not in use need not make sense.
            let Ok(record) = self.record(file) else { continue };
            let Ok(attributes) = attributes(&record) else { continue };
            for found in attributes.iter().filter(|found| found.kind == attribute::NAME) {
                if let Some((directory, name)) = found.value(&record).and_then(named) {
                    names.insert((directory, name), file);
                }
            }
        }
        names
    }

    /// The record of a file that exists, with its check words replaced by what they stand for.
    fn record(&self, file: u64) -> Result<Vec<u8>, VolumeError> {
        let missing = || damaged("a file has no record");
        let bytes = self.record_extents(file).and_then(|extents| extents.read(self.volume));
        let mut record = bytes.ok_or_else(missing)?;
        let in_use = number(&record, 22, 2)? & 1 == 1;
        if !record.starts_with(b"FILE") || !in_use {
            return Err(missing());
        }
        let words = number(&record, 4, 2)? as usize;
        let torn = || damaged("a record of a file was not written as a whole");
        let check = record.get(words..words + 2).ok_or_else(torn)?.to_vec();
        for index in 0..self.record_bytes / CHECKED {
            let stands_for = words + 2 + 2 * index;
            let original = record.get(stands_for..stands_for + 2).ok_or_else(torn)?.to_vec();
            let end = (index + 1) * CHECKED;
            if record[end - 2..end] != check[..] {
                return Err(torn());
            }
            record[end - 2..end].copy_from_slice(&original);
        }
        Ok(record)
    }

    /// Where the record of a file is.
    pub(crate) fn record_extents(&self, file: u64) -> Option<Extents> {
        let offset = file.checked_mul(self.record_bytes as u64)?;
        let sectors = (0..self.record_bytes / CHECKED).map(|index| {
            let start = self.table.place(offset.checked_add((index * CHECKED) as u64)?)?;
            Some(start..start + CHECKED as u64)
        });
        sectors.collect::<Option<_>>().map(Extents)
    }

    /// The value of an attribute that is in a file's record, and its offset there.
    pub(crate) fn resident(&self, file: u64, kind: u32) -> Result<(u64, Vec<u8>), VolumeError> {
        let record = self.record(file)?;
        let attributes = attributes(&record)?;
        let found = attributes.iter().find(|found| found.kind == kind);
        let value = found.and_then(|found| Some((found.start as u64, found.value(&record)?.to_vec())));
        value.ok_or_else(|| damaged("a record lacks an attribute"))
    }

    /// Where the data of a file is, without what is behind its end.
    pub(crate) fn extents(&self, file: u64) -> Result<Extents, VolumeError> {
        let record = self.record(file)?;
        let attributes = attributes(&record)?;
        if attributes.iter().any(|found| found.kind == attribute::LIST) {
            return Err(damaged("a file has more runs than fit into its record"));
        }
        let data = attributes.iter().find(|found| found.kind == attribute::DATA && found.unnamed);
        let data = data.ok_or_else(|| damaged("a file has no data"))?;
        if data.resident {
            let at = data.start as u64..(data.start + data.length) as u64;
            let record = self.record_extents(file).and_then(|record| record.place(at.start));
            let start = record.ok_or_else(|| damaged("a file has no record"))?;
            let whole = start..start + (at.end - at.start);
            return Ok(Extents(std::iter::once(whole).collect()));
        }
        let header = record.get(data.header.clone()).unwrap_or_default();
        let [flags, runs, size, written] =
            [(12, 2), (32, 2), (48, 8), (56, 8)].map(|(at, length)| number(header, at, length));
        if flags? as u16 & ENCODED != 0 || written? != size.clone()? {
            return Err(damaged("a file is compressed, encrypted or sparse"));
        }
        self.runs(header.get(runs? as usize..).unwrap_or_default(), size?)
    }

    /// Decodes runs of clusters, up to `size` bytes.
    fn runs(&self, mut code: &[u8], size: u64) -> Result<Extents, VolumeError> {
        let wrong = || damaged("the runs of a file are damaged");
        if size > self.volume.len() as u64 {
            // Runs may overlap, so that few of them can claim any size.
            return Err(damaged("a file is larger than the volume"));
        }
        let (mut extents, mut cluster, mut left) = (Vec::new(), 0_i64, size);
        while left > 0 {
            let (&header, rest) = code.split_first().ok_or_else(wrong)?;
            let (counted, moved) = (usize::from(header & 0xf), usize::from(header >> 4));
            if !(1..=8).contains(&counted) || !(1..=8).contains(&moved) {
                return Err(wrong());
            }
            let clusters = number(rest, 0, counted)?;
            let step = signed(number(rest, counted, moved)?, moved);
            cluster = cluster.checked_add(step).ok_or_else(wrong)?;
            let start = u64::try_from(cluster).ok().and_then(|at| at.checked_mul(self.cluster));
            let length = clusters.checked_mul(self.cluster).ok_or_else(wrong)?.min(left);
            let start = start.ok_or_else(wrong)?;
            let extent = start..start.checked_add(length).ok_or_else(wrong)?;
            if extent.is_empty() || slice(self.volume, &extent).is_none() {
                return Err(wrong());
            }
            extents.push(extent);
            left -= length;
            code = rest.get(counted + moved..).unwrap_or_default();
        }
        Ok(Extents(extents))
    }
}

/// An attribute of a file's record.
struct Attribute {
    kind: u32,
    unnamed: bool,
    resident: bool,
    /// The attribute in the record.
    header: Range<usize>,
    /// The value in the record, if it is resident.
    start: usize,
    length: usize,
}

impl Attribute {
    fn value<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        self.resident.then(|| record.get(self.start..self.start.checked_add(self.length)?))?
    }
}

fn attributes(record: &[u8]) -> Result<Vec<Attribute>, VolumeError> {
    let mut found = Vec::new();
    let mut at = number(record, 20, 2)? as usize;
    loop {
        let kind = number(record, at, 4)? as u32;
        if kind == attribute::END {
            return Ok(found);
        }
        let length = number(record, at + 4, 4)? as usize;
        let header = record.get(at..at.saturating_add(length)).filter(|header| header.len() >= 24);
        let header = header.ok_or_else(|| damaged("an attribute is longer than its record"))?;
        let resident = header[8] == 0;
        found.push(Attribute {
            kind,
            unnamed: header[9] == 0,
            resident,
            header: at..at + length,
            start: at + number(header, 20, 2)? as usize,
            length: number(header, 16, 4)? as usize,
        });
        at += length;
    }
}

/// The directory and the name, in upper case, of a name attribute.
fn named(value: &[u8]) -> Option<(u64, String)> {
    let directory = number(value, 0, 6).ok()?;
    let (length, space) = (usize::from(*value.get(64)?), *value.get(65)?);
    let units = value.get(66..66 + 2 * length)?.chunks_exact(2);
    let name =
        String::from_utf16(&units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect::<Vec<_>>());
    (space != DOS).then_some((directory, name.ok()?.to_uppercase()))
}

/// A little-endian number of `length` bytes, at most eight.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<u64, VolumeError> {
    let found = bytes.get(at..at.saturating_add(length)).ok_or_else(|| damaged("a structure is cut off"))?;
    Ok(found.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A number of `length` bytes whose highest bit is its sign.
fn signed(number: u64, length: usize) -> i64 {
    let unused = 64 - 8 * length;
    (number << unused) as i64 >> unused
}

/// A size that the boot sector states as a count of `unit`, or, if negative, as a power of two.
fn power_or_count(byte: u8, unit: u64) -> u64 {
    let signed = byte as i8;
    match signed {
        ..0 => 1_u64.checked_shl(u32::from(signed.unsigned_abs())).unwrap_or(0),
        _ => unit.saturating_mul(u64::from(byte)),
    }
}

fn slice<'a>(volume: &'a [u8], range: &Range<u64>) -> Option<&'a [u8]> {
    volume.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

//! The landing log: transfers that are received and not yet recovery points.
//!
//! Each transfer is one file: a magic number, then extents (disk, offset, length, BLAKE3 of
//! everything but the length, data), then an end mark with the number of extents. A complete file
//! has its final name. A file with a working name is an interrupted transfer, which the next
//! attempt overwrites.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use contract::{CoreError, ErrorCode, ItemId};

use crate::fault_hook::Extent;

const MAGIC: &[u8; 8] = b"RTLAND01";
const EXTENT: u8 = 1;
const END: u8 = 2;
/// Upper limit of an extent's length in bytes. A file with a longer extent is damaged.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Writes one transfer.
pub struct Writer {
    file: BufWriter<File>,
    working: PathBuf,
    finished: PathBuf,
    count: u64,
    bytes: u64,
}

/// Name of an item's directory in the landing log; unique for each item.
pub(crate) fn directory_name(item: &ItemId) -> String {
    let mut name = String::new();
    for c in item.0.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => name.push(c),
            // Writing to a string cannot fail.
            other => drop(write!(name, "_{:x}_", u32::from(other))),
        }
    }
    name
}

/// Path of transfer `number` in an item's directory.
#[must_use]
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.landed"))
}

impl Writer {
    /// Begins transfer `number` in an item's directory, which is made if there is none.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn create(dir: &Path, number: u64) -> std::io::Result<Self> {
        if !dir.exists() {
            std::fs::create_dir_all(dir)?;
            // Else a power loss could take the directory from under a transfer that is recorded.
            dir.ancestors().skip(1).take(2).try_for_each(sync_entries)?;
        }
        let finished = path(dir, number);
        let working = finished.with_extension("receiving");
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&working)?);
        file.write_all(MAGIC)?;
        Ok(Self { file, working, finished, count: 0, bytes: 0 })
    }

    /// Adds an extent: index of the disk in the machine, first byte, content.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, disk: usize, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write_all(&[EXTENT])?;
        for number in [disk as u64, offset, data.len() as u64] {
            self.file.write_all(&number.to_le_bytes())?;
        }
        self.file.write_all(digest(disk as u64, offset, data).as_bytes())?;
        self.file.write_all(data)?;
        self.count += 1;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Makes the transfer durable and gives it its final name. Returns the number of content bytes.
    ///
    /// # Errors
    /// The file cannot be written, synchronised or renamed.
    pub fn seal(mut self) -> std::io::Result<u64> {
        self.file.write_all(&[END])?;
        self.file.write_all(&self.count.to_le_bytes())?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_data()?;
        std::fs::rename(&self.working, &self.finished)?;
        self.finished.parent().map_or(Ok(()), sync_entries)?;
        Ok(self.bytes)
    }
}

/// Makes the names in a directory durable.
fn sync_entries(dir: &Path) -> std::io::Result<()> {
    // The parent of a relative path may be the working directory.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Reads a complete transfer.
pub struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    count: u64,
    ended: bool,
}

impl Reader {
    /// Opens a transfer by its path.
    ///
    /// # Errors
    /// [`ErrorCode::Store`]: the file cannot be read, or is no transfer.
    pub fn open(path: &Path) -> Result<Self, CoreError> {
        let file = File::open(path).map_err(|e| damaged(path, &e.to_string()))?;
        let mut reader = Self {
            file: BufReader::with_capacity(1 << 20, file),
            path: path.to_owned(),
            count: 0,
            ended: false,
        };
        let mut magic = [0; 8];
        reader.fill(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged(path, "it has no landing log header"));
        }
        Ok(reader)
    }

    /// The next extent; `None` after the end mark.
    ///
    /// # Errors
    /// [`ErrorCode::Store`]: the file is truncated or altered.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Extent>, CoreError> {
        if self.ended {
            return Ok(None);
        }
        let mut kind = [0];
        self.fill(&mut kind)?;
        match kind[0] {
            EXTENT => self.extent().map(Some),
            END if self.number()? == self.count => {
                self.ended = true;
                Ok(None)
            }
            _ => Err(damaged(&self.path, &format!("extent {} has an unknown type", self.count + 1))),
        }
    }

    fn extent(&mut self) -> Result<Extent, CoreError> {
        self.count += 1;
        let disk = self.number()?;
        let offset = self.number()?;
        let length = self.number()?;
        if length > LONGEST {
            return Err(damaged(
                &self.path,
                &format!("extent {} has an impossible length of {length} bytes", self.count),
            ));
        }
        let mut hash = [0; 32];
        self.fill(&mut hash)?;
        let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(&mut data)?;
        if digest(disk, offset, &data) != blake3::Hash::from_bytes(hash) {
            return Err(damaged(&self.path, &format!("extent {} does not match its checksum", self.count)));
        }
        Ok(Extent { disk: usize::try_from(disk).unwrap_or(usize::MAX), offset, data })
    }

    fn number(&mut self) -> Result<u64, CoreError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), CoreError> {
        self.file.read_exact(buffer).map_err(|e| damaged(&self.path, &e.to_string()))
    }
}

/// Checksum of an extent's position and content.
fn digest(disk: u64, offset: u64, data: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&disk.to_le_bytes()).update(&offset.to_le_bytes()).update(data);
    hasher.finalize()
}

fn damaged(path: &Path, what: &str) -> CoreError {
    CoreError::new(ErrorCode::Store, format!("landing log {}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(dir: &Path) -> PathBuf {
        let mut writer = Writer::create(dir, 1).unwrap();
        writer.push(0, 0, b"one").unwrap();
        writer.push(1, 4096, b"two").unwrap();
        assert_eq!(writer.seal().unwrap(), 6);
        path(dir, 1)
    }

    fn read(path: &Path) -> Result<Vec<Extent>, CoreError> {
        let mut reader = Reader::open(path)?;
        let mut all = Vec::new();
        while let Some(extent) = reader.next()? {
            all.push(extent);
        }
        Ok(all)
    }

    #[test]
    fn a_transfer_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let extents = read(&sealed(dir.path())).unwrap();
        assert_eq!(extents[1], Extent { disk: 1, offset: 4096, data: b"two".to_vec() });
        assert_eq!(extents.len(), 2);
    }

    #[test]
    fn a_transfer_truncated_or_altered_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = sealed(dir.path());
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "truncated at {length}");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0x40;
            std::fs::write(&path, &altered).unwrap();
            assert!(read(&path).is_err(), "altered at {at}");
        }
    }
}

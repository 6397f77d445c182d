//! Fixed VHDs, in which Azure exchanges disks: the content of the disk, and a footer of one sector.
//!
//! Azure imports and exports disks only as fixed VHDs with a virtual size in whole MiB. QEMU writes
//! the file; [`verify`] parses the footer independently, so that errors of the writer are found.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use camino::{Utf8Path, Utf8PathBuf};
use contract::{PlatformError, PlatformErrorKind as Kind, VolumeId};
use harness::oracle::{RawSource, SectorSource, compare};
use harness::tools::{self, Format};

use crate::StandInSite;

/// Virtual sizes are multiples of this.
pub const ALIGNMENT: u64 = 1 << 20;
/// Size of the footer in bytes.
const FOOTER: u64 = 512;
/// The first bytes of every VHD footer.
const COOKIE: &[u8; 8] = b"conectix";
/// Version 1.0, the only one.
const VERSION: u32 = 0x0001_0000;
/// The disk type of a fixed VHD.
const FIXED: u32 = 2;
/// Position of the checksum in the footer.
const CHECKSUM: Range<usize> = 64..68;

/// Why a file is not a fixed VHD that Azure can import.
#[derive(Debug, thiserror::Error)]
pub enum VhdError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: Utf8PathBuf,
        /// The error that the system returned.
        error: io::Error,
    },
    /// The footer or the size is wrong.
    #[error(
        "{path} is not a fixed VHD that can be imported: {what} is {found}, must be {wanted}; export the disk again"
    )]
    Wrong {
        /// The file.
        path: Utf8PathBuf,
        /// The field.
        what: &'static str,
        /// Its value.
        found: String,
        /// The value that it must have.
        wanted: String,
    },
}

/// A fixed VHD with a valid footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedVhd {
    /// The file.
    pub path: Utf8PathBuf,
    /// Virtual size in bytes: a multiple of [`ALIGNMENT`].
    pub bytes: u64,
}

/// Copies a disk of `bytes` bytes, with all volumes below it, to a fixed VHD at `to`. The size is
/// rounded up to [`ALIGNMENT`] with zeroes.
///
/// # Errors
/// The image cannot be read or the file cannot be written.
pub async fn export(image: &Utf8Path, format: Format, bytes: u64, to: &Utf8Path) -> harness::Result<()> {
    if bytes.is_multiple_of(ALIGNMENT) {
        return write_fixed(image, format, to).await;
    }
    let padded = to.with_extension("padded");
    tools::convert(image, format, &padded, Format::Raw).await?;
    let grown = File::options().write(true).open(&padded);
    grown
        .and_then(|file| file.set_len(bytes.next_multiple_of(ALIGNMENT)))
        .map_err(harness::Error::file(&padded))?;
    let written = write_fixed(&padded, Format::Raw, to).await;
    std::fs::remove_file(&padded).map_err(harness::Error::file(&padded))?;
    written
}

/// Converts an image to a fixed VHD. Without `force_size` QEMU would round the size to cylinders.
async fn write_fixed(image: &Utf8Path, format: Format, to: &Utf8Path) -> harness::Result<()> {
    let options = ["-O", "vpc", "-o", "subformat=fixed,force_size=on"];
    let mut arguments = vec!["convert", "-q", "-f", format.name()];
    arguments.extend(options);
    arguments.extend([image.as_str(), to.as_str()]);
    tools::run("qemu-img", &arguments).await.map(drop)
}

/// Verifies the footer: cookie, version, disk type, checksum, and a size that is aligned and equals
/// the file's.
///
/// # Errors
/// The file cannot be read, or the footer is invalid.
pub fn verify(path: &Utf8Path) -> Result<FixedVhd, VhdError> {
    let failed = |error| VhdError::File { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let wrong = |what, found: String, wanted: String| {
        Err(VhdError::Wrong { path: path.to_owned(), what, found, wanted })
    };
    let Some(content) = length.checked_sub(FOOTER) else {
        return wrong("the file's length", format!("{length} bytes"), format!("at least {FOOTER} bytes"));
    };
    let mut footer = [0; FOOTER as usize];
    file.read_exact_at(&mut footer, content).map_err(failed)?;
    if footer[..8] != *COOKIE {
        let found = String::from_utf8_lossy(&footer[..8]).into_owned();
        return wrong("the cookie", format!("{found:?}"), "\"conectix\"".to_owned());
    }
    let sum = checksum(&footer);
    for (what, found, wanted) in [
        ("the checksum", number(&footer, CHECKSUM.start), sum),
        ("the version", number(&footer, 12), VERSION),
        ("the disk type", number(&footer, 60), FIXED),
    ] {
        if found != wanted {
            return wrong(what, format!("{found:#x}"), format!("{wanted:#x}"));
        }
    }
    let bytes = u64::from(number(&footer, 48)) << 32 | u64::from(number(&footer, 52));
    if bytes != content {
        return wrong(
            "the virtual size",
            format!("{bytes} bytes"),
            format!("{content} bytes, the file's content"),
        );
    }
    if bytes == 0 || !bytes.is_multiple_of(ALIGNMENT) {
        return wrong("the virtual size", format!("{bytes} bytes"), "a multiple of 1 MiB".to_owned());
    }
    Ok(FixedVhd { path: path.to_owned(), bytes })
}

/// A big-endian number in the footer.
fn number(footer: &[u8; FOOTER as usize], at: usize) -> u32 {
    footer[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The complement of the sum of all bytes except the checksum.
fn checksum(footer: &[u8; FOOTER as usize]) -> u32 {
    let counted = footer.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
    !counted.map(|(_, byte)| u32::from(*byte)).sum::<u32>()
}

impl FixedVhd {
    /// The first sector in which its content differs from `disk`; the padding up to the alignment
    /// must be zeroes.
    ///
    /// # Errors
    /// One of them cannot be read, or `disk` is larger.
    pub fn differs_from(&self, disk: &dyn SectorSource) -> io::Result<Option<u64>> {
        let raw = RawSource::open(self.path.as_std_path()).map_err(io::Error::other)?;
        if disk.bytes().next_multiple_of(ALIGNMENT) != self.bytes {
            let text = format!("{} holds {} bytes, the disk {}", self.path, self.bytes, disk.bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        compare(&Window { source: &raw, bytes: self.bytes }, &Window { source: disk, bytes: self.bytes })
    }
}

/// A disk resized to `bytes` bytes: truncated if it is longer, padded with zeroes if it is shorter.
struct Window<'a> {
    source: &'a dyn SectorSource,
    bytes: u64,
}

impl SectorSource for Window<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let there = self.source.bytes().saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[there..].fill(0);
        if there == 0 { Ok(()) } else { self.source.read_at(offset, &mut buf[..there]) }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= self.source.bytes() {
            return Ok(None);
        }
        let data = self.source.next_data(offset)?.filter(|data| data.start < self.bytes);
        Ok(data.map(|data| data.start..data.end.min(self.bytes)))
    }
}

impl StandInSite {
    /// Exports a managed disk as a fixed VHD at `to`, and verifies its footer.
    ///
    /// # Errors
    /// The platform has no managed disks, the volume is unknown or in use, or the file cannot be
    /// written or is invalid.
    pub async fn export_vhd(&self, volume: &VolumeId, to: &Utf8Path) -> Result<FixedVhd, PlatformError> {
        if !self.profile().kind.profile().managed_disks {
            let text = "only managed disks are exported as VHDs; convert this platform's disk instead";
            return Err(self.refuse(Kind::Failed, text));
        }
        let _no_merge = self.merging.lock().await;
        let record = self.volume_record(volume).await?;
        if self.state.lock().await.running_on(volume).is_some() {
            let text = format!("volume {volume} is in use by a running machine; shut that down first");
            return Err(self.refuse(Kind::WrongPowerState, text));
        }
        export(&record.path, record.format, record.bytes, to).await.map_err(self.failed("export a VHD"))?;
        verify(to).map_err(|error| self.refuse(Kind::Failed, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::oracle::Qcow2Source;

    /// A chain of two images of `bytes` bytes, with content in both.
    async fn chain(dir: &Utf8Path, bytes: u64) -> Utf8PathBuf {
        let (base, top) = (dir.join("base.qcow2"), dir.join("top.qcow2"));
        tools::create(&base, Format::Qcow2, bytes).await.unwrap();
        write(&base, "write -P 0x11 4k 128k").await;
        tools::create_delta(&top, &base, Format::Qcow2).await.unwrap();
        write(&top, "write -P 0x22 64k 4k").await;
        write(&top, &format!("write -P 0x33 {} 512", bytes - 512)).await;
        top
    }

    async fn write(image: &Utf8Path, command: &str) {
        tools::run("qemu-io", &["-f", "qcow2", "-c", command, image.as_str()]).await.unwrap();
    }

    fn dir() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn a_chain_is_exported_completely_and_in_whole_mebibytes() {
        for bytes in [3 * ALIGNMENT, 2 * ALIGNMENT + 1536] {
            let (_keep, dir) = dir();
            let top = chain(&dir, bytes).await;
            let to = dir.join("disk.vhd");
            export(&top, Format::Qcow2, bytes, &to).await.unwrap();
            let vhd = verify(&to).unwrap();
            assert_eq!(vhd.bytes, 3 * ALIGNMENT);
            let disk = Qcow2Source::open(top.as_std_path()).unwrap();
            assert_eq!(vhd.differs_from(&disk).unwrap(), None);
            assert!(!to.with_extension("padded").exists());
        }
    }

    #[tokio::test]
    async fn the_first_sector_that_differs_is_reported() {
        let (_keep, dir) = dir();
        let top = chain(&dir, 2 * ALIGNMENT).await;
        let to = dir.join("disk.vhd");
        export(&top, Format::Qcow2, 2 * ALIGNMENT, &to).await.unwrap();
        File::options().write(true).open(&to).unwrap().write_all_at(&[9], 64 * 1024 + 700).unwrap();
        let disk = Qcow2Source::open(top.as_std_path()).unwrap();
        assert_eq!(verify(&to).unwrap().differs_from(&disk).unwrap(), Some(129));
    }

    #[tokio::test]
    async fn each_invalid_field_of_the_footer_is_named() {
        let (_keep, dir) = dir();
        let top = chain(&dir, ALIGNMENT).await;
        let good = dir.join("good.vhd");
        export(&top, Format::Qcow2, ALIGNMENT, &good).await.unwrap();
        let bytes = std::fs::read(&good).unwrap();
        let at = ALIGNMENT as usize;
        for (spoilt, named) in [(0, "the cookie"), (67, "the checksum"), (200, "the checksum")] {
            let mut bytes = bytes.clone();
            bytes[at + spoilt] ^= 1;
            assert!(objection(&dir, &bytes).contains(named), "{spoilt}");
        }
        // With a valid checksum, the field itself is named.
        for (spoilt, named) in [(13, "the version"), (63, "the disk type"), (53, "the virtual size")] {
            let mut bytes = bytes.clone();
            bytes[at + spoilt] ^= 1;
            let footer: [u8; FOOTER as usize] = bytes[at..].try_into().unwrap();
            bytes[at + 64..at + 68].copy_from_slice(&checksum(&footer).to_be_bytes());
            assert!(objection(&dir, &bytes).contains(named), "{spoilt}");
        }
        assert!(objection(&dir, &bytes[512..]).contains("the virtual size"));
        assert!(objection(&dir, &bytes[..100]).contains("length"));
    }

    #[tokio::test]
    async fn a_size_in_fractions_of_a_mebibyte_and_a_dynamic_vhd_are_refused() {
        let (_keep, dir) = dir();
        let odd = dir.join("odd.raw");
        tools::create(&odd, Format::Raw, ALIGNMENT + 512).await.unwrap();
        let to = dir.join("odd.vhd");
        write_fixed(&odd, Format::Raw, &to).await.unwrap();
        assert!(verify(&to).unwrap_err().to_string().contains("a multiple of 1 MiB"));
        let dynamic = dir.join("dynamic.vhd");
        tools::run("qemu-img", &["create", "-q", "-f", "vpc", dynamic.as_str(), "2M"]).await.unwrap();
        assert!(verify(&dynamic).unwrap_err().to_string().contains("the disk type"));
    }

    fn objection(dir: &Utf8Path, bytes: &[u8]) -> String {
        let path = dir.join("spoilt.vhd");
        std::fs::write(&path, bytes).unwrap();
        verify(&path).unwrap_err().to_string()
    }
}

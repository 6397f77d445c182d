//! Reads qcow2 chains without QEMU, through the crate `qcow2-rs`: an independent second reader.
//!
//! The crate finds and decompresses clusters. The backing chain is followed here, because the crate
//! neither reads raw backing files nor reports short reads. It cannot write: its file access is
//! replaced by one that refuses. Its futures run on one thread per chain, so that a panic there
//! becomes an error.
//!
//! QEMU's image locks are not taken here: never open an image that a running QEMU writes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use qcow2_rs::dev::{Qcow2Dev, Qcow2DevParams};
use qcow2_rs::error::Qcow2Result;
use qcow2_rs::meta::{MappingSource, Qcow2Header};
use qcow2_rs::ops::Qcow2IoOps;
use tokio::runtime::Runtime;

use super::qcow2_header::{HEADER_BYTES, Header, damaged};
use super::source::check_range;
use super::{RawSource, SECTOR_BYTES, SectorSource, SourceError};

/// A chain longer than this is assumed to be circular.
const MAX_CHAIN: usize = 256;
/// Longest header that `qcow2-rs` parses.
const MAX_HEADER_BYTES: u64 = 1 << 16;

/// A qcow2 image with all its backing files, raw or qcow2.
///
/// A backing file shorter than its overlay reads as zeroes past its end, as in QEMU. A relative
/// backing path is relative to the overlay's directory.
#[derive(Debug)]
pub struct Qcow2Source {
    bytes: u64,
    requests: Mutex<Sender<Request>>,
}

enum Request {
    Read { offset: u64, len: usize, answer: Sender<io::Result<Vec<u8>>> },
    NextData { offset: u64, answer: Sender<io::Result<Option<Range<u64>>>> },
}

impl Qcow2Source {
    /// Opens the chain whose top is `path`, for reading.
    ///
    /// # Errors
    /// A file of the chain cannot be read, is damaged, or uses features that this reader does not
    /// support; the error names that file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let (requests, inbox) = channel();
        let (ready, opened) = channel();
        let failed = |source| SourceError::Io { path: path.to_owned(), source };
        let top = path.to_owned();
        thread::Builder::new()
            .name("qcow2-reader".into())
            .spawn(move || serve(&top, &ready, &inbox))
            .map_err(failed)?;
        let died = |_| failed(io::Error::other("the reader's thread ended"));
        let bytes = opened.recv().map_err(died)??;
        Ok(Self { bytes, requests: Mutex::new(requests) })
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<io::Result<T>>) -> Request) -> io::Result<T> {
        let (answer, answered) = channel();
        let ended = || io::Error::other("the qcow2 reader's thread ended");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.send(request(answer)).map_err(|_| ended())?;
        drop(requests);
        answered.recv().map_err(|_| ended())?
    }
}

impl SectorSource for Qcow2Source {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.bytes, offset, buf.len())?;
        let len = buf.len();
        let found = self.ask(|answer| Request::Read { offset, len, answer })?;
        buf.copy_from_slice(&found);
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.ask(|answer| Request::NextData { offset, answer })
    }
}

/// Body of the reader thread: opens the chain, then answers requests until the source is dropped.
fn serve(path: &Path, ready: &Sender<Result<u64, SourceError>>, inbox: &Receiver<Request>) {
    let opened = guarded(|| open_all(path).map_err(|e| io::Error::other(Box::new(e))));
    let mut chain = match opened {
        Ok(chain) => chain,
        Err(error) => {
            // The receiver is gone only if the opener gave up.
            let _ = ready.send(Err(unwrap_source(path, error)));
            return;
        }
    };
    let _ = ready.send(Ok(chain.layers.bytes()));
    for request in inbox {
        match request {
            Request::Read { offset, len, answer } => {
                let _ = answer.send(guarded(|| chain.read(offset, len)));
            }
            Request::NextData { offset, answer } => {
                let _ = answer.send(guarded(|| chain.next_data(offset)));
            }
        }
    }
}

/// Turns a panic of the crate into an error.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        Err(damaged(format!("the qcow2 reader panicked: {said}")))
    })
}

fn unwrap_source(path: &Path, error: io::Error) -> SourceError {
    match error.downcast::<Box<SourceError>>() {
        Ok(error) => *error,
        Err(error) => SourceError::Unusable { path: path.to_owned(), what: error.to_string() },
    }
}

fn open_all(path: &Path) -> Result<Chain, SourceError> {
    let failed = |source| SourceError::Io { path: path.to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(failed)?;
    let layers = Layer::open(path, &runtime, MAX_CHAIN)?;
    Ok(Chain { runtime, layers })
}

struct Chain {
    runtime: Runtime,
    layers: Layer,
}

impl Chain {
    fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; len];
        self.layers.read(&self.runtime, offset, &mut buf)?;
        Ok(buf)
    }

    /// Ranges of whole clusters of the top image; the holes of a backing file are taken into
    /// account.
    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let end = self.layers.bytes();
        let mut at = offset;
        while at < end {
            let (data, until) = self.layers.extent(&self.runtime, at)?;
            if data {
                return Ok(Some(at..until.min(end)));
            }
            at = until;
        }
        Ok(None)
    }
}

/// One file of a chain, with those below it.
enum Layer {
    Raw(RawSource),
    Qcow2(Box<Image>),
}

struct Image {
    path: PathBuf,
    dev: Qcow2Dev<ReadOnlyFile>,
    disk_bytes: u64,
    cluster_bytes: u64,
    backing: Option<Layer>,
}

impl Layer {
    fn open(path: &Path, runtime: &Runtime, depth: usize) -> Result<Self, SourceError> {
        let unusable = |what: String| SourceError::Unusable { path: path.to_owned(), what };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(unusable(format!("the backing chain has more than {MAX_CHAIN} files")));
        };
        let io =
            ReadOnlyFile::open(path).map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
        let (disk_bytes, cluster_bytes) = io.check_header().map_err(unusable)?;
        let header = io.header().map_err(unusable)?;
        let backing = match header.backing_filename() {
            None => None,
            Some(name) => Some(Self::open_backing(path, name, header.backing_format(), runtime, depth)?),
        };
        let params = Qcow2DevParams::new(9, None, None, true, false);
        let dev = Qcow2Dev::new(path, header, &params, io).map_err(|e| unusable(e.to_string()))?;
        runtime.block_on(dev.qcow2_prep_io()).map_err(|e| unusable(e.to_string()))?;
        let path = path.to_owned();
        Ok(Self::Qcow2(Box::new(Image { path, dev, disk_bytes, cluster_bytes, backing })))
    }

    fn open_backing(
        overlay: &Path,
        name: &str,
        format: Option<&String>,
        runtime: &Runtime,
        depth: usize,
    ) -> Result<Self, SourceError> {
        let unusable = |what: String| SourceError::Unusable { path: overlay.to_owned(), what };
        let file = name.strip_prefix("file:").unwrap_or(name);
        if file.split('/').next().is_some_and(|start| start.contains(':')) {
            return Err(unusable(format!("the backing name {name:?} is not a path")));
        }
        let path = overlay.parent().unwrap_or(Path::new("")).join(file);
        match format.map(String::as_str) {
            Some("qcow2") => Self::open(&path, runtime, depth),
            Some("raw") => Ok(Self::Raw(RawSource::open(&path)?)),
            Some(other) => {
                Err(unusable(format!("a backing file of format {other:?}; raw and qcow2 are read")))
            }
            // Probing would let a guest turn a raw disk into a qcow2 image by writing a header to
            // it.
            None => Err(unusable("the format of the backing file is not recorded".into())),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Raw(raw) => raw.bytes(),
            Self::Qcow2(image) => image.disk_bytes,
        }
    }

    /// Fills `buf`; past the end of this layer with zeroes.
    fn read(&self, runtime: &Runtime, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let there = self.bytes().saturating_sub(offset).min(buf.len() as u64) as usize;
        let (buf, beyond) = buf.split_at_mut(there);
        beyond.fill(0);
        match self {
            _ if buf.is_empty() => Ok(()),
            Self::Raw(raw) => raw.read_at(offset, buf),
            Self::Qcow2(image) => image.read(runtime, offset, buf).map_err(|e| image.named(e)),
        }
    }

    /// Whether there may be data at `at`, and the byte up to which the answer applies.
    fn extent(&self, runtime: &Runtime, at: u64) -> io::Result<(bool, u64)> {
        match self {
            _ if at >= self.bytes() => Ok((false, u64::MAX)),
            Self::Raw(raw) => Ok(match raw.next_data(at)? {
                Some(data) if data.start <= at => (true, data.end),
                Some(data) => (false, data.start),
                None => (false, u64::MAX),
            }),
            Self::Qcow2(image) => image.extent(runtime, at).map_err(|e| image.named(e)),
        }
    }
}

/// The source of a cluster's content.
enum Place {
    Here,
    Zeroes,
    Below,
}

impl Image {
    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }

    fn place(&self, runtime: &Runtime, at: u64) -> io::Result<Place> {
        let mapping = runtime.block_on(self.dev.get_mapping(at)).map_err(|e| io_error(&e))?;
        Ok(match mapping.source {
            MappingSource::DataFile | MappingSource::Compressed => Place::Here,
            MappingSource::Zero => Place::Zeroes,
            MappingSource::Backing | MappingSource::Unallocated => match self.backing {
                Some(_) => Place::Below,
                None => Place::Zeroes,
            },
        })
    }

    fn cluster_end(&self, at: u64) -> u64 {
        (at / self.cluster_bytes + 1) * self.cluster_bytes
    }

    fn read(&self, runtime: &Runtime, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let len = (self.cluster_end(at) - at).min(rest.len() as u64) as usize;
            let (part, after) = rest.split_at_mut(len);
            self.read_within_cluster(runtime, at, part)?;
            (at, rest) = (at + len as u64, after);
        }
        Ok(())
    }

    fn read_within_cluster(&self, runtime: &Runtime, at: u64, part: &mut [u8]) -> io::Result<()> {
        match (self.place(runtime, at)?, &self.backing) {
            (Place::Below, Some(backing)) => backing.read(runtime, at, part),
            (Place::Below | Place::Zeroes, _) => {
                part.fill(0);
                Ok(())
            }
            (Place::Here, _) => self.read_here(runtime, at, part),
        }
    }

    /// The crate reads whole sectors only, and may silently return less than was asked for.
    fn read_here(&self, runtime: &Runtime, at: u64, part: &mut [u8]) -> io::Result<()> {
        let start = at / SECTOR_BYTES * SECTOR_BYTES;
        let end = (at + part.len() as u64).next_multiple_of(SECTOR_BYTES);
        let mut whole = vec![0; (end - start) as usize];
        let read = runtime.block_on(self.dev.read_at(&mut whole, start)).map_err(|e| io_error(&e))?;
        if read != whole.len() {
            return Err(damaged(format!("only {read} of {} bytes at byte {start} of the disk", whole.len())));
        }
        let skip = (at - start) as usize;
        part.copy_from_slice(&whole[skip..skip + part.len()]);
        Ok(())
    }

    fn extent(&self, runtime: &Runtime, at: u64) -> io::Result<(bool, u64)> {
        let end = self.cluster_end(at);
        match (self.place(runtime, at)?, &self.backing) {
            (Place::Here, _) => Ok((true, end)),
            (Place::Below, Some(backing)) => {
                let (data, until) = backing.extent(runtime, at)?;
                Ok((data, until.min(end)))
            }
            (Place::Below | Place::Zeroes, _) => Ok((false, end)),
        }
    }
}

fn io_error(error: &qcow2_rs::error::Qcow2Error) -> io::Error {
    damaged(error.to_string())
}

/// A file that can only be read.
struct ReadOnlyFile {
    file: File,
    bytes: u64,
}

impl ReadOnlyFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { bytes: metadata.len(), file })
    }

    /// Returns the bytes of the disk and of a cluster.
    fn check_header(&self) -> Result<(u64, u64), String> {
        let mut bytes = [0; HEADER_BYTES];
        if self.bytes < HEADER_BYTES as u64 {
            return Err(format!("a file of {} bytes is no qcow2 image", self.bytes));
        }
        self.file.read_exact_at(&mut bytes, 0).map_err(|e| e.to_string())?;
        let header = Header::new(&bytes, self.bytes);
        header.check()?;
        Ok((header.disk_bytes(), header.cluster_bytes()))
    }

    fn header(&self) -> Result<Qcow2Header, String> {
        let mut bytes = vec![0; self.bytes.min(MAX_HEADER_BYTES) as usize];
        self.file.read_exact_at(&mut bytes, 0).map_err(|e| e.to_string())?;
        Qcow2Header::from_buf(&bytes).map_err(|e| e.to_string())
    }

    fn refuse<T>(&self) -> Qcow2Result<T> {
        Err("the image is open for reading only".into())
    }
}

impl Qcow2IoOps for ReadOnlyFile {
    /// Fills `buf` or fails. Only the rest of the file's last sector may be missing.
    async fn read_to(&self, offset: u64, buf: &mut [u8]) -> Qcow2Result<usize> {
        let there = self.bytes.saturating_sub(offset).min(buf.len() as u64) as usize;
        if buf.len() - there >= SECTOR_BYTES as usize {
            let what = format!("{} bytes at byte {offset} of a file of {} bytes", buf.len(), self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into());
        }
        self.file.read_exact_at(&mut buf[..there], offset)?;
        buf[there..].fill(0);
        Ok(buf.len())
    }

    async fn write_from(&self, _: u64, _: &[u8]) -> Qcow2Result<()> {
        self.refuse()
    }

    async fn fallocate(&self, _: u64, _: usize, _: u32) -> Qcow2Result<()> {
        self.refuse()
    }

    async fn fsync(&self, _: u64, _: usize, _: u32) -> Qcow2Result<()> {
        self.refuse()
    }
}

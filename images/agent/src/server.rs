//! The disk server: NBD, read-only, with a thread for each client.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use agent::protocol::{CHANGED, NBD_PORT};
use nbd_server::{ALLOCATION, Disk, Disks, Features, Refused, Run, pieces, push, zero_runs};

use crate::changes::{CHUNK, Chunks};
use crate::device::{self, Buffer};
use crate::exports::{ExportedDisk, Exports};

/// Bytes read from a device at a time.
const PIECE: u64 = 1024 * 1024;
/// Bytes covered by one block status of zeroes, which are found by reading: the client should not
/// wait long.
const STATUS_BYTES: u64 = 32 * PIECE;
/// Flag of a changed range.
const DIRTY: u32 = 1;

/// Starts to serve on all addresses.
pub(crate) fn start(exports: Arc<Exports>) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, NBD_PORT));
    let listener = listener.map_err(|e| format!("cannot listen on port {NBD_PORT}: {e}"))?;
    let accept = move || accept(&listener, &exports);
    std::thread::Builder::new().name("disks".into()).spawn(accept).map(drop).map_err(|e| e.to_string())
}

fn accept(listener: &TcpListener, exports: &Arc<Exports>) {
    for caller in listener.incoming().filter_map(Result::ok) {
        let exports = Arc::clone(exports);
        // The connection ends after an error, or if no thread can be started.
        let _ = std::thread::Builder::new()
            .name("reader".into())
            .spawn(move || serve_client(&caller, &exports).ok());
    }
}

fn serve_client(caller: &TcpStream, exports: &Exports) -> io::Result<()> {
    let _registration = exports.register(caller)?;
    caller.set_nodelay(true)?;
    nbd_server::serve(caller, caller, exports)
}

impl Disks for Exports {
    fn names(&self) -> Vec<String> {
        self.serials()
    }

    fn open(&self, name: &str) -> Option<Box<dyn Disk + '_>> {
        Some(Box::new(OpenDisk { disk: self.find(name)?, device: None }))
    }
}

/// A disk of the snapshot as one client reads it.
struct OpenDisk {
    disk: Arc<ExportedDisk>,
    /// Opened by the first request that needs it.
    device: Option<(File, Buffer)>,
}

impl OpenDisk {
    /// Reads at most [`PIECE`] bytes.
    fn bytes_at(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        let (file, buffer) = match self.device.take() {
            Some(opened) => self.device.insert(opened),
            None => {
                let opened = (device::open(&self.disk.node, false)?, Buffer::new(PIECE as usize));
                self.device.insert(opened)
            }
        };
        buffer.read(file, self.disk.bytes, offset, length as usize)
    }
}

impl Disk for OpenDisk {
    fn features(&self) -> Features {
        let changed = self.disk.changed.is_some().then_some(CHANGED);
        let contexts = [ALLOCATION].into_iter().chain(changed).map(str::to_owned).collect();
        Features { size: self.disk.bytes, writable: false, multi_conn: true, contexts }
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        let mut rest = buffer;
        for (at, length) in pieces(offset, rest.len() as u64, PIECE) {
            let (part, more) = rest.split_at_mut(length as usize);
            part.copy_from_slice(self.bytes_at(at, length)?);
            rest = more;
        }
        Ok(())
    }

    fn status(&mut self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>, Refused> {
        let mut runs = Vec::new();
        if context == CHANGED {
            let changed = self.disk.changed.as_ref();
            for (at, length) in pieces(offset, length, CHUNK) {
                let dirty = changed.is_some_and(|chunks: &Chunks| chunks.contains(&(at / CHUNK)));
                push(&mut runs, (length, if dirty { DIRTY } else { 0 }));
            }
            return Ok(runs);
        }
        for (at, length) in pieces(offset, length.min(STATUS_BYTES), PIECE) {
            zero_runs(self.bytes_at(at, length)?).into_iter().for_each(|run| push(&mut runs, run));
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const GRAIN: usize = 64 * 1024;
    /// Not a multiple of 4096 bytes, as is possible for a disk.
    const BYTES: usize = 40 * 1024 * 1024 + 512;

    /// A server of one disk with data in its second and its last block.
    fn server(changed: Option<&[u64]>) -> (tempfile::NamedTempFile, Vec<u8>, String, Arc<Exports>) {
        let mut content = vec![0; BYTES];
        content[GRAIN..2 * GRAIN].fill(7);
        content[BYTES - 1] = 9;
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&content).expect("written");
        let exports = Arc::new(Exports::default());
        let changed = changed.map(|chunks| chunks.iter().copied().collect());
        exports.show(vec![ExportedDisk {
            serial: "RT-one".into(),
            node: file.path().to_owned(),
            bytes: BYTES as u64,
            changed,
        }]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let uri = format!("nbd://{}/RT-one", listener.local_addr().expect("an address"));
        let shared = Arc::clone(&exports);
        std::thread::spawn(move || accept(&listener, &shared));
        (file, content, uri, exports)
    }

    #[test]
    fn a_client_reads_the_content_of_the_disk() {
        let (_file, content, uri, _exports) = server(None);
        let mut client = nbd::Client::connect(&uri).expect("connected");
        assert_eq!(client.size(), BYTES as u64);
        for (offset, length) in [(0, BYTES), (1, 3), (GRAIN - 1, GRAIN + 2), (BYTES - 513, 513)] {
            let mut read = vec![1; length];
            client.read(offset as u64, &mut read).expect("read");
            assert!(read == content[offset..offset + length], "{length} bytes at {offset}");
        }
        assert!(client.read(BYTES as u64 - 1, &mut [0; 2]).is_err());
        assert!(client.write(0, &[1; 512]).is_err());
    }

    #[test]
    fn zeroes_are_distinguished_from_data() {
        let (_file, content, uri, _exports) = server(None);
        let mut client = nbd::Client::connect_with(&uri, &[nbd::ALLOCATION]).expect("connected");
        let extents = client.extents(nbd::ALLOCATION).expect("extents");
        assert_eq!(extents.iter().map(|e| e.length).sum::<u64>(), BYTES as u64);
        for extent in &extents {
            let (from, to) = (extent.offset as usize, (extent.offset + extent.length) as usize);
            let zero = content[from..to].iter().all(|byte| *byte == 0);
            assert_eq!(extent.is_zero(), zero, "{extent:?}");
        }
        assert_eq!(extents.len(), 4);
    }

    #[test]
    fn changes_are_reported_chunk_by_chunk() {
        let last = BYTES as u64 / CHUNK;
        let (_file, _content, uri, _exports) = server(Some(&[0, 1, 5, last]));
        let mut client = nbd::Client::connect_with(&uri, &[CHANGED]).expect("connected");
        let extents = client.extents(CHANGED).expect("extents");
        let dirty: Vec<_> = extents.iter().filter(|e| e.is_dirty()).map(|e| (e.offset, e.length)).collect();
        assert_eq!(dirty, [(0, 2 * CHUNK), (5 * CHUNK, CHUNK), (last * CHUNK, BYTES as u64 % CHUNK)]);
    }

    #[test]
    fn unknown_changes_are_not_offered() {
        let (_file, _content, uri, _exports) = server(None);
        let refused = nbd::Client::connect_with(&uri, &[CHANGED]).map(|_| ());
        assert!(refused.expect_err("not offered").to_string().contains(CHANGED));
        let unknown = uri.replace("RT-one", "RT-two");
        assert!(nbd::Client::connect(&unknown).is_err());
    }

    #[test]
    fn closing_a_snapshot_disconnects_its_readers() {
        let (_file, _content, uri, exports) = server(None);
        let mut client = nbd::Client::connect(&uri).expect("connected");
        client.read(0, &mut [0; 512]).expect("read");
        exports.hide().expect("no reader is connected");
        assert!(client.read(0, &mut [0; 512]).is_err());
        assert!(nbd::Client::connect(&uri).is_err(), "nothing is exported any more");
    }

    #[test]
    fn a_client_that_breaks_the_protocol_is_disconnected() {
        let (_file, _content, uri, exports) = server(None);
        let address = uri.trim_start_matches("nbd://").trim_end_matches("/RT-one").to_owned();
        let mut hostile = vec![0xff; 4096];
        hostile[..4].copy_from_slice(&[0, 0, 0, 3]);
        for words in [&b"GET / HTTP/1.0\r\n\r\n"[..], &hostile] {
            let mut caller = TcpStream::connect(&address).expect("connected");
            // The connection may end before everything is sent.
            let _ = caller.write_all(words);
            let _ = caller.read_to_end(&mut Vec::new());
        }
        exports.hide().expect("no reader is connected");
    }
}

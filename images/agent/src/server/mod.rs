//! The disk server: NBD, fixed newstyle, read-only, with a thread for each client.

mod handshake;
mod transmission;

use std::io::{self, BufReader, BufWriter};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use agent::protocol::NBD_PORT;

use crate::exports::Exports;

/// Size of the write buffer of a connection.
const WRITE_BUFFER: usize = 256 * 1024;

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
    let mut from = BufReader::new(caller);
    let mut to = BufWriter::with_capacity(WRITE_BUFFER, caller);
    match handshake::agree(&mut from, &mut to, exports)? {
        Some(agreed) => transmission::serve(&mut from, &mut to, &agreed),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::CHUNK;
    use crate::exports::ExportedDisk;
    use agent::protocol::CHANGED;
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

//! The disk server: NBD, fixed newstyle, read-only, a thread for each caller.

mod handshake;
mod transmission;

use std::io::{self, BufReader, BufWriter};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use agent::protocol::NBD_PORT;

use crate::exports::Exports;

/// Bytes that are gathered before they go to the network.
const GATHERED: usize = 256 * 1024;

/// Starts serving on all addresses.
pub(crate) fn start(exports: Arc<Exports>) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, NBD_PORT));
    let listener = listener.map_err(|e| format!("cannot listen on port {NBD_PORT}: {e}"))?;
    let accept = move || accept(&listener, &exports);
    std::thread::Builder::new().name("disks".into()).spawn(accept).map(drop).map_err(|e| e.to_string())
}

fn accept(listener: &TcpListener, exports: &Arc<Exports>) {
    for caller in listener.incoming().filter_map(Result::ok) {
        let exports = Arc::clone(exports);
        // A caller that breaks off or makes no sense sees its connection end; a caller that gets no thread too.
        let _ =
            std::thread::Builder::new().name("reader".into()).spawn(move || converse(&caller, &exports).ok());
    }
}

fn converse(caller: &TcpStream, exports: &Exports) -> io::Result<()> {
    let _place = exports.enter(caller)?;
    caller.set_nodelay(true)?;
    let mut from = BufReader::new(caller);
    let mut to = BufWriter::with_capacity(GATHERED, caller);
    match handshake::agree(&mut from, &mut to, exports)? {
        Some(agreed) => transmission::serve(&mut from, &mut to, &agreed),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::CHUNK;
    use crate::exports::Frozen;
    use agent::protocol::CHANGED;
    use std::io::{Read, Write};

    const GRAIN: usize = 64 * 1024;
    /// One more than whole blocks of 4096 bytes, as a disk may have.
    const BYTES: usize = 40 * 1024 * 1024 + 512;

    /// A server of one disk with data in its second and its last piece.
    fn server(changed: Option<&[u64]>) -> (tempfile::NamedTempFile, Vec<u8>, String, Arc<Exports>) {
        let mut content = vec![0; BYTES];
        content[GRAIN..2 * GRAIN].fill(7);
        content[BYTES - 1] = 9;
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&content).expect("written");
        let exports = Arc::new(Exports::default());
        let changed = changed.map(|chunks| chunks.iter().copied().collect());
        exports.show(vec![Frozen {
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
    fn a_client_reads_what_the_disk_holds() {
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
    fn zeroes_are_told_from_data() {
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
    fn changes_are_told_chunk_by_chunk() {
        let last = BYTES as u64 / CHUNK;
        let (_file, _content, uri, _exports) = server(Some(&[0, 1, 5, last]));
        let mut client = nbd::Client::connect_with(&uri, &[CHANGED]).expect("connected");
        let extents = client.extents(CHANGED).expect("extents");
        let dirty: Vec<_> = extents.iter().filter(|e| e.is_dirty()).map(|e| (e.offset, e.length)).collect();
        assert_eq!(dirty, [(0, 2 * CHUNK), (5 * CHUNK, CHUNK), (last * CHUNK, BYTES as u64 % CHUNK)]);
    }

    #[test]
    fn what_cannot_be_told_is_not_offered() {
        let (_file, _content, uri, _exports) = server(None);
        let refused = nbd::Client::connect_with(&uri, &[CHANGED]).map(|_| ());
        assert!(refused.expect_err("not offered").to_string().contains(CHANGED));
        let unknown = uri.replace("RT-one", "RT-two");
        assert!(nbd::Client::connect(&unknown).is_err());
    }

    #[test]
    fn a_view_that_ends_sends_its_readers_away() {
        let (_file, _content, uri, exports) = server(None);
        let mut client = nbd::Client::connect(&uri).expect("connected");
        client.read(0, &mut [0; 512]).expect("read");
        exports.hide().expect("nobody is left");
        assert!(client.read(0, &mut [0; 512]).is_err());
        assert!(nbd::Client::connect(&uri).is_err(), "nothing is shown any more");
    }

    #[test]
    fn a_caller_that_makes_no_sense_is_cut_off() {
        let (_file, _content, uri, exports) = server(None);
        let address = uri.trim_start_matches("nbd://").trim_end_matches("/RT-one").to_owned();
        let mut hostile = vec![0xff; 4096];
        hostile[..4].copy_from_slice(&[0, 0, 0, 3]);
        for words in [&b"GET / HTTP/1.0\r\n\r\n"[..], &hostile] {
            let mut caller = TcpStream::connect(&address).expect("connected");
            // It may be cut off before everything is said.
            let _ = caller.write_all(words);
            let _ = caller.read_to_end(&mut Vec::new());
        }
        exports.hide().expect("nobody is left");
    }
}

//! Parts that are read or written together are requested together: a server that replies to none
//! of them before it has received all requests serves them all.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nbd::Client;
use nbd_server::{Disk, Disks, Features, Refused};
use tempdirs::OwnedDir;

const PARTS: usize = 3;
const PART: usize = 4096;
/// How long the server waits for the next request before it gives the connection up.
const BOUND: Duration = Duration::from_secs(30);

/// A disk of zeroes that counts the parts that were read or written.
#[derive(Default)]
struct Counting {
    parts: Cell<usize>,
}

impl Disks for Counting {
    fn names(&self) -> Vec<String> {
        vec![String::new()]
    }

    fn open(&self, _name: &str) -> Option<Box<dyn Disk + '_>> {
        Some(Box::new(self))
    }
}

impl Disk for &Counting {
    fn features(&self) -> Features {
        let size = (PARTS * PART) as u64;
        Features { size, writable: true, multi_conn: false, contexts: Vec::new() }
    }

    fn read(&mut self, _offset: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.parts.set(self.parts.get() + 1);
        buffer.fill(0);
        Ok(())
    }

    fn status(&mut self, _context: &str, _offset: u64, length: u64) -> Result<Vec<(u64, u32)>, Refused> {
        Ok(vec![(length, 0)])
    }

    fn write(&mut self, _offset: u64, _data: &[u8]) -> Result<(), Refused> {
        self.parts.set(self.parts.get() + 1);
        Ok(())
    }
}

/// Keeps what the server sends from the first part on, until the server has received all parts.
struct Withheld<'a> {
    to: UnixStream,
    kept: Vec<u8>,
    disk: &'a Counting,
}

impl Write for Withheld<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if (1..PARTS).contains(&self.disk.parts.get()) {
            return Ok(());
        }
        self.to.write_all(&std::mem::take(&mut self.kept))
    }
}

/// A client of such a server, and the thread that serves it.
fn connect() -> (OwnedDir, Client, JoinHandle<io::Result<()>>) {
    let dir = OwnedDir::new("in-flight").expect("a directory");
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = thread::spawn(move || {
        let (from, _) = listener.accept()?;
        from.set_read_timeout(Some(BOUND))?;
        let disk = Counting::default();
        let to = Withheld { to: from.try_clone()?, kept: Vec::new(), disk: &disk };
        nbd_server::serve(from, to, &disk)
    });
    let client = Client::connect(&format!("nbd+unix:///?socket={}", socket.display())).expect("connected");
    (dir, client, server)
}

#[test]
fn all_parts_are_requested_before_the_first_reply() {
    let (_dir, mut client, server) = connect();
    let mut buffers = [[1; PART]; PARTS];
    let parts = (0..).step_by(PART).zip(buffers.iter_mut().map(|buffer| &mut buffer[..]));
    client.read_each(parts).expect("every part is read");
    assert_eq!(buffers, [[0; PART]; PARTS]);
    drop(client);
    server.join().expect("no panic").expect("served to the end");
}

#[test]
fn all_parts_are_sent_before_the_first_reply() {
    let (_dir, mut client, server) = connect();
    let data = [1; PART];
    client
        .write_each((0..).step_by(PART).take(PARTS).map(|at| (at, &data[..])))
        .expect("every part is written");
    drop(client);
    server.join().expect("no panic").expect("served to the end");
}

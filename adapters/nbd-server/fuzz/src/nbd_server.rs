//! The server answers or hangs up whatever a client sends, writes only inside its disk, and keeps
//! what an independent reading of the requests says it must hold.

use std::cell::RefCell;
use std::io;

use nbd_server::{ALLOCATION, Disk, Disks, Features, Refused, Run, serve, zero_runs};

const SIZE: usize = 4096;
/// Bytes of the shortest request, each of which may make the server send the whole disk.
const REQUEST: usize = 28;

/// Runs the target. The first byte says whether the disk is writable and whether the handshake is
/// given; the rest is what the client sends.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let disks = Memory { writable: first & 1 != 0, content: RefCell::new(vec![0x5a; SIZE]) };
    let sent =
        if first & 2 == 0 { rest.to_vec() } else { [HANDSHAKES[usize::from(first & 4 != 0)], rest].concat() };
    let mut received = Counted(0);
    let _ = serve(&sent[..], &mut received, &disks);
    let most = 4096 + (sent.len() / 16 + 1) * (SIZE + 4 * REQUEST);
    assert!(received.0 <= most, "{} bytes made the server send {}", sent.len(), received.0);
    let content = disks.content.into_inner();
    assert_eq!(content.len(), SIZE);
    assert!(disks.writable || content.iter().all(|byte| *byte == 0x5a), "a read-only disk was written");
}

/// Handshakes after which requests follow: with simple replies, and with structured ones and the
/// meta context.
const HANDSHAKES: [&[u8]; 2] = [
    b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\x04disk",
    b"\0\0\0\x03IHAVEOPT\0\0\0\x08\0\0\0\0\
      IHAVEOPT\0\0\0\x0a\0\0\0\x1f\0\0\0\x04disk\0\0\0\x01\0\0\0\x0fbase:allocation\
      IHAVEOPT\0\0\0\x07\0\0\0\x0a\0\0\0\x04disk\0\0",
];

/// Counts what is written to it.
struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One disk in memory, named `disk`.
struct Memory {
    writable: bool,
    content: RefCell<Vec<u8>>,
}

impl Disks for Memory {
    fn names(&self) -> Vec<String> {
        vec!["disk".to_owned()]
    }

    fn open(&self, name: &str) -> Option<Box<dyn Disk + '_>> {
        (name == "disk").then(|| Box::new(Opened(self)) as Box<dyn Disk>)
    }
}

struct Opened<'a>(&'a Memory);

impl Opened<'_> {
    /// The range as indexes. The server promises that it is inside the disk and not empty.
    fn range(offset: u64, length: u64) -> std::ops::Range<usize> {
        let (start, end) = (offset as usize, (offset + length) as usize);
        assert!(length > 0 && end <= SIZE, "{length} bytes at {offset} reached the disk");
        start..end
    }
}

impl Disk for Opened<'_> {
    fn features(&self) -> Features {
        Features {
            size: SIZE as u64,
            writable: self.0.writable,
            multi_conn: true,
            contexts: vec![ALLOCATION.to_owned()],
        }
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        buffer.copy_from_slice(&self.0.content.borrow()[Self::range(offset, buffer.len() as u64)]);
        Ok(())
    }

    fn status(&mut self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>, Refused> {
        assert_eq!(context, ALLOCATION);
        Ok(zero_runs(&self.0.content.borrow()[Self::range(offset, length)]))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refused> {
        assert!(self.0.writable);
        self.0.content.borrow_mut()[Self::range(offset, data.len() as u64)].copy_from_slice(data);
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<(), Refused> {
        assert!(self.0.writable);
        self.0.content.borrow_mut()[Self::range(offset, length)].fill(0);
        Ok(())
    }
}

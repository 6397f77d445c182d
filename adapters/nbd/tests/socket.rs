//! A disk server, used by our own client and by the tools of libnbd and QEMU.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use nbd::{ALLOCATION, Client, DiskServer, Export, Extent, Refusal, Served, errno};

const GRAIN: usize = 64 * 1024;
const BYTES: usize = 3 * 1024 * 1024 + 512;
static ZEROES: [u8; GRAIN] = [0; GRAIN];
const CHANGED: &str = "test:changed:since-noon";

/// A disk in memory. A write of the byte 0xee finds no space.
struct Ram {
    bytes: Mutex<Vec<u8>>,
    writable: bool,
}

impl Ram {
    fn new(writable: bool) -> Arc<Self> {
        let mut bytes = vec![0; BYTES];
        bytes[GRAIN..2 * GRAIN].fill(7);
        bytes[BYTES - 1] = 9;
        Arc::new(Self { bytes: Mutex::new(bytes), writable })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn content(&self) -> Vec<u8> {
        self.with(|bytes| bytes.clone())
    }
}

impl Export for Ram {
    fn size(&self) -> u64 {
        BYTES as u64
    }

    fn can_multi_conn(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn contexts(&self) -> Vec<String> {
        vec![ALLOCATION.to_owned(), CHANGED.to_owned()]
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let at = offset as usize;
        self.with(|all| buffer.copy_from_slice(&all[at..at + buffer.len()]));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        if data.contains(&0xee) {
            return Err(Refusal::new("no space left", errno::ENOSPC));
        }
        let at = offset as usize;
        self.with(|all| all[at..at + data.len()].copy_from_slice(data));
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        self.with(|all| all[offset as usize..(offset + length) as usize].fill(0));
        Ok(())
    }

    fn flush(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
        let run =
            |from: usize, to: usize, flags| Extent { offset: from as u64, length: (to - from) as u64, flags };
        Ok(match context {
            ALLOCATION => {
                let all = self.content();
                let zero = |from: usize, to: usize| all[from..to] == ZEROES[..to - from];
                let starts = (0..BYTES).step_by(GRAIN);
                let runs = starts.map(|at| (at, (at + GRAIN).min(BYTES)));
                Some(runs.map(|(from, to)| run(from, to, if zero(from, to) { 3 } else { 0 })).collect())
            }
            CHANGED => Some(vec![run(0, GRAIN, 0), run(GRAIN, 3 * GRAIN, 1), run(3 * GRAIN, BYTES, 0)]),
            _ => None,
        })
    }
}

fn serve(writable: bool) -> (DiskServer, Arc<Ram>, Served) {
    let server = DiskServer::start().expect("a server");
    let disk = Ram::new(writable);
    let served = server.serve("disk of web/01", Arc::clone(&disk) as Arc<dyn Export>);
    (server, disk, served)
}

#[test]
fn a_client_reads_writes_and_zeroes() {
    let (_server, disk, served) = serve(true);
    let mut client = Client::connect(&served.uri()).expect("connected");
    assert_eq!(client.size(), BYTES as u64);
    assert!(client.can_multi_conn().expect("features"));
    client.write(3, b"hello").expect("written");
    client.zero(GRAIN as u64, 4096).expect("zeroed");
    client.flush().expect("flushed");
    let mut all = vec![1; BYTES];
    client.read(0, &mut all).expect("read");
    assert!(all == disk.content() && all[3..8] == *b"hello" && all[GRAIN] == 0 && all[2 * GRAIN - 1] == 7);
    let mut other = Client::connect(&served.uri()).expect("connected twice");
    let mut part = [0; 5];
    other.read(3, &mut part).expect("read");
    assert_eq!(&part, b"hello");
}

#[test]
fn refusals_carry_their_error_numbers_and_the_connection_goes_on() {
    let (_server, _disk, served) = serve(true);
    let mut client = Client::connect(&served.uri()).expect("connected");
    assert_eq!(client.write(0, &[0xee; 512]).expect_err("full").errno, errno::ENOSPC);
    assert!(client.read(BYTES as u64 - 1, &mut [0; 2]).is_err());
    client.read(0, &mut [0; 512]).expect("the connection goes on");
    let (_server, disk, served) = serve(false);
    let before = disk.content();
    let mut client = Client::connect(&served.uri()).expect("connected");
    assert_eq!(client.write(0, &[1; 512]).expect_err("read-only").errno, errno::EPERM);
    assert!(client.zero(0, 512).is_err());
    assert!(disk.content() == before);
}

#[test]
fn requests_in_flight_together_reach_their_own_parts() {
    let (_server, disk, served) = serve(true);
    let mut client = Client::connect(&served.uri()).expect("connected");
    // The longest part takes two requests. The order is not that of the disk.
    let long = (15 * GRAIN, vec![200; nbd::MAX_REQUEST + 700]);
    let short = (0..14).rev().map(|number| (number * GRAIN + 512, vec![1 + number as u8; 4096]));
    let parts: Vec<_> = short.chain([long]).collect();
    let mut expected = disk.content();
    for (at, data) in &parts {
        expected[*at..at + data.len()].copy_from_slice(data);
    }
    let writes = parts.iter().map(|(at, data)| (*at as u64, &data[..]));
    client.write_each(writes).expect("written");
    assert!(disk.content() == expected);
    let mut read: Vec<_> = parts.iter().map(|(at, data)| (*at as u64, vec![0xff; data.len()])).collect();
    client.read_each(read.iter_mut().map(|(at, buffer)| (*at, &mut buffer[..]))).expect("read");
    assert!(read.iter().zip(&parts).all(|((_, found), (_, written))| found == written));
    client.read_each([]).expect("nothing to read");
}

#[test]
fn one_refused_request_of_several_is_the_error_and_the_connection_goes_on() {
    let (_server, disk, served) = serve(true);
    let mut client = Client::connect(&served.uri()).expect("connected");
    let (good, bad) = ([1; 512], [0xee; 512]);
    let parts = [(0, &good[..]), (GRAIN as u64, &bad[..]), (2 * GRAIN as u64, &good[..])];
    assert_eq!(client.write_each(parts).expect_err("full").errno, errno::ENOSPC);
    assert!(disk.content()[GRAIN] == 7);
    let mut buffers = [[0; 512]; 3];
    let offsets = [0, BYTES as u64, 512];
    let outside = offsets.into_iter().zip(buffers.iter_mut().map(|buffer| &mut buffer[..]));
    assert!(client.read_each(outside).is_err(), "the second part is outside of the disk");
    client.read_each([(0, &mut buffers[0][..])]).expect("the connection goes on");
}

#[test]
fn contexts_are_offered_by_name() {
    let (_server, _disk, served) = serve(false);
    let mut client = Client::connect_with(&served.uri(), &[CHANGED, ALLOCATION]).expect("connected");
    let changed = client.extents(CHANGED).expect("changes");
    let dirty: Vec<_> = changed.iter().filter(|e| e.is_dirty()).map(|e| (e.offset, e.length)).collect();
    assert_eq!(dirty, [(GRAIN as u64, 2 * GRAIN as u64)]);
    let zeroes = client.extents(ALLOCATION).expect("zeroes");
    let data: Vec<_> = zeroes.iter().filter(|e| !e.is_zero()).map(|e| e.offset).collect();
    assert_eq!(data, [GRAIN as u64, (BYTES - 512) as u64]);
    let unknown = Client::connect_with(&served.uri(), &["test:changed:since-dawn"]).map(|_| ());
    assert!(unknown.expect_err("unknown").message.contains("does not offer"));
}

#[test]
fn a_closed_export_and_a_dropped_server_end_their_clients() {
    let (server, _disk, served) = serve(true);
    let uri = served.uri();
    let mut client = Client::connect(&uri).expect("connected");
    drop(served);
    assert!(client.read(0, &mut [0; 512]).is_err(), "the export is closed");
    assert!(Client::connect(&uri).is_err(), "there is no such export any more");
    let other = server.serve("other", Ram::new(true));
    let mut client = Client::connect(&other.uri()).expect("connected");
    drop(server);
    let mut buffers = [[0; 512]; 2];
    let parts = [0, 512].into_iter().zip(buffers.iter_mut().map(|buffer| &mut buffer[..]));
    assert!(client.read_each(parts).is_err(), "the server is gone");
    assert!(client.read(0, &mut [0; 512]).is_err(), "the server is gone");
    let socket = uri.split_once("socket=").expect("a socket").1;
    assert!(!std::path::Path::new(socket).exists(), "{socket}");
}

#[test]
fn only_this_user_can_reach_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_server, _disk, served) = serve(true);
    let uri = served.uri();
    let socket = std::path::Path::new(uri.split_once("socket=").expect("a socket").1);
    let directory = std::fs::metadata(socket.parent().expect("a directory")).expect("metadata");
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
}

/// Runs a tool and returns what it printed.
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; cargo xtask setup installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}, {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn nbdinfo_describes_the_disk() {
    let (_server, _disk, served) = serve(false);
    let shown = tool("nbdinfo", &["--json", &served.uri()]);
    let has = |text: &str| assert!(shown.contains(text), "{text} is not in {shown}");
    has(&format!("\"export-size\": {BYTES}"));
    has("\"is_read_only\": true");
    has("\"can_multi_conn\": true");
    has(CHANGED);
    let map = tool("nbdinfo", &["--map", "--totals", &served.uri()]);
    assert!(map.contains("hole,zero"), "{map}");
    let listed = tool("nbdinfo", &["--list", "--json", &served.uri()]);
    assert!(listed.contains("disk of web"), "{listed}");
}

#[test]
fn nbdcopy_copies_from_and_to_a_disk() {
    let (_source_server, source, from) = serve(false);
    let (_target_server, target, to) = serve(true);
    target.with(|bytes| bytes.fill(5));
    tool("nbdcopy", &[&from.uri(), &to.uri()]);
    assert!(source.content() == target.content());
}

#[test]
fn qemu_reads_and_writes_a_disk() {
    let (_source_server, source, from) = serve(false);
    let (_target_server, target, to) = serve(true);
    let compared = tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &from.uri(), &to.uri()]);
    assert!(compared.contains("identical"), "{compared}");
    target.with(|bytes| bytes.fill(5));
    let raw = ["convert", "-n", "-f", "raw", "-O", "raw", &from.uri(), &to.uri()];
    tool("qemu-img", &raw);
    assert!(source.content() == target.content());
}

#[test]
fn a_client_that_asks_on_learns_of_all_extents() {
    struct OneAtATime(Arc<Ram>);

    impl Export for OneAtATime {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
            self.0.read(offset, buffer)
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
            self.0.write(offset, data)
        }

        fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
            self.0.zero(offset, length)
        }

        fn flush(&self) -> Result<(), Refusal> {
            self.0.flush()
        }

        fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
            self.0.extents(context)
        }

        fn extents_at_once(&self) -> usize {
            1
        }
    }

    let server = DiskServer::start().expect("a server");
    let disk = Ram::new(true);
    let served = server.serve("slow to tell", Arc::new(OneAtATime(Arc::clone(&disk))));
    let mut client = Client::connect_with(&served.uri(), &[ALLOCATION]).expect("connected");
    let data = |client: &mut Client| -> Vec<(u64, u64)> {
        let extents = client.extents(ALLOCATION).expect("told");
        extents.iter().filter(|e| e.flags == 0).map(|e| (e.offset, e.length)).collect()
    };
    let tail = (BYTES / GRAIN * GRAIN) as u64;
    let before = [(GRAIN as u64, GRAIN as u64), (tail, BYTES as u64 - tail)];
    assert_eq!(data(&mut client), before);
    client.write(5 * GRAIN as u64, &[1]).expect("written");
    assert_eq!(data(&mut client), [before[0], (5 * GRAIN as u64, GRAIN as u64), before[1]]);
}

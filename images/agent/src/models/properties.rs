//! What holds for the exported disks in every order of execution.

use std::net::{TcpListener, TcpStream};

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread;

use super::exports::{ExportedDisk, Exports};

/// Orders of execution that are tried.
const ORDERS: usize = 1_000;
const DISK: &str = "disk-1";

fn disk() -> ExportedDisk {
    ExportedDisk { serial: DISK.to_owned(), node: "/dev/null".into(), bytes: 512, changed: None }
}

/// What the server does for a client, with a counter in the place of the device.
fn read(exports: &Exports, stream: &TcpStream, open: &AtomicU32) {
    let registration = exports.register(stream).unwrap();
    let found = exports.find(DISK);
    if found.is_some() {
        open.fetch_add(1, Ordering::SeqCst);
        open.fetch_sub(1, Ordering::SeqCst);
    }
    drop(registration);
}

/// A reader has a device open only while it is registered, and it opens one only if it finds the
/// disk then. So no device is open once the disks are hidden, and hiding them has an end.
pub(super) fn hidden() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = Arc::new(stream);
    let check = move || {
        let exports = Arc::new(Exports::default());
        let open = Arc::new(AtomicU32::new(0));
        exports.show(vec![disk()]);
        let reader = |_| {
            let (exports, open, stream) = (Arc::clone(&exports), Arc::clone(&open), Arc::clone(&stream));
            thread::spawn(move || read(&exports, &stream, &open))
        };
        let readers: Vec<_> = (0..2).map(reader).collect();
        exports.hide().unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 0, "open once the disks are hidden");
        assert!(exports.find(DISK).is_none() && exports.serials().is_empty(), "a disk is still there");
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    };
    shuttle::check_random(check.clone(), ORDERS);
    shuttle::check_pct(check, ORDERS, 3);
}

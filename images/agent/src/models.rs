//! Models of what threads share: the same code with primitives whose every order of execution the
//! scheduler of a checker chooses.

use std::net::{TcpListener, TcpStream};

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread;

mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[expect(clippy::duplicate_mod, dead_code, reason = "it is compiled with the primitives of the checker")]
#[path = "exports.rs"]
mod exports;

use exports::{ExportedDisk, Exports};

/// Orders of execution that are tried.
const ORDERS: usize = 1_000;
const DISK: &str = "disk-1";

fn disk() -> ExportedDisk {
    ExportedDisk { serial: DISK.to_owned(), node: "/dev/null".into(), bytes: 512, changed: None }
}

/// A reader has a device open only while it is registered, and it opens one only if it finds the
/// disk then. So no device is open once the disks are hidden.
#[test]
fn no_device_is_open_once_the_disks_are_hidden() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = Arc::new(stream);
    let check = move || {
        let exports = Arc::new(Exports::default());
        let open = Arc::new(AtomicU32::new(0));
        exports.show(vec![disk()]);
        let read = |_| {
            let (exports, open, stream) = (Arc::clone(&exports), Arc::clone(&open), Arc::clone(&stream));
            thread::spawn(move || {
                let registration = exports.register(&stream).unwrap();
                if exports.find(DISK).is_some() {
                    open.fetch_add(1, Ordering::SeqCst);
                    open.fetch_sub(1, Ordering::SeqCst);
                }
                drop(registration);
            })
        };
        let readers: Vec<_> = (0..2).map(read).collect();
        exports.hide().unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 0);
        assert!(exports.find(DISK).is_none() && exports.serials().is_empty());
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    };
    shuttle::check_random(check.clone(), ORDERS);
    shuttle::check_pct(check, ORDERS, 3);
}

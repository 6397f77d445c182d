//! Models of what threads share: the same code with primitives whose every order of execution the
//! scheduler of a checker chooses.

use std::collections::BTreeMap;
use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread;

mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}

#[expect(clippy::duplicate_mod, reason = "it is compiled with the primitives of the checker")]
#[path = "windows.rs"]
mod windows;

use windows::Windows;

/// Orders of execution that are tried.
const ORDERS: usize = 2_000;
const SIZE: u64 = 10;
const STEP: u64 = 4;

/// Copies a disk of three windows by three threads; `copy` returns what it says of an offset.
/// Returns how often each window was copied, how many bytes were written, and the errors.
fn copied(
    copy: impl Fn(u64, u64) -> Result<u64, u64> + Send + Sync + 'static,
) -> (BTreeMap<(u64, u64), u32>, u64, Vec<u64>) {
    let windows = Windows::new(SIZE, STEP);
    let seen = Mutex::new(BTreeMap::new());
    let errors = thread::scope(|scope| {
        let work = || {
            windows.copy_each(|offset, length| {
                *seen.lock().unwrap().entry((offset, length)).or_default() += 1;
                copy(offset, length)
            })
        };
        let others: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        let own = work();
        let all = others.into_iter().map(|other| other.join().unwrap()).chain([own]);
        all.filter_map(Result::err).collect()
    });
    (seen.into_inner().unwrap(), windows.into_written(), errors)
}

#[test]
fn every_window_is_copied_once_and_every_byte_is_counted() {
    let check = || {
        let (seen, written, errors) = copied(|_, length| Ok(length));
        assert_eq!(seen, BTreeMap::from([((0, 4), 1), ((4, 4), 1), ((8, 2), 1)]));
        assert_eq!((written, errors), (SIZE, Vec::new()));
    };
    shuttle::check_random(check, ORDERS);
    shuttle::check_pct(check, ORDERS, 3);
}

#[test]
fn a_failure_reaches_the_caller_whatever_the_others_do() {
    let check = || {
        let (seen, written, errors) =
            copied(|offset, length| if offset == 4 { Err(offset) } else { Ok(length) });
        assert_eq!(errors, [4]);
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        let sound: u64 = seen.keys().filter(|(offset, _)| *offset != 4).map(|(_, length)| length).sum();
        assert_eq!(written, sound);
    };
    shuttle::check_random(check, ORDERS);
}

#[test]
fn after_a_failure_no_thread_begins_a_window() {
    shuttle::check_random(
        || {
            let windows = Arc::new(Windows::new(1_000, 1));
            assert_eq!(windows.copy_each(|_, _| Err(())), Err(()));
            let others = Arc::clone(&windows);
            let late = thread::spawn(move || others.copy_each(|_, _| Err(())));
            assert_eq!(late.join().unwrap(), Ok(()));
        },
        ORDERS,
    );
}

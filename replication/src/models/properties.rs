//! What holds for the windows of a copy in every order of execution.

use std::collections::BTreeMap;

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::windows::Windows;

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

/// Every window is copied once, and every byte is counted.
pub(super) fn copied_once() {
    let check = || {
        let (seen, written, errors) = copied(|_, length| Ok(length));
        assert_eq!(seen, BTreeMap::from([((0, 4), 1), ((4, 4), 1), ((8, 2), 1)]), "copied once");
        assert_eq!((written, errors), (SIZE, Vec::new()), "every byte is counted");
    };
    shuttle::check_random(check, ORDERS);
    shuttle::check_pct(check, ORDERS, 3);
}

/// A failure reaches the caller, whatever the other threads do.
pub(super) fn failure_reaches_the_caller() {
    let check = || {
        let (seen, written, errors) =
            copied(|offset, length| if offset == 4 { Err(offset) } else { Ok(length) });
        assert_eq!(errors, [4], "the caller learns of the failure");
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        let sound: u64 = seen.keys().filter(|(offset, _)| *offset != 4).map(|(_, length)| length).sum();
        assert_eq!(written, sound, "only sound windows count");
    };
    shuttle::check_random(check, ORDERS);
}

/// Once a thread has returned with a failure, another begins no window, except one for which it had
/// seen no failure before.
pub(super) fn failure_stops_the_others() {
    let check = || {
        let windows = Arc::new(Windows::new(SIZE, 1));
        let failed = Arc::new(AtomicBool::new(false));
        let other = thread::spawn({
            let (windows, failed) = (Arc::clone(&windows), Arc::clone(&failed));
            move || {
                let mut late = 0;
                let copied = windows.copy_each(|_, length| {
                    late += u32::from(failed.load(Ordering::SeqCst));
                    Ok::<_, ()>(length)
                });
                assert_eq!(copied, Ok(()));
                late
            }
        });
        // All windows may be copied before this thread comes to one.
        let has_failed = windows.copy_each(|_, _| Err(())).is_err();
        failed.store(has_failed, Ordering::SeqCst);
        let late = other.join().unwrap();
        assert!(late <= 1, "{late} windows began after a failure");
    };
    shuttle::check_random(check, ORDERS);
    shuttle::check_pct(check, ORDERS, 3);
}

//! Models of what threads share: the same code with primitives whose every order of execution the
//! scheduler of a checker chooses. Each of them is also run on copies of the code that are broken,
//! and has to fail there.

mod properties;

mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[expect(clippy::duplicate_mod, dead_code, reason = "it is compiled with the primitives of the checker")]
#[path = "exports.rs"]
mod exports;

#[test]
fn no_device_is_open_once_the_disks_are_hidden() {
    properties::hidden();
}

/// Copies of the exports, or of a reader, that are broken, and what is said.
macro_rules! broken {
    ($($name:ident says $said:literal
        $(where $($change:tt),+)? $(with a reader where $($reader:tt),+)?;)*) => {
        $(mod $name {
            use super::sync;

            mod exports {
                broken_source::source!("src/exports.rs" $($(, $change)+)?);
            }

            mod properties {
                broken_source::source!("src/models/properties.rs" $($(, $reader)+)?);
            }

            #[test]
            #[should_panic(expected = $said)]
            fn is_found() {
                properties::hidden();
            }
        })*
    };
}

broken! {
    a_reader_that_leaves_wakes_nobody says "deadlock" where
        { self.exports.left.notify_all(); }, {};
    nobody_waits_for_the_readers says "readers do not close" where
        { !state.callers.is_empty() }, { false };
    the_disks_are_hidden_after_the_readers_have_left says "open once the disks are hidden" where
        { state.disks.clear(); }, {},
        { 0 => Ok(()), }, { 0 => { drop(state); lock(&self.state).disks.clear(); Ok(()) } };
    the_disks_are_not_hidden says "is still there" where
        { state.disks.clear(); }, {};
    readers_share_a_number says "open once the disks are hidden" where
        { state.next += 1; }, {};
    the_disk_is_looked_up_before_the_reader_registers says "open once the disks are hidden"
        with a reader where
        { let registration = exports.register(stream).unwrap(); let found = exports.find(DISK); },
        { let found = exports.find(DISK); let registration = exports.register(stream).unwrap(); };
    a_reader_leaves_before_it_closes_its_device says "open once the disks are hidden"
        with a reader where
        { open.fetch_sub(1, Ordering::SeqCst); } , {},
        { drop(registration); }, { drop(registration); open.store(0, Ordering::SeqCst); };
}

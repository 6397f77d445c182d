//! Models of what threads share: the same code with primitives whose every order of execution the
//! scheduler of a checker chooses. Each of them is also run on copies of the code that are broken,
//! and has to fail there.

mod properties;

mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}

#[expect(clippy::duplicate_mod, reason = "it is compiled with the primitives of the checker")]
#[path = "windows.rs"]
mod windows;

#[test]
fn every_window_is_copied_once_and_every_byte_is_counted() {
    properties::copied_once();
}

#[test]
fn a_failure_reaches_the_caller_whatever_the_others_do() {
    properties::failure_reaches_the_caller();
}

#[test]
fn after_a_failure_a_thread_begins_no_more_than_one_window() {
    properties::failure_stops_the_others();
}

/// Copies of the windows that are broken, with the property that does not hold, and what is said.
macro_rules! broken {
    ($($name:ident: $property:ident says $said:literal where $($change:tt),+;)*) => {
        $(mod $name {
            use super::sync;

            mod windows {
                broken_source::source!("src/windows.rs", $($change),+);
            }

            mod properties {
                broken_source::source!("src/models/properties.rs");
            }

            #[test]
            #[should_panic(expected = $said)]
            fn is_found() {
                properties::$property();
            }
        })*
    };
}

broken! {
    two_threads_take_the_same_window: copied_once says "copied once" where
        { self.next.fetch_add(self.step, Ordering::Relaxed) },
        { {
            let offset = self.next.load(Ordering::Relaxed);
            self.next.store(offset + self.step, Ordering::Relaxed);
            offset
        } };
    a_sum_is_lost: copied_once says "every byte is counted" where
        { self.written.fetch_add(bytes, Ordering::Relaxed) },
        { {
            let before = self.written.load(Ordering::Relaxed);
            self.written.store(before + bytes, Ordering::Relaxed);
            before
        } };
    the_last_window_is_too_long: copied_once says "copied once" where
        { self.step.min(self.size - offset) }, { self.step };
    a_failure_is_kept_from_the_caller: failure_reaches_the_caller says "the caller learns" where
        { return Err(error); }, { drop(error); break; };
    a_failed_window_counts: failure_reaches_the_caller says "only sound windows count" where
        { self.failed.store(true, Ordering::Relaxed); },
        { self.failed.store(true, Ordering::Relaxed); self.written.fetch_add(1, Ordering::Relaxed); };
    a_failure_is_kept_from_the_others: failure_stops_the_others says "began after a failure" where
        { self.failed.store(true, Ordering::Relaxed); }, {};
    a_thread_looks_for_a_failure_only_once: failure_stops_the_others says "began after a failure" where
        { while !self.failed.load(Ordering::Relaxed) },
        { if self.failed.load(Ordering::Relaxed) { return Ok(()); } loop };
}

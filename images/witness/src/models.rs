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

#[expect(clippy::duplicate_mod, reason = "it is compiled with the primitives of the checker")]
#[path = "pause_gate.rs"]
mod pause_gate;

#[test]
fn nothing_is_in_progress_while_the_gate_is_paused_and_everything_goes_on_afterwards() {
    properties::paused();
}

#[test]
fn a_stop_ends_every_worker_also_while_the_gate_is_paused() {
    properties::stopped();
}

/// Copies of the gate that are broken, with the property that does not hold, and what is said.
macro_rules! broken {
    ($($name:ident: $property:ident says $said:literal where $($change:tt),+;)*) => {
        $(mod $name {
            use super::sync;

            mod pause_gate {
                broken_source::source!("src/pause_gate.rs", $($change),+);
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
    the_end_of_an_operation_wakes_nobody: paused says "deadlock" where
        { inside -= 1; self.0.changed.notify_all(); }, { inside -= 1; };
    the_end_of_an_operation_wakes_one: paused says "deadlock" where
        { inside -= 1; self.0.changed.notify_all(); }, { inside -= 1; self.0.changed.notify_one(); };
    a_resume_wakes_nobody: paused says "deadlock" where
        { set(source, false); self.changed.notify_all(); }, { set(source, false); };
    a_pause_does_not_wait: paused says "in progress while the gate is paused" where
        { while state.inside > 0 }, { while false };
    a_pause_waits_for_one_operation: paused says "in progress while the gate is paused" where
        { while state.inside > 0 }, { if state.inside > 0 };
    a_worker_enters_after_it_has_let_go_of_the_lock: paused says "in progress while the gate is paused" where
        { state.inside += 1; }, { drop(state); lock(&self.state).inside += 1; };
    one_resume_withdraws_both_requests: paused says "in progress while one request is left" where
        { self.host || self.agent }, { self.host };
    a_stop_wakes_nobody: stopped says "deadlock" where
        { stopped = true; self.changed.notify_all(); }, { stopped = true; };
    a_stop_wakes_one: stopped says "deadlock" where
        { stopped = true; self.changed.notify_all(); }, { stopped = true; self.changed.notify_one(); };
    a_stop_waits_for_the_resume: stopped says "deadlock" where
        { if state.stopped { return None; } }, { if state.stopped && !state.paused() { return None; } };
}

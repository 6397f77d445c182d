//! Whether a process ended although nobody wanted it to.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

/// The end of a process with a monitor. It is explained if the suite or the guest itself had asked
/// for it. Otherwise somebody else killed the process, or it crashed, and what is found afterwards
/// may be no fault of the replication core.
#[derive(Debug)]
pub struct Ending {
    who: String,
    explained: AtomicBool,
    /// When it ended, if nothing explained that by then.
    unexplained: OnceLock<Option<Instant>>,
}

impl Ending {
    /// The end, still to come, of the process `who`.
    pub(crate) fn of(who: &str) -> Self {
        Self { who: who.to_owned(), explained: AtomicBool::new(false), unexplained: OnceLock::new() }
    }

    /// The process, by the name of its monitor.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// When the process ended without an explanation; `None` if it runs or its end was wanted.
    #[must_use]
    pub fn unexplained(&self) -> Option<Instant> {
        self.unexplained.get().copied().flatten()
    }

    /// Says that the suite is about to end the process.
    pub(crate) fn explain(&self) {
        self.explained.store(true, Ordering::SeqCst);
    }

    /// Hears an event of the process, which may say that its guest ends it.
    pub(crate) fn hear(&self, event: &Value) {
        if by_its_guest(event) {
            self.explain();
        }
    }

    /// Says that the process is gone.
    pub(crate) fn mark_gone(&self) {
        let unexplained = !self.explained.load(Ordering::SeqCst);
        self.unexplained.get_or_init(|| unexplained.then(Instant::now));
    }
}

/// Whether an event says that the guest shut itself down, or that its kernel panicked.
fn by_its_guest(event: &Value) -> bool {
    match event["event"].as_str() {
        Some("SHUTDOWN") => event["data"]["guest"] == true,
        Some("GUEST_PANICKED") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended_after(events: &[Value]) -> Ending {
        let ending = Ending::of("guest");
        for event in events {
            ending.hear(event);
        }
        assert_eq!(ending.unexplained(), None, "it still runs");
        ending.mark_gone();
        ending
    }

    #[test]
    fn an_end_without_a_word_or_by_a_signal_is_unexplained() {
        let by_signal = json!({"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}});
        assert!(ended_after(&[]).unexplained().is_some());
        assert!(ended_after(&[by_signal]).unexplained().is_some());
    }

    #[test]
    fn a_guest_that_ends_itself_explains_the_end() {
        let shutdown = json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}});
        let panicked = json!({"event": "GUEST_PANICKED", "data": {"action": "poweroff"}});
        assert_eq!(ended_after(&[shutdown]).unexplained(), None);
        assert_eq!(ended_after(&[panicked]).unexplained(), None);
    }

    #[test]
    fn what_is_wanted_only_afterwards_explains_nothing() {
        let ending = ended_after(&[]);
        ending.explain();
        ending.mark_gone();
        assert!(ending.unexplained().is_some());
    }
}

//! Whether a guest goes on working, as it does all the time unless something stops it.

use std::time::Duration;

use witness::ledger::RecordNumber;

use crate::real::context::ScenarioContext;
use crate::real::machine::Running;
use crate::rules::RuleId;

/// How long a working guest may take to its next record.
const NEXT_RECORD_WITHIN: Duration = Duration::from_secs(20);

/// What was seen of a guest's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It acknowledged a further record.
    GoesOn,
    /// It did not, although it could run.
    Stopped(String),
    /// Its host did not let it run.
    Starved(String),
}

impl Work {
    /// What the answer to the wait for a record says. `trouble` is the witness's, if it reported
    /// any.
    pub(crate) fn of(next: harness::Result<()>, trouble: Option<String>) -> Self {
        match (next, trouble) {
            (Err(error @ harness::Error::Starved { .. }), _) => Self::Starved(error.to_string()),
            (Err(error), _) => Self::Stopped(error.to_string()),
            (Ok(()), Some(trouble)) => Self::Stopped(trouble),
            (Ok(()), None) => Self::GoesOn,
        }
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GoesOn => write!(f, "it worked on"),
            Self::Stopped(why) => write!(f, "it stopped working: {why}"),
            Self::Starved(why) => write!(f, "{why}"),
        }
    }
}

/// Waits for the guest's acknowledgement of a record beyond `record`.
pub(crate) async fn work_beyond(running: &Running, record: RecordNumber) -> Work {
    let guest = &running.boot.guest;
    let next = guest.race("its next record", NEXT_RECORD_WITHIN, guest.witness().acked(record + 1)).await;
    Work::of(next, guest.witness().trouble())
}

/// Records whether a rule is satisfied by which a guest works on and `also` is true. `found` is
/// what was found besides the work.
pub(crate) fn check_work(context: &ScenarioContext, rule: RuleId, work: &Work, also: bool, found: &str) {
    let found = format!("{found}; the guest: {work}");
    match work {
        // Nothing is known about the guest, and nothing else is wrong.
        Work::Starved(_) if also => context.unknown(rule, found),
        _ => context.check(rule, also && *work == Work::GoesOn, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_its_host_starves_has_not_stopped_working() {
        let (awaited, bound) = (|| "shop: its next record".to_owned(), NEXT_RECORD_WITHIN);
        assert_eq!(Work::of(Ok(()), None), Work::GoesOn);
        let why = "its kernel says: watchdog: BUG: soft lockup".to_owned();
        let starved = harness::Error::Starved { awaited: awaited(), bound, why };
        assert!(matches!(Work::of(Err(starved), None), Work::Starved(_)));
        let silent = harness::Error::TimedOut { awaited: awaited(), bound, seen: String::new() };
        assert!(matches!(Work::of(Err(silent), None), Work::Stopped(_)));
        let trouble = Some("write failed: input/output error".to_owned());
        assert!(matches!(Work::of(Ok(()), trouble), Work::Stopped(_)));
    }
}

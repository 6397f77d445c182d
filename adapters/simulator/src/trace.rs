//! The event log of a site, for comparing runs and for analysing failures.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use contract::Timestamp;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The machine, volume, snapshot or export that it concerns.
    pub subject: String,
    /// Description.
    pub what: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.at.0, self.subject, self.what)
    }
}

/// All events, in order.
#[derive(Debug, Default)]
pub(crate) struct Trace(Mutex<Vec<Event>>);

impl Trace {
    pub(crate) fn add(&self, at: Timestamp, subject: &str, what: String) {
        let event = Event { at, subject: subject.to_owned(), what };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

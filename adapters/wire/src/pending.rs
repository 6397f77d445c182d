//! The requests that wait for an answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::WireError;
use crate::id::Id;
use crate::message::Answer;

/// How a request ended: with an answer, or with the connection.
pub(crate) type Ended = Result<Answer, WireError>;

/// Who waits for the end of a request.
pub(crate) type Caller = oneshot::Sender<Ended>;

/// The requests of one side that wait for an answer. Ids count from 1, so that an id above the last
/// one was never used, and one below it that does not wait was answered before.
#[derive(Default)]
pub(crate) struct PendingCalls {
    last: u64,
    waiting: HashMap<u64, Waiting>,
}

struct Waiting {
    method: &'static str,
    deadline: Option<(Instant, Duration)>,
    /// `None`: cancelled; the answer is dropped.
    caller: Option<Caller>,
}

impl PendingCalls {
    /// Adds a request.
    pub(crate) fn add(
        &mut self,
        method: &'static str,
        within: Option<Duration>,
    ) -> (u64, oneshot::Receiver<Ended>) {
        let (caller, answer) = oneshot::channel();
        self.last += 1;
        let deadline = within.map(|within| (Instant::now() + within, within));
        self.waiting.insert(self.last, Waiting { method, deadline, caller: Some(caller) });
        (self.last, answer)
    }

    /// Gives up a request. Returns whether it was waiting.
    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        self.waiting.get_mut(&id).is_some_and(|waiting| waiting.caller.take().is_some())
    }

    /// Takes a request out because its answer has come; `None`: nobody waits for it any more.
    pub(crate) fn claim(&mut self, id: Id) -> Result<Option<Caller>, WireError> {
        let number = if let Id::Number(number) = &id { number.as_u64() } else { None };
        let Some(number) = number.filter(|number| (1..=self.last).contains(number)) else {
            return Err(WireError::UnknownAnswer(id));
        };
        match self.waiting.remove(&number) {
            Some(waiting) => Ok(waiting.caller),
            None => Err(WireError::SecondAnswer(id)),
        }
    }

    /// The error of a request whose time is over.
    pub(crate) fn overdue(&self, now: Instant) -> Option<WireError> {
        self.waiting.values().find_map(|waiting| {
            let (deadline, within) = waiting.deadline?;
            (deadline < now).then_some(WireError::NoAnswer { method: waiting.method, within })
        })
    }

    /// Ends all requests with an error.
    pub(crate) fn end(&mut self, error: &WireError) {
        for caller in self.waiting.drain().filter_map(|(_, waiting)| waiting.caller) {
            let _ = caller.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_that_waits_can_be_answered() {
        let mut pending = PendingCalls::default();
        let unknown = pending.claim(1.into());
        assert!(matches!(unknown, Err(WireError::UnknownAnswer(_))));
        let (first, _wanted) = pending.add("a", None);
        let (second, _dropped) = pending.add("b", None);
        assert!(pending.cancel(second));
        assert!(!pending.cancel(second));
        assert!(pending.claim(second.into()).is_ok(), "a cancelled request may be answered");
        assert!(pending.claim(first.into()).is_ok());
        assert!(matches!(pending.claim(first.into()), Err(WireError::SecondAnswer(_))));
        let text = pending.claim(Id::Text("1".to_owned()));
        assert!(matches!(text, Err(WireError::UnknownAnswer(_))));
    }

    #[test]
    fn a_request_without_an_answer_becomes_overdue() {
        let mut pending = PendingCalls::default();
        let (_, _forever) = pending.add("watch", None);
        assert!(pending.overdue(Instant::now() + Duration::from_secs(1 << 20)).is_none());
        let (_, _brief) = pending.add("call", Some(Duration::from_secs(1)));
        assert!(pending.overdue(Instant::now()).is_none());
        let later = Instant::now() + Duration::from_secs(2);
        assert!(matches!(pending.overdue(later), Some(WireError::NoAnswer { method: "call", .. })));
    }
}

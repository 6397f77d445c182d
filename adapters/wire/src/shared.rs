//! What the parts of a connection share: the requests that wait, and what is to be sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::WireError;
use crate::id::Id;
use crate::message::{self, Answer, ErrorObject};
use crate::peer::Observer;
use crate::pending::{Ended, PendingCalls};
use crate::protocol::{CANCEL, Cancel, TIME, TimeIs, code};

/// Lines to be sent together.
pub(crate) struct Outgoing {
    /// The lines, each with its line feed.
    pub(crate) text: String,
    /// Number of messages.
    pub(crate) messages: u64,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) ended: watch::Sender<Option<WireError>>,
    /// Whether the peer's first request was answered, or never will be.
    pub(crate) first_answered: watch::Sender<bool>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

pub(crate) struct State {
    /// `None` once the connection has ended.
    outgoing: Option<mpsc::UnboundedSender<Outgoing>>,
    pub(crate) sent: u64,
    pub(crate) calls: PendingCalls,
    /// What the peer has asked and is not yet answered, with what cancels it.
    pub(crate) serving: HashMap<Id, oneshot::Sender<()>>,
    /// The peer's first request.
    first: Option<Id>,
}

impl State {
    /// Gives a request of the peer a place. Returns whether its id was free.
    pub(crate) fn admit(&mut self, id: &Id, cancel: oneshot::Sender<()>) -> bool {
        self.first.get_or_insert_with(|| id.clone());
        self.serving.insert(id.clone(), cancel).is_none()
    }
}

impl Shared {
    pub(crate) fn new(
        outgoing: mpsc::UnboundedSender<Outgoing>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let calls = PendingCalls::default();
        let (outgoing, serving) = (Some(outgoing), HashMap::new());
        let state = State { outgoing, sent: 0, calls, serving, first: None };
        Self {
            state: Mutex::new(state),
            ended: watch::Sender::new(None),
            first_answered: watch::Sender::new(false),
            observer,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn why_ended(&self) -> WireError {
        self.ended.borrow().clone().unwrap_or(WireError::Ended)
    }

    pub(crate) async fn call(
        self: &Arc<Self>,
        method: &'static str,
        params: &impl Serialize,
        within: Option<Duration>,
    ) -> Ended {
        let (guard, answer) = {
            let mut state = self.state();
            if state.outgoing.is_none() {
                drop(state);
                return Err(self.why_ended());
            }
            let (id, answer) = state.calls.add(method, within);
            let guard = Interest { shared: Arc::clone(self), id };
            match message::call_line(Some(id), method, params) {
                Ok(line) => self.send(&mut state, line),
                Err(error) => {
                    drop(state);
                    return Err(WireError::Unreadable(error.to_string()));
                }
            }
            (guard, answer)
        };
        let ended = answer.await.unwrap_or_else(|_| Err(self.why_ended()));
        drop(guard);
        ended
    }

    pub(crate) fn notify(&self, method: &str, params: &impl Serialize) {
        if let Ok(line) = message::call_line(None, method, params) {
            self.send(&mut self.state(), line);
        }
    }

    /// Queues a line. The count is right for whoever holds the state's lock.
    fn send(&self, state: &mut State, line: String) {
        let Some(outgoing) = &state.outgoing else { return };
        let time = self.observer.as_ref().and_then(|observer| observer.time_to_tell());
        let time = time.and_then(|time| message::call_line(None, TIME, &TimeIs { time }).ok());
        let messages = if time.is_some() { 2 } else { 1 };
        let text = time.into_iter().chain([line]).flat_map(|line| [line, "\n".to_owned()]).collect();
        if outgoing.send(Outgoing { text, messages }).is_ok() {
            state.sent += messages;
            if let Some(observer) = &self.observer {
                observer.sent(state.sent);
            }
        }
    }

    pub(crate) fn answer(&self, id: &Id, answer: &Answer) {
        let line = message::answer_line(id, answer).or_else(|error| {
            let failed = ErrorObject::new(code::INTERNAL, format!("the answer cannot be written: {error}"));
            message::answer_line(id, &Err(failed))
        });
        let mut state = self.state();
        if state.serving.remove(id).is_some()
            && let Ok(line) = line
        {
            self.send(&mut state, line);
        }
        let is_first = state.first.as_ref() == Some(id);
        drop(state);
        if is_first {
            self.first_answered.send_replace(true);
        }
    }

    /// Ends the connection; the first reason counts. What is queued is still written.
    pub(crate) fn end(&self, error: WireError) {
        let mut first = false;
        self.ended.send_if_modified(|ended| {
            first = ended.is_none();
            ended.get_or_insert(error);
            first
        });
        if !first {
            return;
        }
        let error = self.why_ended();
        let mut state = self.state();
        state.outgoing = None;
        state.calls.end(&error);
        // The work of those who finish it goes on; all other work is dropped.
        state.serving.clear();
        drop(state);
        self.first_answered.send_replace(true);
        if let Some(observer) = &self.observer {
            observer.ended();
        }
    }

    pub(crate) async fn until_ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }
}

/// The interest of a caller in an answer.
struct Interest {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        let cancelled = self.shared.state().calls.cancel(self.id);
        if cancelled {
            self.shared.notify(CANCEL, &Cancel { id: self.id.into() });
        }
    }
}

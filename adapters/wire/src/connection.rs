//! A connection: what both sides share.
//!
//! Three tasks work for a connection: one reads, one writes, one looks for requests whose time is
//! over. They run on the runtime that starts the connection, and keep the host's time. The work
//! for requests of the peer runs on [`Options::serve_on`], which may have a virtual clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::WireError;
use crate::id::Id;
use crate::lines::Lines;
use crate::message::{self, Answer, ErrorObject, Message, Request};
use crate::method::Method;
pub use crate::peer::{Observer, Service};
use crate::pending::{Ended, PendingCalls};
use crate::protocol::{
    ANSWER_WITHIN, CANCEL, Cancel, IDLE, Idle, MOST_OPEN_REQUESTS, MOST_UNKNOWN_NOTIFICATIONS, TIME, TimeIs,
    code,
};

/// How often requests are looked through for one whose time is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The time in which a connection that ends writes what is still to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// What a connection is started with.
pub struct Options {
    /// Answers the peer's requests.
    pub service: Arc<dyn Service>,
    /// The runtime for that work.
    pub serve_on: Handle,
    /// Replaces `serve_on` after the first message. No other message is handled before.
    pub then_serve_on: Option<oneshot::Receiver<Handle>>,
    /// Sees what goes through.
    pub observer: Option<Arc<dyn Observer>>,
    /// Resolves after the peer's end of the connection was closed, with a better description of
    /// why, if there is one.
    pub why_closed: Option<BoxFuture<'static, Option<WireError>>>,
}

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The connection ended.
    #[error(transparent)]
    Connection(#[from] WireError),
    /// The peer answered with an error.
    #[error("{}", .0.message)]
    Refused(ErrorObject),
    /// The result does not fit the method.
    #[error("the result of {method} does not fit: {why}")]
    BadResult {
        /// The method.
        method: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// An open connection. Clones share it; it is closed with the last one.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Ends the connection when nobody has it any more.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.end(WireError::Ended);
    }
}

struct Shared {
    state: Mutex<State>,
    ended: watch::Sender<Option<WireError>>,
    /// Changes with every answer to the peer.
    answered: watch::Sender<()>,
    observer: Option<Arc<dyn Observer>>,
}

struct State {
    /// `None` once the connection has ended.
    outgoing: Option<mpsc::UnboundedSender<String>>,
    sent: u64,
    calls: PendingCalls,
    /// What the peer has asked and is not yet answered, with what cancels it.
    serving: HashMap<Id, oneshot::Sender<()>>,
}

impl Connection {
    /// Starts a connection. It ends when the peer closes it or breaks the protocol, and when the
    /// last clone is dropped.
    pub(crate) fn start(from: Lines, to: impl AsyncWrite + Send + Unpin + 'static, options: Options) -> Self {
        let (outgoing, lines) = mpsc::unbounded_channel();
        let calls = PendingCalls::default();
        let state = State { outgoing: Some(outgoing), sent: 0, calls, serving: HashMap::new() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            ended: watch::Sender::new(None),
            answered: watch::Sender::new(()),
            observer: options.observer.clone(),
        });
        tokio::spawn(write(to, lines, Arc::clone(&shared)));
        tokio::spawn(look_for_overdue(Arc::clone(&shared)));
        tokio::spawn(read(from, Arc::clone(&shared), options));
        Self { _open: Arc::new(Open(Arc::clone(&shared))), shared }
    }

    /// Calls a method of the peer. If the caller loses interest, the peer is told.
    ///
    /// # Errors
    /// The connection has ended, the peer refuses, or its result does not fit the method.
    pub async fn call<M: Method>(&self, params: &M) -> Result<M::Result, CallError> {
        let answer = self.shared.call(M::NAME, params, (!M::WAITS).then_some(ANSWER_WITHIN)).await?;
        let raw = answer.map_err(CallError::Refused)?;
        serde_json::from_str(raw.get())
            .map_err(|error| CallError::BadResult { method: M::NAME, why: error.to_string() })
    }

    /// Sends a notification. If the connection has ended, nothing happens.
    pub fn notify(&self, method: &str, params: &impl Serialize) {
        self.shared.notify(method, params);
    }

    /// Ends the connection; every call that waits gets this error.
    pub fn end(&self, error: WireError) {
        self.shared.end(error);
    }

    /// Waits until the connection has ended, and returns why.
    pub async fn ended(&self) -> WireError {
        let mut ended = self.shared.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        end.ok().and_then(|error| error.clone()).unwrap_or(WireError::Ended)
    }

    /// Waits until every request of the peer so far is answered, or the connection has ended.
    pub(crate) async fn all_answered(&self) {
        let mut answered = self.shared.answered.subscribe();
        loop {
            answered.mark_unchanged();
            if self.shared.state().serving.is_empty() || answered.changed().await.is_err() {
                break;
            }
        }
    }

    /// Why the connection has ended, if it has.
    #[must_use]
    pub fn has_ended(&self) -> Option<WireError> {
        self.shared.ended.borrow().clone()
    }

    /// Number of messages that were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.state().sent
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_ended(&self) -> WireError {
        self.ended.borrow().clone().unwrap_or(WireError::Ended)
    }

    async fn call(
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

    fn notify(&self, method: &str, params: &impl Serialize) {
        if let Ok(line) = message::call_line(None, method, params) {
            self.send(&mut self.state(), line);
        }
    }

    /// Queues a line. The count is right for whoever holds the state's lock.
    fn send(&self, state: &mut State, line: String) {
        let time = self.observer.as_ref().and_then(|observer| observer.time_to_tell());
        if let Some(Ok(time)) = time.map(|time| message::call_line(None, TIME, &TimeIs { time })) {
            self.queue(state, time);
        }
        self.queue(state, line);
    }

    fn queue(&self, state: &mut State, mut line: String) {
        let Some(outgoing) = &state.outgoing else { return };
        line.push('\n');
        if outgoing.send(line).is_ok() {
            state.sent += 1;
            if let Some(observer) = &self.observer {
                observer.sent(state.sent);
            }
        }
    }

    fn answer(&self, id: &Id, answer: &Answer) {
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
        drop(state);
        self.answered.send_replace(());
    }

    /// Ends the connection; the first reason counts. What is queued is still written.
    fn end(&self, error: WireError) {
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
        self.answered.send_replace(());
        if let Some(observer) = &self.observer {
            observer.ended();
        }
    }

    async fn until_ended(&self) {
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

/// Writes lines until the connection has ended and none is left.
async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut lines: mpsc::UnboundedReceiver<String>,
    shared: Arc<Shared>,
) {
    let work = async {
        while let Some(line) = lines.recv().await {
            to.write_all(line.as_bytes()).await?;
            if lines.is_empty() {
                to.flush().await?;
            }
        }
        to.shutdown().await
    };
    let last_moment = async {
        shared.until_ended().await;
        tokio::time::sleep(FLUSH_WITHIN).await;
    };
    // A peer that is gone is noticed by the reader, which knows more about it.
    tokio::select! {
        _ = work => {}
        () = last_moment => {}
    }
}

async fn look_for_overdue(shared: Arc<Shared>) {
    let look = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let overdue = shared.state().calls.overdue(Instant::now());
            let overdue = overdue.or_else(|| shared.observer.as_ref()?.overdue());
            if let Some(error) = overdue {
                break shared.end(error);
            }
        }
    };
    tokio::select! {
        () = look => {}
        () = shared.until_ended() => {}
    }
}

/// Reads messages until the connection ends.
async fn read(mut from: Lines, shared: Arc<Shared>, options: Options) {
    let mut reader = Reader { shared: Arc::clone(&shared), options, received: 0, unknown: 0 };
    let work = async {
        loop {
            let line = match from.next().await {
                Ok(line) => line,
                Err(error @ WireError::Closed { .. }) => break reader.why_closed(error).await,
                Err(error) => break error,
            };
            if reader.received > 0
                && let Some(work) = reader.options.then_serve_on.take()
            {
                match work.await {
                    Ok(runtime) => reader.options.serve_on = runtime,
                    Err(_) => break WireError::Ended,
                }
            }
            if let Err(error) = reader.handle(line) {
                break error;
            }
        }
    };
    tokio::select! {
        error = work => shared.end(error),
        () = shared.until_ended() => {}
    }
}

struct Reader {
    shared: Arc<Shared>,
    options: Options,
    received: u64,
    /// Number of unknown notifications.
    unknown: u64,
}

impl Reader {
    async fn why_closed(&mut self, error: WireError) -> WireError {
        match self.options.why_closed.take() {
            Some(why) => why.await.unwrap_or(error),
            None => error,
        }
    }

    fn handle(&mut self, line: &[u8]) -> Result<(), WireError> {
        let message = Message::parse(line)?;
        self.received += 1;
        match message {
            Message::Request(request) => self.serve(request),
            Message::Notification { method, params } => self.notified(&method, params.as_deref()),
            Message::Answer { id: Some(id), answer } => self.shared.state().calls.answer(id, answer),
            Message::Answer { id: None, answer } => {
                let why = answer.map_or_else(|error| error.message, |_| String::new());
                Err(WireError::Unreadable(message::shortened(&why)))
            }
        }?;
        if let Some(observer) = &self.options.observer {
            observer.received(self.received);
        }
        Ok(())
    }

    /// Starts the work for a request.
    fn serve(&self, request: Request) -> Result<(), WireError> {
        let (cancel, mut cancelled) = oneshot::channel();
        let id = request.id.clone();
        {
            let mut state = self.shared.state();
            if state.serving.len() >= MOST_OPEN_REQUESTS {
                return Err(WireError::TooManyRequests);
            }
            if state.serving.insert(id.clone(), cancel).is_some() {
                return Err(WireError::IdInUse(id));
            }
        }
        let mut work = self.options.service.serve(request);
        let finishes = self.options.service.finishes_cancelled_work();
        let mut place = Place { shared: Arc::clone(&self.shared), id, answered: false };
        self.options.serve_on.spawn(async move {
            let answer = tokio::select! {
                biased;
                answer = &mut work => answer,
                _ = &mut cancelled => {
                    if finishes {
                        tokio::spawn(work);
                    }
                    Err(ErrorObject::new(code::CANCELLED, "the request was cancelled"))
                }
            };
            place.answer(&answer);
        });
        Ok(())
    }

    fn notified(&mut self, method: &str, params: Option<&RawValue>) -> Result<(), WireError> {
        let text = params.map_or("{}", RawValue::get);
        if method == CANCEL {
            if let Ok(Cancel { id }) = serde_json::from_str(text)
                && let Some(serving) = self.shared.state().serving.get_mut(&id)
            {
                // The place stays taken until the request is answered.
                drop(std::mem::replace(serving, oneshot::channel().0));
            }
            return Ok(());
        }
        if let (IDLE, Some(observer), Ok(Idle { received })) =
            (method, &self.options.observer, serde_json::from_str(text))
        {
            observer.idle(received);
            return Ok(());
        }
        if let (TIME, Some(observer), Ok(TimeIs { time })) =
            (method, &self.options.observer, serde_json::from_str(text))
        {
            observer.told(time);
            return Ok(());
        }
        self.unknown += 1;
        if self.unknown > MOST_UNKNOWN_NOTIFICATIONS {
            return Err(WireError::TooManyNotifications(message::shortened(method)));
        }
        Ok(())
    }
}

/// The place of a request of the peer. It is answered also if the work ends without an answer,
/// because it panicked.
struct Place {
    shared: Arc<Shared>,
    id: Id,
    answered: bool,
}

impl Place {
    fn answer(&mut self, answer: &Answer) {
        self.answered = true;
        self.shared.answer(&self.id, answer);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.answered {
            let why = "the work for this request ended without an answer";
            self.answer(&Err(ErrorObject::new(code::INTERNAL, why)));
        }
    }
}

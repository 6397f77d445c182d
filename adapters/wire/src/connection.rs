//! A connection: what both sides share.
//!
//! Three tasks work for a connection: one reads, one writes, one looks for requests whose time is
//! over. They run on the runtime that starts the connection, and keep the host's time. The work
//! for requests of the peer runs on [`Options::serve_on`], which may have a virtual clock. If the
//! sides work in turn, `turns` passes the messages there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::error::WireError;
use crate::handler::Handler;
use crate::lines::Lines;
use crate::message::{ErrorObject, Message};
use crate::method::Method;
pub use crate::peer::{Observer, Options, Service};
use crate::protocol::ANSWER_WITHIN;
use crate::shared::Shared;
use crate::turns::{Incoming, MOST_UNREAD, Turns};
use crate::writer::write;

/// How often requests are looked through for one whose time is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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

impl Connection {
    /// Starts a connection. It ends when the peer closes it or breaks the protocol, and when the
    /// last clone is dropped.
    pub(crate) fn start(from: Lines, to: impl AsyncWrite + Send + Unpin + 'static, options: Options) -> Self {
        let (outgoing, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(outgoing, options.observer.clone()));
        let Options { service, serve_on, then_serve_on, in_turn, observer: _, why_closed } = options;
        let handler =
            |serve_on| Handler { shared: Arc::clone(&shared), service, serve_on, received: 0, unknown: 0 };
        let mut reading = Reading { then_serve_on, why_closed, shared: Arc::clone(&shared) };
        if in_turn {
            let (incoming, unread) = mpsc::channel(MOST_UNREAD);
            let handler = handler(serve_on.clone());
            let turns = Turns {
                shared: Arc::clone(&shared),
                handler,
                queue,
                to,
                writes: false,
                incoming: unread,
                connections: Handle::current(),
            };
            serve_on.spawn(turns.pass());
            tokio::spawn(async move { reading.pass_on(from, incoming).await });
        } else {
            let handler = handler(serve_on);
            tokio::spawn(write(to, queue, Arc::clone(&shared)));
            tokio::spawn(async move { reading.handle(from, handler).await });
        }
        tokio::spawn(look_for_overdue(Arc::clone(&shared)));
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

    /// Waits until the peer's first request is answered, or the connection has ended.
    pub(crate) async fn first_answer(&self) {
        // The sender lives as long as `self`.
        let _ = self.shared.first_answered.subscribe().wait_for(|answered| *answered).await;
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
struct Reading {
    shared: Arc<Shared>,
    then_serve_on: Option<oneshot::Receiver<Handle>>,
    why_closed: Option<BoxFuture<'static, Option<WireError>>>,
}

impl Reading {
    /// Handles each message when it comes.
    async fn handle(&mut self, mut from: Lines, mut handler: Handler) {
        let shared = Arc::clone(&self.shared);
        let work = async {
            loop {
                let message = match self.next(&mut from).await {
                    Ok(message) => message,
                    Err(error) => break error,
                };
                if handler.received > 0
                    && let Some(work) = self.then_serve_on.take()
                {
                    match work.await {
                        Ok(runtime) => handler.serve_on = runtime,
                        Err(_) => break WireError::Ended,
                    }
                }
                if let Err(error) = handler.handle(message) {
                    break error;
                }
            }
        };
        tokio::select! {
            error = work => shared.end(error),
            () = shared.until_ended() => {}
        }
    }

    /// Passes messages on, and at last why there are no more.
    async fn pass_on(&mut self, mut from: Lines, to: mpsc::Sender<Incoming>) {
        let shared = Arc::clone(&self.shared);
        let work = async {
            loop {
                match self.next(&mut from).await {
                    Ok(message) => {
                        if to.send(Incoming::Message(message)).await.is_err() {
                            break WireError::Ended;
                        }
                    }
                    Err(error) => break error,
                }
            }
        };
        tokio::select! {
            error = work => {
                if to.send(Incoming::End(error.clone())).await.is_err() {
                    shared.end(error);
                }
            }
            () = shared.until_ended() => {}
        }
    }

    async fn next(&mut self, from: &mut Lines) -> Result<Message, WireError> {
        match from.next().await {
            Ok(line) => Ok(Message::parse(line)?),
            Err(error @ WireError::Closed { .. }) => Err(match self.why_closed.take() {
                Some(why) => why.await.unwrap_or(error),
                None => error,
            }),
            Err(error) => Err(error),
        }
    }
}

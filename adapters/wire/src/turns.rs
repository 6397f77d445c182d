//! Two sides that work in turn, so that what happens depends on no host's scheduling.
//!
//! All messages pass through one task on the runtime that does the work for the peer's requests.
//! The peer gets one message, or a time and a message, and what it sends is kept until it says that
//! it is idle. Then that is handled in its order, and the runtime does everything that follows from
//! it before the peer gets the next message.

use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::error::WireError;
use crate::handler::{Handler, Work};
use crate::message::Message;
use crate::protocol::{IDLE, Idle, MOST_OPEN_REQUESTS};
use crate::shared::{Outgoing, Shared};
use crate::writer::write;

/// Messages that were read and not yet looked at.
pub(crate) const MOST_UNREAD: usize = 256;
/// The most requests and answers of one turn.
const MOST_KEPT: usize = 2 * MOST_OPEN_REQUESTS;
/// How often the runtime lets all other tasks run before the next message is sent. Work that needs
/// longer is still done in the same order each time.
const ROUNDS: u32 = 2;

/// What comes from the peer.
pub(crate) enum Incoming {
    /// A message.
    Message(Message),
    /// The end of the connection.
    End(WireError),
}

/// Passes the messages in both directions.
pub(crate) struct Turns<W> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handler: Handler,
    /// What is to be sent.
    pub(crate) queue: mpsc::UnboundedReceiver<Outgoing>,
    /// Where it is written, by this task itself: another one would have to be woken for each line.
    pub(crate) to: W,
    /// Whether a line is written, and only a part of it may have been.
    pub(crate) writes: bool,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    /// The runtime that keeps the host's time.
    pub(crate) connections: Handle,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Turns<W> {
    /// Works until the connection has ended. What is still queued then is written, unless the peer
    /// does not read.
    pub(crate) async fn pass(mut self) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            error = self.work() => shared.end(error),
            () = shared.until_ended() => {}
        }
        if !self.writes {
            self.connections.spawn(write(self.to, self.queue, shared));
        }
    }

    async fn work(&mut self) -> WireError {
        let mut written = 0;
        let mut peers_turn = false;
        let mut kept = Vec::new();
        loop {
            tokio::select! {
                biased;
                incoming = self.incoming.recv() => match incoming {
                    Some(Incoming::Message(message)) if peers_turn => {
                        let is_idle = idle(&message) == Some(written);
                        if is_idle {
                            kept.drain(..).for_each(|work| self.handler.perform(work));
                            peers_turn = false;
                        }
                        match self.handler.accept(message) {
                            Ok(work) => kept.extend(work),
                            Err(error) => return error,
                        }
                        if kept.len() > MOST_KEPT {
                            return WireError::TooManyRequests;
                        }
                    }
                    Some(Incoming::Message(message)) => {
                        if let Err(error) = self.handler.handle(message) {
                            return error;
                        }
                    }
                    Some(Incoming::End(error)) => {
                        kept.drain(..).for_each(|work: Work| self.handler.perform(work));
                        return error;
                    }
                    None => return WireError::Ended,
                },
                Some(line) = self.queue.recv(), if !peers_turn => {
                    for _ in 0..ROUNDS {
                        tokio::task::yield_now().await;
                    }
                    written += line.messages;
                    peers_turn = self.shared.observer.as_ref().is_some_and(|observer| observer.takes_turns());
                    self.writes = true;
                    // Fails if the peer is gone, which the reader notices.
                    if self.to.write_all(line.text.as_bytes()).await.is_ok() {
                        let _ = self.to.flush().await;
                    }
                    self.writes = false;
                }
            }
        }
    }
}

/// The number in a `clock.idle`.
fn idle(message: &Message) -> Option<u64> {
    let Message::Notification { method, params } = message else { return None };
    let idle: Option<Idle> = serde_json::from_str(params.as_deref()?.get()).ok();
    idle.filter(|_| method == IDLE).map(|idle| idle.received)
}

//! What a side of a connection does with what its peer sends.

use std::sync::Arc;

use contract::Timestamp;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::WireError;
use crate::message::{Answer, Request};
use crate::protocol::Connected;

/// Answers the requests of the peer.
pub trait Service: Send + Sync + 'static {
    /// Starts to work on a request. The work goes on when its future is polled.
    fn serve(&self, request: Request) -> BoxFuture<'static, Answer>;

    /// Whether the work for a request goes on after its sender has cancelled it or is gone, as it
    /// does where half of the work would leave something behind.
    fn finishes_cancelled_work(&self) -> bool;
}

/// Sees what goes through a connection. The calls are made in the order of the messages, and must
/// return at once.
pub trait Observer: Send + Sync + 'static {
    /// The handshake succeeded with this answer, which is about to be sent.
    fn connected(&self, _connected: &Connected) {}

    /// The time that the peer has to be told before the next message (`clock.time`), if it is new.
    fn time_to_tell(&self) -> Option<Timestamp> {
        None
    }

    /// So many messages were sent so far. Called by the sender of the last one.
    fn sent(&self, _total: u64) {}

    /// So many messages were received so far, and the work for all of them has begun.
    fn received(&self, _total: u64) {}

    /// The peer has told the time (`clock.time`).
    fn told(&self, _time: Timestamp) {}

    /// The peer has handled so many messages and has no work in progress (`clock.idle`).
    fn idle(&self, _received: u64) {}

    /// Whether the two sides work in turn: the peer gets the next message only when it has handled
    /// all before it, and what it has sent meanwhile is handled when it has finished.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Why the connection has to end now, if it has; asked every half second.
    fn overdue(&self) -> Option<WireError> {
        None
    }

    /// The connection has ended, or was never made.
    fn ended(&self) {}
}

/// What a connection is started with.
pub struct Options {
    /// Answers the peer's requests.
    pub service: Arc<dyn Service>,
    /// The runtime for that work.
    pub serve_on: Handle,
    /// Replaces `serve_on` after the first message. No other message is handled before.
    pub then_serve_on: Option<oneshot::Receiver<Handle>>,
    /// Whether the messages pass through a task on `serve_on`, which lets the two sides work in
    /// turn; see [`Observer::takes_turns`].
    pub in_turn: bool,
    /// Sees what goes through.
    pub observer: Option<Arc<dyn Observer>>,
    /// Resolves after the peer's end of the connection was closed, with a better description of
    /// why, if there is one.
    pub why_closed: Option<BoxFuture<'static, Option<WireError>>>,
}

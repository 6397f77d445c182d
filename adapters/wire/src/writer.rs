//! Writing to a peer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::shared::{Outgoing, Shared};

/// The time in which a connection that ends writes what is still to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Writes lines until the connection has ended and none is left.
pub(crate) async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut lines: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
) {
    let work = async {
        while let Some(line) = lines.recv().await {
            to.write_all(line.text.as_bytes()).await?;
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

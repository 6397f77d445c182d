//! The log of a core: what it writes to its standard error, and what it writes to its standard
//! output while it speaks through the socket.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};

use crate::message::shortened;

/// The most that is kept of a core's log. The rest is read and dropped.
const LONGEST_LOG: u64 = 16 << 20;

/// The last line of a log, for errors.
#[derive(Clone, Default)]
pub(crate) struct LastLine(Arc<Mutex<String>>);

impl LastLine {
    pub(crate) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, chunk: &[u8]) {
        let text = String::from_utf8_lossy(chunk);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shortened(line.trim());
        }
    }
}

/// Copies a stream into a file until it ends. Without a file it is only drained.
pub(crate) async fn keep(from: impl AsyncRead + Unpin, to: Option<&Path>, last: LastLine) {
    let mut from = BufReader::new(from);
    let mut file = match to {
        Some(path) => File::options().create(true).append(true).open(path).await.ok(),
        None => None,
    };
    let mut room = LONGEST_LOG;
    while let Ok(chunk) = from.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        last.set(chunk);
        let part = &chunk[..chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        room -= part.len() as u64;
        if let Some(file) = &mut file {
            // A full disk must not stop the core.
            let _ = file.write_all(part).await;
        }
        let used = chunk.len();
        from.consume(used);
    }
    if let Some(mut file) = file {
        let _ = file.flush().await;
    }
}

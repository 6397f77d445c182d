//! The runtime of a command or a scenario.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;

/// Time for calls that are under way at the end. One of libvirt may come to no end.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// Runs something to its end on a runtime of its own.
///
/// # Errors
/// The host allows no thread more.
pub fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Runtime::new()?;
    let ended = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_CALLS);
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_comes_to_no_end_does_not_keep_the_runtime() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let ended = block_on(async {
            let (begun, started) = tokio::sync::oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = begun.send(());
                // Ends with the test.
                let _ = wait.recv();
            });
            started.await
        });
        assert!(ended.expect("a runtime").is_ok());
        drop(release);
    }
}

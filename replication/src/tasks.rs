//! The tasks of a core that execute jobs. They end with their core.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tasks that execute a core's jobs.
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { stop: watch::Sender::new(false), running: Mutex::default() }
    }
}

impl Tasks {
    /// Starts a task. When the core is closed, it ends at the call that it waits for; a core that
    /// is opened again repeats the step that it was at.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopped = self.stop.subscribe();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => {}
                () = work => {}
            }
        });
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|task| !task.is_finished());
        running.push(task);
    }

    /// Ends all tasks and waits until they have ended. Returns whether one was at work.
    pub(crate) async fn stop(&self) -> bool {
        self.stop.send_replace(true);
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let at_work = running.iter().any(|task| !task.is_finished());
        for task in running {
            // A task that panicked has ended too.
            let _ = task.await;
        }
        at_work
    }
}

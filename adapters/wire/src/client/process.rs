//! The program of a core. It has a process group of its own, which is killed as a whole.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lifetime::groups;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::client::log::{self, LastLine};
use crate::error::WireError;
use crate::protocol::{SOCKET_VARIABLE, STATE_VARIABLE};

/// The time in which the end of a process is noticed after its connection was closed.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// A running program. Its process group is killed when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct CoreProcess {
    group: Option<Pid>,
    kill: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<Option<ExitStatus>>,
    last_line: LastLine,
}

/// A started program with its streams.
pub(crate) struct Started {
    pub(crate) process: CoreProcess,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

impl CoreProcess {
    /// Starts a program on the current runtime, in this directory.
    pub(crate) fn start(
        words: &[String],
        dir: Option<&Path>,
        socket: &Path,
        state_dir: &Path,
        log: Option<&Path>,
    ) -> Result<Started, WireError> {
        let program = words.first().cloned().unwrap_or_default();
        let failed = |error| WireError::Start { program: program.clone(), error: Arc::new(error) };
        let mut command = Command::new(&program);
        if let Some(dir) = dir {
            command.current_dir(dir);
        }
        let what = "start the program that ends cores with the suite";
        groups::ready().map_err(|error| WireError::Host { what, error })?;
        let mut child = command
            .args(words.iter().skip(1))
            .env(SOCKET_VARIABLE, socket)
            .env(STATE_VARIABLE, state_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let no_stream = || failed(std::io::Error::other("it has no standard streams"));
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            groups::watch(group);
        }
        let stdin = child.stdin.take().ok_or_else(no_stream)?;
        let stdout = child.stdout.take().ok_or_else(no_stream)?;
        let stderr = child.stderr.take().ok_or_else(no_stream)?;
        let (ended, is_ended) = watch::channel(None);
        let last_line = LastLine::default();
        let (path, last) = (log.map(Path::to_owned), last_line.clone());
        tokio::spawn(async move { log::keep(stderr, path.as_deref(), last).await });
        let kill = Arc::new(watch::Sender::new(false));
        tokio::spawn(supervise(child, group, kill.subscribe(), ended));
        Ok(Started { process: Self { group, kill, ended: is_ended, last_line }, stdin, stdout })
    }

    /// Kills the process group with SIGKILL, at once: the suite may be about to end.
    pub(crate) fn kill(&self) {
        if self.ended.borrow().is_none() {
            kill_group(self.group);
        }
        self.kill.send_replace(true);
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        self.ended.clone().wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// After the connection was closed: how the process ended, if it did.
    pub(crate) async fn why_closed(self) -> Option<WireError> {
        let status = tokio::time::timeout(NOTICED_WITHIN, self.ended()).await.ok().flatten()?;
        Some(self.exited(status))
    }

    /// The error of a process that ended by itself.
    pub(crate) fn exited(&self, status: ExitStatus) -> WireError {
        let mut how = match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let last = self.last_line.get();
        if !last.is_empty() {
            how = format!("{how}; the last line of its log is: {last}");
        }
        WireError::Exited { how }
    }
}

/// Waits for the end of a process, which it kills on demand, and kills what it leaves in its group.
async fn supervise(
    mut child: Child,
    group: Option<Pid>,
    mut kill: watch::Receiver<bool>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    let asked = async {
        // Also when nobody is left who could ask for it.
        drop(kill.wait_for(|kill| *kill).await);
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = asked => {
            kill_group(group);
            child.wait().await
        }
    };
    kill_group(group);
    if let Some(group) = group {
        groups::forget(group);
    }
    if let Ok(status) = status {
        ended.send_replace(Some(status));
    }
}

fn kill_group(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended at this moment.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

//! Runs a script of a plan (EX-T6).

use std::io;
use std::process::Stdio;
use std::time::Duration;

use contract::{CoreError, ErrorCode, Millis, ScriptContext};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Of what a script writes to its standard error, as much as this is told, in bytes.
const TOLD: u64 = 4096;

/// Runs a script to its end. Blocks, and counts in the host's own time, whatever clock the core goes by.
///
/// # Errors
/// [`ErrorCode::ScriptFailed`]: it cannot be started, ends with anything but 0, writes to its standard error, or takes
/// too long. It is killed then, with all it has started in its own process group.
pub(super) fn run(
    program: &str,
    arguments: &[String],
    timeout: Millis,
    context: &ScriptContext,
) -> Result<(), CoreError> {
    let told = serde_json::to_vec(context).map_err(|error| failed(program, &error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(program, &format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|error| failed(program, &format!("it cannot be started: {error}")))?;
        let group = child.id();
        let ended = tokio::time::timeout(Duration::from(timeout), attend(&mut child, told)).await;
        match ended {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(why))) => Err(failed(program, &why)),
            Ok(Err(error)) => Err(failed(program, &error.to_string())),
            Err(_) => {
                kill(group);
                Err(failed(program, &format!("not done within {timeout}; it was killed")))
            }
        }
    })
}

/// Tells a script its context and hears it out. Returns what is wrong, if anything is.
async fn attend(child: &mut Child, told: Vec<u8>) -> io::Result<Option<String>> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let tell = async {
        if let Some(mut stdin) = stdin {
            // A script need not read it.
            let _ = stdin.write_all(&told).await;
        }
    };
    let hear = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            let mut stderr = stderr.take(TOLD);
            stderr.read_to_end(&mut said).await?;
            tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await?;
        }
        io::Result::Ok(said)
    };
    let ((), said, status) = tokio::join!(tell, hear, child.wait());
    let (said, status) = (said?, status?);
    let said = String::from_utf8_lossy(&said).trim_end().to_owned();
    Ok(match (status.success(), said.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("it wrote to its standard error: {said}")),
        (false, true) => Some(format!("it ended with {status}")),
        (false, false) => Some(format!("it ended with {status}: {said}")),
    })
}

fn kill(group: Option<u32>) {
    let leader = group.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // It may have ended just now.
    let _ = leader.map(|leader| kill_process_group(leader, Signal::KILL));
}

fn failed(program: &str, why: &str) -> CoreError {
    CoreError::new(ErrorCode::ScriptFailed, format!("script {program}: {why}"))
}

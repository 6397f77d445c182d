//! Runs a plan's script (EX-T6).

use std::io;
use std::process::Stdio;
use std::time::Duration;

use contract::{CoreError, ErrorCode, Millis, ScriptContext};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Number of bytes of a script's standard error that are reported.
const MOST_REPORTED: u64 = 4096;

/// Runs a script to its end. Blocks. The timeout is measured in the host's time, whatever clock the
/// core uses.
///
/// # Errors
/// [`ErrorCode::ScriptFailed`]: the script cannot be started, exits with another status than 0,
/// writes to its standard error, or exceeds the timeout. After the timeout it is killed, with its
/// whole process group.
pub(super) fn run(
    program: &str,
    arguments: &[String],
    timeout: Millis,
    context: &ScriptContext,
) -> Result<(), CoreError> {
    let input = serde_json::to_vec(context).map_err(|error| failed(program, &error.to_string()))?;
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
        let ended = tokio::time::timeout(Duration::from(timeout), communicate(&mut child, input)).await;
        match ended {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(why))) => Err(failed(program, &why)),
            Ok(Err(error)) => Err(failed(program, &error.to_string())),
            Err(_) => {
                kill(group);
                Err(failed(program, &format!("it did not end within {timeout} and was killed")))
            }
        }
    })
}

/// Writes the context to a script and waits for its end. Returns why it failed, if it did.
async fn communicate(child: &mut Child, input: Vec<u8>) -> io::Result<Option<String>> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A script that does not read its input is no error.
            let _ = stdin.write_all(&input).await;
        }
    };
    let read = async {
        let mut output = Vec::new();
        if let Some(stderr) = stderr {
            let mut stderr = stderr.take(MOST_REPORTED);
            stderr.read_to_end(&mut output).await?;
            tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await?;
        }
        io::Result::Ok(output)
    };
    let ((), output, status) = tokio::join!(write, read, child.wait());
    let output = String::from_utf8_lossy(&output?).trim_end().to_owned();
    let status = status?;
    Ok(match (status.success(), output.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("it wrote to its standard error: {output}")),
        (false, true) => Some(format!("it ended with {status}")),
        (false, false) => Some(format!("it ended with {status}: {output}")),
    })
}

fn kill(group: Option<u32>) {
    let leader = group.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // The process may have ended just now.
    let _ = leader.map(|leader| kill_process_group(leader, Signal::KILL));
}

fn failed(program: &str, why: &str) -> CoreError {
    CoreError::new(ErrorCode::ScriptFailed, format!("script {program}: {why}"))
}

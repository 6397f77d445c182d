//! Ends the cores of a suite that is killed and cannot do so itself.
//!
//! One small shell for the whole suite knows the process groups of the cores that run. Its standard
//! input ends with the suite, however that ends, and then it kills the groups that are left. It has
//! a process group of its own, so that what kills the suite's does not reach it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustix::process::Pid;

use crate::error::WireError;

/// Reads `+ GROUP` and `- GROUP`, one a line.
const SCRIPT: &str = r#"
groups=
while read -r change group; do
    case $change in
    +) groups="$groups $group" ;;
    -)
        left=
        for other in $groups; do [ "$other" = "$group" ] || left="$left $other"; done
        groups=$left
        ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

static WATCHDOG: LazyLock<Result<Mutex<ChildStdin>, Arc<std::io::Error>>> =
    LazyLock::new(|| start().map(Mutex::new).map_err(Arc::new));

fn start() -> std::io::Result<ChildStdin> {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    shell.stdin.take().ok_or_else(|| std::io::Error::other("it has no standard input"))
}

/// Makes sure that the watchdog runs.
///
/// # Errors
/// The host cannot start it.
pub(super) fn ready() -> Result<(), WireError> {
    let what = "start the program that ends cores with the suite";
    WATCHDOG.as_ref().map(drop).map_err(|error| WireError::Host { what, error: Arc::clone(error) })
}

/// From now on the group ends with the suite.
pub(super) fn watch(group: Pid) {
    tell('+', group);
}

/// The group has ended.
pub(super) fn forget(group: Pid) {
    tell('-', group);
}

fn tell(change: char, group: Pid) {
    if let Ok(watchdog) = WATCHDOG.as_ref() {
        let mut watchdog = watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only if somebody has killed the watchdog.
        let _ = writeln!(watchdog, "{change} {}", group.as_raw_nonzero());
    }
}

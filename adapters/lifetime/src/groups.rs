//! Ends the process groups that belong to a process when it is killed and cannot do so itself.
//!
//! One small shell for the whole process knows the groups. Its standard input ends with the
//! process, however that ends, and then it kills the groups that are left. It has a process group
//! of its own, so that what kills that of the process does not reach it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;

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

/// The groups that the shell knows.
static WATCHED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn known() -> MutexGuard<'static, BTreeSet<i32>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The groups that end with this process.
#[must_use]
pub fn watched() -> Vec<Pid> {
    known().iter().copied().filter_map(Pid::from_raw).collect()
}

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

/// Makes sure that the shell runs.
///
/// # Errors
/// The host cannot start it.
pub fn ready() -> Result<(), Arc<std::io::Error>> {
    WATCHDOG.as_ref().map(drop).map_err(Arc::clone)
}

/// From now on the group ends with this process.
pub fn watch(group: Pid) {
    known().insert(group.as_raw_nonzero().get());
    tell('+', group);
}

/// The group has ended.
pub fn forget(group: Pid) {
    known().remove(&group.as_raw_nonzero().get());
    tell('-', group);
}

fn tell(change: char, group: Pid) {
    if let Ok(watchdog) = WATCHDOG.as_ref() {
        let mut watchdog = watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only if somebody has killed the shell.
        let _ = writeln!(watchdog, "{change} {}", group.as_raw_nonzero());
    }
}

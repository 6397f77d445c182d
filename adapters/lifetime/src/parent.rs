//! A process that ends with its parent.
//!
//! The kernel's own signal at the death of a parent (`PR_SET_PDEATHSIG`) comes at the end of the
//! *thread* that started the process. A parent that runs its children from a pool of threads would
//! end them at random, so a thread of the child waits for the end of the parent's process instead.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, getpid, getppid};
use rustix::process::{kill_current_process_group, kill_process, pidfd_open};

use crate::{groups, until_ended};

/// Lets this process end with its parent: at the parent's end it gets a SIGTERM, so that it can
/// clean up, and SIGKILL if it still runs after `grace`. If it leads a process group, the whole
/// group ends with it.
///
/// # Errors
/// The host allows no thread or no descriptor.
pub fn end_with_parent(grace: Duration) -> io::Result<()> {
    let leads = getpgid(None)? == getpid();
    if leads {
        groups::ready().map_err(|error| io::Error::other(error.to_string()))?;
        groups::watch(getpid());
    }
    // Without a parent in this PID namespace there is nobody to end with.
    let Some(parent) = getppid() else { return Ok(()) };
    let opened = match pidfd_open(parent, PidfdFlags::empty()) {
        Err(Errno::SRCH) => None,
        other => Some(other?),
    };
    // If the parent ended meanwhile, another process has adopted this one.
    let opened = opened.filter(|_| getppid() == Some(parent));
    let wait = move || {
        // Whatever prevents the wait, a process that nobody supervises must not go on.
        let _ = opened.map(|parent| until_ended(parent, None));
        end(grace, leads);
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(wait).map(drop)
}

fn end(grace: Duration, leads: bool) {
    let this: Pid = getpid();
    // Neither signal can fail: both go to this process.
    let _ = kill_process(this, Signal::TERM);
    std::thread::sleep(grace);
    let _ = if leads { kill_current_process_group(Signal::KILL) } else { kill_process(this, Signal::KILL) };
}

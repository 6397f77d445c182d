//! The command `bench`: measures the built-in core beside `qemu-img` and `nbdcopy`.

use anyhow::Result;
use camino::{Utf8Path, absolute_utf8};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cargo::cargo;
use crate::cli::BenchArgs;
use crate::conformance::preflight::free_disk;
use crate::error::infrastructure;
use crate::setup::{self, daemon};
use crate::suite::Suite;
use crate::system::LiveSystem;
use crate::terminal::{bytes, say};

/// Free disk that the largest measurement takes: disks, their copies, and the log of what is written to them.
const DISK: u64 = 8 << 30;
/// The simulated plans of a hundred and of a thousand machines.
const PLANS: [&str; 10] =
    ["test", "--quiet", "-p", "replication", "--test", "it", "--", "scale::", "--ignored", "--nocapture"];

/// Measures and prints the results. Returns the exit code.
pub fn command(root: &Utf8Path, arguments: &BenchArgs) -> Result<u8> {
    setup::ensure(root, arguments.consent.yes)?;
    let dir = absolute_utf8(&arguments.dir)?;
    require_disk(&dir)?;
    let suite = Suite::build_fast(root, daemon::uri(&LiveSystem))?;
    say(format!(
        "Measuring on the disk of {dir}. This takes a few minutes; keep the machine otherwise idle meanwhile."
    ));
    let code = {
        let _guard = survive_interrupts()?;
        suite.verdict(&["bench", "--dir", dir.as_str(), "--rounds", &arguments.rounds.to_string()])?
    };
    if code == 0 && arguments.plans {
        say("Simulated plans of a hundred and of a thousand machines:");
        let status = cargo(root).args(PLANS).status()?;
        return Ok(u8::from(!status.success()));
    }
    Ok(code)
}

fn require_disk(dir: &Utf8Path) -> Result<()> {
    let free = free_disk(dir)?;
    if free >= DISK {
        return Ok(());
    }
    Err(infrastructure(format!(
        "Only {} of disk is free at {dir}, and {} is needed: free some, or choose another place with --dir.",
        bytes(free),
        bytes(DISK)
    )))
}

/// Keeps this program alive at Ctrl-C. The suite's binary receives the signal too and takes its guests down; this
/// program waits for that.
fn survive_interrupts() -> Result<(tokio::runtime::Runtime, Signal)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let handler = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    Ok((runtime, handler))
}

//! The command `bench`: the built-in core's speed beside other programs'.

use anyhow::Result;
use camino::{Utf8Path, absolute_utf8};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::BenchArgs;
use crate::conformance::preflight::free_disk;
use crate::error::infrastructure;
use crate::host::Live;
use crate::run::{bytes, cargo, say};
use crate::setup::{self, daemon};
use crate::suite::Suite;

/// Free disk that the largest measurement takes: disks, their copies, and the log of what is written to them.
const DISK: u64 = 8 << 30;
/// The simulated plans of a hundred and of a thousand machines.
const PLANS: [&str; 9] =
    ["test", "--quiet", "-p", "standins", "--test", "sim_scale", "--", "--ignored", "--nocapture"];

/// Measures, and prints what was found.
pub fn command(root: &Utf8Path, arguments: &BenchArgs) -> Result<u8> {
    setup::ensure(root, arguments.consent.yes)?;
    let dir = absolute_utf8(&arguments.dir)?;
    have_room(&dir)?;
    let suite = Suite::build_fast(root, daemon::uri(&Live))?;
    say(format!("Measuring on the disk of {dir}. It takes a few minutes; let nothing else run meanwhile."));
    let code = {
        let _later = outlive_interrupts()?;
        suite.verdict(&["bench", "--dir", dir.as_str(), "--rounds", &arguments.rounds.to_string()])?
    };
    if code == 0 && arguments.plans {
        say("Simulated plans of a hundred and of a thousand machines:");
        let status = cargo(root).args(PLANS).status()?;
        return Ok(u8::from(!status.success()));
    }
    Ok(code)
}

fn have_room(dir: &Utf8Path) -> Result<()> {
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

/// Ctrl-C reaches the suite too, which then takes everything down; until it has, this program stays.
fn outlive_interrupts() -> Result<(tokio::runtime::Runtime, Signal)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let handler = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    Ok((runtime, handler))
}

//! The command `bench`: measures the built-in core beside `qemu-img` and `nbdcopy`, and compares
//! the figures with earlier ones of the history.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use camino::{Utf8Path, absolute_utf8};
use signal_hook::consts::SIGINT;

use crate::cargo::cargo;
use crate::cli::BenchArgs;
use crate::conformance::preflight::free_disk;
use crate::conformance::request;
use crate::conformance::rundir::new_id;
use crate::error::infrastructure;
use crate::history;
use crate::setup::{self, daemon};
use crate::suite::Suite;
use crate::system::LiveSystem;
use crate::terminal::{bytes, say};

/// Free disk that the largest measurement takes: disks, their copies, and the log of what is
/// written to them.
const DISK: u64 = 8 << 30;
/// The page that `--page` writes.
const PAGE: &str = "docs/performance.md";
/// The simulated plans of a hundred, a thousand and ten thousand machines, as fast as they get.
const PLANS: [&str; 11] = [
    "test",
    "--quiet",
    "--release",
    "-p",
    "replication",
    "--test",
    "it",
    "--",
    "scale::",
    "--ignored",
    "--nocapture",
];

/// Measures, prints the results and compares them with earlier ones. Returns the exit code.
pub fn command(root: &Utf8Path, arguments: &BenchArgs) -> Result<u8> {
    if arguments.plans {
        return plans(root);
    }
    setup::ensure(root, arguments.consent.yes)?;
    let dir = absolute_utf8(&arguments.dir)?;
    require_disk(&dir)?;
    let suite = Suite::build_fast(root, daemon::uri(&LiveSystem))?;
    if !arguments.json {
        say(format!(
            "Measuring on the disk of {dir}. This takes a few minutes; keep the machine otherwise idle meanwhile."
        ));
    }
    survive_interrupts()?;
    let (rounds, page) = (arguments.rounds.to_string(), root.join(PAGE));
    let history = history::absolute(&arguments.history)?;
    let (id, typed) = (format!("bench-{}", new_id()?), request::typed());
    let mut words = vec!["bench", "--dir", dir.as_str(), "--rounds", &rounds];
    words.extend(["--history", history.as_str(), "--id", &id, "--typed", &typed]);
    if arguments.json {
        words.push("--json");
    }
    if arguments.page {
        words.extend(["--page", page.as_str()]);
    }
    suite.verdict(&words)
}

/// Measures simulated plans, which needs no set-up.
fn plans(root: &Utf8Path) -> Result<u8> {
    say(
        "Simulated plans of a hundred, a thousand and ten thousand machines; keep the machine otherwise idle:",
    );
    let status = cargo(root).args(PLANS).status()?;
    Ok(u8::from(!status.success()))
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

/// Keeps this program alive at Ctrl-C. The suite's binary receives the signal too and takes its
/// guests down; this program waits for that.
fn survive_interrupts() -> Result<()> {
    let seen = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, seen)?;
    Ok(())
}

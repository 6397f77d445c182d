//! The speed of the built-in core and of the oracle beside that of other programs, on the same disk
//! in the same run.
//!
//! `calls` measures what a core in a process of its own costs. For the other figures the core is
//! measured over its public interface, between two stand-in sites with their QEMU
//! processes, NBD servers and image files. No guest gets further than its firmware. Compare figures
//! of one run only, never with those of another machine.

mod calls;
mod delta;
mod figures;
mod initial;
mod oracle;
mod pair;
mod source;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use harness::host::Host;
use tokio::signal::unix::{SignalKind, signal};

use pair::Pair;

/// The exit code of a run that was interrupted.
const INTERRUPTED: u8 = 130;

/// Measures on the disk that holds `dir`, prints the figures and returns the exit code. Removes all
/// its files and machines again, even if it is interrupted.
///
/// # Errors
/// A program to compare with is missing, or a contestant failed.
pub async fn run(host: &Host, dir: &Utf8Path, rounds: u32) -> Result<u8> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {dir}"))?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(dir);
    let scratch = scratch.with_context(|| format!("make a directory in {dir}"))?;
    let path = Utf8Path::from_path(scratch.path()).context("the path is not UTF-8")?;
    // QEMU processes do not start in this process's working directory.
    let path = path.canonicalize_utf8().context("find the directory")?;
    let pair = Pair::open(host, &path).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listen to signals")?;
    let measured = tokio::select! {
        measured = measure(&pair, rounds) => measured.map(|()| 0),
        _ = tokio::signal::ctrl_c() => Ok(INTERRUPTED),
        _ = terminate.recv() => Ok(INTERRUPTED),
    };
    let closed = pair.close().await;
    let code = measured?;
    closed?;
    Ok(code)
}

async fn measure(pair: &Pair, rounds: u32) -> Result<()> {
    println!("{}\n", host()?);
    println!("{}", oracle::run(pair, rounds).await?);
    println!("{}", calls::run(rounds).await?);
    println!("{}", initial::run(pair, rounds).await?);
    println!("{}", delta::run(pair, rounds).await?);
    Ok(())
}

/// The test host in one line, with a warning if it is busy.
fn host() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let load =
        load.split(' ').next().and_then(|figure| figure.parse::<f64>().ok()).context("read the load")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busy = if load > 0.5 * cores as f64 { ": the host is busy, so ignore the figures" } else { "" };
    Ok(format!("{cores} cores, load {load:.1} at the beginning{busy}."))
}

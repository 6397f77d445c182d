//! The speed of the built-in core and of the oracle beside that of other programs, on the same disk
//! in the same run.
//!
//! `calls` measures what a core in a process of its own costs. For the other figures the core is
//! measured over its public interface, between two stand-in sites with their QEMU
//! processes, NBD servers and image files. No guest gets further than its firmware. Compare figures
//! of one run only, never with those of another machine. `kept` compares the ratios with those of
//! earlier runs on the same host.

mod calls;
mod delta;
mod figures;
mod initial;
mod kept;
mod oracle;
mod page;
mod pair;
mod source;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use harness::host::Host;
use tokio::signal::unix::{SignalKind, signal};

use crate::host_facts::host_facts;
use crate::wire_core;
use figures::{Figures, Measured};
use kept::About;
use pair::Pair;

/// The exit code of a run that was interrupted.
const INTERRUPTED: u8 = 130;
/// How long the measurement waits for the load to fall, such as that of the build of the suite.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
/// How often the load is read meanwhile; the kernel announces no change of it.
const LOAD_EVERY: Duration = Duration::from_secs(2);

/// What to do with the figures, besides printing tables.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Prints JSON instead of the tables.
    pub json: bool,
    /// Writes the page on performance into this file.
    pub page: Option<Utf8PathBuf>,
    /// Adds them to this history and compares them with earlier ones of this host.
    pub history: Utf8PathBuf,
    /// Their name in the history.
    pub id: String,
    /// The command, as it was typed, which the history keeps.
    pub command: String,
}

/// Measures on the disk that holds `dir`, prints the figures and returns the exit code: 2 if a row
/// became slower beside its reference, 3 if the history cannot be used. Removes all its files and
/// machines again, even if it is interrupted.
///
/// # Errors
/// A program to compare with is missing, or a contestant failed.
pub async fn run(host: &Host, dir: &Utf8Path, rounds: u32, wanted: &Wanted) -> Result<u8> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {dir}"))?;
    let scratch = tempfile::Builder::new().prefix("bench-").tempdir_in(dir);
    let scratch = scratch.with_context(|| format!("make a directory in {dir}"))?;
    let path = Utf8Path::from_path(scratch.path()).context("the path is not UTF-8")?;
    // QEMU processes do not start in this process's working directory.
    let path = path.canonicalize_utf8().context("find the directory")?;
    let pair = Pair::open(host, &path).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listen to signals")?;
    let measured = tokio::select! {
        measured = measure(&pair, rounds, wanted) => measured.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
        _ = terminate.recv() => Ok(None),
    };
    let closed = pair.close().await;
    let measured = measured?;
    closed?;
    let Some((measured, about)) = measured else { return Ok(INTERRUPTED) };
    let (said, code) = kept::keep(&measured, &about, &wanted.history)?;
    if wanted.json {
        eprint!("{said}")
    } else {
        print!("{said}")
    }
    Ok(code)
}

async fn measure(pair: &Pair, rounds: u32, wanted: &Wanted) -> Result<(Measured, About)> {
    let mut figures = Figures::default();
    let tell = |text: String| {
        if !wanted.json {
            println!("{text}");
        }
    };
    let at_first = settled(&tell).await?;
    let (began, clock) = (jiff::Timestamp::now(), Instant::now());
    let core = wire_core::report_name(pair.core.capabilities().await?.name).await;
    tell(format!("{}\n", words(at_first)));
    tell(oracle::run(pair, rounds, &mut figures).await?);
    tell(calls::run(rounds, &mut figures).await?);
    tell(initial::run(pair, rounds, &mut figures).await?);
    tell(delta::run(pair, rounds, &mut figures).await?);
    let measured = Measured { host: host()?, rounds, busy: is_busy(at_first), figures: figures.0 };
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&measured)?);
    }
    if let Some(path) = &wanted.page {
        std::fs::write(path, page::render(&measured)?).with_context(|| format!("write {path}"))?;
        tell(format!("Wrote {path}."));
    }
    let (id, command) = (wanted.id.clone(), wanted.command.clone());
    let about = About { id, command, core, host: host_facts()?, began, took: clock.elapsed() };
    Ok((measured, about))
}

/// Waits, within a bound, until the host is not busy. Returns the load then.
async fn settled(tell: &impl Fn(String)) -> Result<f64> {
    let began = Instant::now();
    let mut at = load()?;
    if is_busy(at) {
        tell(format!(
            "The load is {at:.1}. Waiting until it has fallen, {} s at most.",
            SETTLES_WITHIN.as_secs()
        ));
    }
    while is_busy(at) && began.elapsed() < SETTLES_WITHIN {
        tokio::time::sleep(LOAD_EVERY).await;
        at = load()?;
    }
    Ok(at)
}

/// The load of the last minute.
fn load() -> Result<f64> {
    let load = std::fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    load.split(' ').next().and_then(|figure| figure.parse::<f64>().ok()).context("read the load")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether others use so much of the host that times mean nothing.
fn is_busy(load: f64) -> bool {
    load > 0.5 * cores() as f64
}

/// The test host in one line, with a warning if it is busy.
fn words(load: f64) -> String {
    let busy = if is_busy(load) { ": the host is busy, so ignore the figures" } else { "" };
    format!("{} cores, load {load:.1} at the beginning{busy}.", cores())
}

/// Processor, cores and kernel.
fn host() -> Result<String> {
    let about = std::fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    let model = model.map_or("a processor without a name", |(_, name)| name);
    Ok(format!("{model}, {} cores, Linux {}", cores(), kernel.trim()))
}

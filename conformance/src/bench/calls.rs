//! What the wire protocol costs: a call, and a simulated cycle, of the built-in core in a process
//! of its own and in the suite's.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wire::client::{BadAddress, CoreAddress};

use super::figures::{Figures, Sample, table};
use crate::core_under_test::FaultInjection;
use crate::sim;
use crate::wire_core::CoreChoice;

/// The program of the built-in core, beside this one.
const PROGRAM: &str = "roundtrip-core";
/// Calls in each round.
const CALLS: u32 = 1_000;

/// An unchanged core.
#[derive(Clone)]
struct Unchanged(CoreChoice);

impl FaultInjection for Unchanged {
    fn core(&self) -> Result<CoreChoice, BadAddress> {
        Ok(self.0.clone())
    }
}

/// Measures `rounds` rounds and returns a table. The two cores alternate.
pub(super) async fn run(rounds: u32, figures: &mut Figures) -> Result<String> {
    let (done, measured) = tokio::sync::oneshot::channel();
    // Simulations have runtimes of their own, which cannot run inside this one.
    std::thread::spawn(move || {
        // As the sim tier does.
        sim::stay_on_one();
        // Nobody waits for it if the benchmark was ended.
        let _ = done.send(measure(rounds));
    });
    let (calls, cycles) = measured.await.context("the measuring thread ended early")??;
    figures.add("a call over the wire", &calls[1], &calls[0])?;
    figures.add("a simulated cycle over the wire", &cycles[1], &cycles[0])?;
    show(&calls, &cycles)
}

/// Times in this process, and over the wire.
type Pair = [Vec<Duration>; 2];

fn measure(rounds: u32) -> Result<(Pair, Pair)> {
    let cores = [Unchanged(CoreChoice::BuiltIn), Unchanged(CoreChoice::Wire(program()?))];
    let mut calls: Pair = Default::default();
    let mut cycles: Pair = Default::default();
    for round in 0..rounds {
        for (which, core) in cores.iter().enumerate() {
            calls[which].push(sim::time_of_calls(core, CALLS)?);
            cycles[which].push(sim::time_of_cycle(Box::new(core.clone()), u64::from(round))?);
        }
    }
    Ok((calls, cycles))
}

fn program() -> Result<CoreAddress> {
    let path: PathBuf = std::env::current_exe().context("find this program")?.with_file_name(PROGRAM);
    ensure!(path.exists(), "{} does not exist; `cargo xtask bench` builds it", path.display());
    let word = path.into_os_string().into_string().ok().context("the path is not UTF-8")?;
    Ok(CoreAddress::Program { words: vec![word], dir: None })
}

fn show(calls: &Pair, cycles: &Pair) -> Result<String> {
    let mut table = table(["wire protocol", "in-process (ms)", "over the wire (ms)", "times as long"]);
    for (what, times) in [("a call", calls), ("a simulated cycle", cycles)] {
        let millis = |times: &[Duration]| {
            Sample::new(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect())
                .map_or_else(String::new, |sample| sample.to_string())
        };
        let [inside, outside] = times;
        // How many times faster the core in this process is.
        let ratio = Sample::of_ratios(outside, inside).context("no round was measured")?;
        table.add_row([what.to_owned(), millis(inside), millis(outside), ratio.to_string()]);
    }
    Ok(table.to_string())
}

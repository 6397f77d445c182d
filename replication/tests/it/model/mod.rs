//! The built-in core against a small reference model: random operations, allowed and not, while
//! time passes, calls fail, links are cut, guests refuse to shut down, sites are lost and restored,
//! and the core is killed and opened again. After every step core and model must agree on the
//! answer, on what the core shows, on which machines exist and run, and after a failover on the
//! data.
//!
//! A run that fails is shortened and printed, with the variable that replays it:
//! `ROUNDTRIP_MODEL_REPLAY='…' cargo nextest run -p replication --test it model::replay
//! --run-ignored all --no-capture`.
//!
//! - `ROUNDTRIP_MODEL_STEPS`: how many steps each kind of pair takes at least; 34,000 by default.
//! - `ROUNDTRIP_MODEL_SEED`: the first seed; another number gives other runs.

mod disks;
mod play;
mod reference;
mod rules;
mod step;
mod system;

use std::cell::Cell;
use std::time::Instant;

use play::{Count, play};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use rules::Kind;
use step::{Step, step};

/// Steps of each kind of pair; the three kinds take more than 100,000 together.
const STEPS: u64 = 34_000;
const LONGEST: usize = 80;
/// Runs of one seed.
const RUNS: u32 = 50;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}

/// Plays runs until enough steps were taken.
fn model(kind: Kind) {
    let due = number("ROUNDTRIP_MODEL_STEPS", STEPS);
    let first = number("ROUNDTRIP_MODEL_SEED", 1);
    let began = Instant::now();
    let total = Cell::new(Count::default());
    let mut batch = first;
    while total.get().steps < due {
        let config =
            Config { cases: RUNS, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&batch.to_le_bytes());
        seed[8..8 + kind.name().len()].copy_from_slice(kind.name().as_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let runs = (0..1_000_000_u64, prop::collection::vec(step(), 1..LONGEST));
        let outcome = TestRunner::new_with_rng(config, rng).run(&runs, |(seed, steps)| {
            let count = play(kind, seed, &steps).map_err(|what| {
                let replay = serde_json::to_string(&(kind.name(), seed, &steps)).unwrap_or_default();
                TestCaseError::fail(format!("{what}\nROUNDTRIP_MODEL_REPLAY='{replay}'"))
            })?;
            let mut all = total.get();
            all.add(count);
            total.set(all);
            Ok(())
        });
        match outcome {
            Ok(()) => batch += 1,
            // The reason is that of the shortened run, and includes how to replay it.
            Err(TestError::Fail(reason, _)) => panic!("{}, batch {batch}: {reason}", kind.name()),
            Err(error) => panic!("{}, batch {batch}: {error}", kind.name()),
        }
    }
    let Count { steps, accepted, refused, failovers, deaths } = total.get();
    println!(
        "{}: {steps} steps in {} runs from seed {first}, {:.0} s: {accepted} requests accepted, {refused} refused, \
         {failovers} recovered machines judged, {deaths} deaths of the core",
        kind.name(),
        (batch - first) * u64::from(RUNS),
        began.elapsed().as_secs_f32(),
    );
    assert!(steps >= due && (due < STEPS || failovers * 50 > steps), "too little was tried");
}

#[test]
fn core_and_model_agree_on_vmware() {
    model(Kind::Vmware);
}

#[test]
fn core_and_model_agree_on_hyperv() {
    model(Kind::HyperV);
}

#[test]
fn core_and_model_agree_on_regions() {
    model(Kind::Regions);
}

#[test]
#[ignore = "replays the run in ROUNDTRIP_MODEL_REPLAY"]
fn replay() {
    let text = std::env::var("ROUNDTRIP_MODEL_REPLAY").expect("ROUNDTRIP_MODEL_REPLAY is set");
    let (kind, seed, steps): (String, u64, Vec<Step>) = serde_json::from_str(&text).expect("a run");
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).expect("a kind of pair");
    match play(kind, seed, &steps) {
        Ok(count) => println!("nothing went wrong: {count:?}"),
        Err(what) => panic!("{what}"),
    }
}

//! What was lost and how long it took, from outside.

use std::time::{Duration, Instant};

use contract::JobView;
use harness::witness_link::Ack;
use standins::Boot;
use witness::ledger::RecordNumber;

use crate::outcome::{Rpo, Rto, RtoStep};

/// The step of the core's jobs within which the stand-in copies the disks for the oracle.
const START_STEP: &str = "start target machine";

/// What was lost of all that was acknowledged when `disaster` struck, if `survived` is the last record left.
pub(crate) fn rpo(acks: &[Ack], survived: RecordNumber, disaster: Instant, after_cut: (u64, u64)) -> Rpo {
    let lost: Vec<_> = acks.iter().filter(|ack| ack.number > survived && ack.heard <= disaster).collect();
    let (writes, bytes) = after_cut;
    Rpo {
        ms: lost.first().map_or(0, |ack| millis(disaster.saturating_duration_since(ack.heard))),
        records: lost.len() as u64,
        writes,
        bytes,
    }
}

/// Recovery time from `trigger` to `answered`, without what the suite's own copies cost.
pub(crate) fn rto_of_boot(
    trigger: Instant,
    job: &JobView,
    boot: &Boot,
    ready: Instant,
    answered: Instant,
    cold_boot_ms: u64,
) -> Rto {
    let copies = millis(boot.capture_time);
    let mut steps = job_steps(job);
    if let Some(step) = steps.iter_mut().find(|step| step.name == START_STEP) {
        step.ms = step.ms.saturating_sub(copies);
    }
    let powered_on = boot.guest.powered_on();
    steps.push(step("guest boots", ready.saturating_duration_since(powered_on)));
    steps.push(step("service answers", answered.saturating_duration_since(ready)));
    let ms = millis(answered.saturating_duration_since(trigger)).saturating_sub(copies);
    Rto { ms, boots: in_boots(ms, cold_boot_ms), steps }
}

/// Time from `trigger` to the end of a job that begins replication.
pub(crate) fn rto_of_job(trigger: Instant, ended: Instant, job: &JobView, cold_boot_ms: u64) -> Rto {
    let ms = millis(ended.saturating_duration_since(trigger));
    Rto { ms, boots: in_boots(ms, cold_boot_ms), steps: job_steps(job) }
}

fn job_steps(job: &JobView) -> Vec<RtoStep> {
    let steps = job.steps.iter();
    steps.map(|s| RtoStep { name: s.name.clone(), ms: s.took.unwrap_or_default().0 }).collect()
}

fn step(name: &str, took: Duration) -> RtoStep {
    RtoStep { name: name.to_owned(), ms: millis(took) }
}

fn in_boots(ms: u64, cold_boot_ms: u64) -> f64 {
    // Two decimals: more would pretend to a precision that a boot does not have.
    (ms as f64 / cold_boot_ms.max(1) as f64 * 100.0).round() / 100.0
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_runs_from_the_first_lost_acknowledgement_to_the_disaster() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let acks: Vec<_> = (1..=5).map(|n| Ack { number: n, heard: at(n * 100) }).collect();
        let rpo = rpo(&acks, 3, at(550), (7, 4096));
        assert_eq!(rpo, Rpo { ms: 150, records: 2, writes: 7, bytes: 4096 });
    }

    #[test]
    fn nothing_lost_is_no_time_lost() {
        let now = Instant::now();
        let rpo = rpo(&[Ack { number: 1, heard: now }], 1, now + Duration::from_secs(9), (0, 0));
        assert_eq!(rpo, Rpo::default());
    }
}

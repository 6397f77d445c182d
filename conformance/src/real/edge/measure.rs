//! Recovery point and recovery time, measured from outside the guest and the core.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::{JobView, Millis, Step, Timestamp};
use harness::witness_link::Ack;
use standins::Boot;
use witness::ledger::RecordNumber;

use crate::judge::LostWrites;
use crate::outcome::{GUEST_BOOTS, Rpo, Rto, RtoStep};

/// When the service of a machine was interrupted, by which loss and recovery time are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    /// Records that were acknowledged before this moment count as lost if they are missing.
    pub(crate) source_stopped: Instant,
    /// The recovery time begins here.
    pub(crate) triggered: Instant,
    /// The trigger came when the job was waiting for its completion: the steps before the wait were
    /// no outage.
    pub(crate) after_wait: bool,
}

impl Outage {
    /// An outage whose loss and recovery time both begin when the failover is requested.
    pub(crate) fn since(requested: Instant) -> Self {
        Self { source_stopped: requested, triggered: requested, after_wait: false }
    }
}

/// When a recovered machine served again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceTimes {
    /// When the witness said hello.
    pub(crate) ready: Instant,
    /// When the service gave its first sound answer.
    pub(crate) answered: Instant,
}

/// What was lost of everything that had been acknowledged when the source stopped, if `survived` is
/// the last record that is left. `claimed` is the loss that the core claims.
pub(crate) fn rpo(
    acks: &[Ack],
    survived: RecordNumber,
    source_stopped: Instant,
    lost: LostWrites,
    claimed: Millis,
) -> Rpo {
    let lost_acks: Vec<_> =
        acks.iter().filter(|ack| ack.number > survived && ack.heard <= source_stopped).collect();
    Rpo {
        ms: lost_acks.first().map_or(0, |ack| millis(source_stopped.saturating_duration_since(ack.heard))),
        records: lost_acks.len() as u64,
        writes: lost.writes,
        bytes: lost.bytes,
        acknowledged: acks.iter().filter(|ack| ack.heard <= source_stopped).map(|ack| ack.number).max(),
        survived: Some(survived),
        claimed_ms: Some(claimed.0),
    }
}

/// Recovery time from the trigger to the first sound answer of the service, without the time that
/// the suite itself took to copy the disks.
pub(crate) fn rto_of_boot(
    outage: Outage,
    job: &JobView,
    boot: &Boot,
    times: ServiceTimes,
    cold_boot_ms: u64,
) -> Rto {
    let ServiceTimes { ready, answered } = times;
    let copies = millis(boot.capture_time);
    let powered_on = on_the_clock(boot.guest.powered_on());
    let triggered = on_the_clock(outage.triggered);
    // Steps before the wait for completion were no outage. A core may have other names and another
    // order of steps, so it is their times that say which these are.
    let counts = |step: &&Step| !outage.after_wait || step.started >= triggered;
    let mut steps: Vec<_> = job
        .steps
        .iter()
        .filter(counts)
        .map(|step| {
            let took = step.took.unwrap_or_default().0;
            // The stand-in copies the disks for the oracle in the call that powers the machine on.
            let copied = (step.started.0..=step.started.0 + took).contains(&powered_on.0);
            RtoStep { name: step.name.clone(), ms: took.saturating_sub(if copied { copies } else { 0 }) }
        })
        .collect();
    steps.push(step(GUEST_BOOTS, ready.saturating_duration_since(boot.guest.powered_on())));
    steps.push(step("service answers", answered.saturating_duration_since(ready)));
    let ms = millis(answered.saturating_duration_since(outage.triggered)).saturating_sub(copies);
    Rto { ms, boots: in_boots(ms, cold_boot_ms), steps }
}

/// Time from `triggered` to the first recovery point that replication makes. The job that begins
/// it was seen to end at `ended`, which alone shows nothing.
pub(crate) fn rto_of_replication(
    triggered: Instant,
    ended: Instant,
    first_point: Instant,
    job: &JobView,
    cold_boot_ms: u64,
) -> Rto {
    let ms = millis(first_point.saturating_duration_since(triggered));
    let mut steps = job_steps(job);
    steps.push(step("first recovery point", first_point.saturating_duration_since(ended)));
    Rto { ms, boots: in_boots(ms, cold_boot_ms), steps }
}

/// A moment on the host's clock.
fn on_the_clock(moment: Instant) -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(millis(since_epoch.saturating_sub(moment.elapsed())))
}

fn job_steps(job: &JobView) -> Vec<RtoStep> {
    let steps = job.steps.iter();
    steps.map(|s| RtoStep { name: s.name.clone(), ms: s.took.unwrap_or_default().0 }).collect()
}

fn step(name: &str, took: Duration) -> RtoStep {
    RtoStep { name: name.to_owned(), ms: millis(took) }
}

fn in_boots(ms: u64, cold_boot_ms: u64) -> f64 {
    // Boot times are not precise enough for more than two decimals.
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
    fn the_lost_time_runs_from_the_first_lost_acknowledgement_to_the_stop_of_the_source() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let acks: Vec<_> = (1..=5).map(|n| Ack { number: n, heard: at(n * 100) }).collect();
        let rpo = rpo(&acks, 3, at(550), LostWrites { writes: 7, bytes: 4096 }, Millis(200));
        let (acknowledged, survived, claimed_ms) = (Some(5), Some(3), Some(200));
        let expected =
            Rpo { ms: 150, records: 2, writes: 7, bytes: 4096, acknowledged, survived, claimed_ms };
        assert_eq!(rpo, expected);
    }

    #[test]
    fn without_a_lost_record_no_time_is_lost() {
        let now = Instant::now();
        let acks = [Ack { number: 1, heard: now }];
        let rpo = rpo(&acks, 1, now + Duration::from_secs(9), LostWrites::default(), Millis(0));
        let claimed_ms = Some(0);
        assert_eq!(rpo, Rpo { acknowledged: Some(1), survived: Some(1), claimed_ms, ..Rpo::default() });
    }
}

//! What samples of a QEMU say about its host.

use std::time::{Duration, Instant};

/// The host did not let the suite's own thread run either, if that took a sample so late.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// What lasted less is not worth a word.
const NOTEWORTHY: Duration = Duration::from_secs(1);

/// Processor time of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessorTime {
    /// For how long its processors ran.
    pub(super) ran: Duration,
    /// For how long they could have run and waited for a processor of the host. The scheduler
    /// counts a wait when it ends.
    pub(super) waited: Duration,
}

/// What a QEMU does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing: a signal stopped it.
    Stopped,
    /// A thread of it waits for the host's disks in a call that nothing interrupts, and the guest's
    /// processor has nothing else to do.
    AwaitsDisk,
    /// Anything else: the guest runs, waits for a processor, or is idle.
    Free,
}

/// A QEMU at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Since it began; `None` if the host's scheduler keeps no such statistics.
    pub(super) time: Option<ProcessorTime>,
    pub(super) state: State,
}

/// How an interval passed for a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    elapsed: Duration,
    time: ProcessorTime,
    stopped: Duration,
    awaited_disk: Duration,
    /// Between samples that are so far apart that the suite did not run either.
    unseen: Duration,
}

impl Passed {
    /// How the interval passed, by samples in order of time. Each describes the time up to the next
    /// one. What the scheduler counted between two samples cannot be divided, so it counts in full
    /// as soon as a part of that time lies in the interval.
    pub(super) fn between(samples: &[Sample], from: Instant, to: Instant) -> Self {
        let mut passed = Self { elapsed: to.saturating_duration_since(from), ..Self::default() };
        for (earlier, later) in samples.iter().zip(samples.iter().skip(1)) {
            let lasted = later.at.min(to).saturating_duration_since(earlier.at.max(from));
            if lasted.is_zero() {
                continue;
            }
            if later.at.saturating_duration_since(earlier.at) > LONGEST_GAP {
                // A processor that was taken from the whole host seems to have run meanwhile.
                passed.unseen += lasted;
                continue;
            }
            match earlier.state {
                State::Stopped => passed.stopped += lasted,
                State::AwaitsDisk => passed.awaited_disk += lasted,
                State::Free => {}
            }
            if let Some((then, now)) = earlier.time.zip(later.time) {
                passed.time.ran += now.ran.saturating_sub(then.ran);
                passed.time.waited += now.waited.saturating_sub(then.waited);
            }
        }
        passed
    }

    /// Says so, if the host held the guest up for most of the time, and for longer than it let it
    /// run.
    pub(super) fn starved(&self) -> Option<String> {
        let Self { elapsed, time: ProcessorTime { ran, waited }, stopped, awaited_disk, unseen } = *self;
        let held_up = waited + stopped + awaited_disk + unseen;
        if held_up * 2 <= elapsed || held_up <= ran {
            return None;
        }
        let [all, ran] = [elapsed, ran].map(|time| time.as_secs_f32());
        let causes = [
            (waited, format!("its processor ran for {ran:.1} s and waited for one of the host's")),
            (awaited_disk, "the host's disks held it up".to_owned()),
            (stopped, "its QEMU was stopped by a signal".to_owned()),
            (unseen, "the host did not let the suite run".to_owned()),
        ];
        let noteworthy = causes.iter().filter(|(lasted, _)| *lasted >= NOTEWORTHY);
        let noteworthy =
            noteworthy.map(|(lasted, cause)| format!("{cause} for {:.1} s", lasted.as_secs_f32()));
        Some(format!("{} of {all:.1} s", noteworthy.collect::<Vec<_>>().join(", ")))
    }
}

/// Says so, if a signal had stopped the process at the last sample. Nobody may ever resume it,
/// however recently it was stopped.
pub(super) fn stopped_at_last(samples: &[Sample]) -> Option<String> {
    let is_stopped = samples.last().is_some_and(|last| last.state == State::Stopped);
    is_stopped.then(|| "its QEMU was stopped by a signal".to_owned())
}

#[cfg(test)]
mod tests {
    use super::State::{AwaitsDisk, Free, Stopped};
    use super::*;

    /// A watch of 120 s with a sample a second. Each row says up to which second the guest was in a
    /// state, and for how many milliseconds of each second its processor ran and waited.
    struct Watch {
        began: Instant,
        samples: Vec<Sample>,
    }

    impl Watch {
        fn of(rows: &[(u64, State, u64, u64)]) -> Self {
            let began = Instant::now();
            let mut time = ProcessorTime::default();
            let mut samples = Vec::new();
            for second in 0..=120 {
                let (_, state, ran, waited) =
                    *rows.iter().find(|row| second < row.0 || row.0 == 120).unwrap();
                samples.push(Sample { at: began + Duration::from_secs(second), time: Some(time), state });
                time.ran += Duration::from_millis(ran);
                time.waited += Duration::from_millis(waited);
            }
            Self { began, samples }
        }

        fn starved(&self, from: u64, to: u64) -> Option<String> {
            let at = |second| self.began + Duration::from_secs(second);
            Passed::between(&self.samples, at(from), at(to)).starved()
        }
    }

    #[test]
    fn a_silence_in_which_the_processor_got_nothing_is_the_hosts() {
        let mut watch = Watch::of(&[(40, Free, 300, 10), (65, Free, 0, 1000), (120, Free, 300, 10)]);
        assert_eq!(watch.starved(0, 120), None, "the whole watch does not show it");
        let why = "its processor ran for 0.0 s and waited for one of the host's for 25.0 s of 25.0 s";
        assert_eq!(watch.starved(40, 65).as_deref(), Some(why));
        // The scheduler counts a wait when it ends.
        let then = watch.samples[40].time;
        watch.samples[41..65].iter_mut().for_each(|sample| sample.time = then);
        assert_eq!(watch.starved(40, 65).as_deref(), Some(why));
    }

    #[test]
    fn a_silence_in_which_a_signal_had_stopped_qemu_is_the_hosts() {
        let watch = Watch::of(&[(40, Free, 300, 10), (65, Stopped, 0, 0), (120, Free, 300, 10)]);
        let why = "its QEMU was stopped by a signal for 25.0 s of 26.0 s";
        assert_eq!(watch.starved(40, 66).as_deref(), Some(why));
        assert_eq!(watch.starved(66, 120), None);
    }

    #[test]
    fn a_qemu_that_is_still_stopped_is_the_hosts_however_short_that_is() {
        let watch = Watch::of(&[(118, Free, 300, 10), (120, Stopped, 0, 0)]);
        assert_eq!(watch.starved(0, 120), None);
        assert_eq!(stopped_at_last(&watch.samples).as_deref(), Some("its QEMU was stopped by a signal"));
        assert_eq!(stopped_at_last(&watch.samples[..100]), None);
        assert_eq!(stopped_at_last(&[]), None);
    }

    #[test]
    fn a_silence_in_which_not_even_the_suite_ran_is_the_hosts() {
        let mut watch = Watch::of(&[(120, Free, 900, 10)]);
        watch.samples.drain(41..65);
        let why = "the host did not let the suite run for 25.0 s of 27.0 s";
        assert_eq!(watch.starved(39, 66).as_deref(), Some(why));
        assert_eq!(watch.starved(65, 90), None);
    }

    #[test]
    fn a_guest_that_waits_for_a_slow_disk_of_its_host_is_starved() {
        let watch = Watch::of(&[(70, AwaitsDisk, 20, 5), (120, Free, 20, 5)]);
        let why = watch.starved(0, 120);
        assert_eq!(why.as_deref(), Some("the host's disks held it up for 70.0 s of 120.0 s"));
        let watch = Watch::of(&[(50, AwaitsDisk, 20, 5), (120, Free, 20, 5)]);
        assert_eq!(watch.starved(0, 120), None);
    }

    #[test]
    fn what_holds_a_guest_up_counts_together() {
        let watch = Watch::of(&[(40, AwaitsDisk, 10, 0), (120, Free, 100, 500)]);
        let why = "its processor ran for 8.4 s and waited for one of the host's for 40.0 s, \
                   the host's disks held it up for 40.0 s of 120.0 s";
        assert_eq!(watch.starved(0, 120).as_deref(), Some(why));
    }

    #[test]
    fn a_guest_that_could_have_gone_on_is_not_starved() {
        // Idle, as one whose disks are suspended or that waits for what is not on them.
        let idle = Watch::of(&[(120, Free, 5, 2)]);
        // On a host with much to do, and yet it ran.
        let shares = Watch::of(&[(120, Free, 500, 480)]);
        let loops = Watch::of(&[(120, Free, 980, 20)]);
        for (name, watch) in [("idle", idle), ("shares", shares), ("loops", loops)] {
            assert_eq!((watch.starved(40, 65), watch.starved(0, 120)), (None, None), "{name}");
        }
    }

    #[test]
    fn a_host_that_was_busy_at_another_time_explains_no_silence() {
        let watch = Watch::of(&[(90, Free, 50, 900), (120, Free, 5, 2)]);
        assert!(watch.starved(0, 120).is_some());
        assert_eq!(watch.starved(92, 118), None);
    }

    #[test]
    fn without_samples_nothing_is_known() {
        let now = Instant::now();
        assert_eq!(Passed::between(&[], now, now + Duration::from_secs(60)).starved(), None);
        assert_eq!(Passed::between(&[], now, now).starved(), None);
    }
}

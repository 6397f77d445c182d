//! Whether time can be judged in a scenario on guests: nobody sets the host's clock meanwhile, and
//! the suite does not stand still.
//!
//! Rules about time compare moments of two clocks: recovery points have times of the wall clock,
//! and the suite notes what it sees by `CLOCK_MONOTONIC` ([`Instant`]). Linux slews both alike, so
//! that their difference changes only when the wall clock is set, or while the host is suspended,
//! when the monotonic clock stops.
//!
//! A suite that a signal stops, whose cgroup is frozen or whose container is paused leaves both
//! clocks running. Its limits expire meanwhile, for which a core would be blamed. It also notices
//! late what guests acknowledge, so that an old recovery point looks new enough, and a wait that
//! shows that nothing happens passes although nobody looked. So no pass is left either.
//!
//! A clock that was set away and back shows no more at the end, and neither does a suite that stood
//! still. Therefore a thread reads both clocks all the time.
//!
//! A simulation has virtual time, which stands still with the suite, and its rules read no clock of
//! the host. A core that is a process of its own has to answer in time all the same, by the host's
//! clock. So there a suite that stood still excuses what failed, and a pass stays one.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// How often the clocks are read: a clock that was set is seen unless it is set back sooner.
const READ_EVERY: Duration = Duration::from_millis(250);
/// By how much the difference of the clocks may change. The strictest rule about time, FO-10,
/// tolerates 500 ms ([`Rpo::TOLERANCE`](crate::outcome::Rpo::TOLERANCE)), of which most stays for
/// cores. Nothing but a set clock changes the difference: how long a reading took is counted apart.
const SET_BY: SignedDuration = SignedDuration::from_millis(100);
/// For how long the suite may stand still, beyond [`READ_EVERY`]. Linux lets each of a hundred busy
/// threads run within a second, and a host that swaps delays one by a second or two. Of the limits
/// and waits of rules on guests, the shortest are 10 s: how late a record on the disks of a point
/// may be, and how long a guest without an address is listened to.
const STANDS_STILL_FOR: Duration = Duration::from_secs(5);
/// A reading of the clocks that took longer is repeated, because the thread was interrupted in it.
const READ_WITHIN: Duration = Duration::from_millis(5);
/// How many readings are taken at most; then the shortest counts.
const READINGS: usize = 10;

/// The watch of one scenario. It ends when it is dropped.
pub(crate) struct HostWatch {
    began: Instant,
    end: Sender<()>,
    thread: JoinHandle<Watched>,
}

impl HostWatch {
    /// Begins to read the clocks.
    ///
    /// # Errors
    /// The host allows no thread more.
    pub(crate) fn begin() -> io::Result<Self> {
        Self::begin_to_read(READ_EVERY)
    }

    fn begin_to_read(every: Duration) -> io::Result<Self> {
        let began = Instant::now();
        let (end, ended) = mpsc::channel();
        let mut watched = Watched::since(Reading::take(began));
        let watch = move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                watched.add(Reading::take(began));
            }
            watched
        };
        let thread = thread::Builder::new().name("host-watch".to_owned()).spawn(watch)?;
        Ok(Self { began, end, thread })
    }

    /// Reads the clocks once more and ends. Returns why no time since the watch began can be
    /// judged; `None` if it can.
    #[must_use]
    pub(crate) fn end(self) -> Option<String> {
        self.watched().map_or_else(Some, |watched| watched.objection())
    }

    /// As [`end`](Self::end), for a simulation: returns why no limit of the wire protocol can be
    /// judged; `None` if they can.
    #[must_use]
    pub(crate) fn end_in_virtual_time(self) -> Option<String> {
        self.watched().map_or_else(Some, |watched| watched.standstill().map(no_time))
    }

    /// What was read, once the watch has ended, or why nothing was.
    fn watched(self) -> Result<Watched, String> {
        drop(self.end);
        let failed = |_| no_time("the watch of the host's clocks failed".to_owned());
        let mut watched = self.thread.join().map_err(failed)?;
        // The last moments of a scenario count as well.
        watched.add(Reading::take(self.began));
        Ok(watched)
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// The monotonic clock just before the wall clock was read, since the watch began.
    before: Duration,
    /// The wall clock, since 1970.
    wall: SignedDuration,
    /// The monotonic clock just after it.
    after: Duration,
}

impl Reading {
    fn take(began: Instant) -> Self {
        Self::shortest_of(|| {
            let before = began.elapsed();
            let wall = Timestamp::now().as_duration();
            Self { before, wall, after: began.elapsed() }
        })
    }

    /// Reads until a reading is short enough to be exact.
    fn shortest_of(mut read: impl FnMut() -> Self) -> Self {
        let mut shortest = read();
        for _ in 1..READINGS {
            if shortest.took() <= READ_WITHIN {
                break;
            }
            let next = read();
            if next.took() < shortest.took() {
                shortest = next;
            }
        }
        shortest
    }

    fn took(&self) -> Duration {
        self.after.saturating_sub(self.before)
    }

    /// The least and the most by which the wall clock may have been ahead of the monotonic one.
    fn difference(&self) -> (SignedDuration, SignedDuration) {
        let behind = |moment| self.wall.saturating_sub(signed(moment));
        (behind(self.after), behind(self.before))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// What the readings so far show.
#[derive(Clone, Debug)]
struct Watched {
    /// When the last one began.
    last: Duration,
    /// The longest time from one reading to the next.
    longest: Duration,
    /// The greatest lower bound of the difference of the clocks, of all readings.
    least: SignedDuration,
    /// The smallest upper bound.
    most: SignedDuration,
    /// By how much the difference surely grew from one reading to any later one.
    forward: SignedDuration,
    /// By how much it surely shrank.
    back: SignedDuration,
}

impl Watched {
    fn since(first: Reading) -> Self {
        let (least, most) = first.difference();
        let (forward, back) = (SignedDuration::ZERO, SignedDuration::ZERO);
        Self { last: first.before, longest: first.before, least, most, forward, back }
    }

    fn add(&mut self, reading: Reading) {
        self.longest = self.longest.max(reading.before.saturating_sub(self.last));
        self.last = reading.before;
        let (least, most) = reading.difference();
        self.forward = self.forward.max(least.saturating_sub(self.most));
        self.back = self.back.max(self.least.saturating_sub(most));
        self.least = self.least.max(least);
        self.most = self.most.min(most);
    }

    /// Why no time can be judged; `None` if it can.
    fn objection(&self) -> Option<String> {
        let set = |by: SignedDuration, way| {
            (by > SET_BY).then(|| format!("the host's clock was set {way} by {:.2} s", by.as_secs_f64()))
        };
        let findings = [
            set(self.back, "back"),
            set(self.forward, "forward").map(|set| format!("{set}, or the host was suspended")),
            self.standstill(),
        ];
        findings.into_iter().flatten().reduce(|all, next| format!("{all}; {next}")).map(no_time)
    }

    /// For how long the suite stood still; `None` if it did not, or only as on any busy host.
    fn standstill(&self) -> Option<String> {
        let stood_still = self.longest.saturating_sub(READ_EVERY);
        let seconds = stood_still.as_secs_f64();
        let found =
            format!("the suite stood still for {seconds:.2} s: a signal, a freezer or its host stopped it");
        (stood_still > STANDS_STILL_FOR).then_some(found)
    }
}

fn no_time(why: String) -> String {
    format!("no time can be judged: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Rpo;

    /// A reading at this moment while the wall clock is so far ahead of where it was at first.
    fn reading(at_ms: u64, ahead_ms: i64) -> Reading {
        slow_reading(at_ms, at_ms, at_ms, ahead_ms)
    }

    /// The same, if the wall clock was read at `wall_ms`.
    fn slow_reading(before_ms: u64, wall_ms: u64, after_ms: u64, ahead_ms: i64) -> Reading {
        let began = SignedDuration::from_secs(1_800_000_000);
        let wall = began + signed(Duration::from_millis(wall_ms)) + SignedDuration::from_millis(ahead_ms);
        Reading { before: Duration::from_millis(before_ms), wall, after: Duration::from_millis(after_ms) }
    }

    fn objection(readings: impl IntoIterator<Item = Reading>) -> Option<String> {
        let mut watched = Watched::since(reading(0, 0));
        readings.into_iter().for_each(|reading| watched.add(reading));
        watched.objection()
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_long_before_a_rule_about_time_can_tell() {
        assert!(SET_BY.unsigned_abs() < Duration::from(Rpo::TOLERANCE) / 2);
        assert_eq!(objection([reading(250, 90), reading(500, 90)]), None);
        let why = objection([reading(250, 0), reading(500, 150)]);
        let found = "the host's clock was set forward by 0.15 s, or the host was suspended";
        assert_eq!(why, Some(format!("no time can be judged: {found}")));
        let why = objection([reading(250, 0), reading(500, -1_500), reading(750, -1_500)]);
        assert_eq!(why.as_deref(), Some("no time can be judged: the host's clock was set back by 1.50 s"));
    }

    #[test]
    fn a_clock_that_is_set_away_and_back_is_noticed() {
        let why = objection([reading(250, -1_500), reading(500, 0), reading(750, 0)]);
        assert!(why.is_some_and(|why| why.contains("back by 1.50 s") && why.contains("forward by 1.50 s")));
    }

    #[test]
    fn small_steps_are_noticed_together() {
        assert!(objection([reading(250, 60), reading(500, 120)]).is_some());
        // From one reading to the next but one, and neither against the first.
        let why = objection([reading(250, -60), reading(500, 0), reading(750, 60)]);
        assert!(why.is_some_and(|why| why.contains("forward by 0.12 s") && !why.contains("back")));
    }

    #[test]
    fn a_clock_that_is_slewed_keeps_its_difference_and_is_not_noticed() {
        // An hour in which both run 10 % too fast.
        assert_eq!(objection((1..14_400).map(|number| reading(number * 275, 0))), None);
    }

    #[test]
    fn a_busy_host_is_not_taken_for_a_clock_that_is_set() {
        // Interrupted for up to two seconds, before, between and after the clocks were read.
        let slow = [
            slow_reading(2_250, 2_250, 2_250, 0),
            slow_reading(2_500, 2_500, 4_500, 0),
            slow_reading(4_750, 6_750, 6_750, 0),
            slow_reading(7_000, 8_000, 9_000, 0),
            slow_reading(9_250, 9_250, 9_250, 0),
        ];
        assert_eq!(objection(slow), None);
        assert!(objection(slow.into_iter().chain([reading(9_500, -150)])).is_some());
        // A step is hidden by a reading that took longer than that, until the next one.
        assert!(objection([slow_reading(250, 1_250, 1_250, -150)]).is_none());
        assert!(objection([slow_reading(250, 1_250, 1_250, -150), reading(1_500, -150)]).is_some());
    }

    #[test]
    fn a_reading_that_was_interrupted_is_repeated_and_not_for_ever() {
        let took = |ms| slow_reading(0, 0, ms, 0);
        let mut readings = [took(2_000), took(900), took(3), took(0)].into_iter();
        assert_eq!(Reading::shortest_of(|| readings.next().unwrap()), took(3));
        assert_eq!(readings.len(), 1);
        let mut calls = 0;
        let busy = || {
            calls += 1;
            took(if calls == 4 { 60 } else { 70 })
        };
        assert_eq!(Reading::shortest_of(busy), took(60));
        assert_eq!(calls, READINGS);
    }

    #[test]
    fn a_suite_that_stood_still_is_noticed() {
        assert_eq!(objection([reading(250, 0), reading(5_500, 0)]), None);
        let why = objection([reading(250, 0), reading(10_500, 0), reading(10_750, 0)]);
        let found = "the suite stood still for 10.00 s: a signal, a freezer or its host stopped it";
        assert_eq!(why, Some(format!("no time can be judged: {found}")));
        // Also before the clocks were read at all.
        assert!(Watched::since(reading(10_000, 0)).objection().is_some());
    }

    #[test]
    fn in_virtual_time_only_a_suite_that_stood_still_is_noticed() {
        let watch_of = |reading: Reading| {
            let (end, _) = mpsc::channel();
            let mut watched = Watched::since(self::reading(0, 0));
            watched.add(reading);
            // The reading at the end is of the same moment, whatever the real clocks say.
            let began = Instant::now().checked_sub(reading.before).unwrap();
            HostWatch { began, end, thread: thread::spawn(move || watched) }
        };
        assert_eq!(watch_of(reading(250, 3_600_000)).end_in_virtual_time(), None);
        let why = watch_of(reading(10_250, 0)).end_in_virtual_time();
        assert!(why.is_some_and(|why| why.contains("stood still for 10.00 s") && !why.contains("clock")));
    }

    #[test]
    fn a_host_that_was_suspended_is_noticed() {
        // The monotonic clock stood still, and the wall clock is right again.
        let why = objection([reading(250, 0), reading(500, 3_600_000)]);
        assert!(why.is_some_and(|why| why.contains("3600.00 s, or the host was suspended")));
    }

    #[test]
    fn a_watch_ends_at_once_and_objects_to_nothing() {
        // The test does not end if the watch awaits its next reading.
        let watch = HostWatch::begin_to_read(Duration::from_secs(3600)).unwrap();
        assert_eq!(watch.end(), None);
    }

    #[test]
    fn a_watch_that_does_not_read_its_clocks_is_no_proof() {
        let (end, _) = mpsc::channel();
        let thread = thread::spawn(|| panic!("it is broken"));
        let why = HostWatch { began: Instant::now(), end, thread }.end();
        assert!(why.is_some_and(|why| why.contains("failed")));
    }
}

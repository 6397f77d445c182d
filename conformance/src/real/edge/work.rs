//! Whether a guest goes on working, as it does all the time unless something stops it.

use std::time::{Duration, Instant};

use harness::machine::Watched;
use harness::witness_link::Ack;

use crate::real::context::ScenarioContext;
use crate::real::machine::Running;
use crate::rules::RuleId;

/// How long a working guest may take from one record to the next. Guests write several a second;
/// the bound leaves room for slow hosts and for the moment in which a site takes a snapshot.
const LONGEST_SILENCE: Duration = Duration::from_secs(20);

/// What was seen of a guest's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It acknowledged a further record.
    GoesOn,
    /// It did not, although it could run.
    Stopped(String),
    /// Its host did not let it run.
    Starved(String),
}

impl Work {
    /// What the answer to the wait for a record says. `trouble` is the witness's, if it reported
    /// any.
    pub(crate) fn of(next: harness::Result<()>, trouble: Option<String>) -> Self {
        match (next, trouble) {
            (Err(error @ harness::Error::Starved { .. }), _) => Self::Starved(error.to_string()),
            (Err(error), _) => Self::Stopped(error.to_string()),
            (Ok(()), Some(trouble)) => Self::Stopped(trouble),
            (Ok(()), None) => Self::GoesOn,
        }
    }

    /// The same, unless the guest stood still before. `starved` says whether its host kept it from
    /// running.
    fn after(self, longest: Option<Silence>, starved: impl FnOnce() -> Option<String>) -> Self {
        match longest {
            Some(silence) if self == Self::GoesOn && silence.lasted > LONGEST_SILENCE => match starved() {
                Some(why) => Self::Starved(format!("{silence}; {why}")),
                None => Self::Stopped(silence.to_string()),
            },
            _ => self,
        }
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GoesOn => write!(f, "it worked on"),
            Self::Stopped(why) => write!(f, "it stopped working: {why}"),
            Self::Starved(why) => write!(f, "{why}"),
        }
    }
}

/// A guest whose work is watched from a moment on.
pub(crate) struct AtWork<'a> {
    running: &'a Running,
    began: Instant,
    watched: Watched<'a>,
}

impl<'a> AtWork<'a> {
    /// Watches the guest from now on.
    pub(crate) fn watch(running: &'a Running) -> Self {
        Self { running, began: Instant::now(), watched: running.boot.guest.watch() }
    }

    /// Waits for one more record, and says whether the guest has worked all the time.
    pub(crate) async fn so_far(&self) -> Work {
        let guest = &self.running.boot.guest;
        let next = guest.witness().acked(self.running.last_record() + 1);
        self.until(guest.race("its next record", LONGEST_SILENCE, next).await)
    }

    /// Whether the guest has worked all the time until a wait for its work ended.
    pub(crate) fn until(&self, ended: harness::Result<()>) -> Work {
        let witness = self.running.boot.guest.witness();
        let silence = Silence::longest(&witness.acks(), self.began);
        Work::of(ended, witness.trouble()).after(silence, || self.watched.starved())
    }
}

/// A time in which a guest acknowledged nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silence {
    /// The record that ended it.
    before: u64,
    lasted: Duration,
}

impl Silence {
    /// The longest after `began` that a record ended; `None` if none did.
    fn longest(acks: &[Ack], began: Instant) -> Option<Self> {
        let later = &acks[acks.partition_point(|ack| ack.heard < began)..];
        let starts = std::iter::once(began).chain(later.iter().map(|ack| ack.heard));
        let silences = starts.zip(later).map(|(start, ack)| Self {
            before: ack.number,
            lasted: ack.heard.saturating_duration_since(start),
        });
        silences.max_by_key(|silence| silence.lasted)
    }
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { before, lasted } = self;
        write!(f, "no record for {:.1} s before record {before}", lasted.as_secs_f32())
    }
}

/// Records whether a rule is satisfied by which a guest works on and `also` is true. `found` is
/// what was found besides the work.
pub(crate) fn check_work(context: &ScenarioContext, rule: RuleId, work: &Work, also: bool, found: &str) {
    let found = format!("{found}; the guest: {work}");
    match work {
        // Nothing is known about the guest, and nothing else is wrong.
        Work::Starved(_) if also => context.unknown(rule, found),
        _ => context.check(rule, also && *work == Work::GoesOn, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_its_host_starves_has_not_stopped_working() {
        let (awaited, bound) = (|| "shop: its next record".to_owned(), LONGEST_SILENCE);
        assert_eq!(Work::of(Ok(()), None), Work::GoesOn);
        let why = "its kernel says: watchdog: BUG: soft lockup".to_owned();
        let starved = harness::Error::Starved { awaited: awaited(), bound, why };
        assert!(matches!(Work::of(Err(starved), None), Work::Starved(_)));
        let silent = harness::Error::TimedOut { awaited: awaited(), bound, seen: String::new() };
        assert!(matches!(Work::of(Err(silent), None), Work::Stopped(_)));
        let trouble = Some("write failed: input/output error".to_owned());
        assert!(matches!(Work::of(Ok(()), trouble), Work::Stopped(_)));
    }
    #[test]
    fn the_longest_silence_is_found_wherever_it_lies() {
        let began = Instant::now();
        let heard = |number, after| Ack { number, heard: began + Duration::from_secs(after) };
        let longest = |acks: &[Ack]| Silence::longest(acks, began).map(|s| (s.before, s.lasted.as_secs()));
        assert_eq!(longest(&[heard(7, 31), heard(8, 32)]), Some((7, 31)));
        assert_eq!(longest(&[heard(7, 1), heard(8, 30), heard(9, 31)]), Some((8, 29)));
        assert_eq!(longest(&[]), None);
        // What was acknowledged before does not count, nor does the silence up to then.
        let earlier = Silence::longest(&[heard(7, 50), heard(8, 55)], began + Duration::from_secs(53));
        assert_eq!(earlier.map(|s| (s.before, s.lasted.as_secs())), Some((8, 2)));
    }

    #[test]
    fn a_guest_that_stood_still_has_stopped_although_it_writes_again() {
        let silence = |seconds| Some(Silence { before: 9, lasted: Duration::from_secs(seconds) });
        let bound = LONGEST_SILENCE.as_secs();
        assert_eq!(Work::GoesOn.after(None, || None), Work::GoesOn);
        assert_eq!(Work::GoesOn.after(silence(bound), || None), Work::GoesOn);
        assert!(matches!(Work::GoesOn.after(silence(bound + 1), || None), Work::Stopped(_)));
        let starved = Work::GoesOn.after(silence(bound + 1), || Some("its host was busy".to_owned()));
        assert!(matches!(starved, Work::Starved(_)));
    }
}

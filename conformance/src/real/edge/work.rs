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

    /// The same, unless the guest stood still before, for longer than [`LONGEST_SILENCE`] each
    /// time. `starved` says whether its host kept it from running meanwhile. What explains one
    /// silence does not excuse another.
    fn after(self, silences: &[Silence], starved: impl Fn(&Silence) -> Option<String>) -> Self {
        if matches!(self, Self::Stopped(_)) {
            return self;
        }
        let mut excuse = None;
        for silence in silences {
            match starved(silence) {
                Some(why) => excuse = Some(format!("{silence}; {why}")),
                None => return Self::Stopped(silence.to_string()),
            }
        }
        match (self, excuse) {
            (Self::GoesOn, Some(excuse)) => Self::Starved(excuse),
            (work, _) => work,
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
        let silences = Silence::all(&witness.acks(), self.began);
        let starved = |silence: &Silence| self.watched.starved_between(silence.began, silence.ended);
        Work::of(ended, witness.trouble()).after(&silences, starved)
    }
}

/// A time of more than [`LONGEST_SILENCE`] in which a guest acknowledged nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Silence {
    /// The record that ended it.
    before: u64,
    began: Instant,
    ended: Instant,
}

impl Silence {
    /// All after `began` that a record ended.
    fn all(acks: &[Ack], began: Instant) -> Vec<Self> {
        let later = &acks[acks.partition_point(|ack| ack.heard < began)..];
        let starts = std::iter::once(began).chain(later.iter().map(|ack| ack.heard));
        let times =
            starts.zip(later).map(|(began, ack)| Self { before: ack.number, began, ended: ack.heard });
        times.filter(|time| time.lasted() > LONGEST_SILENCE).collect()
    }

    fn lasted(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lasted, before) = (self.lasted().as_secs_f32(), self.before);
        write!(f, "no record for {lasted:.1} s before record {before}")
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
    fn every_silence_is_found_wherever_it_lies() {
        let began = Instant::now();
        let heard = |number, after| Ack { number, heard: began + Duration::from_secs(after) };
        let all = |acks: &[Ack], after| {
            let silences = Silence::all(acks, began + Duration::from_secs(after));
            silences.iter().map(|one| (one.before, one.lasted().as_secs())).collect::<Vec<_>>()
        };
        assert_eq!(all(&[heard(7, 31), heard(8, 32)], 0), [(7, 31)]);
        assert_eq!(all(&[heard(7, 1), heard(8, 30), heard(9, 31), heard(10, 60)], 0), [(8, 29), (10, 29)]);
        assert_eq!(all(&[heard(7, 20), heard(8, 40)], 0), []);
        assert_eq!(all(&[], 0), []);
        // What was acknowledged before does not count, nor does the silence up to then.
        assert_eq!(all(&[heard(7, 50), heard(8, 90)], 65), [(8, 25)]);
    }

    #[test]
    fn a_guest_that_stood_still_has_stopped_although_it_writes_again() {
        let began = Instant::now();
        let silence = |before| Silence { before, began, ended: began + Duration::from_secs(25) };
        let busy = |silence: &Silence| (silence.before == 9).then(|| "its host was busy".to_owned());
        let starved = || Work::Starved("its host is busy".to_owned());

        assert_eq!(Work::GoesOn.after(&[], busy), Work::GoesOn);
        assert_eq!(starved().after(&[], busy), starved());
        assert!(matches!(Work::GoesOn.after(&[silence(8)], busy), Work::Stopped(_)));
        let why = "no record for 25.0 s before record 9; its host was busy";
        assert_eq!(Work::GoesOn.after(&[silence(9)], busy), Work::Starved(why.to_owned()));
        // A host that was busy at one time does not excuse another.
        for silences in [[silence(8), silence(9)], [silence(9), silence(8)]] {
            assert!(matches!(Work::GoesOn.after(&silences, busy), Work::Stopped(_)));
            assert!(matches!(starved().after(&silences, busy), Work::Stopped(_)));
        }
    }
}

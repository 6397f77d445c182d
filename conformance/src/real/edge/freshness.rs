//! Whether a recovered machine is as new as its recovery point says, and the point as new as it has
//! to be.
//!
//! The oracle accepts every exact prefix of the guest's writes, however old. This module adds what
//! an old prefix breaks: the disks hold each record that the host saw acknowledged before the
//! point's time and none that was written after it, the point is the one that was asked for, and
//! replication had not stopped. The records come from outside the core; its claims are the point's
//! time and the list of points.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::{Millis, PointChoice, RecoveryPoint, Timestamp};
use harness::witness_link::Ack;
use witness::ledger::RecordNumber;

use crate::outcome::Rpo;
use crate::rules::RuleId;
use crate::rules::ids::*;

/// How far before the point's time a record may have been acknowledged and yet be missing.
///
/// A stand-in reads its clock before it freezes the disks, so that a record acknowledged before
/// that moment is in the snapshot without exception. The tolerance is for cores that read a clock
/// of their own next to the snapshot, and for the conversion of clocks. It is half of the shortest
/// interval of a scenario, so that a state of one transfer before is found out.
const EARLY_TOLERANCE: Millis = Rpo::TOLERANCE;
/// How long after the point's time the predecessor of a record may have been acknowledged.
///
/// The disks are frozen after the stand-in has read its clock: by an agent inside a guest, which
/// may be emulated on a busy host.
const LATE_TOLERANCE: Millis = Millis(10_000);
/// How much older than one interval a point may be when its source stops: for the transfer of the
/// next point, which is under way then, on a busy host.
const AGE_TOLERANCE: Millis = Millis(30_000);

/// Both clocks of the host, read at the same time. Sites of the suite take their time from the
/// host's wall clock; the host notes acknowledgements by its monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    monotonic: Instant,
    wall: Timestamp,
}

impl HostClock {
    /// Reads the clocks.
    pub(crate) fn read() -> Self {
        Self { monotonic: Instant::now(), wall: now() }
    }

    /// The time at a moment of the monotonic clock.
    pub(crate) fn time_of(&self, moment: Instant) -> Timestamp {
        let ahead = Millis::from(moment.saturating_duration_since(self.monotonic)).0;
        let behind = Millis::from(self.monotonic.saturating_duration_since(moment)).0;
        Timestamp((self.wall.0 + ahead).saturating_sub(behind))
    }
}

/// The time by the host's clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(Millis::from(since_epoch).0)
}

/// Consecutive records, of which some were acknowledged: first, last and number of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) first: RecordNumber,
    pub(crate) last: RecordNumber,
    pub(crate) count: usize,
}

impl Records {
    fn of(numbers: impl Iterator<Item = RecordNumber>) -> Option<Self> {
        let mut records: Option<Self> = None;
        for number in numbers {
            let known = records.get_or_insert(Self { first: number, last: number, count: 0 });
            known.first = known.first.min(number);
            known.last = known.last.max(number);
            known.count += 1;
        }
        records
    }
}

impl std::fmt::Display for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records ({} to {})", self.count, self.first, self.last)
    }
}

/// FO-10: why disks that hold all records up to `contiguous` are not the state of the moment
/// `claimed`; `None` if they are.
pub(crate) fn content_objection(
    acks: &[Ack],
    clock: HostClock,
    claimed: Timestamp,
    contiguous: RecordNumber,
) -> Option<String> {
    let due = Timestamp(claimed.0.saturating_sub(EARLY_TOLERANCE.0));
    let missing = acks.iter().filter(|ack| ack.number > contiguous && clock.time_of(ack.heard) < due);
    if let Some(missing) = Records::of(missing.map(|ack| ack.number)) {
        return Some(format!(
            "{missing} are missing, which were acknowledged more than {EARLY_TOLERANCE} before the time of the \
             recovery point; the disks end with record {contiguous}"
        ));
    }
    let end = Timestamp(claimed.0 + LATE_TOLERANCE.0);
    // A record is written only once its predecessor is durable.
    let successor = |ack: &Ack| ack.number + 1;
    let late = acks.iter().filter(|ack| successor(ack) <= contiguous && clock.time_of(ack.heard) > end);
    let late = Records::of(late.map(successor))?;
    Some(format!(
        "{late} are on the disks, and were written more than {LATE_TOLERANCE} after the time of the recovery point"
    ))
}

/// The verdict on the choice of a recovery point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JudgedChoice {
    /// The rule that says which point it is.
    pub(crate) rule: RuleId,
    /// Why it is another one; `None` if it is the right one.
    pub(crate) objection: Option<String>,
}

/// RP-02, RP-04, RP-06, FO-01: whether `chosen` is what `choice` means, if `available` could be
/// chosen when the failover was requested. `None` if the choice concerns several machines. A point
/// that came later than the request is as good as a newer one.
pub(crate) fn judge_choice(
    choice: &PointChoice,
    chosen: &RecoveryPoint,
    available: &[RecoveryPoint],
) -> Option<JudgedChoice> {
    use contract::Consistency::App;
    let newest = |fits: fn(&RecoveryPoint) -> bool| {
        available.iter().filter(|point| fits(point)).max_by_key(|point| point.time)
    };
    let (rule, newest) = match choice {
        PointChoice::Latest => (RP_02, newest(|_| true)),
        PointChoice::LatestProcessed => (RP_04, newest(|point| point.processed)),
        PointChoice::LatestAppConsistent => {
            (RP_06, newest(|point| point.processed && point.consistency == App))
        }
        PointChoice::Custom(id) => {
            let why = format!("recovery point {id} was asked for and {} was used", chosen.id);
            return Some(JudgedChoice { rule: FO_01, objection: (chosen.id != *id).then_some(why) });
        }
        PointChoice::LatestMultiVm | PointChoice::LatestMultiVmAppConsistent => return None,
    };
    let newer = newest.filter(|newest| newest.time > chosen.time);
    let objection = newer.map(|newer| {
        let older = newer.time.since(chosen.time);
        format!("recovery point {} was used, which is {older} older than {}", chosen.id, newer.id)
    });
    Some(JudgedChoice { rule, objection })
}

/// FO-10: why a point of the moment `claimed` is too old for a source that stopped at `stopped`,
/// if its policy asks for a point every `interval`; `None` if it is not.
pub(crate) fn age_objection(claimed: Timestamp, stopped: Timestamp, interval: Millis) -> Option<String> {
    let age = stopped.since(claimed);
    (age.0 > interval.0 + AGE_TOLERANCE.0).then(|| {
        format!("the recovery point was {age} old when its source stopped; its policy asks for one every {interval}")
    })
}

#[cfg(test)]
mod tests {
    use contract::{Bytes, ChangeId, Consistency, PointId};

    use super::*;

    /// The moment of record 0; record `n` is acknowledged `n` × 40 ms later.
    const START: Timestamp = Timestamp(1_000_000);

    fn after(ms: u64) -> Timestamp {
        Timestamp(START.0 + ms)
    }

    /// The objection to disks that end with record `contiguous`, for a point of `claimed` ms after
    /// the start, if `count` records were acknowledged.
    fn content(count: u64, claimed: u64, contiguous: RecordNumber) -> Option<String> {
        let monotonic = Instant::now();
        let clock = HostClock { monotonic, wall: START };
        let heard = |number: u64| monotonic + Duration::from_millis(number * 40);
        let acks: Vec<_> = (1..=count).map(|number| Ack { number, heard: heard(number) }).collect();
        content_objection(&acks, clock, after(claimed), contiguous)
    }

    #[test]
    fn disks_that_hold_what_was_acknowledged_at_the_moment_of_the_point_are_accepted() {
        let sound = [
            // Exactly what was acknowledged at that moment, and one record that was in flight.
            (1_000, 4_000, 100),
            (1_000, 4_000, 101),
            // Within the tolerances.
            (1_000, 4_000, 88),
            (1_000, 4_000, 350),
            // A guest that wrote nothing for a long time before the moment.
            (100, 400_000, 100),
            // Nothing was acknowledged yet.
            (0, 4_000, 0),
        ];
        for (count, claimed, contiguous) in sound {
            assert_eq!(content(count, claimed, contiguous), None, "{count} {claimed} {contiguous}");
        }
    }

    #[test]
    fn disks_without_records_of_before_the_point_are_stale() {
        // Replication stopped at record 75, and the point claims 4 s: record 100.
        let why = content(1_000, 4_000, 75).unwrap();
        assert!(why.starts_with("12 records (76 to 87) are missing"), "{why}");
        // Even one transfer that was left out is found out, at an interval of a second.
        assert!(content(1_000, 4_000, 100 - 25).is_some());
        // The whole content of the first copy.
        let why = content(1_000, 40_000, 0).unwrap();
        assert!(why.starts_with("987 records (1 to 987) are missing"), "{why}");
    }

    #[test]
    fn disks_with_records_of_long_after_the_point_are_not_of_its_moment() {
        let why = content(1_000, 4_000, 1_000).unwrap();
        // The record that follows number 350, the last of 14 s, is the first late one.
        assert!(why.starts_with("649 records (352 to 1000) are on the disks"), "{why}");
    }

    #[test]
    fn time_is_converted_in_both_directions_from_the_moment_at_which_the_clocks_were_read() {
        let monotonic = Instant::now() + Duration::from_secs(100);
        let clock = HostClock { monotonic, wall: START };
        assert_eq!(clock.time_of(monotonic), START);
        assert_eq!(clock.time_of(monotonic + Duration::from_millis(70)), after(70));
        assert_eq!(clock.time_of(monotonic - Duration::from_millis(70)), Timestamp(START.0 - 70));
    }

    fn point(number: u64, consistency: Consistency, processed: bool) -> RecoveryPoint {
        RecoveryPoint {
            id: PointId(format!("point-{number}")),
            time: after(number * 1_000),
            consistency,
            processed,
            multi_vm: None,
            change_id: ChangeId(format!("change-{number}")),
            transferred: Bytes(1),
            volumes: vec![],
        }
    }

    /// An application-consistent point, a crash-consistent one, and one that is not processed.
    fn available() -> [RecoveryPoint; 3] {
        use Consistency::{App, Crash};
        [point(1, App, true), point(2, Crash, true), point(3, Crash, false)]
    }

    #[test]
    fn each_choice_means_the_newest_point_of_its_kind() {
        let table = [
            (PointChoice::Latest, 3, RP_02),
            (PointChoice::LatestProcessed, 2, RP_04),
            (PointChoice::LatestAppConsistent, 1, RP_06),
        ];
        for (choice, newest, rule) in table {
            for number in 0..=4 {
                let chosen = point(number, Consistency::Crash, true);
                let judged = judge_choice(&choice, &chosen, &available()).unwrap();
                let expected = (rule, number < newest);
                assert_eq!((judged.rule, judged.objection.is_some()), expected, "{choice:?}: {number}");
            }
        }
    }

    #[test]
    fn a_named_point_is_that_point_and_no_newer_one() {
        let [_, named, newer] = available();
        let choice = PointChoice::Custom(named.id.clone());
        let judged = |chosen| judge_choice(&choice, chosen, &available()).unwrap();
        assert_eq!(judged(&named), JudgedChoice { rule: FO_01, objection: None });
        let objection = judged(&newer).objection.unwrap();
        assert_eq!(objection, "recovery point point-2 was asked for and point-3 was used");
        assert_eq!(judge_choice(&PointChoice::LatestMultiVm, &newer, &available()), None);
    }

    #[test]
    fn a_point_is_not_much_older_than_an_interval_when_its_source_stops() {
        let interval = Millis(1_000);
        for age in [0, 1_000, 31_000] {
            assert_eq!(age_objection(START, after(age), interval), None, "{age}");
        }
        // A point of after the stop comes from data that was received before.
        assert_eq!(age_objection(after(5_000), START, interval), None);
        assert!(age_objection(START, after(31_001), interval).is_some());
    }
}

//! A verdict does not depend on how far apart the written sectors lie: the oracle reads runs of
//! written sectors, small gaps between them, and everything else in different ways.

use harness::oracle::{Judgement, MemorySource, Options, WriteLog, judge};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::build::{LogBytes, sectors};
use super::model::{CONTENTS, History, Op};
use super::strategies::history;

/// Sectors put between the two halves of a disk: none, up to a gap that is read at once, beyond
/// it, and more than a window of the oracle.
const DISTANCES: [u64; 5] = [0, 31, 32, 33, 40_000];

/// A history whose operations stay on one side of the middle, with a disk that it may have left.
#[derive(Clone, Debug)]
struct Halves {
    history: History,
    disk: Vec<u8>,
    middle: u64,
}

impl Halves {
    fn new(mut history: History, altered: &[(prop::sample::Index, u8)], cut: prop::sample::Index) -> Self {
        let middle = history.base.len() as u64 / 2;
        history.ops.retain(|op| match op {
            Op::Write { sector, contents } => *sector >= middle || sector + contents.len() as u64 <= middle,
            Op::Discard { sector, count } => *sector >= middle || sector + count <= middle,
            Op::Flush => true,
        });
        let states = history.states();
        let state = &states[cut.index(states.len())];
        let mut disk: Vec<u8> = state.iter().map(|allowed| *allowed.first().unwrap_or(&0)).collect();
        for (sector, content) in altered {
            let sector = sector.index(disk.len());
            disk[sector] = *content;
        }
        Self { history, disk, middle }
    }

    /// `sector` when the halves are `distance` sectors apart.
    fn moved(&self, sector: u64, distance: u64) -> u64 {
        if sector < self.middle { sector } else { sector + distance }
    }

    fn apart(&self, contents: &[u8], distance: u64) -> MemorySource {
        let (first, second) = contents.split_at(self.middle as usize);
        MemorySource([sectors(first), vec![0; distance as usize * 512], sectors(second)].concat())
    }

    fn judged(&self, distance: u64) -> Judgement {
        let mut log = LogBytes::new();
        for op in &self.history.ops {
            match op {
                Op::Write { sector, contents } => {
                    log.write(self.moved(*sector, distance), &sectors(contents));
                }
                Op::Discard { sector, count } => log.discard(self.moved(*sector, distance), *count),
                Op::Flush => log.flush(),
            }
        }
        let base = self.apart(&self.history.base, distance);
        let log = WriteLog::from_bytes("halves", log.finish(), base.0.len() as u64).expect("a log");
        let options = Options { discards: self.history.discards, ..Options::default() };
        judge(&base, &log, &self.apart(&self.disk, distance), &options).expect("a judgement")
    }

    /// The verdict with its sectors moved as the halves are.
    fn verdict(&self, distance: u64, moved_by: u64) -> (serde_json::Value, u64) {
        let judgement = self.judged(distance);
        let mut verdict = serde_json::to_value(&judgement.verdict).expect("a verdict is JSON");
        self.move_sectors(&mut verdict, moved_by);
        (verdict, judgement.sectors_written)
    }

    fn move_sectors(&self, value: &mut serde_json::Value, by: u64) {
        let Some(fields) = value.as_object_mut() else { return };
        for (name, field) in fields {
            match field.as_u64() {
                Some(sector) if name == "sector" => *field = self.moved(sector, by).into(),
                _ => self.move_sectors(field, by),
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_verdict_does_not_depend_on_the_distance_between_writes(
        history in history(24),
        altered in prop::collection::vec((any::<prop::sample::Index>(), 0..=CONTENTS), 0..3),
        cut: prop::sample::Index,
    ) {
        let halves = Halves::new(history, &altered, cut);
        for distance in DISTANCES {
            prop_assert_eq!(halves.verdict(distance, 0), halves.verdict(0, distance), "{} apart", distance);
        }
    }
}

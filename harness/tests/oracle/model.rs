//! A slow model of the oracle: applies every prefix and compares.

use std::collections::BTreeSet;
use std::ops::Range;

use harness::oracle::{Cut, CutRange, DiscardReads, WriteLog};

use crate::build::{LogBytes, sectors};

#[derive(Clone, Debug)]
pub enum Op {
    Write { sector: u64, contents: Vec<u8> },
    Discard { sector: u64, count: u64 },
    Flush,
}

/// The history of a disk.
#[derive(Clone, Debug)]
pub struct History {
    pub base: Vec<u8>,
    pub ops: Vec<Op>,
    pub discards: DiscardReads,
}

/// The contents that each sector may have.
pub type Allowed = Vec<BTreeSet<u8>>;

impl History {
    pub fn disk_bytes(&self) -> u64 {
        self.base.len() as u64 * 512
    }

    pub fn log_bytes(&self) -> Vec<u8> {
        let mut log = LogBytes::new();
        for op in &self.ops {
            match op {
                Op::Write { sector, contents } => log.write(*sector, &sectors(contents)),
                Op::Discard { sector, count } => log.discard(*sector, *count),
                Op::Flush => log.flush(),
            }
        }
        log.finish()
    }

    pub fn log(&self) -> WriteLog {
        WriteLog::from_bytes("model", self.log_bytes(), self.disk_bytes()).unwrap()
    }

    fn writes(&self) -> Vec<&Op> {
        self.ops.iter().filter(|op| !matches!(op, Op::Flush)).collect()
    }

    /// For each cut, the contents that each sector may have.
    pub fn states(&self) -> Vec<Allowed> {
        let mut now: Allowed = self.base.iter().map(|c| BTreeSet::from([*c])).collect();
        let mut all = vec![now.clone()];
        for op in self.writes() {
            self.apply(&mut now, op);
            all.push(now.clone());
        }
        all
    }

    fn apply(&self, now: &mut Allowed, op: &Op) {
        match op {
            Op::Flush => {}
            Op::Write { sector, contents } => {
                for (i, content) in contents.iter().enumerate() {
                    now[*sector as usize + i] = BTreeSet::from([*content]);
                }
            }
            Op::Discard { sector, count } => {
                for content in &mut now[*sector as usize..(*sector + *count) as usize] {
                    match self.discards {
                        DiscardReads::OldOrZero => _ = content.insert(0),
                        DiscardReads::Zero => *content = BTreeSet::from([0]),
                        DiscardReads::Old => {}
                    }
                }
            }
        }
    }

    /// The ranges of cuts without a flush inside, both ends included.
    pub fn epochs(&self) -> Vec<Range<usize>> {
        let mut bounds = vec![0];
        let mut writes = 0;
        for op in &self.ops {
            match op {
                Op::Flush => bounds.push(writes),
                _ => writes += 1,
            }
        }
        bounds.push(writes);
        bounds.windows(2).map(|pair| pair[0]..pair[1]).filter(|epoch| !epoch.is_empty()).collect()
    }

    /// Size of the largest subset of the epoch's writes that yields `disk`, found by trying all.
    pub fn largest_subset(&self, epoch: &Range<usize>, disk: &[u8], exempt: &[Range<u64>]) -> Option<u64> {
        let writes = self.writes();
        let subsets = 0u32..1 << epoch.len();
        let fitting = subsets.filter(|subset| {
            let mut state = self.states()[epoch.start].clone();
            for (i, op) in writes[epoch.clone()].iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1) {
                let _ = i;
                self.apply(&mut state, op);
            }
            wrong(&state, disk, exempt).is_empty()
        });
        fitting.map(|subset| u64::from(subset.count_ones())).max()
    }
}

pub fn is_exempt(sector: usize, exempt: &[Range<u64>]) -> bool {
    exempt.iter().any(|range| range.contains(&(sector as u64)))
}

/// The sectors of `disk` whose content is not allowed.
pub fn wrong(allowed: &Allowed, disk: &[u8], exempt: &[Range<u64>]) -> Vec<usize> {
    (0..disk.len()).filter(|s| !is_exempt(*s, exempt) && !allowed[*s].contains(&disk[*s])).collect()
}

/// Joins single cuts into ranges.
pub fn ranges(cuts: impl Iterator<Item = u64>) -> Vec<CutRange> {
    let mut ranges: Vec<CutRange> = Vec::new();
    for cut in cuts {
        match ranges.last_mut() {
            Some(last) if last.latest.0 + 1 == cut => last.latest = Cut(cut),
            _ => ranges.push(CutRange::at(Cut(cut))),
        }
    }
    ranges
}

/// Contents that a history uses; any other is foreign.
pub const CONTENTS: u8 = 4;

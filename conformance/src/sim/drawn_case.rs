//! What a seed decides about a simulated cycle: the machine's disks, how the sites store them, what
//! the guest does, and how long replication runs. And simpler cases, for the search of the smallest
//! one that fails.

use std::fmt;

use contract::{Bytes, DiskId, Millis, Policy};
use simulator::testbed::{INTERVAL, Setup};
use simulator::{Extents, Load, SimInstall, Storage};
use witness::random::Random;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const SECTOR: u64 = 512;
/// The smallest disk that can be installed, in bytes.
const SMALLEST: u64 = 512 * KIB;
/// The most disks of a machine.
const MOST_DISKS: u64 = 6;
/// What a guest writes on average, in bytes per second over all disks: enough that writes overlap,
/// and so little that many seeds are judged soon.
const RATE: u64 = 8 * KIB;
/// Time between two transfers of a long history.
const LONG_INTERVAL: Millis = Millis(5 * 60 * 1000);
const HOUR: u64 = 60 * 60 * 1000;

/// How long a machine is replicated before the failover, and with which retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// A few transfers, of which three points are kept. The failover is to the latest.
    Short,
    /// Many hours, with points as the longest retention keeps them. The failover is to any of them.
    Long(Millis),
}

/// A cycle that a seed has drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DrawnCase {
    /// Sizes of the machine's disks, in bytes.
    pub(crate) disks: Vec<u64>,
    /// How the primary and the recovery site store them.
    pub(crate) storage: [Storage; 2],
    /// What the guest does.
    pub(crate) load: Load,
    /// What comes before the failover.
    pub(crate) history: History,
    /// Whether the cycle goes on after the failover.
    pub(crate) comes_back: bool,
}

impl DrawnCase {
    /// Two disks of 1 MiB, the usual storage and load, and a whole cycle.
    pub(crate) fn usual() -> Self {
        Self {
            disks: vec![MIB; 2],
            storage: [Storage::default(); 2],
            load: Load::USUAL,
            history: History::Short,
            comes_back: true,
        }
    }

    /// The case of a seed. One seed in eight has the usual one.
    pub(crate) fn of(seed: u64) -> Self {
        let random = &mut Random::for_stream(seed, 12);
        if random.below(8) == 0 {
            return Self::usual();
        }
        let disks = disks(random);
        let storage = [storage(random), storage(random)];
        let load = load(random, disks.len() as u64);
        let history = match random.below(32) {
            0 => History::Long(Millis((6 + random.below(24)) * HOUR)),
            _ => History::Short,
        };
        let load = match history {
            History::Short => load,
            History::Long(_) => rarely(load),
        };
        Self { disks, storage, load, history, comes_back: true }
    }

    /// The machine.
    pub(crate) fn install(&self, machine: &str) -> SimInstall {
        let disks = self.disks.iter().zip(0..);
        let disks = disks.map(|(size, number)| (disk_name(number), Bytes(*size))).collect();
        SimInstall { disks, load: self.load, ..SimInstall::new(machine) }
    }

    /// The time between two transfers.
    pub(crate) fn interval(&self) -> Millis {
        match self.history {
            History::Short => INTERVAL,
            History::Long(_) => LONG_INTERVAL,
        }
    }

    /// The sites and the policy.
    pub(crate) fn setup(&self, pair: Setup) -> Setup {
        let pair = Setup { storage: self.storage, ..pair };
        pair.with_policy(|policy| {
            let most_points = if self.history == History::Short { Some(3) } else { None };
            Policy { most_points, ..Policy::for_machines_of(policy.source, self.interval()) }
        })
    }

    /// Simpler cases, those that leave out most first.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let usual = Self::usual();
        let mut all = vec![
            Self { comes_back: false, ..self.clone() },
            Self { history: History::Short, ..self.clone() },
            Self { storage: usual.storage, ..self.clone() },
            Self { load: usual.load, ..self.clone() },
            Self { load: Load { phase: Millis(0), ..self.load }, ..self.clone() },
            Self { load: Load { record_every: Millis(0), ..self.load }, ..self.clone() },
            Self { load: Load { churn_every: Millis(0), ..self.load }, ..self.clone() },
        ];
        for site in 0..self.storage.len() {
            let mut case = self.clone();
            case.storage[site] = Storage::default();
            all.push(case);
            let mut case = self.clone();
            case.storage[site].extents = Extents::AsTracked;
            all.push(case);
        }
        for disk in (0..self.disks.len()).filter(|_| self.disks.len() > 1) {
            let mut case = self.clone();
            case.disks.remove(disk);
            all.push(case);
        }
        for disk in 0..self.disks.len() {
            let mut case = self.clone();
            case.disks[disk] = MIB;
            all.push(case);
        }
        all.retain(|case| case.weight() < self.weight());
        all
    }

    /// How much there is in the case, so that a simpler one has less.
    fn weight(&self) -> usize {
        let storage = self.storage.iter().map(|storage| {
            let usual = Storage::default();
            let differs = (storage.chunk, storage.grain) != (usual.chunk, usual.grain);
            usize::from(differs) + usize::from(storage.extents != usual.extents)
        });
        let Load { record_every, churn_every, any_size, phase, .. } = self.load;
        let odd = self.disks.iter().filter(|size| **size != MIB).count();
        usize::from(self.comes_back)
            + usize::from(self.history != History::Short)
            + storage.sum::<usize>()
            + usize::from(record_every > Millis(0))
            + usize::from(churn_every > Millis(0))
            + 2 * usize::from(any_size)
            + usize::from(phase > Millis(0))
            + 2 * self.disks.len()
            + odd
    }
}

fn disk_name(number: u64) -> DiskId {
    match number {
        0 => DiskId::from("system"),
        1 => DiskId::from("data"),
        more => DiskId(format!("data-{more}")),
    }
}

/// One to six disks. A data disk often has the size of the one before it.
fn disks(random: &mut Random) -> Vec<u64> {
    let count = 1 + random.below(MOST_DISKS);
    let mut disks = vec![size(random)];
    for number in 1..count as usize {
        let equal = number > 1 && random.below(2) == 0;
        let size = if equal { disks[number - 1] } else { size(random) };
        disks.push(size);
    }
    disks
}

/// Any number of sectors, or one sector more or less than a round number of bytes.
fn size(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => SMALLEST + random.below(4 * KIB) * SECTOR,
        1 => (1 + random.below(2)) * MIB + SECTOR,
        2 => (1 + random.below(2)) * MIB - SECTOR,
        _ => SMALLEST + (2 * random.below(2 * KIB) + 1) * SECTOR,
    }
}

/// A power of two from 512 bytes to 1 MiB.
fn granularity(random: &mut Random) -> u64 {
    SECTOR << random.below(12)
}

fn storage(random: &mut Random) -> Storage {
    let extents = if random.below(2) == 0 { Extents::Irregular } else { Extents::AsTracked };
    Storage { chunk: granularity(random), grain: granularity(random), extents }
}

/// A guest that writes pieces of any size up to a drawn one, or nothing at all.
fn load(random: &mut Random, disks: u64) -> Load {
    if random.below(12) == 0 {
        return Load { record_every: Millis(0), churn_every: Millis(0), ..Load::USUAL };
    }
    let largest = [SECTOR, 4 * KIB, 64 * KIB, 64 * KIB + SECTOR, 128 * KIB, 384 * KIB];
    let largest = largest[random.below(largest.len() as u64) as usize];
    let phase = if random.below(3) == 0 { Millis(20_000 + random.below(400_000)) } else { Millis(0) };
    Load {
        record_every: Millis(500 + random.below(5_000)),
        churn_every: Millis((disks * largest * 1000 / 2 / RATE).max(500)),
        churn_bytes: u32::try_from(largest).unwrap_or(u32::MAX),
        any_size: true,
        zero_every: u32::try_from(2 + random.below(14)).unwrap_or(2),
        phase,
    }
}

/// The same guest at a fiftieth of its speed.
fn rarely(load: Load) -> Load {
    let slower = |time: Millis| Millis(time.0 * 50);
    Load {
        record_every: slower(load.record_every),
        churn_every: slower(load.churn_every),
        churn_bytes: load.churn_bytes.min(64 * 1024),
        phase: slower(load.phase),
        ..load
    }
}

impl fmt::Display for DrawnCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disks of {:?} bytes", self.disks)?;
        for (site, storage) in ["primary", "recovery"].into_iter().zip(self.storage) {
            let Storage { chunk, grain, extents } = storage;
            write!(f, "; {site}: chunks of {chunk}, tracking of {grain}, extents {extents:?}")?;
        }
        let Load { record_every, churn_every, churn_bytes, any_size, zero_every, phase } = self.load;
        let any = if any_size { "any size up to " } else { "" };
        write!(
            f,
            "; a record every {record_every}, a write of {any}{churn_bytes} bytes every {churn_every} on \
             each disk, every {zero_every}th zeroes, phases of {phase}"
        )?;
        if let History::Long(time) = self.history {
            write!(f, "; {time} of replication")?;
        }
        if !self.comes_back {
            write!(f, "; ends after the failover")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_case_and_seeds_differ_in_everything() {
        let all: Vec<_> = (0..500).map(DrawnCase::of).collect();
        assert_eq!(all[17], DrawnCase::of(17));
        let some = |what: &dyn Fn(&DrawnCase) -> bool| assert!(all.iter().any(what));
        (1..=6).for_each(|count| some(&|case| case.disks.len() == count));
        some(&|case| case.disks.iter().any(|size| size / SECTOR % 2 == 1));
        some(&|case| case.disks.len() > 2 && case.disks[1] == case.disks[2]);
        some(&|case| case.storage[0].grain == SECTOR && case.storage[1].chunk == MIB);
        some(&|case| case.storage[0].extents == Extents::Irregular);
        some(&|case| case.load.churn_every == Millis(0));
        some(&|case| u64::from(case.load.churn_bytes) > case.storage[0].grain);
        some(&|case| case.load.phase > Millis(0));
        some(&|case| matches!(case.history, History::Long(_)));
        assert!(all.iter().flat_map(|case| &case.disks).all(|size| size.is_multiple_of(SECTOR)));
    }

    #[test]
    fn simpler_cases_lead_to_an_end() {
        for seed in 0..200 {
            let mut case = DrawnCase::of(seed);
            let mut steps = 0;
            while let Some(next) = case.simpler().into_iter().next() {
                case = next;
                steps += 1;
                assert!(steps < 100, "seed {seed}: {case}");
            }
        }
    }
}

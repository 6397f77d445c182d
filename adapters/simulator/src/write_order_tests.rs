use contract::Timestamp;

use super::*;
use crate::Storage;
use crate::boot::Payload;
use crate::store::Store;

const SIZE: u64 = 16 * 1024;

fn write(disk: usize, sector: u64, sectors: u32, seed: u64) -> SimWrite {
    let payload = if seed == 0 { Payload::Zeroes } else { Payload::Noise(seed) };
    SimWrite { at: Timestamp(0), disk, offset: sector * 512, length: sectors * 512, payload, flushed: true }
}

/// Two disks: their content before the first write and after each write of the log.
struct History {
    log: Vec<SimWrite>,
    states: Vec<Vec<Snapshot>>,
}

impl History {
    fn new(log: Vec<SimWrite>) -> Self {
        let names = ["a", "b"].map(contract::VolumeId::from);
        let mut store = Store::new(Storage::default());
        names.iter().for_each(|name| store.insert(name, SIZE, None));
        store.write(&names[0], 0, &[9; 100]).unwrap();
        let look = |store: &Store| names.iter().map(|name| store.snapshot(name).unwrap()).collect();
        let mut states = vec![look(&store)];
        for write in &log {
            store.write(&names[write.disk], write.offset, &write.data()).unwrap();
            states.push(look(&store));
        }
        Self { log, states }
    }

    fn judge(&self, recovered: &[Snapshot]) -> Cut {
        cut_of(&self.states[0], &self.log, recovered, &[])
    }
}

fn log() -> Vec<SimWrite> {
    vec![write(0, 1, 1, 1), write(1, 1, 8, 2), write(0, 1, 2, 3), write(1, 4, 1, 0), write(0, 9, 1, 5)]
}

#[test]
fn every_prefix_is_found_exactly() {
    let history = History::new(log());
    for (count, state) in history.states.iter().enumerate() {
        assert_eq!(history.judge(state), Cut::Exact(count..=count));
    }
}

#[test]
fn writes_that_change_nothing_widen_the_cut() {
    let history =
        History::new(vec![write(0, 1, 1, 1), write(1, 3, 1, 0), write(0, 1, 1, 1), write(0, 2, 1, 2)]);
    assert_eq!(history.judge(&history.states[1]), Cut::Exact(1..=3));
}

#[test]
fn a_disk_that_is_behind_the_other_is_reported() {
    let history = History::new(log());
    let mixed = [history.states[5][0].clone(), history.states[1][1].clone()];
    let Cut::Broken(mismatch) = history.judge(&mixed) else { panic!("{:?}", history.judge(&mixed)) };
    assert!(mismatch.wrong > 0);
    assert_ne!(mismatch.holds, PrefixMatch::Foreign);
}

#[test]
fn a_sector_that_is_ahead_names_the_write() {
    let history = History::new(log());
    let last = &history.log[4];
    let mut store = Store::new(Storage::default());
    store.insert(&"x".into(), SIZE, None);
    store.write(&"x".into(), 0, &history.states[3][0].bytes(0, SIZE as usize)).unwrap();
    store.write(&"x".into(), last.offset, &last.data()).unwrap();
    let mixed = [store.snapshot(&"x".into()).unwrap(), history.states[3][1].clone()];
    let Cut::Broken(mismatch) = history.judge(&mixed) else { panic!("{:?}", history.judge(&mixed)) };
    assert_eq!((mismatch.cut, mismatch.wrong, mismatch.holds), (3, 1, PrefixMatch::Ahead(4)));
}

#[test]
fn a_flipped_bit_is_foreign_unless_it_is_allowed() {
    let history = History::new(log());
    let mut store = Store::new(Storage::default());
    store.insert(&"x".into(), SIZE, None);
    store.write(&"x".into(), 0, &history.states[5][0].bytes(0, SIZE as usize)).unwrap();
    store.write(&"x".into(), 20 * 512, &[1]).unwrap();
    let altered = [store.snapshot(&"x".into()).unwrap(), history.states[5][1].clone()];
    let Cut::Broken(mismatch) = history.judge(&altered) else { panic!("{:?}", history.judge(&altered)) };
    assert_eq!((mismatch.disk, mismatch.offset, mismatch.holds), (0, 20 * 512, PrefixMatch::Foreign));
    let allowed = [Allowed { disk: 0, bytes: 20 * 512..21 * 512 }];
    assert_eq!(cut_of(&history.states[0], &history.log, &altered, &allowed), Cut::Exact(5..=5));
}

#[test]
fn a_disk_that_is_missing_or_a_byte_short_is_a_mismatch_and_no_disk_at_all_says_nothing() {
    let history = History::new(log());
    assert!(matches!(history.judge(&history.states[0][..1]), Cut::OtherDisks(_)));
    let short = vec![history.states[0][0].clone(), of_size(SIZE - 1)];
    let sizes = DiskSizes { expected: vec![SIZE; 2], found: vec![SIZE, SIZE - 1] };
    assert_eq!(history.judge(&short), Cut::OtherDisks(sizes));
    assert!(matches!(cut_of(&[], &[], &[], &[]), Cut::Unknown(_)));
}

fn of_size(size: u64) -> Snapshot {
    let name = contract::VolumeId::from("disk");
    let mut store = Store::new(Storage::default());
    store.insert(&name, size, None);
    store.snapshot(&name).unwrap()
}

fn one_kib(sector: u64, seed: u64, flushed: bool) -> SimWrite {
    let payload = Payload::Noise(seed);
    SimWrite { at: Timestamp(0), disk: 0, offset: sector * 512, length: 1024, payload, flushed }
}

/// Two flushed writes, and between them two that are not, and then one more.
fn epochs() -> [SimWrite; 5] {
    [
        one_kib(0, 1, true),
        one_kib(4, 2, false),
        one_kib(8, 3, false),
        one_kib(5, 4, true),
        one_kib(12, 5, false),
    ]
}

/// A disk with these writes of the log and no others.
fn disk_with(present: &[usize]) -> Snapshot {
    let (mut store, name) = (Store::new(Storage::default()), contract::VolumeId::from("disk"));
    store.insert(&name, 16 * 1024, None);
    for index in present {
        let write = &epochs()[*index];
        store.write(&name, write.offset, &write.data()).unwrap();
    }
    store.snapshot(&name).unwrap()
}

fn judge_epochs(present: &[usize]) -> Cut {
    cut_of(&[disk_with(&[])], &epochs(), &[disk_with(present)], &[])
}

#[test]
fn writes_may_be_missing_between_two_flushes() {
    assert_eq!(judge_epochs(&[0, 2]), Cut::EpochConsistent(Epoch { flushed: 1, latest: 3 }));
    assert_eq!(judge_epochs(&[0, 1, 3]), Cut::EpochConsistent(Epoch { flushed: 1, latest: 4 }));
    assert_eq!(judge_epochs(&[0, 3]), Cut::EpochConsistent(Epoch { flushed: 1, latest: 4 }));
    assert_eq!(judge_epochs(&[0, 1, 2]), Cut::Exact(3..=3));
}

#[test]
fn what_was_flushed_may_not_be_missing_nor_may_half_a_write() {
    for present in [&[1][..], &[0, 2, 4], &[0, 1, 3, 4]] {
        assert!(matches!(judge_epochs(present), Cut::Broken(_)), "{present:?}: {:?}", judge_epochs(present));
    }
    let torn = disk_with(&[0]).with(8 * 512, &epochs()[2].data()[..512]);
    assert!(matches!(cut_of(&[disk_with(&[])], &epochs(), &[torn], &[]), Cut::Broken(_)));
}

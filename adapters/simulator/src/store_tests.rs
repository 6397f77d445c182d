use witness::random::Random;

use super::*;

const SIZE: u64 = 64 * 1024;

fn id(name: &str) -> VolumeId {
    name.into()
}

fn store() -> Store {
    let mut store = Store::new(Storage { grain: 8192, ..Storage::default() });
    store.insert(&id("base"), SIZE, None);
    store
}

fn byte(store: &Store, volume: &str, offset: u64) -> u8 {
    let mut buffer = [0];
    store.read(&id(volume), offset, &mut buffer).expect("read");
    buffer[0]
}

#[test]
fn a_delta_reads_as_its_parent_until_it_is_written() {
    let mut store = store();
    store.write(&id("base"), 4000, &[1; 200]).unwrap();
    store.insert(&id("delta"), SIZE, Some(&id("base")));
    store.zero(&id("delta"), 4096, 4096).unwrap();
    store.write(&id("delta"), 4001, &[2]).unwrap();
    let read = [4000, 4001, 4100].map(|at| (byte(&store, "base", at), byte(&store, "delta", at)));
    assert_eq!(read, [(1, 1), (1, 2), (1, 0)]);
    assert_eq!((store.allocated(&id("base")), store.allocated(&id("delta"))), (8192, 4096));
}

#[test]
fn a_snapshot_does_not_change() {
    let mut store = store();
    store.write(&id("base"), 0, &[1]).unwrap();
    let frozen = store.snapshot(&id("base")).unwrap();
    store.write(&id("base"), 0, &[2]).unwrap();
    assert_eq!((frozen.bytes(0, 1), byte(&store, "base", 0)), (vec![1], 2));
}

#[test]
fn a_merge_preserves_the_content_of_the_remaining_volumes() {
    let mut store = store();
    let mut random = Random::new(5);
    let names = ["base", "p1", "p2", "run"];
    for (below, name) in names.iter().zip(&names[1..]) {
        store.insert(&id(name), SIZE, Some(&id(below)));
    }
    for name in names {
        for _ in 0..6 {
            let offset = random.below(SIZE / 512) * 512;
            let written = if random.below(3) == 0 {
                store.zero(&id(name), offset, 512)
            } else {
                store.write(&id(name), offset, &[random.next_u64() as u8; 512])
            };
            written.unwrap();
        }
    }
    let before = [store.snapshot(&id("run")).unwrap(), store.snapshot(&id("p2")).unwrap()];
    store.merge(&[id("p2"), id("p1")], &id("base"));
    let after = [store.snapshot(&id("run")).unwrap(), store.snapshot(&id("base")).unwrap()];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.differences(after, 512), Vec::<u64>::new());
    }
    assert_eq!(store.chain(&id("run")), [id("run"), id("base")]);
    assert_eq!(store.first_child(&id("base")), Some(&id("run")));
}

#[test]
fn a_delta_whose_parent_is_gone_cannot_be_read() {
    let mut store = store();
    store.insert(&id("delta"), SIZE, Some(&id("base")));
    store.remove(&id("base"));
    let error = store.read(&id("delta"), 0, &mut [0]).unwrap_err();
    assert!(error.contains("base"), "{error}");
}

#[test]
fn bitmaps_record_grains_and_take_over_the_changes_of_a_failed_transfer() {
    let mut store = store();
    let (base, old, new) = (id("base"), ChangeId::from("old"), ChangeId::from("new"));
    let dirty = |store: &Store, change: &ChangeId| -> Vec<u64> {
        let all = store.changed(&id("base"), change).unwrap();
        all.iter().filter(|extent| extent.is_dirty()).map(|extent| extent.offset / 8192).collect()
    };
    store.track(&base, &old);
    store.write(&base, 8000, &[1; 400]).unwrap();
    store.track(&base, &new);
    store.freeze(&base, &old);
    store.zero(&base, 5 * 8192, 1).unwrap();
    assert_eq!((dirty(&store, &old), dirty(&store, &new)), (vec![0, 1], vec![5]));
    store.rejoin(&base, &old, &new);
    store.write(&base, 7 * 8192, &[1]).unwrap();
    assert_eq!(dirty(&store, &old), [0, 1, 5, 7]);
    assert!(!store.tracks(&base, &new));
}

#[test]
fn a_lost_site_keeps_what_each_client_flushed_and_what_guests_wrote() {
    let mut store = store();
    store.write(&id("base"), 0, &[1; 4096]).unwrap();
    store.write_cached(&id("base"), 1, 0, &[2; 1024]).unwrap();
    store.write_cached(&id("base"), 2, 1024, &[3; 1024]).unwrap();
    store.zero_cached(&id("base"), 2, 2048, 512).unwrap();
    store.write(&id("base"), 3000, &[4]).unwrap();
    store.flush(&id("base"), 2).unwrap();
    let seen = |store: &Store| [0, 1024, 2048, 3000, 4000].map(|at| byte(store, "base", at));
    assert_eq!(seen(&store), [2, 3, 0, 4, 1]);
    store.lose_caches();
    assert_eq!(seen(&store), [1, 3, 0, 4, 1]);
    store.write_cached(&id("base"), 1, 0, &[5]).unwrap();
    store.flush(&id("base"), 1).unwrap();
    store.lose_caches();
    assert_eq!(byte(&store, "base", 0), 5);
}

#[test]
fn a_large_range_of_zeroes_takes_no_space() {
    let mut store = Store::new(Storage { grain: 1 << 20, ..Storage::default() });
    store.insert(&id("large"), 1 << 42, None);
    store.write(&id("large"), (1 << 41) + 5, &[1; 10]).unwrap();
    store.insert(&id("delta"), 1 << 42, Some(&id("large")));
    store.zero(&id("delta"), 7, (1 << 42) - 7).unwrap();
    assert_eq!((byte(&store, "delta", (1 << 41) + 9), byte(&store, "large", (1 << 41) + 9)), (0, 1));
    store.zero(&id("large"), 0, 1 << 42).unwrap();
    assert_eq!(store.allocated(&id("large")), 0);
}

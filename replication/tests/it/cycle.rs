//! The built-in core through failover, reprotection, failback and reprotection.

use std::sync::Arc;

use contract::{FailoverRequest, Health, Millis, Phase, Platform, PointChoice, Side};
use simulator::testbed::{BACK, BOOT, INTERVAL, OUT, Testbed, item_of};
use simulator::{Cut, End, SimProfile, SimWorld, cut_of, run};

use crate::support::{
    Extent, FaultHook, assert_came_back, assert_recovered, faulty_testbed, testbed_of, vmware_testbed,
};

/// Takes a machine to the recovery site and back, and checks each edge. Returns what identifies the
/// run.
async fn cycle(world: SimWorld, machine: &str) -> [u64; 2] {
    let seed = world.seed();
    let testbed = vmware_testbed(world);
    let item = testbed.protect(machine).await.unwrap();
    testbed.wait_for_points(&item, 4).await.unwrap();
    // The seed decides how long after a transfer the disaster strikes.
    testbed.advance(Millis(seed * 7919 % INTERVAL.0)).await;

    let disaster = testbed.primary.lose();
    testbed.advance(Millis(1000)).await;
    testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
    testbed.advance(BOOT).await;
    let record = assert_recovered(&testbed, machine).last_record;
    assert!(testbed.boots(machine).unwrap().lost(record, disaster) <= INTERVAL, "record {record}");
    testbed.commit(&item).await.unwrap();

    testbed.advance(INTERVAL).await;
    testbed.primary.restore();
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await.unwrap();
    testbed.wait_for_points(&item, 3).await.unwrap();
    testbed.advance(Millis(seed * 104_729 % INTERVAL.0)).await;
    testbed.fail_back(&item).await.unwrap();
    assert_came_back(&testbed, machine, &testbed.primary);
    // A failback loses nothing, not even the quiesce mark that the shutdown writes last.
    let boots = testbed.failback_boots(machine, &testbed.primary).unwrap();
    assert_eq!(boots.source.ended().unwrap().1, End::ShutDown);
    assert!(boots.target.found.as_ref().unwrap().ends_quiesced);
    testbed.commit(&item).await.unwrap();
    assert!(testbed.recovery.machines().await.unwrap().is_empty());

    testbed.reprotect(&testbed.reprotection(&item, OUT)).await.unwrap();
    let view = testbed.wait_for_points(&item, 3).await.unwrap();
    assert_eq!((view.protection.phase, view.protection.active), (Phase::Protected, Side::Primary));
    assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
    testbed.close().await.unwrap();
    [testbed.primary.fingerprint(), testbed.recovery.fingerprint()]
}

#[test]
fn every_edge_of_the_cycle_recovers_an_exact_prefix() {
    for seed in 1..=8 {
        run(seed, async |world| cycle(world, "web").await);
    }
}

/// A fault in the third transfer.
struct FaultyTransfer(Pass);

/// Alters an extent, and says whether the core still applies it.
type Pass = fn(&mut Extent) -> bool;

impl FaultHook for FaultyTransfer {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        batch != 3 || (self.0)(extent)
    }
}

/// What a machine that has failed over was started from.
fn cut_of_copy(testbed: &Testbed, machine: &str) -> Cut {
    let boots = testbed.boots(machine).unwrap();
    let before = boots.source.bases();
    let hydrated = boots.target.hydrated_since(&before);
    cut_of(&before, &boots.source.log(), &boots.target.bases(), &hydrated)
}

#[test]
fn a_core_that_loses_or_alters_data_is_detected() {
    let faults: [(&str, Pass); 3] = [
        ("a disk is left out", |extent| extent.disk != 1),
        ("the ledger of one disk is left out", |extent| !(extent.disk == 0 && extent.offset == 0x4_0000)),
        ("one bit is flipped", |extent| {
            extent.data[700] ^= 4;
            true
        }),
    ];
    for (what, fault) in faults {
        run(3, async |world| {
            let testbed = faulty_testbed(world, Arc::new(FaultyTransfer(fault)));
            let item = testbed.protect("web").await.unwrap();
            testbed.wait_for_points(&item, 3).await.unwrap();
            testbed.primary.lose();
            // The verb of the testbed would judge the disks itself.
            let job = testbed.core.failover(&FailoverRequest::unplanned(&item, OUT)).await;
            testbed.completed(job).await.unwrap();
            let cut = cut_of_copy(&testbed, "web");
            assert!(matches!(cut, Cut::Broken(_)), "{what}: {cut:?}");
        });
    }
}

/// Takes a disk for unchanged if its source cannot tell what changed.
struct NeverCompares;

impl FaultHook for NeverCompares {
    fn pass(&self, _: u64, _: &mut Extent) -> bool {
        true
    }

    fn compares(&self) -> bool {
        false
    }
}

#[test]
fn a_core_that_does_not_compare_disks_after_a_lost_change_log_is_detected() {
    run(4, async |world| {
        let testbed = faulty_testbed(world, Arc::new(NeverCompares));
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        testbed.advance(Millis(INTERVAL.0 / 2)).await;
        testbed.primary.power_off(&"web".into()).await.unwrap();
        testbed.primary.start(&"web".into()).await.unwrap();
        testbed.wait_for_points(&item, 5).await.unwrap();
        testbed.primary.lose();
        // The verb of the testbed would judge the disks itself.
        let job = testbed.core.failover(&FailoverRequest::unplanned(&item, OUT)).await;
        testbed.completed(job).await.unwrap();
        let cut = cut_of_copy(&testbed, "web");
        assert!(matches!(cut, Cut::Broken(_)), "{cut:?}");
    });
}

#[test]
fn machines_of_every_platform_come_up_in_the_cloud() {
    for profile in SimProfile::ALL {
        run(9, async |world| {
            let testbed = testbed_of(world, profile);
            let item = testbed.protect("web").await.unwrap();
            testbed.wait_for_points(&item, 5).await.unwrap();
            testbed.advance(Millis(20_000)).await;
            testbed.primary.lose();
            testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
            testbed.advance(BOOT).await;
            assert_recovered(&testbed, "web");
        });
    }
}

#[test]
fn a_run_is_determined_by_its_seed() {
    let fingerprint = |seed| run(seed, async |world| cycle(world, "web").await);
    assert_eq!(fingerprint(11), fingerprint(11));
    assert_ne!(fingerprint(11), fingerprint(12));
}

#[test]
fn a_run_with_several_machines_is_determined_by_its_seed() {
    let fingerprints = || {
        run(31, async |world| {
            let testbed = vmware_testbed(world);
            let names: Vec<_> = (0..6).map(|index| format!("m{index}")).collect();
            for name in &names {
                testbed.protect(name).await.unwrap();
            }
            for name in &names {
                testbed.wait_for_points(&item_of(name), 5).await.unwrap();
            }
            testbed.world.settle().await;
            let disaster = testbed.primary.lose();
            // All failovers begin at the same virtual instant.
            let mut jobs = Vec::new();
            for name in &names {
                let request = FailoverRequest::unplanned(&item_of(name), OUT);
                jobs.push(testbed.core.failover(&request).await.unwrap());
            }
            for job in &jobs {
                testbed.completed(job).await.unwrap();
            }
            testbed.advance(BOOT).await;
            for name in &names {
                let boots = testbed.boots(name).unwrap();
                let record = boots.contained().unwrap().last_record;
                assert!(boots.lost(record, disaster) <= INTERVAL);
            }
            testbed.core.close().await.unwrap();
            [testbed.primary.fingerprint(), testbed.recovery.fingerprint()]
        })
    };
    assert_eq!(fingerprints(), fingerprints());
}

//! The built-in core over two simulated sites through the whole cycle, in virtual time.

use std::sync::Arc;

use crate::support::{BACK, INTERVAL, OUT, Pair, dr, exact, failover, is_up, lost};
use contract::{Health, Millis, Phase, Platform, ReplicationCore, Side};
use replication::fault_hook::{Extent, FaultHook};
use simulator::{Cut, End, SimConfig, SimProfile, SimSite, SimWorld, cut_of, run};

const BOOT: Millis = Millis(10_000);

/// Takes a machine out and back again and checks each edge. Returns what identifies the run.
async fn cycle(world: SimWorld, machine: &str) -> [u64; 2] {
    let seed = world.seed();
    let pair = Pair::new(world);
    let item = pair.protect(machine).await;
    pair.points(&item, 4).await.unwrap();
    // Somewhere between two transfers.
    pair.live(Millis(seed * 7919 % INTERVAL.0)).await;

    // Out: the whole primary site is lost.
    let struck = pair.primary.lose();
    pair.live(Millis(1000)).await;
    pair.fail_over(&item, OUT).await;
    pair.live(BOOT).await;
    let source = pair.primary.last_boot(&machine.into()).unwrap();
    let target = pair.recovery.last_boot(&dr(machine)).unwrap();
    let (_, record) = exact(&source, &target);
    is_up(&pair.recovery, &target, record);
    assert!(lost(&source, record, struck) <= INTERVAL, "record {record}");
    pair.commit(&item).await;

    // The primary site comes back, and what happened in the cloud travels home.
    pair.live(INTERVAL).await;
    pair.primary.restore();
    pair.reprotect(&item, BACK).await;
    pair.points(&item, 3).await.unwrap();
    pair.live(Millis(seed * 104_729 % INTERVAL.0)).await;
    pair.fail_over(&item, BACK).await;
    pair.live(BOOT).await;
    let source = pair.recovery.last_boot(&dr(machine)).unwrap();
    let target = pair.primary.last_boot(&machine.into()).unwrap();
    let (writes, record) = exact(&source, &target);
    assert_eq!(source.ended().unwrap().1, End::ShutDown);
    // Nothing is lost on the way back, down to the last word of the shutdown.
    assert_eq!(writes, source.log().len());
    assert!(target.found.as_ref().unwrap().ends_quiesced);
    is_up(&pair.primary, &target, record);
    pair.commit(&item).await;
    assert!(pair.recovery.machines().await.unwrap().is_empty());

    // Protected as at the beginning.
    pair.reprotect(&item, OUT).await;
    let view = pair.points(&item, 3).await.unwrap();
    assert_eq!((view.protection.phase, view.protection.active), (Phase::Protected, Side::Primary));
    assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
    pair.core.close().await.unwrap();
    assert_eq!((pair.primary.left_open(), pair.recovery.left_open()), (0, 0));
    [pair.primary.fingerprint(), pair.recovery.fingerprint()]
}

#[test]
fn the_whole_cycle_keeps_an_exact_prefix_on_every_edge() {
    for seed in 1..=8 {
        run(seed, async |world| cycle(world, "web").await);
    }
}

/// A core that is wrong in one way in its third transfer.
struct Wrong(Pass);

/// Alters an extent and tells whether it is still applied.
type Pass = fn(&mut Extent) -> bool;

impl FaultHook for Wrong {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        batch != 3 || (self.0)(extent)
    }
}

#[test]
fn a_core_that_loses_or_alters_anything_is_found_out() {
    let wrongs: [(&str, Pass); 3] = [
        ("a disk is left behind", |extent| extent.disk != 1),
        ("nothing of the transfer is applied to the ledger of one disk", |extent| {
            !(extent.disk == 0 && extent.offset == 0x4_0000)
        }),
        ("one bit is flipped", |extent| {
            extent.data[700] ^= 4;
            true
        }),
    ];
    for (what, wrong) in wrongs {
        run(3, async |world| {
            let pair = Pair::tapped(world, Arc::new(Wrong(wrong)));
            let item = pair.protect("web").await;
            pair.points(&item, 3).await.unwrap();
            pair.primary.lose();
            pair.fail_over(&item, OUT).await;
            let source = pair.primary.last_boot(&"web".into()).unwrap();
            let target = pair.recovery.last_boot(&dr("web")).unwrap();
            let cut = cut_of(&source.bases(), &source.log(), &target.bases(), &[SimSite::hydrated()]);
            assert!(matches!(cut, Cut::Broken(_)), "{what}: {cut:?}");
        });
    }
}

/// Takes what it is not told of for unchanged.
struct Blind;

impl FaultHook for Blind {
    fn pass(&self, _: u64, _: &mut Extent) -> bool {
        true
    }

    fn compares(&self) -> bool {
        false
    }
}

#[test]
fn a_core_that_does_not_compare_after_a_lost_record_is_found_out() {
    run(4, async |world| {
        let pair = Pair::tapped(world, Arc::new(Blind));
        let item = pair.protect("web").await;
        pair.points(&item, 3).await.unwrap();
        pair.live(Millis(INTERVAL.0 / 2)).await;
        pair.primary.power_off(&"web".into()).await.unwrap();
        pair.primary.start(&"web".into()).await.unwrap();
        pair.points(&item, 5).await.unwrap();
        pair.primary.lose();
        pair.fail_over(&item, OUT).await;
        let source = pair.primary.last_boot(&"web".into()).unwrap();
        let target = pair.recovery.last_boot(&dr("web")).unwrap();
        let cut = cut_of(&source.bases(), &source.log(), &target.bases(), &[SimSite::hydrated()]);
        assert!(matches!(cut, Cut::Broken(_)), "{cut:?}");
    });
}

#[test]
fn every_kind_of_machine_comes_up_in_the_cloud() {
    for profile in SimProfile::ALL {
        run(9, async |world| {
            let primary = world.site(SimConfig::new("primary", profile));
            let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
            let pair = Pair::of(world, primary, recovery);
            let item = pair.protect("web").await;
            pair.points(&item, 5).await.unwrap();
            pair.live(Millis(20_000)).await;
            pair.primary.lose();
            pair.fail_over(&item, OUT).await;
            pair.live(BOOT).await;
            let source = pair.primary.last_boot(&"web".into()).unwrap();
            let target = pair.recovery.last_boot(&dr("web")).unwrap();
            let (_, record) = exact(&source, &target);
            is_up(&pair.recovery, &target, record);
        });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let lived = |seed| run(seed, async |world| cycle(world, "web").await);
    assert_eq!(lived(11), lived(11));
    assert_ne!(lived(11), lived(12));
}

#[test]
fn several_machines_at_once_are_as_reproducible_as_one() {
    let lived = || {
        run(31, async |world| {
            let pair = Pair::new(world);
            let mut items = Vec::new();
            for index in 0..6 {
                items.push(pair.protect(&format!("m{index}")).await);
            }
            for item in &items {
                pair.points(item, 5).await.unwrap();
            }
            pair.world.settle().await;
            let struck = pair.primary.lose();
            // All at the same virtual instant.
            let mut jobs = Vec::new();
            for item in &items {
                jobs.push(pair.core.failover(&failover(item, OUT)).await.unwrap());
            }
            for job in &jobs {
                pair.completed(job).await;
            }
            pair.live(BOOT).await;
            for index in 0..6 {
                let machine = format!("m{index}");
                let source = pair.primary.last_boot(&machine.as_str().into()).unwrap();
                let target = pair.recovery.last_boot(&dr(&machine)).unwrap();
                let (_, record) = exact(&source, &target);
                assert!(lost(&source, record, struck) <= INTERVAL);
            }
            pair.core.close().await.unwrap();
            [pair.primary.fingerprint(), pair.recovery.fingerprint()]
        })
    };
    assert_eq!(lived(), lived());
}

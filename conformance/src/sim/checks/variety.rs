//! Disks, guests and sites that are unlike those of most checks (FX-01 to FX-07). Each check takes
//! one kind of them, which a product has got wrong; the seeded cycles mix them.

use contract::{Bytes, DiskId, ItemId, Millis, PointChoice};
use simulator::testbed::{BACK, BOOT, Boots, HOUR, INTERVAL, TestbedError};
use simulator::{Extents, Load, SimInstall, Storage};

use crate::rules::ids::*;
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::{Check, against, check};
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "zeroes over older data arrive, out and back",
        &[FX_01],
        Setup::vmware,
        out_and_back(FX_01, with_zeroes)
    ),
    check!(
        "the last sectors of disks of any size arrive, out and back",
        &[FX_02],
        Setup::vmware,
        out_and_back(FX_02, with_odd_sizes)
    ),
    check!(
        "three data disks of one size keep their contents, out and back",
        &[FX_03],
        Setup::vmware,
        out_and_back(FX_03, with_equal_disks)
    ),
    check!(
        "small blocks arrive in large ones, and the reverse",
        &[FX_04],
        unlike_blocks,
        out_and_back(FX_04, with_any_writes)
    ),
    check!(
        "extents that are split and joined at random lose nothing, out and back",
        &[FX_05],
        irregular_extents,
        out_and_back(FX_05, with_any_writes)
    ),
    check!(
        "a machine that writes nothing has new points, and fails over and back",
        &[FX_06],
        Setup::vmware,
        writes_nothing
    ),
    check!("a disk of more than 2 TiB is recovered", &[FX_07], Setup::vmware, large_disk),
];

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Background writes of any size up to 16 KiB, every fourth of zeroes.
const ANY_SIZE: Load = Load { churn_bytes: 16 * 1024, any_size: true, zero_every: 4, ..Load::USUAL };

/// A machine with disks of these sizes in bytes.
pub(crate) fn machine(name: &str, sizes: &[u64], load: Load) -> SimInstall {
    let disk = |(number, size): (usize, &u64)| (DiskId(format!("disk-{number}")), Bytes(*size));
    SimInstall { disks: sizes.iter().enumerate().map(disk).collect(), load, ..SimInstall::new(name) }
}

/// Half of the writes are of 64 KiB of zeroes, few enough that they are extents of their own.
fn with_zeroes() -> SimInstall {
    let load = Load { churn_every: Millis(12_000), churn_bytes: 64 * 1024, zero_every: 2, ..ANY_SIZE };
    machine("web", &[2 * MIB, 2 * MIB], load)
}

fn with_odd_sizes() -> SimInstall {
    machine("web", &[MIB + 127 * 512, 512 * KIB + 3 * 512, MIB - 512], ANY_SIZE)
}

fn with_equal_disks() -> SimInstall {
    machine("web", &[MIB, 768 * KIB, 768 * KIB, 768 * KIB], ANY_SIZE)
}

/// Few writes on larger disks, so that what one transfer loses is rarely written again.
pub(crate) fn with_few_writes() -> SimInstall {
    let load = Load { churn_every: Millis(20_000), ..ANY_SIZE };
    machine("web", &[MIB, 8 * MIB - 512, 8 * MIB + 512], load)
}

pub(crate) fn with_any_writes() -> SimInstall {
    machine("web", &[MIB + 512, 2 * MIB - 512], ANY_SIZE)
}

fn unlike_blocks() -> Setup {
    let blocks = |size| Storage { chunk: size, grain: size, ..Storage::default() };
    Setup { storage: [blocks(512), blocks(MIB)], ..Setup::vmware() }
}

fn irregular_extents() -> Setup {
    let irregular = Storage { grain: 4 * KIB, extents: Extents::Irregular, ..Storage::default() };
    Setup { storage: [irregular; 2], ..Setup::vmware() }
}

/// Replicates a machine for a while, loses its site, fails over, and fails back.
async fn out_and_back(
    testbed: &Testbed,
    rules: &mut RuleLog,
    rule: RuleId,
    install: fn() -> SimInstall,
) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&install()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.advance(Millis(12 * INTERVAL.0)).await;
    testbed.primary.lose();
    recover(testbed, rules, rule, &item).await?;
    come_back(testbed, rules, rule, &item, Millis(5 * INTERVAL.0)).await
}

/// Fails over to the latest point and records whether the copy is exact.
async fn recover(
    testbed: &Testbed,
    rules: &mut RuleLog,
    rule: RuleId,
    item: &ItemId,
) -> Result<(), EarlyEnd> {
    let failed_over = testbed.fail_over(item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, rule, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, rule, &testbed.boots("web")?)
}

/// Commits the failover, replicates back for a while and fails back.
async fn come_back(
    testbed: &Testbed,
    rules: &mut RuleLog,
    rule: RuleId,
    item: &ItemId,
    replicated: Millis,
) -> Result<(), EarlyEnd> {
    testbed.commit(item).await?;
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    testbed.reprotect(&testbed.reprotection(item, BACK)).await?;
    testbed.wait_for_points(item, 1).await?;
    testbed.advance(replicated).await;
    testbed.fail_back(item).await?;
    Ok(check_returned(rules, rule, testbed, ("web", &testbed.primary))?)
}

/// Records whether a recovered machine was started from exactly the first writes of its source, and
/// came up.
pub(crate) fn check_exact(rules: &mut RuleLog, rule: RuleId, boots: &Boots) -> Result<(), EarlyEnd> {
    match boots.contained() {
        Ok(contained) => {
            let up = &boots.target.up;
            let writes = boots.source.log().len();
            let found = format!("exactly the first {} of {writes} writes; up: {up:?}", contained.writes);
            rules.check(rule, up.is_ok(), found);
        }
        Err(TestbedError::NotAPrefix(found)) => rules.check(rule, false, found.to_string()),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

async fn writes_nothing(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let load = Load { record_every: Millis(0), churn_every: Millis(0), ..Load::USUAL };
    let item = testbed.protect_machine(&machine("web", &[MIB, MIB], load)).await?;
    testbed.wait_for_points(&item, 1).await?;
    testbed.advance(HOUR).await;
    let Some(newest) = testbed.processed_points(&item).await?.pop() else {
        rules.check(FX_06, false, "after an hour without a write there is no point");
        return Ok(());
    };
    let age = testbed.world.clock().now().since(newest.time);
    let found = format!("after an hour without a write the newest point is {age} old");
    // The next point may be under way.
    rules.check(FX_06, age.0 <= 2 * INTERVAL.0, found);
    testbed.primary.lose();
    recover(testbed, rules, FX_06, &item).await?;
    come_back(testbed, rules, FX_06, &item, Millis(0)).await
}

/// Size of the disk by which it is found out whether a core reads what holds no data.
const SPARSE: u64 = 1 << 30;

async fn large_disk(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let began = testbed.world.clock().now();
    let trial = testbed.protect_machine(&machine("trial", &[MIB, SPARSE], ANY_SIZE)).await?;
    testbed.wait_for_points(&trial, 1).await?;
    testbed.wait_until_idle().await?;
    if testbed.bytes_read(&testbed.primary, &"trial".into(), began) > SPARSE / 2 {
        // A core that reads a whole disk would read this one for hours.
        rules.leave_out(FX_07);
        return Ok(());
    }
    testbed.completed(testbed.core.disable_protection(&trial).await).await?;
    let item = testbed.protect_machine(&machine("web", &[MIB, (2 << 40) + MIB + 3 * 512], ANY_SIZE)).await?;
    testbed.wait_for_points(&item, 4).await?;
    testbed.primary.lose();
    recover(testbed, rules, FX_07, &item).await
}

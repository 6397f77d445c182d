//! Edges 2 and 4: the machine that runs now replicates to the side it came from.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8Path;
use contract::{Bytes, Direction, JobView, Platform, PowerState, RecoveryPoint, Side};
use harness::oracle::WriteLog;

use crate::blame::ScenarioError;
use crate::judge::{DiskUnderTest, JudgedMachine};
use crate::real::context::ScenarioContext;
use crate::real::edge;
use crate::real::edge::PointFiles;
use crate::real::edge::measure;
use crate::real::machine::Running;
use crate::rules::ids::*;
use crate::scenario::Script;

/// Grain in which changes travel, in sectors: 64 KiB.
pub(crate) const GRAIN: u64 = 128;
/// What may travel beyond changed grains: the grains of the boot partition that hydration touched.
pub(crate) const EPSILON: Bytes = Bytes(1 << 20);

/// `running` is the machine that keeps serving, `other` where it ran before.
pub(crate) async fn reprotect(
    world: &ScenarioContext,
    name: &str,
    running: &Running,
    other: &Running,
) -> Result<(), ScenarioError> {
    world.enter(name);
    edge::await_work(world, name, running).await?;
    // A site that was lost is running again before anyone replicates to it.
    other.site.restore();
    let active = world.core.item(&world.item).await?.protection.active;
    let direction = Direction::from_side(active);
    let comes_elsewhere = active == Side::Recovery && !Arc::ptr_eq(&other.site, &world.primary);
    let acked = running.last_record();
    let trigger = Instant::now();
    let job = match world.script {
        Script::HyperV => world.core.reverse_replicate(&world.item).await?,
        _ => world.core.reprotect(&world.reprotection(direction).await?).await?,
    };
    let job = world.follow(name, &job).await?;
    let ended = Instant::now();
    world.trace_state().await?;
    let first = world.core.item(&world.item).await?.points.first().cloned();
    check_sides(world, running, other, acked, active).await?;
    let item = edge::await_points(world, name, running).await?;
    let newest = item.points.iter().rfind(|point| point.processed).cloned();
    let newest = newest.ok_or_else(|| {
        ScenarioError::CoreViolation(format!("{name}: no recovery point in the new direction"))
    })?;
    let seen = Instant::now();
    let processed = item.points.iter().filter(|point| point.processed).count();
    let enough = processed as u64 >= edge::POINTS;
    let rule = if world.script == Script::HyperV { HF_17 } else { rule(active) };
    world.check(rule, enough, format!("{processed} points in the new direction"));
    let site = if active == Side::Recovery { &world.primary } else { &world.recovery };
    let dir = world.edge_dir(name)?;
    let judged = edge::with_point(site, &newest, &dir, async |files| {
        edge::judge(world, name, disks_under_test(running, &files), running.initial_record).await
    })
    .await?;
    match &first {
        Some(first) if comes_elsewhere => check_full(world, running, &job, first).await?,
        Some(first) => check_travelled(world, running, other, first, &judged.0).await?,
        None => {}
    }
    let survived = judged.0.contiguous().unwrap_or_default();
    let acks = running.boot.guest.witness().acks();
    let rpo = measure::rpo(&acks, survived, seen, judged.0.lost);
    let cold = world.findings().boots_ms.first().copied().unwrap_or_default();
    let rto = measure::rto_of_job(trigger, ended, &job, cold);
    edge::conclude(world, name, judged, rpo, rto, None).await
}

/// The rule that the new direction's points fulfil.
fn rule(active: Side) -> RuleId {
    if active == Side::Recovery { RE_01 } else { RE_29 }
}

fn disks_under_test(running: &Running, points: &[PointFiles]) -> Vec<DiskUnderTest> {
    let disks = running.boot.disks.iter().zip(points);
    disks
        .map(|(disk, point)| DiskUnderTest {
            name: disk.id.0.clone(),
            base: disk.base.clone(),
            log: disk.log.clone(),
            recovered: point.read.clone(),
            exempt: vec![],
            second: point.image.clone().map(|image| (image, point.read.clone())),
        })
        .collect()
}

/// RE-02, RE-03, LC-12: the other side is off, this one goes on serving.
async fn check_sides(
    world: &ScenarioContext,
    running: &Running,
    other: &Running,
    acked: u64,
    active: Side,
) -> Result<(), ScenarioError> {
    let machines = other.site.machines().await?;
    let on = machines.iter().any(|m| m.id == world.machine && m.power == PowerState::On);
    let off = !on && other.boot.guest.is_gone();
    let served = edge::works_beyond(running, acked).await;
    let (off_rule, serve_rule) = if active == Side::Recovery { (RE_02, RE_03) } else { (LC_12, LC_12) };
    world.check(off_rule, off, format!("{}: other side off: {off}", other.site.label()));
    let found = format!("{}: records {acked} to {} meanwhile", running.site.label(), running.last_record());
    world.check(serve_rule, served, found);
    Ok(())
}

/// RE-04, HF-18: to a side that still has the machine's disks, or what it had when it was turned off, only what
/// differs travels.
async fn check_travelled(
    world: &ScenarioContext,
    running: &Running,
    other: &Running,
    first: &RecoveryPoint,
    judged: &JudgedMachine,
) -> Result<(), ScenarioError> {
    let mut changed = 0;
    for ((here, there), disk) in running.boot.disks.iter().zip(&other.boot.disks).zip(&judged.disks) {
        let mut grains: BTreeSet<u64> = grains(&disk.log).collect();
        if Arc::ptr_eq(&running.site, &world.recovery) {
            // The original went on beyond the point that was failed over to.
            let log = WriteLog::open(there.log.as_std_path(), there.bytes).map_err(anyhow::Error::from)?;
            grains.extend(self::grains(&log));
        }
        changed += grains.len() as u64 * GRAIN * 512;
        tracing::debug!(disk = %here.id, grains = grains.len(), "changed since the sides parted");
    }
    let limit = Bytes(changed + EPSILON.0);
    let found = format!("{} travelled, {} had changed on either side", first.transferred, Bytes(changed));
    let rule = if world.script == Script::HyperV { HF_18 } else { RE_04 };
    world.check(rule, first.transferred <= limit, found);
    Ok(())
}

/// RE-05, PH-03: a machine that comes back elsewhere is made when replication begins, and everything travels.
async fn check_full(
    world: &ScenarioContext,
    running: &Running,
    job: &JobView,
    first: &RecoveryPoint,
) -> Result<(), ScenarioError> {
    let made = job.steps.iter().any(|step| step.name == "create machine");
    let there = world.primary.machine(&world.machine).await.map(|machine| machine.power);
    let off = matches!(there, Ok(PowerState::Off));
    let mut content = 0;
    for disk in &running.boot.disks {
        let base = disk.base.clone();
        let found = tokio::task::spawn_blocking(move || content_of(&base));
        content += found.await.map_err(anyhow::Error::from)??;
    }
    let content = Bytes(content);
    let full = first.transferred.0 + EPSILON.0 >= content.0;
    let found = format!(
        "{} has machine {} made: {made}, off: {off}; {} travelled, it booted with {content}",
        world.primary.label(),
        world.machine,
        first.transferred
    );
    world.check(RE_05, made && off && full, found.clone());
    world.check(PH_03, made && off && full, found);
    Ok(())
}

/// Bytes of the grains of a raw disk that hold anything but zeroes.
fn content_of(disk: &Utf8Path) -> Result<u64, ScenarioError> {
    let mut file = File::open(disk).map_err(harness::Error::file(disk))?;
    let (mut grain, mut bytes) = (Vec::new(), 0);
    loop {
        grain.clear();
        let read = (&mut file).take(GRAIN * 512).read_to_end(&mut grain);
        match read.map_err(harness::Error::file(disk))? {
            0 => return Ok(bytes),
            read if grain.iter().any(|byte| *byte != 0) => bytes += read as u64,
            _ => {}
        }
    }
}

pub(crate) fn grains(log: &WriteLog) -> impl Iterator<Item = u64> {
    let entries = log.entries().iter().map(harness::oracle::Entry::range).filter(|range| !range.is_empty());
    entries.flat_map(|range| range.start / GRAIN..=(range.end - 1) / GRAIN)
}

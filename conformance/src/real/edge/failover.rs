//! Edge 1: the whole source site is lost in the midst of its writes; the machine comes up on the other platform.

use std::time::Instant;

use camino::Utf8Path;
use contract::{
    Direction, ErrorCode, FailoverKind, FailoverRequest, ItemView, Phase, Platform, PlatformKind,
    PointChoice, PointId, PowerState, RecoveryPoint, ReprotectRequest, Side,
};
use harness::oracle::{self, RawSource};
use images::layout::VARIANT_ENV;
use standins::Boot;

use crate::blame::ScenarioError;
use crate::judge::{DiskUnderTest, JudgedMachine};
use crate::outcome::{Rpo, Rto};
use crate::real::context::ScenarioContext;
use crate::real::edge;
use crate::real::edge::measure;
use crate::real::edge::{PointFiles, Recovered, boot_partition};
use crate::real::machine::Running;
use crate::real::setup::INTERVAL;
use crate::rules::ids::*;
use crate::scenario::Script;

const EDGE: &str = "failover";

pub(crate) async fn fail_over(world: &ScenarioContext, source: &Running) -> Result<Running, ScenarioError> {
    refused_before(world).await?;
    let struck = lose_site_and_fail_over(world, EDGE, source, PointChoice::Latest).await?;
    check_state(world, &struck.recovered).await?;
    check_hydration(world, &struck.recovered.boot, &struck.files).await?;
    let unreachable = world.primary.is_lost();
    let completed = struck.recovered.job.state != contract::JobState::Failed;
    world.check(FO_09, unreachable && completed, "the source site was unreachable all the while");
    let point = struck.point.clone();
    let recovered = struck.conclude(world, EDGE).await?;
    let running = edge::put_to_work(world, &world.recovery, &recovered).await?;
    commit(world, EDGE, &running, &point).await?;
    Ok(running)
}

/// A machine that came up after its site was lost, and what the oracle says of its disks.
pub(crate) struct RecoveredAfterLoss {
    pub(crate) recovered: Recovered,
    /// The point it was taken to, as it is now.
    pub(crate) point: RecoveryPoint,
    pub(crate) files: Vec<PointFiles>,
    judged: (JudgedMachine, Option<String>),
    rpo: Rpo,
    rto: Rto,
}

impl RecoveredAfterLoss {
    /// Closes the edge with the verdict.
    pub(crate) async fn conclude(
        self,
        world: &ScenarioContext,
        edge: &str,
    ) -> Result<Recovered, ScenarioError> {
        let inside = edge::inside_agrees(&self.recovered.findings, &self.judged.0);
        edge::conclude(world, edge, self.judged, self.rpo, self.rto, inside).await?;
        Ok(self.recovered)
    }
}

/// Loses the source's site in the midst of its writes, fails over, and judges what comes up.
pub(crate) async fn lose_site_and_fail_over(
    world: &ScenarioContext,
    edge: &str,
    source: &Running,
    choice: PointChoice,
) -> Result<RecoveredAfterLoss, ScenarioError> {
    world.enter(edge);
    edge::await_work(world, edge, source).await?;
    let after = world.recovery.last_boot(&world.machine).await.map_or(0, |boot| boot.number);
    let before = world.core.item(&world.item).await?;
    let disaster = world.primary.lose().await?;
    world.trace(format!("{edge}: the source site is lost"));
    let trigger = Instant::now();
    let wanted = FailoverRequest { point: choice, ..request(world, Direction::PrimaryToRecovery) };
    let job = world.core.failover(&wanted).await?;
    let recovered = match edge::recover(world, edge, &world.recovery, &world.machine, after, &job).await {
        Ok(recovered) => recovered,
        Err(halt) => {
            let target = (&*world.recovery, &world.machine, after);
            return Err(
                edge::judge_failed_boot(world, edge, source, target, vec![boot_partition()], halt).await
            );
        }
    };
    let point = chosen_point(world, &before).await?;
    let dir = world.edge_dir(edge)?;
    let (judged, files) = edge::with_point(&world.recovery, &point, &dir, async |files| {
        let disks_under_test = disks_under_test(&source.boot, &recovered.boot, &files);
        Ok((edge::judge(world, edge, disks_under_test, source.initial_record).await?, files))
    })
    .await?;
    let survived = recovered.findings.ledger.contiguous;
    let acks = source.boot.guest.witness().acks();
    let rpo = measure::rpo(&acks, survived, disaster, judged.0.lost);
    let rto = recovered.rto(world, trigger, false).await;
    Ok(RecoveredAfterLoss { recovered, point, files, judged, rpo, rto })
}

pub(crate) fn request(world: &ScenarioContext, direction: Direction) -> FailoverRequest {
    FailoverRequest {
        item: world.item.clone(),
        kind: FailoverKind::Unplanned,
        direction,
        point: PointChoice::Latest,
        shut_down_source: false,
        shutdown_within: contract::Millis(60_000),
        data_sync: None,
        alternate: None,
        certificate: None,
    }
}

/// Requests that must be refused without a trace while the machine is protected.
async fn refused_before(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let wrong_way = world.core.failover(&request(world, Direction::RecoveryToPrimary)).await;
    let code = wrong_way.err().map(|error| error.code);
    world.check(LC_08, code == Some(ErrorCode::WrongDirection), format!("failover the wrong way: {code:?}"));
    let early = world.core.commit(&world.item).await.err().map(|error| error.code);
    world.check(
        LC_02,
        early == Some(ErrorCode::NotAllowedInState),
        format!("commit without failover: {early:?}"),
    );
    let planned =
        FailoverRequest { kind: FailoverKind::Planned, ..request(world, Direction::PrimaryToRecovery) };
    let planned = world.core.failover(&planned).await.err().map(|error| error.code);
    let refused = matches!(planned, Some(ErrorCode::NotAllowedInState | ErrorCode::NotSupported));
    world.check(FO_21, refused, format!("planned failover of such a machine: {planned:?}"));
    Ok(())
}

/// LC-04, LC-07: the target is the active side, the choice of point is still open.
async fn check_state(world: &ScenarioContext, recovered: &Recovered) -> Result<(), ScenarioError> {
    let item = world.core.item(&world.item).await?;
    let pending = item.protection.phase == Phase::CommitPending;
    world.check(LC_07, pending, format!("after phase 1: {:?}", item.protection.phase));
    let there = world.recovery.machine(&world.machine).await?.power;
    let active = item.protection.active == Side::Recovery && there == PowerState::On;
    world.check(LC_04, active, format!("active side {:?}, target {there:?}", item.protection.active));
    let direction = recovered.job.direction;
    world.check(LC_08, direction == Direction::PrimaryToRecovery, format!("the job says {direction:?}"));
    let hydrated = recovered.job.steps.iter().any(|step| step.name == "hydrate" && step.took.is_some());
    match world.primary.profile().kind {
        PlatformKind::Vmware => {
            world.check(HY_03, hydrated, "a VMware Linux machine: the extra step, timed in the job");
            world.check(HY_09, hydrated, "the extra step's time is in the job");
        }
        PlatformKind::Physical => {
            world.check(HY_02, hydrated, "a physical machine: the extra step, timed in the job");
            world.check(HY_09, hydrated, "the extra step's time is in the job");
        }
        PlatformKind::HyperV | PlatformKind::Azure => {
            world.check(HY_07, !hydrated, format!("hydrated although not due: {hydrated}"));
        }
    }
    world.trace_state().await
}

pub(crate) async fn chosen_point(
    world: &ScenarioContext,
    before: &ItemView,
) -> Result<RecoveryPoint, ScenarioError> {
    let item = world.core.item(&world.item).await?;
    let chosen = item.points.iter().find(|point| Some(&point.id) == item.failed_over_to.as_ref());
    let lost = edge::points_lost(before, &item);
    let found = format!("{lost} points of the window are gone, {} are there", item.points.len());
    world.check(FO_05, lost == 0 && chosen.is_some(), found);
    let gone =
        || ScenarioError::CoreViolation(format!("{EDGE}: the point failed over to is not in the list"));
    chosen.cloned().ok_or_else(gone)
}

pub(crate) fn disks_under_test(source: &Boot, target: &Boot, points: &[PointFiles]) -> Vec<DiskUnderTest> {
    let disks = source.disks.iter().zip(&target.disks).zip(points).enumerate();
    disks
        .map(|(index, ((source, target), point))| DiskUnderTest {
            name: source.id.0.clone(),
            base: source.base.clone(),
            log: source.log.clone(),
            // What was booted, copied below the core, and not what the core says it built.
            recovered: target.base.clone(),
            exempt: if index == 0 { vec![boot_partition()] } else { vec![] },
            second: point.image.clone().map(|image| (image, point.read.clone())),
        })
        .collect()
}

/// FO-01, HY-08: what was booted is the point, but for the boot configuration that hydration edits.
pub(crate) async fn check_hydration(
    world: &ScenarioContext,
    target: &Boot,
    points: &[PointFiles],
) -> Result<(), ScenarioError> {
    let edited = edits(world, target, points).await?;
    let starts_dhcp = starts_dhcp(&target.disks[0].base, &points[0].read)?;
    let allowed = |file: &str| CONFIGURATION.contains(&file) || (file == VARIANT_ENV && starts_dhcp);
    let only_config = edited.iter().all(|file| allowed(file));
    world.check(HY_08, only_config, format!("hydration edited {}", edited.join(", ")));
    Ok(())
}

/// The boot files in which what was booted differs from its point. FO-01, HY-08: nothing else does.
pub(crate) async fn edits(
    world: &ScenarioContext,
    target: &Boot,
    points: &[PointFiles],
) -> Result<Vec<String>, ScenarioError> {
    let boot = boot_partition();
    for (index, (disk, point)) in target.disks.iter().zip(points).enumerate() {
        let allowed = if index == 0 { boot.clone() } else { 0..0 };
        let strays = differences_outside(&disk.base, &point.read, allowed)?;
        let found = strays.map_or_else(
            || format!("disk {} was booted as the point has it", point.disk),
            |sector| format!("disk {}: sector {sector} differs from the point", point.disk),
        );
        world.check(FO_01, strays.is_none(), found.clone());
        world.check(HY_08, strays.is_none(), found);
    }
    edited_boot_files(&target.disks[0].base, &points[0].read)
}

/// Files that hydration may edit.
pub(crate) const CONFIGURATION: [&str; 2] = [images::layout::SYSLINUX_CFG, images::layout::LOADER_ENTRY];

/// Whether a guest's settings differ from the point's in nothing but that its DHCP service starts (HY-05).
pub(crate) fn starts_dhcp(target: &Utf8Path, point: &Utf8Path) -> Result<bool, ScenarioError> {
    let read = |disk| {
        let bytes = images::read_boot_file(disk, VARIANT_ENV).map_err(harness::Error::from)?;
        Ok::<_, ScenarioError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (now, then) = (read(target)?, read(point)?);
    Ok(now != then && now == then.replace("DHCP=no\n", "DHCP=yes\n"))
}

/// The first sector outside `allowed` in which two raw disks differ.
fn differences_outside(
    a: &Utf8Path,
    b: &Utf8Path,
    allowed: std::ops::Range<u64>,
) -> Result<Option<u64>, ScenarioError> {
    let open = |path: &Utf8Path| RawSource::open(path.as_std_path()).map_err(anyhow::Error::from);
    let (a, b) = (open(a)?, open(b)?);
    let sides = [0..allowed.start, allowed.end..u64::MAX];
    for side in sides {
        if let Some(sector) = oracle::compare_range(&a, &b, side).map_err(anyhow::Error::from)? {
            return Ok(Some(sector));
        }
    }
    Ok(None)
}

/// Boot files whose content differs between two disks.
pub(crate) fn edited_boot_files(a: &Utf8Path, b: &Utf8Path) -> Result<Vec<String>, ScenarioError> {
    use images::layout::{DRIVERS_DIR, EFI_LOADER, INITRD, KERNEL, LOADER_CONF, LOADER_ENTRY, SYSLINUX_CFG};
    let drivers = images::layout::BOOT_DRIVERS.iter().map(|driver| images::layout::driver_image(driver));
    let fixed = [KERNEL, INITRD, EFI_LOADER, LOADER_CONF, LOADER_ENTRY, SYSLINUX_CFG, VARIANT_ENV];
    let files = fixed.iter().map(ToString::to_string).chain(drivers.filter(|d| d.starts_with(DRIVERS_DIR)));
    let mut edited = Vec::new();
    for file in files {
        let read = |disk: &Utf8Path| images::read_boot_file(disk, &file).map_err(harness::Error::from);
        if read(a)? != read(b)? {
            edited.push(file);
        }
    }
    Ok(edited)
}

/// Commits, and checks what a commit must do.
pub(crate) async fn commit(
    world: &ScenarioContext,
    edge: &str,
    running: &Running,
    point: &RecoveryPoint,
) -> Result<(), ScenarioError> {
    let files_before: Vec<_> = world.recovery.volume_files().await;
    let acked = running.last_record();
    let job = world.core.commit(&world.item).await?;
    world.follow(edge, &job).await?;
    world.trace_state().await?;
    let item = world.core.item(&world.item).await?;
    let left = item.points.len();
    let files: Vec<_> = point.volumes.iter().map(|(_, volume)| volume).collect();
    let gone =
        files_before.iter().filter(|(id, _, _)| files.contains(&id)).all(|(_, path, _)| !path.exists());
    world.check(FO_04, left == 0 && gone, format!("{left} points left, their files gone: {gone}"));
    let worked = edge::works_beyond(running, acked).await;
    world.check(FO_04, worked, "the running machine wrote on over the commit");
    edge::await_work(world, edge, running).await?;
    let change = PointChoice::Custom(PointId(point.id.0.clone()));
    let change = world.core.change_point(&world.item, &change).await.err().map(|error| error.code);
    world.check(FO_03, change == Some(ErrorCode::NotAllowedInState), format!("change of point: {change:?}"));
    unprotected(world).await
}

/// LC-05, LC-14: nothing replicates, and no failback is possible, until the user reprotects.
async fn unprotected(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let views = world.recovery.snapshots_taken(&world.machine).await;
    let item = world.core.item(&world.item).await?;
    let still = views == 0 && item.points.is_empty() && item.protection.phase == Phase::Committed;
    let found = format!("{views} transfers since the failover, at an interval of {INTERVAL}");
    world.check(LC_05, still, found);
    let back = world.core.failover(&request(world, Direction::RecoveryToPrimary)).await;
    let code = back.err().map(|error| error.code);
    world.check(LC_14, code == Some(ErrorCode::NotAllowedInState), format!("failback unprotected: {code:?}"));
    if world.script == Script::HyperV {
        // Its way back is a planned failover, straight from here (HF-01).
        return Ok(());
    }
    let wrong = ReprotectRequest::new(&world.item, Direction::PrimaryToRecovery);
    let code = world.core.reprotect(&wrong).await.err().map(|error| error.code);
    world.check(LC_08, code == Some(ErrorCode::WrongDirection), format!("reprotect the wrong way: {code:?}"));
    Ok(())
}

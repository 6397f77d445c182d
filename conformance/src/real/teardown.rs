//! After the last edge: protection ends, the guest shuts down, every disk left is whole.

use std::time::Duration;

use anyhow::Context as _;
use contract::{Bytes, Operation, Phase, Platform, PlatformKind, Side};
use harness::oracle::Qcow2Source;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::machine::Running;
use crate::rules::ids::*;

/// How long the guest may take to shut down.
const DOWN_WITHIN: Duration = Duration::from_secs(60);

/// ST-04: each managed disk of the machine, off by now, can be taken along as a fixed VHD with the same content.
async fn export_vhds(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let dir = world.evidence.dir().join("vhd");
    std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    let disks = world.primary.machine(&world.machine).await?.disks;
    let mut told = Vec::new();
    let mut equal = !disks.is_empty();
    for disk in disks {
        let chain = world.primary.files_of(&disk.volume).await;
        let vhd = world.primary.export_vhd(&disk.volume, &dir.join(format!("{}.vhd", disk.id))).await?;
        let differs = tokio::task::spawn_blocking(move || {
            let (image, _) = chain.first().context("the volume has no file")?;
            let by_another_reader = Qcow2Source::open(image.as_std_path())?;
            Ok::<_, anyhow::Error>((vhd.differs_from(&by_another_reader)?, vhd.bytes))
        });
        let (differs, bytes) = differs.await.map_err(anyhow::Error::from)??;
        equal &= differs.is_none();
        let content =
            differs.map_or("content equal".to_owned(), |sector| format!("differs at sector {sector}"));
        told.push(format!("{}: fixed VHD of {}, footer right, {content}", disk.id, Bytes(bytes)));
    }
    world.check(ST_04, equal, told.join("; "));
    Ok(())
}

pub(crate) async fn end(world: &ScenarioContext, running: &Running) -> Result<(), ScenarioError> {
    end_all(world, &[(world, running)]).await
}

/// The same for several machines of one world.
pub(crate) async fn end_all(
    world: &ScenarioContext,
    machines: &[(&ScenarioContext, &Running)],
) -> Result<(), ScenarioError> {
    for (machine, _) in machines {
        let item = machine.core.item(&machine.item).await?;
        let ready = item.protection.phase == Phase::Protected
            && item.protection.active == Side::Primary
            && item.allowed.contains(&Operation::UnplannedFailover);
        machine.check(LC_01, ready, format!("the cycle ends {:?}", item.protection));
    }
    let step = world.evidence.step("finish", "check every disk of the replica");
    world.inspect_disks(&world.recovery, "before protection ended").await?;
    step.done();
    for (machine, running) in machines {
        retire(machine, running).await?;
    }
    check_left(world).await?;
    let kept = world.recovery.volume_files().await.len();
    let machines = world.recovery.machines().await?.len();
    if kept + machines > 0 {
        let text = format!(
            "{machines} machines and {kept} volumes are left on the recovery side after protection ended"
        );
        return Err(ScenarioError::CoreViolation(text));
    }
    world.trace(format!("finish: {machines} machines and {kept} volumes left on the recovery side"));
    Ok(())
}

/// Protection ends, the guest shuts down, and every disk that is left is whole.
pub(crate) async fn rest(world: &ScenarioContext, running: &Running) -> Result<(), ScenarioError> {
    retire(world, running).await?;
    check_left(world).await
}

/// Ends a machine's protection and shuts it down.
pub(crate) async fn retire(world: &ScenarioContext, running: &Running) -> Result<(), ScenarioError> {
    let job = world.core.disable_protection(&world.item).await?;
    world.follow("finish", &job).await?;
    let step = world.evidence.step("finish", "shut the guest down");
    let trouble = running.boot.guest.witness().trouble();
    if let Some(trouble) = trouble {
        return Err(ScenarioError::CoreViolation(format!("the witness had trouble: {trouble}")));
    }
    running.boot.guest.shut_down(DOWN_WITHIN).await?;
    step.done();
    Ok(())
}

/// Every disk that is left is whole, and those of a cloud can be taken along.
async fn check_left(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let step = world.evidence.step("finish", "check every disk that is left");
    for site in [&world.primary, &world.recovery] {
        world.inspect_disks(site, "left").await?;
    }
    world.expect_whole_disks();
    if world.primary.profile().kind == PlatformKind::Azure {
        export_vhds(world).await?;
    }
    step.done();
    Ok(())
}

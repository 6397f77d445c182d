//! After the last edge: protection ends, the guest shuts down, and every disk image that is left
//! must be intact.

use std::time::Duration;

use anyhow::Context as _;
use contract::{Bytes, DiskView, Operation, Phase, Platform, Side};
use harness::oracle::Qcow2Source;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::machine::Running;
use crate::rules::ids::*;

/// How long the guest may take to shut down.
const DOWN_WITHIN: Duration = Duration::from_secs(60);
/// Name of this phase in progress and trace.
const LABEL: &str = "finish";

/// Ends a scenario whose machine is protected and runs on the primary site: nothing of it may be
/// left on the recovery site.
pub(crate) async fn end(context: &ScenarioContext, running: &Running) -> Result<(), ScenarioError> {
    end_all(context, &[(context, running)]).await
}

/// Ends a scenario of several machines that are protected and run on the primary site. Each comes
/// with its own context; `context` is that of the scenario.
pub(crate) async fn end_all(
    context: &ScenarioContext,
    machines: &[(&ScenarioContext, &Running)],
) -> Result<(), ScenarioError> {
    for (machine, _) in machines {
        let item = machine.core.item(&machine.item).await?;
        let ready = item.protection.phase == Phase::Protected
            && item.protection.active == Side::Primary
            && item.allowed.contains(&Operation::UnplannedFailover);
        machine.check(LC_01, ready, format!("the cycle ends {:?}", item.protection));
    }
    let step = context.evidence.step(LABEL, "check every disk of the replica");
    context.inspect_disks(&context.recovery, "before protection ended").await?;
    step.done();
    for (machine, running) in machines {
        retire(machine, running).await?;
    }
    check_disks_left(context).await?;
    let volumes = context.recovery.volume_files().await.len();
    let machines = context.recovery.machines().await?.len();
    if volumes + machines > 0 {
        return Err(ScenarioError::CoreViolation(format!(
            "{machines} machines and {volumes} volumes are left on the recovery side after protection ended"
        )));
    }
    context.trace(format!("finish: {machines} machines and {volumes} volumes left on the recovery side"));
    Ok(())
}

/// Ends a scenario whose machine stays on the recovery site.
pub(crate) async fn end_on_recovery_site(
    context: &ScenarioContext,
    running: &Running,
) -> Result<(), ScenarioError> {
    retire(context, running).await?;
    check_disks_left(context).await
}

/// Ends a machine's protection and shuts the machine down.
pub(crate) async fn retire(context: &ScenarioContext, running: &Running) -> Result<(), ScenarioError> {
    let job = context.core.disable_protection(&context.item).await?;
    context.follow(LABEL, &job).await?;
    let step = context.evidence.step(LABEL, "shut the guest down");
    if let Some(trouble) = running.boot.guest.witness().trouble() {
        return Err(ScenarioError::CoreViolation(format!("the witness reported an error: {trouble}")));
    }
    running.boot.guest.shut_down(DOWN_WITHIN).await?;
    step.done();
    Ok(())
}

/// ST-02, ST-03, ST-04: every disk image that is left on either site is intact, and disks of a
/// cloud can be exported.
async fn check_disks_left(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let step = context.evidence.step(LABEL, "check every disk that is left");
    for site in [&context.primary, &context.recovery] {
        context.inspect_disks(site, "left").await?;
    }
    context.check_inspected_disks();
    if context.primary.profile().kind.profile().managed_disks {
        check_vhd_export(context).await?;
    }
    step.done();
    Ok(())
}

/// ST-04: each managed disk of the machine, which is off, can be exported as a fixed VHD with the
/// same content.
async fn check_vhd_export(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let disks = context.primary.machine(&context.machine).await?.disks;
    let mut equal = !disks.is_empty();
    let mut found = Vec::new();
    for disk in &disks {
        let export = export_vhd(context, disk).await?;
        equal &= export.difference.is_none();
        let content = export
            .difference
            .map_or("content equal".to_owned(), |sector| format!("differs at sector {sector}"));
        found.push(format!("{}: fixed VHD of {}, footer right, {content}", disk.id, export.bytes));
    }
    context.check(ST_04, equal, found.join("; "));
    Ok(())
}

/// A disk that was exported.
struct VhdExport {
    bytes: Bytes,
    /// The first sector in which it differs from the disk, as the second reader reads that.
    difference: Option<u64>,
}

async fn export_vhd(context: &ScenarioContext, disk: &DiskView) -> Result<VhdExport, ScenarioError> {
    let dir = context.evidence.dir().join("vhd");
    std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    let chain = context.primary.files_of(&disk.volume).await;
    let path = dir.join(format!("{}.vhd", disk.id));
    let vhd = context.primary.export_vhd(&disk.volume, &path).await?;
    let compare = tokio::task::spawn_blocking(move || {
        let (image, _) = chain.first().context("the volume has no file")?;
        let second_reader = Qcow2Source::open(image.as_std_path())?;
        let difference = vhd.differs_from(&second_reader)?;
        Ok::<_, anyhow::Error>(VhdExport { bytes: Bytes(vhd.bytes), difference })
    });
    Ok(compare.await.map_err(anyhow::Error::from)??)
}

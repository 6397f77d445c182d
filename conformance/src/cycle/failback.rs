//! Edge 3: the cloud machine is shut down, its last changes travel, the original machine boots; nothing is lost.

use std::time::Instant;

use contract::{Direction, Phase, Platform, PowerState, Side};
use standins::Boot;

use super::edge;
use super::failover::request;
use super::measure;
use super::world::{World, word};
use super::{Halt, Running};
use crate::judge::Exhibit;

const EDGE: &str = "failback";

pub(crate) async fn fail_back(world: &World, cloud: &Running, original: &Running) -> Result<Running, Halt> {
    world.enter(EDGE);
    edge::await_work(world, EDGE, cloud).await?;
    let gone = {
        let boot = cloud.boot.clone();
        tokio::spawn(async move {
            boot.guest.until_gone().await;
            Instant::now()
        })
    };
    let trigger = Instant::now();
    let job = world.core.failover(&request(world, Direction::RecoveryToPrimary)).await?;
    let recovered =
        edge::recover(world, EDGE, &world.primary, &world.machine, original.boot.number, &job, trigger)
            .await?;
    let gone = gone.await.map_err(anyhow::Error::from)?;
    check_order(world, cloud, gone, &recovered.boot).await?;
    check_state(world, &recovered.boot, &recovered.job).await?;
    let judged = edge::judge(world, EDGE, exhibits(&cloud.boot, &recovered.boot), cloud.already).await?;
    let complete = judged.0.complete();
    let survived = recovered.findings.ledger.contiguous;
    let rpo = measure::rpo(&cloud.boot.guest.witness().acks(), survived, gone, judged.0.lost);
    world.expect("LC-09", rpo.records == 0 && complete, format!("{} records lost", rpo.records)).await;
    let lossless = (rpo.records > 0 || !complete).then(|| {
        format!("a failback after an orderly shutdown lost {} records and {} writes", rpo.records, rpo.writes)
    });
    let inside = edge::inside_agrees(&recovered.findings, &judged.0).or(lossless);
    edge::conclude(world, EDGE, judged, rpo, recovered.rto.clone(), inside).await?;
    let running = edge::put_to_work(world, &world.primary, &recovered).await?;
    commit(world).await?;
    Ok(running)
}

fn exhibits(cloud: &Boot, original: &Boot) -> Vec<Exhibit> {
    let disks = cloud.disks.iter().zip(&original.disks);
    disks
        .map(|(cloud, original)| Exhibit {
            name: cloud.id.0.clone(),
            base: cloud.base.clone(),
            log: cloud.log.clone(),
            recovered: original.base.clone(),
            exempt: vec![],
            second: Err("it is a VMDK".to_owned()),
        })
        .collect()
}

/// FB-06, LC-10: cloud off first, and never both at once.
async fn check_order(world: &World, cloud: &Running, gone: Instant, original: &Boot) -> Result<(), Halt> {
    let on = original.guest.powered_on();
    let ordered = gone <= on;
    let found = format!(
        "cloud gone {} ms before the original's power-on",
        measure::millis(on.saturating_duration_since(gone))
    );
    world.expect("FB-06", ordered, found.clone()).await;
    world.expect("LC-10", ordered, found).await;
    let orderly = cloud.boot.guest.witness().is_down();
    world.expect("FB-06", orderly, format!("the cloud guest unmounted before it ended: {orderly}")).await;
    Ok(())
}

/// FB-07, FB-09, FB-12, FB-14, LC-07.
async fn check_state(world: &World, original: &Boot, job: &contract::JobView) -> Result<(), Halt> {
    let item = world.core.item(&world.item).await?;
    let pending = item.protection.phase == Phase::CommitPending && item.protection.active == Side::Primary;
    world.expect("LC-07", pending, format!("after failback: {:?}", item.protection)).await;
    let kind = job.kind;
    let verb = kind == contract::JobKind::UnplannedFailover && job.direction == Direction::RecoveryToPrimary;
    world.expect("FB-14", verb, format!("{} {}", word(&kind), word(&job.direction))).await;
    let machine = world.primary.machine(&world.machine).await?;
    let mut same = !machine.disks.is_empty();
    for disk in &machine.disks {
        let files = world.primary.files_of(&disk.volume).await;
        same &= files.len() == 1 && files[0].1 == world.primary.profile().format;
        same &= disk.volume.0 == format!("{}-{}", world.machine, disk.id);
    }
    world.expect("FB-09", same, format!("boot {} on the machine's own disks: {same}", original.number)).await;
    let cloud = world.recovery.machine(&world.machine).await.map(|machine| machine.power);
    let kept = matches!(cloud, Ok(PowerState::Off));
    world.expect("FB-12", kept, format!("cloud machine before commit: {cloud:?}")).await;
    world.trace_state().await
}

/// Commits, which removes the cloud machine (FB-11).
async fn commit(world: &World) -> Result<(), Halt> {
    let job = world.core.commit(&world.item).await?;
    world.follow(EDGE, &job).await?;
    let left = world.recovery.machines().await?.len();
    world.expect("FB-11", left == 0, format!("{left} cloud machines after commit")).await;
    let item = world.core.item(&world.item).await?;
    let unprotected = item.protection.phase == Phase::Committed && item.points.is_empty();
    world
        .expect("LC-06", unprotected, format!("after failback and commit: {:?}", item.protection.phase))
        .await;
    world.trace_state().await
}

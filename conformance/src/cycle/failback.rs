//! Edge 3: the cloud machine is shut down, its last changes travel, the original machine boots; nothing is lost.

use contract::{Direction, Phase, Platform, PowerState, Side};
use standins::Boot;

use super::failover::request;
use super::switch::{self, Switch};
use super::world::{World, word};
use super::{Halt, Running, edge};

const EDGE: &str = "failback";

pub(crate) async fn fail_back(world: &World, cloud: &Running, original: &Running) -> Result<Running, Halt> {
    world.enter(EDGE);
    edge::await_work(world, EDGE, cloud).await?;
    let switch = Switch { edge: EDGE, from: cloud, to: &world.primary, after: original.boot.number };
    let request = request(world, Direction::RecoveryToPrimary);
    let recovered = switch.make(world, &request, switch::nothing()).await?;
    check_state(world, &recovered.boot, &recovered.job).await?;
    let running = edge::put_to_work(world, &world.primary, &recovered).await?;
    commit(world).await?;
    Ok(running)
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
pub(crate) async fn commit(world: &World) -> Result<(), Halt> {
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

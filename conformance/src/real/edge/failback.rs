//! Edge 3: the cloud machine is shut down, its last changes travel, the machine on premises boots; nothing is lost. That
//! is the original one, or one that reprotection made elsewhere.

use std::sync::Arc;

use contract::{Direction, DiskView, Phase, Platform, PowerState, Side};
use standins::Boot;

use crate::blame::ScenarioError;
use crate::real::context::{ScenarioContext, word};
use crate::real::edge;
use crate::real::edge::failover::{CONFIGURATION, edited_boot_files, request};
use crate::real::edge::planned_switchover as switch;
use crate::real::edge::planned_switchover::Switch;
use crate::real::edge::{Recovered, boot_partition};
use crate::real::machine::Running;
use crate::rules::ids::*;

const EDGE: &str = "failback";

pub(crate) async fn fail_back(
    world: &ScenarioContext,
    cloud: &Running,
    original: &Running,
) -> Result<Running, ScenarioError> {
    world.enter(EDGE);
    edge::await_work(world, EDGE, cloud).await?;
    let moved = !Arc::ptr_eq(&original.site, &world.primary);
    let after = world.primary.last_boot(&world.machine).await.map_or(0, |boot| boot.number);
    let exempt = moved.then(boot_partition);
    let switch = Switch { edge: EDGE, from: cloud, to: &world.primary, after, exempt };
    let own = world.primary.machine(&world.machine).await?.disks;
    let request = request(world, Direction::RecoveryToPrimary);
    let recovered = switch.make(world, &request, switch::nothing()).await?;
    check_state(world, &recovered.boot, &recovered.job, &own).await?;
    if moved {
        check_hydration(world, &recovered, &cloud.boot).await?;
    }
    let running = edge::put_to_work(world, &world.primary, &recovered).await?;
    commit(world).await?;
    Ok(running)
}

/// FB-07, FB-09, FB-12, FB-14, LC-07.
async fn check_state(
    world: &ScenarioContext,
    original: &Boot,
    job: &contract::JobView,
    own: &[DiskView],
) -> Result<(), ScenarioError> {
    let item = world.core.item(&world.item).await?;
    let pending = item.protection.phase == Phase::CommitPending && item.protection.active == Side::Primary;
    world.check(LC_07, pending, format!("after failback: {:?}", item.protection));
    let kind = job.kind;
    let verb = kind == contract::JobKind::UnplannedFailover && job.direction == Direction::RecoveryToPrimary;
    world.check(FB_14, verb, format!("{} {}", word(&kind), word(&job.direction)));
    let machine = world.primary.machine(&world.machine).await?;
    let mut same = !machine.disks.is_empty() && machine.disks == own;
    for disk in &machine.disks {
        let files = world.primary.files_of(&disk.volume).await;
        same &= files.len() == 1 && files[0].1 == world.primary.profile().format;
    }
    world.check(FB_09, same, format!("boot {} on the machine's own disks: {same}", original.number));
    let cloud = world.recovery.machine(&world.machine).await.map(|machine| machine.power);
    let kept = matches!(cloud, Ok(PowerState::Off));
    world.check(FB_12, kept, format!("cloud machine before commit: {cloud:?}"));
    world.trace_state().await
}

/// HY-08: on other hardware than it was made for it boots by its loaders' configuration, and nothing else was edited.
async fn check_hydration(
    world: &ScenarioContext,
    recovered: &Recovered,
    cloud: &Boot,
) -> Result<(), ScenarioError> {
    let hydrated = recovered.job.steps.iter().any(|step| step.name == "hydrate" && step.took.is_some());
    let edited = edited_boot_files(&recovered.boot.disks[0].base, &cloud.disks[0].base)?;
    let only_config = edited.iter().all(|file| CONFIGURATION.contains(&file.as_str()));
    let found = format!("to another platform: hydrated {hydrated}, edited {}", edited.join(", "));
    world.check(HY_08, hydrated && only_config, found);
    Ok(())
}

/// Commits, which removes the cloud machine (FB-11).
pub(crate) async fn commit(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let job = world.core.commit(&world.item).await?;
    world.follow(EDGE, &job).await?;
    let left = world.recovery.machines().await?.len();
    world.check(FB_11, left == 0, format!("{left} cloud machines after commit"));
    let item = world.core.item(&world.item).await?;
    let unprotected = item.protection.phase == Phase::Committed && item.points.is_empty();
    world.check(LC_06, unprotected, format!("after failback and commit: {:?}", item.protection.phase));
    world.trace_state().await
}

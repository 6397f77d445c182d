//! After the last edge: protection ends, the guest shuts down, every disk left is whole.

use std::time::Duration;

use contract::{Operation, Phase, Platform, Side};
use harness::tools;

use super::world::World;
use super::{Halt, Running};

/// How long the guest may take to shut down.
const DOWN_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn end(world: &World, running: &Running) -> Result<(), Halt> {
    end_all(world, &[(world, running)]).await
}

/// The same for several machines of one world.
pub(crate) async fn end_all(world: &World, machines: &[(&World, &Running)]) -> Result<(), Halt> {
    for (world, running) in machines {
        retire(world, running).await?;
    }
    check_left(world).await
}

/// Ends a machine's protection and shuts it down.
async fn retire(world: &World, running: &Running) -> Result<(), Halt> {
    let item = world.core.item(&world.item).await?;
    let ready = item.protection.phase == Phase::Protected
        && item.protection.active == Side::Primary
        && item.allowed.contains(&Operation::UnplannedFailover);
    world.expect("LC-01", ready, format!("the cycle ends {:?}", item.protection)).await;
    rest(world, running).await?;
    let kept = world.recovery.volume_files().await.len();
    let machines = world.recovery.machines().await?.len();
    if kept + machines > 0 {
        let text = format!(
            "{machines} machines and {kept} volumes are left on the recovery side after protection ended"
        );
        return Err(Halt::Violation(text));
    }
    world.trace(format!("finish: {machines} machines and {kept} volumes left on the recovery side")).await;
    Ok(())
}

/// Protection ends, the guest shuts down, and every disk that is left is whole.
pub(crate) async fn rest(world: &World, running: &Running) -> Result<(), Halt> {
    let job = world.core.disable_protection(&world.item).await?;
    world.follow("finish", &job).await?;
    let step = world.evidence.step("finish", "shut the guest down");
    let trouble = running.boot.guest.witness().trouble();
    if let Some(trouble) = trouble {
        return Err(Halt::Violation(format!("the witness had trouble: {trouble}")));
    }
    running.boot.guest.shut_down(DOWN_WITHIN).await?;
    step.done();
    Ok(())
}

/// Every disk that is left is whole, and the recovery side holds nothing.
async fn check_left(world: &World) -> Result<(), Halt> {
    let step = world.evidence.step("finish", "check every disk that is left");
    for site in [&world.primary, &world.recovery] {
        for (_, path, format) in site.volume_files().await {
            if let Err(error) = tools::check(&path, format).await {
                return Err(Halt::Violation(format!("{path} is damaged: {error}")));
            }
        }
    }
    step.done();
    Ok(())
}

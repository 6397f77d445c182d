//! The twin whose SSH server does not start at boot: found before the failover, and not to be logged in to after it (CN-01).

use contract::{Decision, Direction, FailoverRequest, IssueClass, Millis, Platform as _, PowerState};
use inventory::Way;

use super::ssh_probe::{Visitor, rules};
use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge;
use crate::real::edge::failover;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown as finish;
use crate::rules::ids::*;
use crate::ssh::{Key, Login};

const EDGE: &str = "failover of the mute twin";
const NAME: &str = "mute";
/// The subnet that a machine is put into for which none is chosen.
const SUBNET: &str = "default";
/// How long its source may take to shut down.
const DOWN_WITHIN: Millis = Millis(60_000);

pub(crate) async fn fail_over(world: &ScenarioContext, key: &Key) -> Result<(), ScenarioError> {
    world.primary.restore();
    let twin = world.member(NAME);
    let played = play(&twin, key).await;
    world.merge_findings(&twin);
    played
}

async fn play(twin: &ScenarioContext, key: &Key) -> Result<(), ScenarioError> {
    let guise = setup::InstallProfile::native(&twin.primary).await?.with(|variant| {
        variant.ssh = false;
        variant.authorized_keys = vec![key.public().to_owned()];
    });
    let source = setup::boot_source_as(twin, &guise).await?;
    setup::protect_in(twin, None).await?;
    is_found(twin).await?;
    edge::await_points(twin, EDGE, &source).await?;
    let request = FailoverRequest {
        shut_down_source: true,
        shutdown_within: DOWN_WITHIN,
        ..failover::request(twin, Direction::PrimaryToRecovery)
    };
    let job = twin.core.failover(&request).await?;
    let recovered = edge::recover(twin, EDGE, &twin.recovery, &twin.machine, 0, &job).await?;
    let running = edge::put_to_work(twin, &twin.recovery, &recovered).await?;
    is_mute(twin, &running, key).await?;
    let job = twin.core.commit(&twin.item).await?;
    twin.follow(EDGE, &job).await?;
    finish::retire(twin, &running).await
}

/// CN-01: the configuration is found wanting, and the failover is not kept from happening.
async fn is_found(twin: &ScenarioContext) -> Result<(), ScenarioError> {
    let view = twin.core.check_configuration(&twin.item).await?;
    let of_ssh = |issue: &&contract::ConfigurationIssue| {
        issue.class == IssueClass::MissingConfiguration && issue.what.contains("SSH")
    };
    let found = view.issues.iter().find(of_ssh);
    twin.check(CN_01, found.is_some(), format!("findings: {:?}", view.issues));
    Ok(())
}

/// CN-01: networks let SSH in, the machine runs, and there is nobody to log in to.
async fn is_mute(twin: &ScenarioContext, running: &Running, key: &Key) -> Result<(), ScenarioError> {
    twin.recovery.secure_machine(&twin.machine, rules(Decision::Allow)).await?;
    twin.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    let login = Visitor::of(twin, running, key).await?.knock(Way::Private).await?;
    if login == Login::Refused {
        return Err(ScenarioError::Inconclusive(
            "the stand-in's network refuses what its rules let in".to_owned(),
        ));
    }
    twin.check(CN_01, matches!(login, Login::Failed(_)), format!("its server does not start: {login:?}"));
    let power = twin.recovery.machine(&twin.machine).await?.power;
    twin.check(CN_06, power == PowerState::On, format!("nobody can log in; the machine is {power:?}"));
    twin.trace("login: nobody answers in the machine");
    Ok(())
}

//! A second machine, whose SSH server does not start at boot: the core reports that before the
//! failover, and nobody can log in after it (CN-01).

use contract::{
    ConfigurationIssue, Decision, Direction, FailoverRequest, IssueClass, Millis, Platform as _, PowerState,
};
use inventory::Way;

use super::ssh_probe::{SshProbe, rules};
use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::recover::{RecoveryTarget, put_to_work, recover};
use crate::real::edge::recovery_point::wait_for_points;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown;
use crate::rules::ids::*;
use crate::ssh::{Key, Login};

/// Name of this part in progress and trace. It is no edge: its disks are not judged.
const LABEL: &str = "failover of the mute twin";
/// The machine.
const NAME: &str = "mute";
/// The subnet of a machine for which none was chosen.
const SUBNET: &str = "default";
/// How long its source may take to shut down.
const DOWN_WITHIN: Millis = Millis(60_000);

pub(super) async fn run(context: &ScenarioContext, key: &Key) -> Result<(), ScenarioError> {
    context.primary.restore();
    let machine = context.for_machine(NAME);
    let result = fail_over(&machine, key).await;
    context.merge_findings(&machine);
    result
}

async fn fail_over(context: &ScenarioContext, key: &Key) -> Result<(), ScenarioError> {
    let profile = setup::InstallProfile::native(&context.primary).await?.with(|variant| {
        variant.ssh = false;
        variant.authorized_keys = vec![key.public().to_owned()];
    });
    let source = setup::boot_source_as(context, &profile).await?;
    setup::enable_protection(context, None).await?;
    check_reported(context).await?;
    wait_for_points(context, LC_01, LABEL, &source).await?;
    let request = FailoverRequest {
        shut_down_source: true,
        shutdown_within: DOWN_WITHIN,
        ..FailoverRequest::unplanned(&context.item, Direction::PrimaryToRecovery)
    };
    let target = RecoveryTarget::new_machine(&context.recovery, context.machine.clone());
    let job = context.core.failover(&request).await?;
    let recovered = recover(context, LABEL, &target, &job).await?;
    let running = put_to_work(context, &recovered).await?;
    check_no_login(context, &running, key).await?;
    let job = context.core.commit(&context.item).await?;
    context.follow(LABEL, &job).await?;
    teardown::retire(context, &running).await
}

/// CN-01: the configuration check reports the missing SSH server. It does not prevent the failover.
async fn check_reported(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let issues = context.core.check_configuration(&context.item).await?.issues;
    let missing = |issue: &ConfigurationIssue| issue.class == IssueClass::MissingConfiguration;
    context.check(CN_01, issues.iter().any(missing), format!("findings: {issues:?}"));
    Ok(())
}

/// CN-01: the network lets SSH in and the machine runs (ST-07), but a login fails.
async fn check_no_login(
    context: &ScenarioContext,
    running: &Running,
    key: &Key,
) -> Result<(), ScenarioError> {
    context.recovery.secure_machine(&context.machine, rules(Decision::Allow)).await?;
    context.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    let probe = SshProbe::to(context, &context.recovery, running, key).await?;
    let login = probe.connect(Way::Private).await?;
    if login == Login::Refused {
        return Err(ScenarioError::Inconclusive(
            "the stand-in's network refuses what its rules allow".to_owned(),
        ));
    }
    let failed = matches!(login, Login::Failed(_));
    context.check(CN_01, failed, format!("its SSH server does not start: {login:?}"));
    let power = context.recovery.machine(&context.machine).await?.power;
    let found = format!("nobody can log in; the machine is {power:?}");
    context.check(ST_07, power == PowerState::On, found);
    context.trace("login: nobody answers in the machine");
    Ok(())
}

//! Target settings: what they make, when they cannot be met, and which issues they have (FO-17,
//! FO-18, MO-03).

use contract::{
    AgentVersion, Bytes, ComponentKind, DiskId, DiskKind, EnableProtection, ErrorCode, FailoverRequest,
    IssueClass, ItemView, JobState, Millis, Network, Placement, Platform, PlatformErrorKind, PointChoice,
    TargetSettings, TestFailoverRequest,
};
use simulator::testbed::preconditions::subscription;
use simulator::testbed::{HOUR, OUT, cloud_machine, enable_request, item_of};
use simulator::{SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::sim::check::{Check, check, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::{failover_refusal, forbids, refused};
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failover creates the machine that the target settings describe",
        &[CN_10, FO_17, LC_02, MO_06],
        Setup::vmware,
        as_described
    ),
    check!(
        "a machine name that the target platform does not allow is refused",
        &[FO_18],
        Setup::vmware,
        illegal_name
    ),
    check!(
        "a machine with more disks than the target platform allows is refused",
        &[FO_18],
        || Setup::of(SimProfile::HYPERV),
        too_many_disks
    ),
    check!(
        "each class of configuration issue is found, and gone once its cause is repaired",
        &[MO_03],
        Setup::vmware,
        issues
    ),
    check!(
        "a failover that exceeds the subscription's quota fails, and the source goes on serving",
        &[FO_18, JO_03],
        Setup::vmware,
        no_quota
    ),
];

fn target() -> TargetSettings {
    TargetSettings::new(cloud_machine("web"), Bytes(1 << 30))
}

async fn as_described(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let placement = Placement {
        resource_group: Some("archive".to_owned()),
        size: Some("medium".to_owned()),
        availability_set: Some("set-1".to_owned()),
        disk_kind: DiskKind::Managed,
        subnet: Some("test-failovers".to_owned()),
        address: Some(std::net::Ipv4Addr::new(203, 0, 113, 40)),
        ..Placement::default()
    };
    let network = Some(Network::Isolated);
    let settings =
        TargetSettings { network, placement: placement.clone(), ..TargetSettings::new("shop", Bytes(1)) };
    testbed.core.update_target(&item, &settings).await?;
    let shown = testbed.item(&item).await?;
    rules.check(FO_17, shown.target == settings, format!("the core shows {:?}", shown.target));
    let complete = shown.primary.1 == "web".into() && !shown.points.is_empty();
    rules.check(
        MO_06,
        complete,
        format!("machine {:?}, {:?}, {} points", shown.primary.1, shown.health, shown.points.len()),
    );
    testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
    let made = match testbed.recovery.machine(&"shop".into()).await {
        Err(error) if error.kind == PlatformErrorKind::NotFound => {
            rules.check(CN_10, false, format!("no machine of that name was created: {error}"));
            return Ok(());
        }
        answer => answer?,
    };
    // The size in the settings overrides the memory.
    let right = made.memory == Bytes(512 << 20) && made.placement == placement;
    rules.check(FO_17, right, format!("it was created with {} and {:?}", made.memory, made.placement));
    let network = testbed.recovery.spec(&"shop".into()).map(|spec| spec.network);
    let placed = network == Some(Network::Isolated)
        && (&made.placement.subnet, made.placement.address) == (&placement.subnet, placement.address);
    rules.check(
        CN_10,
        placed,
        format!("{network:?}, {:?}, {:?}", made.placement.subnet, made.placement.address),
    );
    let what = (LC_02, "a change of the target settings after the failover");
    let codes = [ErrorCode::NotAllowedInState];
    forbids(testbed, rules, what, &codes, testbed.core.update_target(&item, &target())).await?;
    testbed.commit_and_reprotect(&item).await?;
    testbed.wait_for_points(&item, 1).await?;
    testbed.wait_until_idle().await?;
    let what = (LC_02, "a change of the target settings while the machine replicates back");
    forbids(testbed, rules, what, &codes, testbed.core.update_target(&item, &target())).await
}

/// Installs a machine and asks for its protection under a name that no target can have. Protects it
/// under another name if the core refuses that. Returns the code of the refusal.
pub(super) async fn protect_under_illegal_name(
    testbed: &Testbed,
    machine: &str,
    illegal: &TargetSettings,
) -> Result<Option<ErrorCode>, EarlyEnd> {
    testbed.install(&SimInstall::new(machine)).await?;
    let legal = enable_request(machine);
    let request = EnableProtection { target: illegal.clone(), ..legal.clone() };
    let what = format!("protection as {}", illegal.machine);
    let found = refused(testbed, &what, testbed.core.enable_protection(&request)).await?;
    if found.is_some() {
        testbed.completed(testbed.core.enable_protection(&legal).await).await?;
    }
    Ok(found)
}

/// A core finds the name when it gets it or before it uses it: when the machine is protected, when
/// its settings are changed, or at every failover.
async fn illegal_name(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let illegal = TargetSettings::new("web_dr", Bytes(1 << 30));
    let item = item_of("web");
    let of_rule = |end| EarlyEnd { rule: FO_18, ..end };
    let at_first = protect_under_illegal_name(testbed, "web", &illegal).await.map_err(of_rule)?;
    testbed.wait_for_points(&item, 3).await?;
    let what = "target settings with the name web_dr";
    let settings = refused(testbed, what, testbed.core.update_target(&item, &illegal)).await;
    let settings = settings.map_err(of_rule)?;
    for (what, found) in [("protection as web_dr", at_first), (what, settings)] {
        let right = found.is_none_or(|code| code == ErrorCode::IllegalName);
        rules.check(FO_18, right, format!("{what}: {found:?}"));
    }
    if at_first.is_none() || settings.is_none() {
        let codes = [ErrorCode::IllegalName];
        let found = failover_refusal(testbed, &item, PointChoice::Latest).await?;
        rules.check(FO_18, found == Some(codes[0]), format!("a failover to web_dr: {found:?}"));
        let test = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
        let what = (FO_18, "a test failover to web_dr");
        forbids(testbed, rules, what, &codes, testbed.core.test_failover(&test)).await?;
    }
    testbed.core.update_target(&item, &target()).await?;
    testbed.fail_over(&item, PointChoice::Latest).await?;
    Ok(())
}

async fn too_many_disks(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let most = Profile::active().hyperv_max_disks();
    for (name, count) in [("many", most + 1), ("web", most)] {
        let data = |number| (DiskId(format!("disk-{number}")), Bytes(1 << 19));
        let disks = std::iter::once((DiskId::from("system"), Bytes(1 << 20))).chain((1..count).map(data));
        let install = SimInstall { disks: disks.collect(), ..SimInstall::new(name) };
        testbed.install(&install).await?;
        let request = enable_request(name);
        let item = request.item.clone();
        let what = format!("protection of a machine with {count} disks");
        if name == "many" {
            let mut found = refused(testbed, &what, testbed.core.enable_protection(&request)).await?;
            if found.is_none() {
                testbed.wait_for_points(&item, 1).await?;
                found = failover_refusal(testbed, &item, PointChoice::LatestProcessed).await?;
            }
            rules.check(FO_18, found == Some(ErrorCode::TooManyDisks), format!("{count} disks: {found:?}"));
        } else {
            testbed.completed(testbed.core.enable_protection(&request).await).await?;
            testbed.wait_for_points(&item, 1).await?;
            testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
            rules.check(FO_18, testbed.recovered(name)?.writes > 0, format!("{count} disks are allowed"));
        }
    }
    Ok(())
}

async fn issues(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    let with = |network| TargetSettings {
        network,
        placement: Placement {
            size: Some("medium".to_owned()),
            resource_group: Some("recovery".to_owned()),
            ..Placement::default()
        },
        ..target()
    };
    let classes = |view: ItemView| view.issues.into_iter().map(|issue| issue.class).collect::<Vec<_>>();
    let look = async || testbed.core.check_configuration(&item).await.map(classes);
    // New settings may be checked at the next regular time only.
    let set = async |settings: TargetSettings| {
        testbed.core.update_target(&item, &settings).await?;
        look().await
    };
    let mut note = |what: &str, found: Vec<IssueClass>, expected: &[IssueClass]| {
        rules.check(MO_03, found == expected, format!("{what}: {found:?}"));
    };
    let good = with(Some(Network::Production));
    note("no cause for an issue", set(good.clone()).await?, &[]);
    subscription(&testbed.recovery, |has| has.resource_groups.retain(|group| group != "recovery"));
    note("a missing resource group", look().await?, &[IssueClass::MissingResource]);
    subscription(&testbed.recovery, |has| has.resource_groups.push("recovery".to_owned()));
    note("the resource group is back", look().await?, &[]);
    let cores = |left| subscription(&testbed.recovery, |has| has.cores_left = left);
    cores(1);
    note("a quota of one core for a machine with two", look().await?, &[IssueClass::SubscriptionQuota]);
    cores(2);
    note("a quota of two cores", look().await?, &[]);
    note("no network is chosen", set(with(None)).await?, &[IssueClass::MissingConfiguration]);
    note("a network is chosen", set(good.clone()).await?, &[]);
    let at = |address: [u8; 4]| TargetSettings {
        placement: Placement {
            subnet: Some("test-failovers".to_owned()),
            address: Some(address.into()),
            ..Placement::default()
        },
        ..with(Some(Network::Isolated))
    };
    note("an address of the subnet", set(at([203, 0, 113, 40])).await?, &[]);
    let stray = set(at([198, 51, 100, 40])).await?;
    note("an address outside the subnet", stray, &[IssueClass::MissingResource]);
    testbed.core.update_target(&item, &good).await?;
    testbed.primary.components().alter("configuration-server", |part| {
        if let ComponentKind::ConfigurationServer(server) = &mut part.kind {
            server.agent = AgentVersion(9, 61);
        }
    });
    // The core finds it at its next regular check, without a request.
    let interval = Profile::active().configuration_check_interval_hours() * HOUR.0;
    testbed.advance(Millis(interval + 1_000)).await;
    note("an outdated agent", classes(testbed.item(&item).await?), &[IssueClass::SoftwareUpdate]);
    Ok(())
}

async fn no_quota(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    subscription(&testbed.recovery, |has| has.cores_left = 0);
    let request = FailoverRequest::unplanned(&item, OUT);
    let job = match testbed.core.failover(&request).await {
        Err(_) => None,
        Ok(job) => Some(testbed.ended(&job).await?),
    };
    let state = job.as_ref().map_or(JobState::Failed, |view| view.state);
    let machines = testbed.recovery.machines().await?.len();
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let serves = source.ended().is_none();
    let found = format!(
        "without a core left the failover was refused or ended {state:?}; the source serves: {serves}"
    );
    rules.check(FO_18, state == JobState::Failed && machines == 0 && serves, found);
    subscription(&testbed.recovery, |has| has.cores_left = 1);
    let Some(view) = job else {
        rules.leave_out(JO_03);
        testbed.fail_over_as(&request).await?;
        return Ok(());
    };
    testbed.core.retry_job(&view.id).await?;
    let view = testbed.completed(&view.id).await?;
    rules.check(JO_03, view.attempt == 2, format!("with one core left, attempt {} succeeds", view.attempt));
    Ok(())
}

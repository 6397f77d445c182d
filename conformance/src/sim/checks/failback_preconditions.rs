//! Preconditions of reprotection and failback to VMware: broken one after the other, refused or
//! failed by the right code, and repaired, after which the operation succeeds.

use contract::{
    Access, AccountRole, ErrorCode, FailoverRequest, GuestFacts, GuestOs, Health, ItemId, Millis, Phase,
    Platform, PlatformError, PointChoice, PowerState, ReprotectRequest, Side,
};
use simulator::testbed::preconditions::{
    self, FAILBACK, MASTER_TARGET_SNAPSHOTS, Precondition, READ_ONLY_ACCOUNT, REPROTECTION, UUID_CLASH,
    account_role, add_master_target, mount,
};
use simulator::testbed::{BACK, BOOT, INTERVAL, cloud_machine, enable_request, kept};
use simulator::{SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::attempt::Attempt;
use crate::sim::check::{Check, check, check_that, succeeds};
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a reprotection is refused for each precondition that is broken, and succeeds when all are repaired",
        &[
            IN_01, IN_02, IN_04, IN_05, PH_02, PO_05, RE_06, RE_11, RE_13, RE_18, RE_19, RE_22, RE_25, RE_26,
            RE_28,
        ],
        Setup::vmware,
        reprotection
    ),
    check!(
        "snapshots of the master target fail a reprotection, and its retry succeeds without them",
        &[JO_03, RE_08],
        Setup::vmware,
        fails(&MASTER_TARGET_SNAPSHOTS)
    ),
    check!(
        "an account that cannot list datastores fails a reprotection, and its retry succeeds once the account can",
        &[JO_03, RE_15, RE_16],
        Setup::vmware,
        read_only
    ),
    check!(
        "a machine with the master target's UUID fails its reprotection, and another UUID of the target repairs it",
        &[JO_03, RE_17],
        Setup::vmware,
        fails(&UUID_CLASH)
    ),
    check!(
        "a failback is refused for each precondition that is broken, and succeeds when all are repaired",
        &[IN_01, IN_02, IN_05, RE_06, RE_07, RE_13, RE_19, RE_22],
        Setup::vmware,
        failback
    ),
    check!(
        "a cloud machine whose migration is complete cannot be reprotected or failed back, and another one can",
        &[RE_21],
        Setup::vmware,
        machine_gone(RE_21, ErrorCode::MachineMigrated)
    ),
    check!(
        "a cloud machine that was deleted cannot be reprotected or failed back, and another one can",
        &[RE_23],
        Setup::vmware,
        machine_gone(RE_23, ErrorCode::CloudMachineGone)
    ),
    check!(
        "a failback fails while vCenter is down, loses nothing, and succeeds when it is tried again",
        &[JO_03, RE_14],
        Setup::vmware,
        vcenter_down
    ),
    check!(
        "replication back to the site stalls while a component is down, health shows it, and it resumes afterwards",
        &[IN_01, IN_02, MO_01],
        Setup::vmware,
        stalls
    ),
    check!(
        "a physical server with an unsupported Windows release does not fail back",
        &[RE_20],
        || Setup::of(SimProfile::PHYSICAL),
        old_windows(Some(ErrorCode::ReleaseNotSupported))
    ),
    check!(
        "a VMware machine with that Windows release does fail back",
        &[RE_11, RE_20],
        Setup::vmware,
        old_windows(None)
    ),
    check!("another master target can be chosen", &[IN_03], Setup::vmware, second_master_target),
];

/// Protects a machine, fails it over while its site is lost, and commits.
async fn committed_in_cloud(testbed: &Testbed) -> Result<ItemId, EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    Ok(item)
}

/// Protects a machine, fails it over while its site is lost, commits, and replicates it back to the
/// site.
async fn replicating_back(testbed: &Testbed) -> Result<ItemId, EarlyEnd> {
    let item = committed_in_cloud(testbed).await?;
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    testbed.wait_for_points(&item, 2).await?;
    Ok(item)
}

/// A precondition of the table whose rule is in the catalogue. The others are documented limits
/// without a rule of their own, which only the built-in core's tests look at.
fn judged<Request>(
    table: &[Precondition<Request>],
) -> impl Iterator<Item = (RuleId, &Precondition<Request>)> {
    table.iter().filter_map(|row| Some((RuleId::find(row.rule)?, row)))
}

async fn reprotection(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = committed_in_cloud(testbed).await?;
    let good = testbed.reprotection(&item, BACK);
    for (rule, row) in judged(REPROTECTION) {
        let mut request = good.clone();
        (row.break_it)(testbed, &mut request);
        let what = format!("a reprotection with {:?}", row.code);
        forbids(testbed, rules, (rule, &what), &[row.code], testbed.core.reprotect(&request)).await?;
        (row.repair)(testbed);
    }
    // The request that must be accepted for each refusal above: everything is repaired.
    testbed.reprotect(&good).await?;
    testbed.wait_for_points(&item, 2).await?;
    Ok(())
}

async fn failback(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = replicating_back(testbed).await?;
    for (rule, row) in judged(FAILBACK) {
        let mut request = FailoverRequest::unplanned(&item, BACK);
        (row.break_it)(testbed, &mut request);
        let what = format!("a failback with {:?}", row.code);
        forbids(testbed, rules, (rule, &what), &[row.code], testbed.core.failover(&request)).await?;
        let serves = testbed.copy_of("web").await?.power == PowerState::On;
        rules.check(rule, serves, format!("{what}: the cloud machine goes on serving: {serves}"));
        (row.repair)(testbed);
    }
    // Replication may have failed meanwhile, and tries again after a pause.
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    testbed.fail_back(&item).await?;
    match testbed.came_back("web", &testbed.primary)? {
        true => Ok(()),
        false => Err(EarlyEnd::core(LC_09, "with all preconditions repaired, the failback was incomplete")),
    }
}

/// The reprotection fails and changes nothing at the sites, and succeeds once the precondition is
/// repaired.
async fn fails(
    testbed: &Testbed,
    rules: &mut RuleLog,
    broken: &Precondition<ReprotectRequest>,
) -> Result<(), EarlyEnd> {
    let item = committed_in_cloud(testbed).await?;
    fails_and_is_retried(testbed, rules, broken, &item).await
}

async fn fails_and_is_retried(
    testbed: &Testbed,
    rules: &mut RuleLog,
    broken: &Precondition<ReprotectRequest>,
    item: &ItemId,
) -> Result<(), EarlyEnd> {
    let rule = RuleId::find(broken.rule).ok_or_else(|| unknown_rule(broken.rule))?;
    let mut request = testbed.reprotection(item, BACK);
    (broken.break_it)(testbed, &mut request);
    let volumes = testbed.primary.volumes();
    let attempt = Attempt::of(testbed, testbed.core.reprotect(&request).await).await?;
    rules.check(rule, attempt.code() == Some(broken.code), format!("the reprotection: {attempt}"));
    let at = testbed.item(item).await?.protection;
    let unchanged =
        at.phase == Phase::Committed && at.active == Side::Recovery && testbed.primary.volumes() == volumes;
    rules.check(rule, unchanged, format!("afterwards: {at:?}"));
    (broken.repair)(testbed);
    attempt.repeat(testbed, rules, testbed.core.reprotect(&request)).await?;
    testbed.wait_for_points(item, 2).await?;
    Ok(())
}

fn unknown_rule(rule: &str) -> EarlyEnd {
    EarlyEnd::inconclusive(format!("the catalogue has no rule {rule}"))
}

/// Protection and failover succeed with a read-only account; reprotection and failback only once it
/// may do more.
async fn read_only(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let install = SimInstall::new("web");
    testbed.install(&install).await?;
    account_role(testbed, AccountRole::ReadOnly);
    let request = enable_request("web");
    let item = &request.item;
    let protected = testbed.completed(testbed.core.enable_protection(&request).await).await;
    succeeds(rules, (RE_15, "protection with a read-only account"), protected)?;
    testbed.wait_for_points(item, 3).await?;
    testbed.fail_over_from_lost_site(item).await?;
    check_that(
        rules,
        RE_15,
        testbed.recovered("web")?.writes > 0,
        "the machine fails over with a read-only account",
    );
    let retried = fails_and_is_retried(testbed, rules, &READ_ONLY_ACCOUNT, item).await;
    if let Err(end) = &retried
        && end.unsupported
    {
        return retried;
    }
    let found = match &retried {
        Ok(()) => "the same job succeeds once the account can list datastores".to_owned(),
        Err(error) => format!("the same job, once the account can list datastores: {error}"),
    };
    rules.check(RE_16, retried.is_ok(), found);
    retried?;
    testbed.fail_back(item).await?;
    check_that(
        rules,
        RE_16,
        testbed.came_back("web", &testbed.primary)?,
        "the failback succeeds once the account may do more",
    );
    Ok(())
}

/// Marks a cloud machine as migrated, or deletes it.
async fn remove_for_good(testbed: &Testbed, machine: &str, code: ErrorCode) -> Result<(), EarlyEnd> {
    let copy = cloud_machine(machine);
    if code == ErrorCode::MachineMigrated {
        testbed.recovery.components().complete_migration(&copy);
    } else {
        let gone = |answer: Result<(), PlatformError>| kept("the cloud machine", answer);
        gone(testbed.recovery.power_off(&copy).await)?;
        gone(testbed.recovery.delete_machine(&copy).await)?;
    }
    Ok(())
}

/// A cloud machine that is gone cannot be reprotected while another one can; and then the other one
/// cannot be failed back for the same reason.
async fn machine_gone(
    testbed: &Testbed,
    rules: &mut RuleLog,
    rule: RuleId,
    code: ErrorCode,
) -> Result<(), EarlyEnd> {
    let web = testbed.protect("web").await?;
    let twin = testbed.protect("twin").await?;
    let third = testbed.protect("third").await?;
    testbed.wait_for_points(&third, 3).await?;
    testbed.primary.lose();
    for item in [&web, &twin, &third] {
        testbed.fail_over(item, PointChoice::Latest).await?;
        testbed.commit(item).await?;
    }
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    remove_for_good(testbed, "web", code).await?;
    let what = format!("a reprotection with {code:?}");
    let request = testbed.reprotection(&web, BACK);
    forbids(testbed, rules, (rule, &what), &[code], testbed.core.reprotect(&request)).await?;
    for item in [&twin, &third] {
        let reprotected = testbed.reprotect(&testbed.reprotection(item, BACK)).await;
        succeeds(rules, (rule, "a reprotection of another machine"), reprotected)?;
        testbed.wait_for_points(item, 2).await?;
    }
    remove_for_good(testbed, "twin", code).await?;
    let request = FailoverRequest::unplanned(&twin, BACK);
    let what = format!("a failback with {code:?}");
    forbids(testbed, rules, (rule, &what), &[code], testbed.core.failover(&request)).await?;
    let failed_back = testbed.fail_back(&third).await;
    succeeds(rules, (rule, "a failback of another machine"), failed_back)?;
    check_returned(rules, rule, testbed, ("third", &testbed.primary))?;
    Ok(())
}

async fn vcenter_down(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = replicating_back(testbed).await?;
    testbed.primary.components().disconnect("vcenter");
    let request = FailoverRequest::unplanned(&item, BACK);
    let attempt = Attempt::of(testbed, testbed.core.failover(&request).await).await?;
    let by_right_code = match &attempt {
        Attempt::Refused(refusal) => {
            [ErrorCode::VcenterDisconnected, ErrorCode::Platform].contains(&refusal.code)
        }
        Attempt::Ended(_) => attempt.failed(),
    };
    rules.check(RE_14, by_right_code, format!("the failback: {attempt}"));
    let serves = testbed.copy_of("web").await?.power == PowerState::On;
    testbed.advance(Millis(2 * INTERVAL.0)).await;
    let at = testbed.item(&item).await?.protection;
    let replicates = at.active == Side::Recovery && at.phase == Phase::Protected;
    let found = format!("the cloud machine goes on serving: {serves}; replication: {at:?}");
    rules.check(RE_14, serves && replicates, found);
    testbed.primary.components().connect("vcenter");
    attempt.repeat(testbed, rules, testbed.core.failover(&request)).await?;
    testbed.advance(BOOT).await;
    let complete = testbed.came_back("web", &testbed.primary)?;
    check_that(rules, RE_14, complete, "with vCenter back, the failback is complete");
    Ok(())
}

/// An outage of something that replication back to the site needs.
struct Outage {
    rule: RuleId,
    what: &'static str,
    begin: fn(&Testbed),
    end: fn(&Testbed),
}

const OUTAGES: [Outage; 4] = [
    Outage {
        rule: IN_02,
        what: "the private connection is down",
        begin: |at| at.recovery.components().disconnect("private-link"),
        end: |at| at.recovery.components().connect("private-link"),
    },
    Outage {
        rule: IN_01,
        what: "the process server is down",
        begin: |at| at.recovery.components().disconnect("cloud-process-server"),
        end: |at| at.recovery.components().connect("cloud-process-server"),
    },
    Outage {
        rule: MO_01,
        what: "the master target is down",
        begin: |at| at.primary.components().disconnect("master-target"),
        end: |at| at.primary.components().connect("master-target"),
    },
    Outage {
        rule: MO_01,
        what: "the datastore is read-only",
        begin: |at| mount(at, Access::Read),
        end: |at| mount(at, Access::Write),
    },
];

async fn stalls(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = replicating_back(testbed).await?;
    for Outage { rule, what, begin, end } in OUTAGES {
        begin(testbed);
        testbed.advance(Millis(2 * INTERVAL.0)).await;
        let view = testbed.item(&item).await?;
        let shown = view.health == Health::Critical && !view.trouble.is_empty();
        rules.check(rule, shown, format!("{what}: {:?}, {}", view.health, view.trouble));
        end(testbed);
        testbed.advance(Millis(8 * INTERVAL.0)).await;
        let view = testbed.item(&item).await?;
        let healed = view.health == Health::Healthy && view.trouble.is_empty();
        rules.check(rule, healed, format!("after {what}: {:?}, {}", view.health, view.trouble));
        rules.check(MO_01, shown && healed, format!("health shows that {what}, and that this has ended"));
    }
    testbed.fail_back(&item).await?;
    check_that(
        rules,
        IN_02,
        testbed.came_back("web", &testbed.primary)?,
        "after all outages the failback is complete",
    );
    Ok(())
}

/// Tries to fail a machine with Windows 2008 R2 SP1 back; `refusal`: the code with which that must
/// be refused.
async fn old_windows(
    testbed: &Testbed,
    rules: &mut RuleLog,
    refusal: Option<ErrorCode>,
) -> Result<(), EarlyEnd> {
    let guest = GuestFacts { release: GuestFacts::WINDOWS_2008_R2_SP1.to_owned(), ..GuestFacts::default() };
    let drivers = Some(["ahci", "vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned).to_vec());
    let install = SimInstall { os: GuestOs::Windows, guest, loads: drivers, ..SimInstall::new("web") };
    let item = testbed.protect_machine(&install).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let (site, name) = match refusal {
        Some(_) => (&testbed.other, "other"),
        None => (&testbed.primary, "primary"),
    };
    let request = testbed.reprotection_to(&item, site);
    let request = ReprotectRequest { failback_site: Some(name.into()), ..request };
    preconditions::master_target(site, |target| target.os = GuestOs::Windows);
    if let Some(code) = refusal {
        let what = (RE_20, "a reprotection of a physical server with that release");
        return forbids(testbed, rules, what, &[code], testbed.core.reprotect(&request)).await;
    }
    testbed.reprotect(&request).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    let complete = testbed.came_back("web", &testbed.primary)?;
    check_that(rules, RE_20, complete, "a VMware machine with that release fails back");
    check_that(
        rules,
        RE_11,
        complete,
        "the machine is reprotected through a master target with its own operating system",
    );
    Ok(())
}

/// Reprotects one machine through the configuration server's own master target, which the suite
/// names by default, and another one through a second master target.
async fn second_master_target(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let twin = testbed.protect("twin").await?;
    testbed.wait_for_points(&twin, 3).await?;
    testbed.fail_over_from_lost_site(&twin).await?;
    let item = committed_in_cloud(testbed).await?;
    add_master_target(testbed, "second", GuestOs::Linux);
    for (item, machine, target) in [(&twin, "twin", "master-target"), (&item, "web", "second")] {
        let request = testbed.reprotection(item, BACK);
        let request = ReprotectRequest { master_target: Some(target.into()), ..request };
        testbed.reprotect(&request).await?;
        testbed.wait_for_points(item, 2).await?;
        let on = testbed.machine_at(&testbed.primary, machine).await?.disks_on;
        let found = format!("{target} was named, and the disks of {machine} are attached to {on:?}");
        rules.check(IN_03, on == Some(target.into()), found);
    }
    testbed.fail_back(&item).await?;
    check_that(
        rules,
        IN_03,
        testbed.came_back("web", &testbed.primary)?,
        "the failback through the other master target is complete",
    );
    Ok(())
}

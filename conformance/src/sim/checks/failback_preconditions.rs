//! Preconditions of the way back, one after the other: refused or failed by a code, cured, and then it works.

use contract::{
    Access, AccountRole, ComponentKind, Direction, ErrorCode, GuestFacts, GuestOs, Health, JobState, Millis,
    Phase, Platform, PointChoice, PowerState, ReprotectRequest, Side,
};
use simulator::{SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::checks::failback_cases::{
    Case, FAILBACK, IN_JOB, REPROTECTION, add_master_target, mount, vcenter,
};
use crate::sim::said;
use crate::sim::testbed::{INTERVAL, Setup, Testbed, broken, cloud, request};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a reprotection lacks one thing after the other, and goes well when nothing is lacking",
        rules: &[
            IN_01, IN_02, IN_04, IN_05, PH_02, PO_05, RE_06, RE_11, RE_13, RE_18, RE_19, RE_22, RE_25, RE_26,
            RE_28,
        ],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(reprotection(lab, rules)),
    },
    Check {
        name: "snapshots of the master target fail a reprotection, whose retry goes well without them",
        rules: &[JO_03, RE_08],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(fails(lab, rules, &IN_JOB[0])),
    },
    Check {
        name: "an account that may not list datastores fails a reprotection, whose retry goes well once it may",
        rules: &[JO_03, RE_15, RE_16],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(read_only(lab, rules)),
    },
    Check {
        name: "a machine with the master target's UUID fails its reprotection, and another master target cures it",
        rules: &[JO_03, RE_17],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(fails(lab, rules, &IN_JOB[2])),
    },
    Check {
        name: "a failback lacks one thing after the other, and goes well when nothing is lacking",
        rules: &[IN_01, IN_02, IN_05, RE_06, RE_07, RE_13, RE_19, RE_22],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(failback(lab, rules)),
    },
    Check {
        name: "a copy whose migration is complete does not come back, and its neighbour does",
        rules: &[RE_21],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(for_good(lab, rules, RE_21, ErrorCode::MachineMigrated)),
    },
    Check {
        name: "a copy that was deleted does not come back, and its neighbour does",
        rules: &[RE_23],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(for_good(lab, rules, RE_23, ErrorCode::CloudMachineGone)),
    },
    Check {
        name: "a vCenter that goes down before a failback fails it and loses nothing",
        rules: &[JO_03, RE_14],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(vcenter_down(lab, rules)),
    },
    Check {
        name: "replication home stalls while its way is cut, which is shown, and goes on afterwards",
        rules: &[IN_01, IN_02, MO_01],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(stalls(lab, rules)),
    },
    Check {
        name: "a physical server with an old Windows does not fail back",
        rules: &[RE_20],
        setup: || Setup::of(SimProfile::PHYSICAL),
        body: |lab, rules| Box::pin(old_windows(lab, rules, Some(ErrorCode::ReleaseNotSupported))),
    },
    Check {
        name: "a VMware machine with an old Windows does",
        rules: &[RE_11, RE_20],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(old_windows(lab, rules, None)),
    },
    Check {
        name: "another master target can be chosen",
        rules: &[IN_03],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(second_master_target(lab, rules)),
    },
];

/// With a machine that was failed over while its site was lost, the failover committed.
async fn in_the_cloud(lab: &Testbed) -> Result<contract::ItemId, String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.go_out(&item).await?;
    Ok(item)
}

/// The same, and it replicates home.
async fn on_its_way(lab: &Testbed) -> Result<contract::ItemId, String> {
    let item = in_the_cloud(lab).await?;
    lab.reprotect(&lab.way_back(&item, &lab.primary)).await?;
    lab.points(&item, 2).await?;
    Ok(item)
}

async fn reprotection(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = in_the_cloud(lab).await?;
    let good = lab.way_back(&item, &lab.primary);
    for case in REPROTECTION {
        let mut spoilt = good.clone();
        (case.spoil)(lab, &mut spoilt);
        let asked = format!("a reprotection with {:?}", case.code);
        lab.forbids(rules, (case.rule, &asked), &[case.code], lab.core.reprotect(&spoilt)).await?;
        (case.cure)(lab);
    }
    // All of them are cured, so this is the twin of each.
    lab.reprotect(&good).await?;
    lab.points(&item, 2).await.map(drop)
}

async fn failback(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = on_its_way(lab).await?;
    let home = request(&item, Direction::RecoveryToPrimary, PointChoice::Latest);
    for case in FAILBACK {
        let mut unused = lab.way_back(&item, &lab.primary);
        (case.spoil)(lab, &mut unused);
        let asked = format!("a failback with {:?}", case.code);
        lab.forbids(rules, (case.rule, &asked), &[case.code], lab.core.failover(&home)).await?;
        let serves = lab.copy_of("web").await?.power == PowerState::On;
        rules.check(case.rule, serves, format!("{asked}: the copy serves on: {serves}"));
        (case.cure)(lab);
    }
    // Replication may have found something missing, and tries again by itself.
    lab.live(Millis(5 * INTERVAL.0)).await;
    lab.fail_back(&item).await?;
    match lab.came_back("web", &lab.primary)? {
        true => Ok(()),
        false => Err("with nothing lacking it came back incomplete".to_owned()),
    }
}

/// The job fails without a trace at the sites, and the same job goes well once it is cured.
async fn fails(lab: &Testbed, rules: &mut RuleLog, case: &Case) -> Result<(), String> {
    let item = in_the_cloud(lab).await?;
    failed_and_retried(lab, rules, case, &item).await
}

async fn failed_and_retried(
    lab: &Testbed,
    rules: &mut RuleLog,
    case: &Case,
    item: &contract::ItemId,
) -> Result<(), String> {
    let mut wanted = lab.way_back(item, &lab.primary);
    (case.spoil)(lab, &mut wanted);
    let volumes = lab.primary.volumes();
    let job = lab.core.reprotect(&wanted).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    let code = view.error.as_ref().map(|error| error.code);
    let failed = view.state == JobState::Failed && code == Some(case.code);
    rules.check(case.rule, failed, format!("the job ended {:?}: {code:?}", view.state));
    let at = lab.item(item).await?.protection;
    let still =
        at.phase == Phase::Committed && at.active == Side::Recovery && lab.primary.volumes() == volumes;
    rules.check(case.rule, still, format!("afterwards: {at:?}"));
    (case.cure)(lab);
    let retried = lab.core.retry_job(&job).await;
    rules.check(JO_03, retried.is_ok(), format!("tried again: {retried:?}"));
    retried.map_err(said)?;
    let view = lab.completed(Ok(job)).await?;
    rules.check(JO_03, view.attempt == 2, format!("the same job, attempt {}", view.attempt));
    lab.points(item, 2).await.map(drop)
}

/// Protection and failover go well with an account that may only look; the way back does not, until it may.
async fn read_only(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let role = |role| vcenter(lab, |vcenter| vcenter.role = role);
    let install = SimInstall::new("web");
    lab.install(&install).await?;
    role(AccountRole::ReadOnly);
    let wanted = crate::sim::testbed::enable(&install.machine);
    lab.completed(lab.core.enable_protection(&wanted).await).await?;
    lab.points(&wanted.item, 3).await?;
    rules.check(RE_15, true, "with an account that may only look it is protected");
    lab.go_out(&wanted.item).await?;
    rules.check(RE_15, lab.recovered("web")?.0 > 0, "and fails over");
    let retried = failed_and_retried(lab, rules, &IN_JOB[1], &wanted.item).await;
    rules.check(RE_16, retried.is_ok(), format!("the same job once the account may: {retried:?}"));
    retried?;
    lab.fail_back(&wanted.item).await?;
    rules.check(RE_16, lab.came_back("web", &lab.primary)?, "and so did the failback");
    Ok(())
}

/// What happened to one copy for good did not happen to its neighbour.
async fn for_good(lab: &Testbed, rules: &mut RuleLog, rule: RuleId, code: ErrorCode) -> Result<(), String> {
    let mut items = Vec::new();
    for name in ["web", "twin"] {
        items.push(lab.protect(name).await?);
    }
    lab.points(&items[1], 3).await?;
    lab.primary.lose();
    for item in &items {
        lab.fail_over(item, PointChoice::Latest).await?;
        lab.commit(item).await?;
    }
    lab.primary.restore();
    lab.live(INTERVAL).await;
    let copy = cloud(&"web".into());
    if code == ErrorCode::MachineMigrated {
        lab.recovery.components().complete_migration(&copy);
    } else {
        lab.recovery.power_off(&copy).await.map_err(broken)?;
        lab.recovery.delete_machine(&copy).await.map_err(broken)?;
    }
    let asked = format!("a reprotection: {code:?}");
    let wanted = lab.way_back(&items[0], &lab.primary);
    lab.forbids(rules, (rule, &asked), &[code], lab.core.reprotect(&wanted)).await?;
    lab.reprotect(&lab.way_back(&items[1], &lab.primary)).await?;
    lab.points(&items[1], 2).await?;
    // The neighbour is on its way when the same happens to it.
    let copy = cloud(&"twin".into());
    if code == ErrorCode::MachineMigrated {
        lab.recovery.components().complete_migration(&copy);
    } else {
        lab.recovery.power_off(&copy).await.map_err(broken)?;
        lab.recovery.delete_machine(&copy).await.map_err(broken)?;
    }
    let home = request(&items[1], Direction::RecoveryToPrimary, PointChoice::Latest);
    let asked = format!("a failback: {code:?}");
    lab.forbids(rules, (rule, &asked), &[code], lab.core.failover(&home)).await
}

async fn vcenter_down(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = on_its_way(lab).await?;
    lab.primary.components().disconnect("vcenter");
    let home = request(&item, Direction::RecoveryToPrimary, PointChoice::Latest);
    let job = lab.core.failover(&home).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    rules.check(RE_14, view.state == JobState::Failed, format!("the job ended {:?}", view.state));
    let serves = lab.copy_of("web").await?.power == PowerState::On;
    lab.live(Millis(2 * INTERVAL.0)).await;
    let now = lab.item(&item).await?;
    let on = serves && now.protection.active == Side::Recovery && now.protection.phase == Phase::Protected;
    rules.check(RE_14, on, format!("the copy serves and replicates on: {serves}, {:?}", now.protection));
    lab.primary.components().connect("vcenter");
    let retried = lab.core.retry_job(&job).await;
    rules.check(JO_03, retried.is_ok(), format!("tried again: {retried:?}"));
    retried.map_err(said)?;
    lab.completed(Ok(job)).await?;
    lab.live(crate::sim::testbed::BOOT).await;
    rules.check(RE_14, lab.came_back("web", &lab.primary)?, "with vCenter back it comes home whole");
    Ok(())
}

async fn stalls(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    type Act = fn(&Testbed);
    let ways: [(RuleId, &str, Act, Act); 4] = [
        (
            IN_02,
            "the private connection is down",
            |at| at.recovery.components().disconnect("private-link"),
            |at| at.recovery.components().connect("private-link"),
        ),
        (
            IN_01,
            "the process server is down",
            |at| at.recovery.components().disconnect("cloud-process-server"),
            |at| at.recovery.components().connect("cloud-process-server"),
        ),
        (
            MO_01,
            "the master target is down",
            |at| at.primary.components().disconnect("master-target"),
            |at| at.primary.components().connect("master-target"),
        ),
        (MO_01, "the datastore is read-only", |at| mount(at, Access::Read), |at| mount(at, Access::Write)),
    ];
    let item = on_its_way(lab).await?;
    for (rule, what, spoil, cure) in ways {
        spoil(lab);
        lab.live(Millis(2 * INTERVAL.0)).await;
        let view = lab.item(&item).await?;
        let shown = view.health == Health::Critical && !view.trouble.is_empty();
        rules.check(rule, shown, format!("{what}: {:?}, {}", view.health, view.trouble));
        cure(lab);
        lab.live(Millis(8 * INTERVAL.0)).await;
        let view = lab.item(&item).await?;
        let healed = view.health == Health::Healthy && view.trouble.is_empty();
        rules.check(rule, healed, format!("after {what}: {:?}, {}", view.health, view.trouble));
        rules.check(MO_01, shown && healed, format!("{what}, and no more"));
    }
    lab.fail_back(&item).await?;
    rules.check(IN_02, lab.came_back("web", &lab.primary)?, "it comes back whole");
    Ok(())
}

async fn old_windows(lab: &Testbed, rules: &mut RuleLog, refused: Option<ErrorCode>) -> Result<(), String> {
    let guest = GuestFacts { release: GuestFacts::WINDOWS_2008_R2_SP1.to_owned(), ..GuestFacts::default() };
    let drivers = Some(["ahci", "vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned).to_vec());
    let install = SimInstall { os: GuestOs::Windows, guest, loads: drivers, ..SimInstall::new("web") };
    let item = lab.protect_as(install, None).await?;
    lab.points(&item, 3).await?;
    lab.go_out(&item).await?;
    let site = if refused.is_some() { &lab.other } else { &lab.primary };
    let linux = lab.way_back(&item, site);
    site.components().alter("master-target", |part| {
        if let ComponentKind::MasterTarget(target) = &mut part.kind {
            target.os = GuestOs::Windows;
        }
    });
    let to = if refused.is_some() { "other" } else { "primary" };
    let wanted = ReprotectRequest { failback_site: Some(to.into()), ..linux };
    match refused {
        Some(code) => {
            let asked = (RE_20, "a physical server of that release");
            lab.forbids(rules, asked, &[code], lab.core.reprotect(&wanted)).await
        }
        None => {
            lab.reprotect(&wanted).await?;
            lab.points(&item, 2).await?;
            lab.fail_back(&item).await?;
            let back = lab.came_back("web", &lab.primary)?;
            rules.check(RE_20, back, "a VMware machine of that release comes back");
            rules.check(RE_11, back, "through a master target of its own system");
            Ok(())
        }
    }
}

async fn second_master_target(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = in_the_cloud(lab).await?;
    add_master_target(lab, "second", GuestOs::Linux);
    let offered = lab.way_back(&item, &lab.primary);
    let built_in = offered.master_target == Some("master-target".into());
    rules.check(IN_03, built_in, format!("{:?} is offered first", offered.master_target));
    let wanted = ReprotectRequest { master_target: Some("second".into()), ..offered };
    lab.reprotect(&wanted).await?;
    lab.points(&item, 2).await?;
    let on = lab.primary.machine(&"web".into()).await.map_err(broken)?.disks_on;
    rules.check(IN_03, on == Some("second".into()), format!("its disks hang on {on:?}"));
    lab.fail_back(&item).await?;
    rules.check(IN_03, lab.came_back("web", &lab.primary)?, "and it comes back whole");
    Ok(())
}

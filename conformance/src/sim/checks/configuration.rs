//! What a target shall look like, whether it can be, and what is wrong with it (FO-17, FO-18, MO-03).

use contract::{
    AgentVersion, Bytes, ComponentKind, DiskId, DiskKind, EnableProtection, ErrorCode, IssueClass, ItemView,
    JobState, Millis, Network, Placement, Platform, PointChoice, Subscription, TargetSettings,
};
use simulator::{SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::testbed::{HOUR, Setup, Testbed, broken, cloud, enable, test_failover_request};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "what is set before a failover is what is made",
        rules: &[CN_10, FO_17, LC_02, MO_06],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(as_wanted(lab, rules)),
    },
    Check {
        name: "a name that the target cannot have is refused wherever it is met",
        rules: &[FO_18],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(illegal_name(lab, rules)),
    },
    Check {
        name: "more disks than the target can have are refused",
        rules: &[FO_18],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(too_many_disks(lab, rules)),
    },
    Check {
        name: "each class of configuration issue is found by itself, and gone once it is cured",
        rules: &[MO_03],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(issues(lab, rules)),
    },
    Check {
        name: "a target that the subscription cannot give fails its failover, and the source serves on",
        rules: &[FO_18, JO_03],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(no_quota(lab, rules)),
    },
];

fn subscription(lab: &Testbed, change: impl FnOnce(&mut Subscription)) {
    lab.recovery.components().alter("subscription", |part| {
        if let ComponentKind::Subscription(subscription) = &mut part.kind {
            change(subscription);
        }
    });
}

fn target() -> TargetSettings {
    TargetSettings::new(cloud(&"web".into()), Bytes(1 << 30))
}

async fn as_wanted(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
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
    let wanted =
        TargetSettings { network, placement: placement.clone(), ..TargetSettings::new("shop", Bytes(1)) };
    lab.core.update_target(&item, &wanted).await.map_err(said)?;
    let shown = lab.item(&item).await?;
    rules.check(FO_17, shown.target == wanted, format!("it is shown as {:?}", shown.target));
    let view = shown.primary.1 == "web".into() && !shown.points.is_empty();
    rules.check(
        MO_06,
        view,
        format!("machine {:?}, {:?}, {} points", shown.primary.1, shown.health, shown.points.len()),
    );
    lab.fail_over(&item, PointChoice::LatestProcessed).await?;
    let made = match lab.recovery.machine(&"shop".into()).await {
        Ok(made) => made,
        Err(none) => {
            rules.check(CN_10, false, format!("no machine of that name was made: {none}"));
            return Ok(());
        }
    };
    // The size decides over the memory.
    let right = made.memory == Bytes(512 << 20) && made.placement == placement;
    rules.check(FO_17, right, format!("it was made with {} at {:?}", made.memory, made.placement));
    let network = lab.recovery.spec(&"shop".into()).map(|spec| spec.network);
    let placed = network == Some(Network::Isolated)
        && (&made.placement.subnet, made.placement.address) == (&placement.subnet, placement.address);
    rules.check(
        CN_10,
        placed,
        format!("{network:?}, {:?}, {:?}", made.placement.subnet, made.placement.address),
    );
    let asked = (LC_02, "another target after the failover");
    let codes = [ErrorCode::NotAllowedInState];
    lab.forbids(rules, asked, &codes, lab.core.update_target(&item, &target())).await
}

async fn illegal_name(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let install = SimInstall::new("web");
    lab.install(&install).await?;
    let odd = TargetSettings::new("web_dr", Bytes(1 << 30));
    let wanted = EnableProtection { target: odd.clone(), ..enable(&install.machine) };
    lab.completed(lab.core.enable_protection(&wanted).await).await?;
    let item = wanted.item;
    lab.points(&item, 3).await?;
    let codes = [ErrorCode::IllegalName];
    let found = lab.refusal(&item, PointChoice::Latest).await?;
    rules.check(FO_18, found == Some(codes[0]), format!("a failover to web_dr: {found:?}"));
    let test = test_failover_request(&item, PointChoice::LatestProcessed);
    lab.forbids(rules, (FO_18, "a test failover of web_dr"), &codes, lab.core.test_failover(&test)).await?;
    let asked = (FO_18, "web_dr as a target's name");
    lab.forbids(rules, asked, &codes, lab.core.update_target(&item, &odd)).await?;
    lab.core.update_target(&item, &target()).await.map_err(said)?;
    lab.fail_over(&item, PointChoice::Latest).await.map(drop)
}

async fn too_many_disks(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let most = Profile::active().hyperv_max_disks();
    for (name, count) in [("many", most + 1), ("web", most)] {
        let data = |number| (DiskId(format!("disk-{number}")), Bytes(1 << 19));
        let disks = std::iter::once((DiskId::from("system"), Bytes(1 << 20))).chain((1..count).map(data));
        let install = SimInstall { disks: disks.collect(), ..SimInstall::new(name) };
        let item = lab.protect_as(install, None).await?;
        lab.points(&item, 1).await?;
        if name == "many" {
            let found = lab.refusal(&item, PointChoice::LatestProcessed).await?;
            rules.check(FO_18, found == Some(ErrorCode::TooManyDisks), format!("{count} disks: {found:?}"));
        } else {
            lab.fail_over(&item, PointChoice::LatestProcessed).await?;
            rules.check(FO_18, lab.recovered(name)?.0 > 0, format!("{count} disks can be"));
        }
    }
    Ok(())
}

async fn issues(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
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
    let look = async || lab.core.check_configuration(&item).await.map(classes).map_err(said);
    let mut note = |what: &str, found: Vec<IssueClass>, expected: &[IssueClass]| {
        rules.check(MO_03, found == expected, format!("{what}: {found:?}"));
    };
    let good = with(Some(Network::Production));
    note("all in order", lab.core.update_target(&item, &good).await.map(classes).map_err(said)?, &[]);
    subscription(lab, |has| has.resource_groups.retain(|group| group != "recovery"));
    note("a resource group that is gone", look().await?, &[IssueClass::MissingResource]);
    subscription(lab, |has| has.resource_groups.push("recovery".to_owned()));
    note("a resource group that is back", look().await?, &[]);
    let cores = |left| subscription(lab, |has| has.cores_left = left);
    cores(1);
    note("one core left for two", look().await?, &[IssueClass::SubscriptionQuota]);
    cores(2);
    note("two cores left for two", look().await?, &[]);
    let open = lab.core.update_target(&item, &with(None)).await.map(classes).map_err(said)?;
    note("no network chosen", open, &[IssueClass::MissingConfiguration]);
    note("one chosen", lab.core.update_target(&item, &good).await.map(classes).map_err(said)?, &[]);
    lab.primary.components().alter("configuration-server", |part| {
        if let ComponentKind::ConfigurationServer(server) = &mut part.kind {
            server.agent = AgentVersion(9, 61);
        }
    });
    // Nobody asks: it is found at its regular time.
    let interval = Profile::active().configuration_check_interval_hours() * HOUR.0;
    lab.live(Millis(interval + 1_000)).await;
    note("an agent that is out of date", classes(lab.item(&item).await?), &[IssueClass::SoftwareUpdate]);
    Ok(())
}

async fn no_quota(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    subscription(lab, |has| has.cores_left = 0);
    let out =
        crate::sim::testbed::request(&item, contract::Direction::PrimaryToRecovery, PointChoice::Latest);
    let view = lab.ended(lab.core.failover(&out).await).await?;
    let machines = lab.recovery.machines().await.map_err(broken)?.len();
    let source = lab.primary.last_boot(&"web".into()).ok_or("the source never booted")?;
    let safe = view.state == JobState::Failed && machines == 0 && source.ended().is_none();
    rules.check(FO_18, safe, format!("without a core left it ended {:?}", view.state));
    subscription(lab, |has| has.cores_left = 1);
    lab.core.retry_job(&view.id).await.map_err(said)?;
    let view = lab.completed(Ok(view.id)).await?;
    rules.check(JO_03, view.attempt == 2, format!("with one, attempt {} goes well", view.attempt));
    Ok(())
}

//! The way back to Hyper-V: straight from committed, in two phases or as one download (HF).

use contract::{
    AlternateHost, ComponentKind, DataSync, Direction, DiskKind, EnableProtection, ErrorCode, FailoverKind,
    FailoverRequest, Host, ItemId, JobAction, JobId, JobState, Millis, Operation, Phase, Placement, Platform,
    PointChoice, PowerState, Side, TargetSettings,
};
use simulator::{Link, Load, SimFault, SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::testbed::{BOOT, HOUR, INTERVAL, Setup, Testbed, broken, cloud, enable, request};

const CERTIFICATE: &str = "3f2a";

fn setup() -> Setup {
    Setup::of(SimProfile::HYPERV)
}

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "with its data synchronised first a Hyper-V machine serves until it is told to go, and loses nothing",
        rules: &[
            FB_06, FB_07, FB_12, HF_01, HF_05, HF_06, HF_08, HF_15, HF_16, HF_17, HF_27, JO_02, LC_10, LC_12,
        ],
        setup,
        body: |lab, rules| Box::pin(two_phases(lab, rules)),
    },
    Check {
        name: "what travels is what differs, or everything, as it was asked for",
        rules: &[HF_07, HF_09, HF_10, HF_13, HF_18],
        setup,
        body: |lab, rules| Box::pin(amounts(lab, rules)),
    },
    Check {
        name: "a synchronisation broken off leaves a machine that nobody takes for whole, until another completes it",
        rules: &[HF_19, HF_20, HF_21, JO_04],
        setup,
        body: |lab, rules| Box::pin(broken_off(lab, rules)),
    },
    Check {
        name: "a failback to another host lacks one thing after the other, and goes well when nothing is lacking",
        rules: &[FB_10, HF_02, HF_14, HF_22, HF_23, HF_24],
        setup,
        body: |lab, rules| Box::pin(another_host(lab, rules)),
    },
    Check {
        name: "a full download makes a machine that was deleted",
        rules: &[FB_10, HF_11],
        setup,
        body: |lab, rules| Box::pin(deleted(lab, rules)),
    },
    Check {
        name: "from managed disks there is no way back to Hyper-V, from a storage account there is",
        rules: &[HF_26],
        setup,
        body: |lab, rules| Box::pin(managed_disks(lab, rules)),
    },
];

fn home(item: &ItemId, sync: DataSync) -> FailoverRequest {
    FailoverRequest {
        kind: FailoverKind::Planned,
        data_sync: Some(sync),
        ..request(item, Direction::RecoveryToPrimary, PointChoice::Latest)
    }
}

/// Protects a machine whose target is special, fails it over without loss and commits.
async fn in_the_cloud(
    lab: &Testbed,
    install: SimInstall,
    change: impl FnOnce(TargetSettings) -> TargetSettings,
) -> Result<ItemId, String> {
    lab.install(&install).await?;
    let wanted = enable(&install.machine);
    let wanted = EnableProtection { target: change(wanted.target), ..wanted };
    lab.completed(lab.core.enable_protection(&wanted).await).await?;
    lab.points(&wanted.item, 2).await?;
    let out = FailoverRequest {
        shut_down_source: true,
        ..request(&wanted.item, Direction::PrimaryToRecovery, PointChoice::Latest)
    };
    lab.completed(lab.core.failover(&out).await).await?;
    lab.commit(&wanted.item).await?;
    lab.live(INTERVAL).await;
    Ok(wanted.item)
}

/// Follows a failback to the moment at which it waits.
async fn waiting(lab: &Testbed, wanted: &FailoverRequest) -> Result<JobId, String> {
    let job = lab.core.failover(wanted).await.map_err(said)?;
    let view = lab.until(&job, |view| view.state == JobState::WaitingForCompletion).await?;
    match view.state {
        JobState::WaitingForCompletion => Ok(job),
        state => {
            Err(format!("the failback does not wait after its synchronisation: {state:?}, {:?}", view.error))
        }
    }
}

async fn completed(lab: &Testbed, item: &ItemId, job: JobId) -> Result<(), String> {
    lab.core.complete_failover(item).await.map_err(said)?;
    lab.completed(Ok(job)).await?;
    lab.live(BOOT).await;
    Ok(())
}

async fn two_phases(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = in_the_cloud(lab, SimInstall::new("web"), |target| target).await?;
    // HF-27: neither of these is of any use here.
    lab.recovery.components().remove("cloud-process-server");
    lab.recovery.components().remove("private-link");
    let (_, copy) = lab.boots("web")?;
    lab.recovery.set_link(Link { latency: INTERVAL, ..Link::default() });
    let acked = copy.acks().len();
    let job = waiting(lab, &home(&item, DataSync::BeforeFailover)).await?;
    let (_, copy) = lab.boots("web")?;
    let more = copy.acks().len() - acked;
    rules.check(
        HF_06,
        more > 0 && copy.ended().is_none(),
        format!("{more} records while data was synchronised"),
    );
    lab.recovery.set_link(Link::default());

    lab.live(Millis(30 * HOUR.0)).await;
    let view = lab.core.job(&job).await.map_err(said)?;
    let waits = view.state == JobState::WaitingForCompletion && lab.boots("web")?.1.ended().is_none();
    rules.check(HF_08, waits, format!("after thirty hours the job is {:?}", view.state));
    let offered = view.actions.contains(&JobAction::Complete);
    rules.check(JO_02, offered, format!("it offers {:?}", view.actions));
    completed(lab, &item, job.clone()).await?;
    let view = lab.core.job(&job).await.map_err(said)?;
    rules.check(JO_02, !view.actions.contains(&JobAction::Complete), "and does so no more at its end");
    rules.check(HF_27, true, "it needed no process server and no private connection");

    let (source, target) = ended_pair(lab)?;
    let apart = source.ended().is_some_and(|(off, _)| off <= target.started);
    let found = format!("the copy ended {:?}, the machine began {:?}", source.ended(), target.started);
    for rule in [FB_06, FB_07, LC_10] {
        rules.check(rule, apart, found.clone());
    }
    rules.check(HF_05, lab.came_back("web", &lab.primary)?, "nothing is lost");
    let view = lab.item(&item).await?;
    let pending = view.protection.phase == Phase::CommitPending && target.up.is_ok();
    rules.check(HF_15, pending, format!("{:?}, up: {:?}", view.protection, target.up));
    let power = lab.copy_of("web").await.map(|copy| copy.power);
    rules.check(FB_12, power == Ok(PowerState::Off), format!("before commit the copy is {power:?}"));
    rules.check(LC_12, view.protection.active == Side::Primary, format!("{:?}", view.protection));
    rules.check(
        HF_17,
        !view.allowed.contains(&Operation::ReverseReplicate),
        "before commit it is not offered",
    );
    committed(lab, rules, &item).await
}

fn ended_pair(
    lab: &Testbed,
) -> Result<(std::sync::Arc<simulator::SimBoot>, std::sync::Arc<simulator::SimBoot>), String> {
    let source = lab.recovery.last_boot(&cloud(&"web".into())).ok_or("there was no copy")?;
    let target = lab.primary.last_boot(&"web".into()).ok_or("it never came up")?;
    Ok((source, target))
}

/// HF-16, HF-17: the copy is gone, and it can be protected again.
async fn committed(lab: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), String> {
    lab.commit(item).await?;
    let machines = lab.recovery.machines().await.map_err(broken)?.len();
    let view = lab.item(item).await?;
    let ready = view.allowed.contains(&Operation::ReverseReplicate);
    rules.check(
        HF_16,
        machines == 0 && ready,
        format!("{machines} machines in the cloud; {:?}", view.allowed),
    );
    lab.completed(lab.core.reverse_replicate(item).await).await?;
    lab.points(item, 2).await?;
    let at = lab.item(item).await?.protection;
    let again = at.phase == Phase::Protected && at.active == Side::Primary;
    rules.check(HF_17, again, format!("after reverse replication: {at:?}"));
    lab.fail_over(item, PointChoice::Latest).await?;
    rules.check(HF_01, lab.recovered("web")?.0 > 0, "the round can be gone once more");
    Ok(())
}

/// Rewrites large pieces, one a minute on each disk: enough to fill them in hours, and little in the time of a failback.
fn filling(machine: &str) -> SimInstall {
    let load = Load { record_every: INTERVAL, churn_every: INTERVAL, churn_bytes: 64 * 1024 };
    SimInstall { load, ..SimInstall::new(machine) }
}

/// How long neither machine ran.
fn downtime(lab: &Testbed) -> Result<Millis, String> {
    let (source, target) = ended_pair(lab)?;
    let off = source.ended().ok_or("the copy still runs")?.0;
    Ok(target.started.since(off))
}

/// Bytes that arrive, counted at the sites, and how long neither machine runs, over a slow link: first everything,
/// then what differs.
async fn amounts(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = in_the_cloud(lab, filling("web"), |target| target).await?;
    lab.live(Millis(3 * HOUR.0)).await;
    let all: u64 = lab.copy_of("web").await?.disks.iter().map(|disk| disk.size.0).sum();
    let content = content(lab).await?;
    lab.recovery.set_link(Link { bytes_per_second: 512 * 1024, ..Link::default() });
    let before = lab.primary.written().0;
    lab.completed(lab.core.failover(&home(&item, DataSync::DuringFailover)).await).await?;
    let full = lab.primary.written().0 - before;
    rules.check(
        HF_10,
        full >= content && content > all / 2,
        format!("{full} bytes arrived, {content} of {all} have content"),
    );
    let long = downtime(lab)?;
    lab.commit(&item).await?;
    let before = lab.recovery.written().0;
    lab.completed(lab.core.reverse_replicate(&item).await).await?;
    lab.points(&item, 1).await?;
    let out = lab.recovery.written().0 - before;
    rules.check(HF_18, out < all / 2, format!("{out} of {all} bytes went out again"));

    let planned = FailoverRequest {
        kind: FailoverKind::Planned,
        ..request(&item, Direction::PrimaryToRecovery, PointChoice::Latest)
    };
    lab.completed(lab.core.failover(&planned).await).await?;
    lab.commit(&item).await?;
    lab.live(BOOT).await;
    let before = lab.primary.written().0;
    let job = waiting(lab, &home(&item, DataSync::BeforeFailover)).await?;
    let first = lab.primary.written().0 - before;
    rules.check(HF_09, first < all / 2, format!("{first} of {all} bytes arrived in the first phase"));
    completed(lab, &item, job).await?;
    let last = lab.primary.written().0 - before - first;
    rules.check(HF_07, last < all / 2, format!("{last} of {all} bytes arrived in the second phase"));
    let quick = downtime(lab)?;
    rules.check(HF_13, quick < long, format!("neither ran for {quick} and for {long}"));
    lab.recovery.set_link(Link::default());
    Ok(())
}

/// Bytes of the copy's disks that are not zero, in pieces of 4 KiB.
async fn content(lab: &Testbed) -> Result<u64, String> {
    let mut bytes = 0;
    for disk in lab.copy_of("web").await?.disks {
        let disk = lab.recovery.snapshot(&disk.volume).ok_or("a disk of the copy cannot be read")?;
        let holds = |chunk: &u64| disk.bytes(chunk * 4096, 4096).iter().any(|byte| *byte != 0);
        bytes += (0..disk.size() / 4096).filter(holds).count() as u64 * 4096;
    }
    Ok(bytes)
}

/// Cancelled on the way, cancelled while it waits, and failed in the midst of a disk.
async fn broken_off(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = in_the_cloud(lab, SimInstall::new("web"), |target| target).await?;
    let wanted = home(&item, DataSync::BeforeFailover);
    lab.recovery.set_link(Link { latency: INTERVAL, ..Link::default() });
    let job = lab.core.failover(&wanted).await.map_err(said)?;
    lab.live(Millis(3 * INTERVAL.0 / 2)).await;
    lab.core.cancel_job(&job).await.map_err(said)?;
    incomplete(lab, rules, &item, job, JobState::Cancelled).await?;
    lab.recovery.set_link(Link::default());

    let job = waiting(lab, &wanted).await?;
    lab.core.cancel_failover(&item).await.map_err(said)?;
    incomplete(lab, rules, &item, job, JobState::Cancelled).await?;

    lab.primary.inject(&SimFault::WriteError(3));
    let job = lab.core.failover(&home(&item, DataSync::DuringFailover)).await.map_err(said)?;
    incomplete(lab, rules, &item, job, JobState::Failed).await?;
    lab.primary.heal();
    lab.live(BOOT).await;

    let job = waiting(lab, &wanted).await?;
    completed(lab, &item, job).await?;
    let view = lab.item(&item).await?;
    let whole = lab.came_back("web", &lab.primary)?;
    let found = format!("whole: {whole}; shown as incomplete: {}", view.synchronisation_incomplete);
    rules.check(HF_20, whole && !view.synchronisation_incomplete, found);
    Ok(())
}

async fn incomplete(
    lab: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    job: JobId,
    how: JobState,
) -> Result<(), String> {
    let ended = lab.ended(Ok(job)).await?.state;
    rules.check(JO_04, ended == how, format!("the job ended {ended:?}"));
    let view = lab.item(item).await?;
    let at = view.protection;
    let shown =
        view.synchronisation_incomplete && at.phase == Phase::Committed && at.active == Side::Recovery;
    let found = format!("{how:?}: {at:?}, shown as incomplete: {}", view.synchronisation_incomplete);
    rules.check(HF_19, shown, found);
    let off = lab.primary.machine(&"web".into()).await.map_err(broken)?.power == PowerState::Off;
    rules.check(HF_19, off, "the machine that is half old and half new does not run");
    lab.live(BOOT).await;
    let (_, copy) = lab.boots("web")?;
    let acked = copy.acks().len();
    lab.live(BOOT).await;
    let (_, copy) = lab.boots("web")?;
    let serves = copy.ended().is_none() && copy.acks().len() > acked;
    rules.check(HF_21, serves, format!("{how:?}: the cloud machine serves on: {serves}"));
    let again = view.allowed.contains(&Operation::PlannedFailover);
    rules.check(HF_20, again, format!("{how:?}: another failback is offered: {again}"));
    Ok(())
}

async fn lose_the_original(lab: &Testbed) -> Result<(), String> {
    let original = lab.primary.machine(&"web".into()).await.map_err(broken)?;
    lab.primary.delete_machine(&original.id).await.map_err(broken)?;
    for disk in original.disks {
        lab.primary.delete_volume(&disk.volume).await.map_err(broken)?;
    }
    Ok(())
}

fn on(host: &str, create_machine: bool) -> Option<AlternateHost> {
    Some(AlternateHost { host: host.into(), create_machine })
}

/// One thing that is wrong, and how it is put right.
struct Case {
    rule: RuleId,
    code: ErrorCode,
    spoil: fn(&Testbed, &mut FailoverRequest),
    cure: fn(&Testbed),
}

fn host(lab: &Testbed, change: fn(&mut Host)) {
    lab.primary.components().alter("host-2", |part| {
        if let ComponentKind::Host(host) = &mut part.kind {
            change(host);
        }
    });
}

/// For a machine that is gone, to be made on the other host; data in the cloud is encrypted.
#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { rule: HF_14, code: ErrorCode::CertificateNotGiven, spoil: |_, ask| ask.certificate = None, cure: |_| {} },
    Case { rule: HF_14, code: ErrorCode::CertificateWrong, spoil: |_, ask| ask.certificate = Some("another".to_owned()), cure: |_| {} },
    Case { rule: HF_02, code: ErrorCode::HostDisconnected,
        spoil: |at, _| at.primary.components().disconnect("host-connection"), cure: |at| at.primary.components().connect("host-connection") },
    Case { rule: HF_22, code: ErrorCode::HostUnknown, spoil: |_, ask| ask.alternate = on("host-9", true), cure: |_| {} },
    Case { rule: HF_24, code: ErrorCode::HostNotPrepared,
        spoil: |at, _| host(at, |host| host.prepared = false), cure: |at| host(at, |host| host.prepared = true) },
    Case { rule: HF_23, code: ErrorCode::SwitchMissing,
        spoil: |at, _| host(at, |host| host.switches = vec!["Internal".to_owned()]),
        cure: |at| host(at, |host| host.switches.push("External".to_owned())) },
    Case { rule: HF_22, code: ErrorCode::MachineMissing, spoil: |_, ask| ask.alternate = on("host-2", false), cure: |_| {} },
];

async fn another_host(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let encrypted = |target| TargetSettings { encrypted_with: Some(CERTIFICATE.to_owned()), ..target };
    let item = in_the_cloud(lab, SimInstall::new("web"), encrypted).await?;
    lose_the_original(lab).await?;
    let good = FailoverRequest {
        certificate: Some(CERTIFICATE.to_owned()),
        alternate: on("host-2", true),
        ..home(&item, DataSync::BeforeFailover)
    };
    for case in CASES {
        let mut spoilt = good.clone();
        (case.spoil)(lab, &mut spoilt);
        let asked = format!("a failback with {:?}", case.code);
        lab.forbids(rules, (case.rule, &asked), &[case.code], lab.core.failover(&spoilt)).await?;
        (case.cure)(lab);
    }
    let job = waiting(lab, &good).await?;
    completed(lab, &item, job).await?;
    let whole = lab.came_back("web", &lab.primary)?;
    let made = lab.primary.machine(&"web".into()).await.map_err(broken)?.placement;
    let there = whole && made.host == Some("host-2".into());
    rules.check(HF_22, there, format!("it came back to {:?}", made.host));
    rules.check(FB_10, there, "it came back though the original was gone");
    let switch = made.switch.as_deref() == Some("External");
    rules.check(HF_23, switch, format!("it hangs on the switch {:?}", made.switch));
    Ok(())
}

async fn deleted(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = in_the_cloud(lab, SimInstall::new("web"), |target| target).await?;
    lose_the_original(lab).await?;
    lab.completed(lab.core.failover(&home(&item, DataSync::DuringFailover)).await).await?;
    lab.live(BOOT).await;
    let whole = lab.came_back("web", &lab.primary)?;
    rules.check(HF_11, whole, "machine and disks were deleted, and it came back whole");
    rules.check(FB_10, whole, "it came back though the original was gone");
    Ok(())
}

async fn managed_disks(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    for (name, disk_kind) in [("managed", DiskKind::Managed), ("web", DiskKind::StorageAccount)] {
        let placement = Placement { disk_kind, ..Placement::default() };
        let target = |target| TargetSettings { placement, ..target };
        let item = in_the_cloud(lab, SimInstall::new(name), target).await?;
        let wanted = home(&item, DataSync::DuringFailover);
        if disk_kind == DiskKind::Managed {
            let asked = (HF_26, "a failback from managed disks");
            lab.forbids(rules, asked, &[ErrorCode::ManagedDisks], lab.core.failover(&wanted)).await?;
            continue;
        }
        lab.completed(lab.core.failover(&wanted).await).await?;
        rules.check(HF_26, lab.came_back(name, &lab.primary)?, "from a storage account it comes back");
    }
    Ok(())
}

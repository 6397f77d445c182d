//! What is refused where, by the catalogue's automaton, which is written down here without a look at any core's.

use contract::{
    CoreError, DataSync, Direction, ErrorCode, FailoverKind, FailoverRequest, ItemId, JobId, Operation,
    Phase, PointChoice, Protection, Side,
};
use simulator::{Link, SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::testbed::{BOOT, INTERVAL, Setup, Testbed, enable, request, test_failover_request};

use Operation::{
    CancelFailover, ChangePoint, Commit, CompleteFailover, PlannedFailover, Reprotect, ReverseReplicate,
    TestFailover, TestFailoverCleanup, UnplannedFailover,
};
use Phase::{CommitPending, Committed, Protected};
use Side::{Primary, Recovery};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "what is out of order is refused at every stage, and the next stage is offered: VMware",
        rules: &[FO_03, FO_21, JO_01, LC_01, LC_02, LC_06, LC_07, LC_08, LC_14, RE_24],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(stages(lab, rules, VMWARE)),
    },
    Check {
        name: "what is out of order is refused at every stage, and the next stage is offered: regions",
        rules: &[FO_03, JO_01, LC_01, LC_02, LC_06, LC_07, LC_08, LC_13, LC_14],
        setup: || Setup::of(SimProfile::AZURE),
        body: |lab, rules| Box::pin(regions(lab, rules)),
    },
    Check {
        name: "what is out of order is refused at every stage, and the next stage is offered: Hyper-V",
        rules: &[FO_03, HF_01, HF_03, HF_04, HF_17, JO_01, LC_01, LC_02, LC_07, LC_08],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(hyperv(lab, rules)),
    },
    Check {
        name: "a machine whose first copy is under way cannot be failed over, and can be afterwards",
        rules: &[LC_03],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(first_copy(lab, rules)),
    },
    Check {
        name: "a point belongs to its machine",
        rules: &[RP_10],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(anothers_point(lab, rules)),
    },
];

/// A stage: how it is reached, where that is, and what must not be asked there, with the rule that says so.
struct Stage {
    by: Operation,
    at: (Phase, Side),
    forbidden: &'static [(Operation, RuleId)],
}

const fn stage(by: Operation, at: (Phase, Side), forbidden: &'static [(Operation, RuleId)]) -> Stage {
    Stage { by, at, forbidden }
}

/// The round begins with a protected machine, so the last stage is the first of the next round.
const VMWARE: &[Stage] = &[
    stage(UnplannedFailover, (CommitPending, Recovery), UNDECIDED),
    stage(Commit, (Committed, Recovery), UNPROTECTED),
    stage(
        Reprotect,
        (Protected, Recovery),
        &[
            (ChangePoint, LC_02),
            (Commit, LC_02),
            (PlannedFailover, FO_21),
            (Reprotect, LC_02),
            (ReverseReplicate, LC_02),
        ],
    ),
    stage(UnplannedFailover, (CommitPending, Primary), UNDECIDED),
    stage(Commit, (Committed, Primary), AT_HOME),
    stage(
        Reprotect,
        (Protected, Primary),
        &[
            (CancelFailover, LC_02),
            (ChangePoint, LC_02),
            (Commit, LC_02),
            (CompleteFailover, LC_02),
            (PlannedFailover, FO_21),
            (Reprotect, LC_02),
            (ReverseReplicate, LC_02),
            (TestFailoverCleanup, LC_02),
        ],
    ),
];

/// Failed over and not committed.
const UNDECIDED: &[(Operation, RuleId)] =
    &[(Reprotect, LC_02), (ReverseReplicate, LC_02), (TestFailover, LC_02), (UnplannedFailover, LC_02)];

/// Committed and not replicating, in the cloud.
const UNPROTECTED: &[(Operation, RuleId)] = &[
    (ChangePoint, FO_03),
    (Commit, LC_02),
    (ReverseReplicate, LC_02),
    (TestFailover, LC_02),
    (UnplannedFailover, LC_14),
];

/// The same at home.
const AT_HOME: &[(Operation, RuleId)] = &[
    (ChangePoint, FO_03),
    (Commit, LC_02),
    (ReverseReplicate, LC_02),
    (TestFailover, LC_02),
    (UnplannedFailover, LC_06),
];

const HYPERV: &[Stage] = &[
    stage(
        UnplannedFailover,
        (CommitPending, Recovery),
        &[
            (PlannedFailover, HF_03),
            (ReverseReplicate, HF_17),
            (TestFailover, LC_02),
            (UnplannedFailover, LC_02),
        ],
    ),
    stage(
        Commit,
        (Committed, Recovery),
        &[
            (ChangePoint, FO_03),
            (Commit, LC_02),
            (ReverseReplicate, HF_17),
            (TestFailover, HF_04),
            (UnplannedFailover, HF_04),
        ],
    ),
    // Without a reprotection in between (HF-01).
    stage(
        PlannedFailover,
        (CommitPending, Primary),
        &[(PlannedFailover, LC_02), (ReverseReplicate, HF_17), (UnplannedFailover, LC_02)],
    ),
    stage(
        Commit,
        (Committed, Primary),
        &[
            (ChangePoint, FO_03),
            (Commit, LC_02),
            (PlannedFailover, LC_02),
            (TestFailover, LC_02),
            (UnplannedFailover, LC_02),
        ],
    ),
    stage(
        ReverseReplicate,
        (Protected, Primary),
        &[(ChangePoint, LC_02), (Commit, LC_02), (ReverseReplicate, HF_17)],
    ),
];

/// Codes that say that something is not to be had here.
const NOT_HERE: &[ErrorCode] = &[ErrorCode::NotAllowedInState, ErrorCode::NotSupported];

async fn regions(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    stages(lab, rules, VMWARE).await?;
    rules.check(LC_13, true, "between two regions all stages are gone through, there and back");
    Ok(())
}

async fn hyperv(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    stages(lab, rules, HYPERV).await?;
    rules.check(HF_01, true, "it came back straight from the committed state");
    Ok(())
}

/// Twice round: once asking for all that is forbidden, once without a halt.
async fn stages(lab: &Testbed, rules: &mut RuleLog, round: &[Stage]) -> Result<(), String> {
    let item = lab.protect("web").await?;
    let mut trace = Vec::new();
    for asks in [true, false] {
        for stage in round {
            let ready = lab.item(&item).await?;
            if ready.protection.phase == Protected {
                lab.points(&item, 2).await?;
            }
            lab.live(BOOT).await;
            arrive(lab, rules, &item, stage).await?;
            trace.push(stage.at);
            if asks {
                stay(lab, rules, &item, stage).await?;
            }
        }
    }
    let expected: Vec<_> = round.iter().chain(round).map(|stage| stage.at).collect();
    rules.check(LC_01, trace == expected, format!("two rounds went through {} stages", trace.len()));
    Ok(())
}

/// Goes to the next stage, which is offered; the other way is refused.
async fn arrive(lab: &Testbed, rules: &mut RuleLog, item: &ItemId, stage: &Stage) -> Result<(), String> {
    let from = lab.item(item).await?;
    let rule = if from.protection.phase == CommitPending { LC_07 } else { LC_02 };
    let offered = from.allowed.contains(&stage.by);
    rules.check(rule, offered, format!("{:?} is offered at {:?}", stage.by, from.protection));
    let direction = Direction::from_side(from.protection.active);
    if let Some(astray) = ask_astray(lab, item, stage.by, from.protection) {
        let asked = format!("{:?} the wrong way", stage.by);
        lab.forbids(rules, (LC_08, &asked), &[ErrorCode::WrongDirection], astray).await?;
    }
    let job = lab.completed(ask(lab, item, stage.by, from.protection).await).await?;
    let right = job.direction == direction;
    // What has failed over and is committed goes on in the direction in which it went.
    if stage.by != Commit {
        rules.check(LC_08, right, format!("the job of {:?} says {:?}", stage.by, job.direction));
    }
    let told = !job.steps.is_empty() && job.steps.iter().all(|step| step.took.is_some());
    rules.check(JO_01, told && job.ended.is_some(), format!("{:?} has {} steps", stage.by, job.steps.len()));
    let Protection { phase, active } = lab.item(item).await?.protection;
    if (phase, active) != stage.at {
        return Err(format!("{:?} leads to {phase:?} at {active:?}, not to {:?}", stage.by, stage.at));
    }
    Ok(())
}

/// Asks for all that is forbidden here.
async fn stay(lab: &Testbed, rules: &mut RuleLog, item: &ItemId, stage: &Stage) -> Result<(), String> {
    let here = lab.item(item).await?;
    for (operation, rule) in stage.forbidden {
        let asked = format!("{operation:?} at {:?}", here.protection);
        let offered = here.allowed.contains(operation);
        rules.check(*rule, !offered, format!("{asked} is offered: {offered}"));
        lab.forbids(rules, (*rule, &asked), NOT_HERE, ask(lab, item, *operation, here.protection)).await?;
        if *rule == LC_14 && here.protection.active == Recovery {
            rules.check(RE_24, true, "a cloud machine that does not replicate back does not fail back");
        }
    }
    Ok(())
}

/// Asks for an operation as it would be right, if it were allowed. What starts no job answers with no job's name.
async fn ask(lab: &Testbed, item: &ItemId, operation: Operation, at: Protection) -> Result<JobId, CoreError> {
    let (core, direction) = (&lab.core, Direction::from_side(at.active));
    let none = || JobId::from("");
    match operation {
        UnplannedFailover => core.failover(&failover(item, FailoverKind::Unplanned, direction, at)).await,
        PlannedFailover => core.failover(&failover(item, FailoverKind::Planned, direction, at)).await,
        TestFailover => core.test_failover(&test_failover_request(item, PointChoice::LatestProcessed)).await,
        TestFailoverCleanup => core.clean_up_test_failover(item).await,
        ChangePoint => core.change_point(item, &PointChoice::LatestProcessed).await,
        Commit => core.commit(item).await,
        Reprotect => match direction {
            Direction::PrimaryToRecovery => core.reprotect(&lab.way_out(item, &lab.primary)).await,
            Direction::RecoveryToPrimary => core.reprotect(&lab.way_back(item, &lab.primary)).await,
        },
        ReverseReplicate => core.reverse_replicate(item).await,
        Operation::DisableProtection => core.disable_protection(item).await,
        CompleteFailover => core.complete_failover(item).await.map(|()| none()),
        CancelFailover => core.cancel_failover(item).await.map(|()| none()),
    }
}

/// The same in the direction in which it cannot go; `None` if it has none.
fn ask_astray<'a>(
    lab: &'a Testbed,
    item: &'a ItemId,
    operation: Operation,
    at: Protection,
) -> Option<impl Future<Output = Result<JobId, CoreError>> + 'a> {
    let direction = Direction::from_side(at.active.other());
    let kind = match operation {
        UnplannedFailover => Some(FailoverKind::Unplanned),
        PlannedFailover => Some(FailoverKind::Planned),
        Reprotect => None,
        _ => return None,
    };
    Some(async move {
        match (kind, direction) {
            (Some(kind), _) => lab.core.failover(&failover(item, kind, direction, at)).await,
            (None, Direction::PrimaryToRecovery) => {
                lab.core.reprotect(&lab.way_out(item, &lab.primary)).await
            }
            (None, Direction::RecoveryToPrimary) => {
                lab.core.reprotect(&lab.way_back(item, &lab.primary)).await
            }
        }
    })
}

fn failover(item: &ItemId, kind: FailoverKind, direction: Direction, at: Protection) -> FailoverRequest {
    let back = kind == FailoverKind::Planned && at.active == Recovery;
    let data_sync = back.then_some(DataSync::DuringFailover);
    FailoverRequest {
        kind,
        data_sync,
        shut_down_source: true,
        ..request(item, direction, PointChoice::Latest)
    }
}

async fn first_copy(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let install = SimInstall::new("web");
    lab.install(&install).await?;
    lab.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let wanted = enable(&install.machine);
    let job = lab.core.enable_protection(&wanted).await.map_err(said)?;
    let phase = lab.item(&wanted.item).await?.protection.phase;
    rules.check(LC_03, phase == Phase::InitialReplication, format!("the item is shown as {phase:?}"));
    let none = [ErrorCode::NotAllowedInState, ErrorCode::NoRecoveryPoint, ErrorCode::Busy];
    let out = request(&wanted.item, Direction::PrimaryToRecovery, PointChoice::Latest);
    let asked = (LC_03, "a failover during the first copy");
    lab.forbids(rules, asked, &none, lab.core.failover(&out)).await?;
    lab.primary.set_link(Link::default());
    lab.completed(Ok(job)).await?;
    lab.fail_over(&wanted.item, PointChoice::Latest).await.map(drop)
}

async fn anothers_point(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let [one, other] = [lab.protect("one").await?, lab.protect("other").await?];
    lab.points(&one, 2).await?;
    lab.points(&other, 2).await?;
    let point = lab.processed(&other).await?.last().ok_or("there is no point")?.id.clone();
    let found = lab.refusal(&one, PointChoice::Custom(point.clone())).await?;
    let strange = [ErrorCode::UnknownId, ErrorCode::BadRequest, ErrorCode::PointExpired];
    let refused = found.is_some_and(|code| strange.contains(&code));
    rules.check(RP_10, refused, format!("{point}, which is another machine's: {found:?}"));
    lab.fail_over(&other, PointChoice::Custom(point)).await.map(drop)
}

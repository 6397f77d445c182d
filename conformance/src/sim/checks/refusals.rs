//! Which operations are refused in which state. The states and their order are written down here
//! from the catalogue of rules, independently of any core.

use contract::{
    CoreError, DataSync, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest, ItemId,
    JobId, Millis, Operation, Phase, PointChoice, Protection, RecoveryPoint, Side, TestFailoverRequest,
};
use simulator::testbed::{BOOT, INTERVAL, OUT, enable_request, failover_with_shutdown, item_of};
use simulator::{Link, SimInstall, SimProfile};

use crate::refusal::{NOT_HERE, NOT_HERE_OR_NO_POINT, NOT_HERE_OR_NO_POINTS, UNPROTECTED};
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, succeeds};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::{failover_refusal, forbids, refused};
use crate::sim::testbed::{Setup, Testbed};

use Operation::{
    CancelFailover, ChangePoint, Commit, CompleteFailover, PlannedFailover, Reprotect, ReverseReplicate,
    TestFailover, TestFailoverCleanup, UnplannedFailover,
};
use Phase::{CommitPending, Committed, Protected};
use Side::{Primary, Recovery};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "in every state the wrong operations are refused and the next one is offered: VMware",
        &[FO_03, FO_21, JO_01, LC_01, LC_02, LC_06, LC_07, LC_08, LC_14, RE_24],
        Setup::vmware,
        lifecycle(VMWARE)
    ),
    check!(
        "in every state the wrong operations are refused and the next one is offered: regions",
        &[FO_03, JO_01, LC_01, LC_02, LC_06, LC_07, LC_08, LC_13, LC_14],
        || Setup::of(SimProfile::AZURE),
        regions
    ),
    check!(
        "in every state the wrong operations are refused and the next one is offered: Hyper-V",
        &[FO_03, HF_01, HF_03, HF_04, HF_17, JO_01, LC_01, LC_02, LC_07, LC_08],
        || Setup::of(SimProfile::HYPERV),
        hyperv
    ),
    check!(
        "a machine can be failed over only after its initial replication",
        &[LC_03],
        Setup::vmware,
        initial_replication
    ),
    check!(
        "an item that is protected is not protected again, and another machine is",
        &[LC_02],
        Setup::vmware,
        protected_again
    ),
    check!(
        "a machine cannot be failed over to a point of another machine",
        &[RP_10],
        Setup::vmware,
        foreign_point
    ),
];

/// The item that is protected may be the machine's own or that of another machine.
async fn protected_again(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.install(&SimInstall::new("db")).await?;
    let of_another = EnableProtection { item: item.clone(), ..enable_request("db") };
    for (what, request) in [("the same machine", enable_request("web")), ("another machine", of_another)] {
        let what = format!("protection of {what} as an item that there is");
        let found = refused(testbed, &what, testbed.core.enable_protection(&request)).await?;
        rules.check(LC_02, found.is_some(), format!("{what}: {found:?}"));
    }
    let accepted = testbed.completed(testbed.core.enable_protection(&enable_request("db")).await).await;
    succeeds(rules, (LC_02, "protection of another machine as an item of its own"), accepted)?;
    Ok(())
}

/// How far a core's clock may be behind that of the sites.
const CLOCKS_APART: Millis = Millis(60_000);

/// A state of the lifecycle.
struct State {
    /// The operation that leads to it.
    by: Operation,
    at: (Phase, Side),
    /// The operations that are forbidden in it, each with the rule that forbids it.
    forbidden: &'static [(Operation, RuleId)],
}

const fn state(by: Operation, at: (Phase, Side), forbidden: &'static [(Operation, RuleId)]) -> State {
    State { by, at, forbidden }
}

/// VMware machines and regions. A round begins with a protected machine, so the last state is the
/// first of the next round.
const VMWARE: &[State] = &[
    state(UnplannedFailover, (CommitPending, Recovery), UNDECIDED),
    state(Commit, (Committed, Recovery), UNPROTECTED_IN_CLOUD),
    state(
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
    state(UnplannedFailover, (CommitPending, Primary), UNDECIDED),
    state(Commit, (Committed, Primary), UNPROTECTED_ON_PRIMARY),
    state(
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

/// Forbidden between failover and commit.
const UNDECIDED: &[(Operation, RuleId)] =
    &[(Reprotect, LC_02), (ReverseReplicate, LC_02), (TestFailover, LC_02), (UnplannedFailover, LC_02)];

/// Forbidden in the cloud after commit, without replication.
const UNPROTECTED_IN_CLOUD: &[(Operation, RuleId)] = &[
    (ChangePoint, FO_03),
    (Commit, LC_02),
    (ReverseReplicate, LC_02),
    (TestFailover, LC_02),
    (UnplannedFailover, LC_14),
];

/// Forbidden on the primary site after the commit of a failback, without replication.
const UNPROTECTED_ON_PRIMARY: &[(Operation, RuleId)] = &[
    (ChangePoint, FO_03),
    (Commit, LC_02),
    (ReverseReplicate, LC_02),
    (TestFailover, LC_02),
    (UnplannedFailover, LC_06),
];

const HYPERV: &[State] = &[
    state(
        UnplannedFailover,
        (CommitPending, Recovery),
        &[
            (PlannedFailover, HF_03),
            (ReverseReplicate, HF_17),
            (TestFailover, LC_02),
            (UnplannedFailover, LC_02),
        ],
    ),
    state(
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
    // Without a reprotection before it (HF-01).
    state(
        PlannedFailover,
        (CommitPending, Primary),
        &[(PlannedFailover, LC_02), (ReverseReplicate, HF_17), (UnplannedFailover, LC_02)],
    ),
    state(
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
    state(
        ReverseReplicate,
        (Protected, Primary),
        &[(ChangePoint, LC_02), (Commit, LC_02), (ReverseReplicate, HF_17)],
    ),
];

async fn regions(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    lifecycle(testbed, rules, VMWARE).await?;
    let item = item_of("web");
    testbed.wait_for_points(&item, 2).await?;
    testbed.completed(testbed.core.failover(&failover_with_shutdown(&item)).await).await?;
    testbed.advance(BOOT).await;
    let boots = testbed.boots("web")?;
    let complete = boots.is_complete() && boots.target.up.is_ok();
    let found = format!("after all states in both directions, a failover to the other region: {complete}");
    rules.check(LC_13, complete, found);
    Ok(())
}

async fn hyperv(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let cycled = lifecycle(testbed, rules, HYPERV).await;
    succeeds(rules, (HF_01, "the whole cycle of a machine without a reprotection"), cycled)
}

/// Goes through all states twice: the first time with every forbidden request, the second time
/// without.
async fn lifecycle(testbed: &Testbed, rules: &mut RuleLog, round: &[State]) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    let mut trace = Vec::new();
    for with_forbidden_requests in [true, false] {
        for state in round {
            if testbed.item(&item).await?.protection.phase == Protected {
                testbed.wait_for_points(&item, 2).await?;
            }
            testbed.advance(BOOT).await;
            go_to(testbed, rules, &item, state).await?;
            trace.push(state.at);
            if with_forbidden_requests {
                request_forbidden(testbed, rules, &item, state).await?;
            }
        }
    }
    let expected: Vec<_> = round.iter().chain(round).map(|state| state.at).collect();
    rules.check(LC_01, trace == expected, format!("two rounds went through {} states", trace.len()));
    Ok(())
}

/// Goes to the next state: the operation that leads there is offered, and refused in the wrong
/// direction.
async fn go_to(testbed: &Testbed, rules: &mut RuleLog, item: &ItemId, state: &State) -> Result<(), EarlyEnd> {
    let from = testbed.item(item).await?;
    let rule = if from.protection.phase == CommitPending { LC_07 } else { LC_02 };
    let offered = from.allowed.contains(&state.by);
    rules.check(rule, offered, format!("{:?} is offered in {:?}: {offered}", state.by, from.protection));
    if let Some(wrong) = request_wrong_direction(testbed, item, state.by, from.protection) {
        let what = format!("{:?} in the wrong direction", state.by);
        forbids(testbed, rules, (LC_08, &what), &[ErrorCode::WrongDirection], wrong).await?;
    }
    let asked = testbed.world.clock().now();
    let job = testbed.completed(request(testbed, item, state.by, from.protection).await).await?;
    let found = format!("asked for at {asked:?}, the job of {:?} began at {:?}", state.by, job.started);
    rules.check(JO_01, asked.since(job.started) <= CLOCKS_APART, found);
    // A commit does not change the direction, so its job may show that of the failover.
    if state.by != Commit {
        let right = job.direction == Direction::from_side(from.protection.active);
        rules.check(LC_08, right, format!("the job of {:?} shows {:?}", state.by, job.direction));
    }
    let timed = !job.steps.is_empty() && job.steps.iter().all(|step| step.took.is_some());
    let found = format!("the job of {:?} has {} steps with times", state.by, job.steps.len());
    rules.check(JO_01, timed && job.ended.is_some(), found);
    let Protection { phase, active } = testbed.item(item).await?.protection;
    if (phase, active) != state.at {
        let what = format!("{:?} leads to {phase:?} at {active:?}, not to {:?}", state.by, state.at);
        rules.check(LC_01, false, what.clone());
        return Err(EarlyEnd::core(LC_02, what));
    }
    Ok(())
}

/// Makes every request that is forbidden in this state.
async fn request_forbidden(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    state: &State,
) -> Result<(), EarlyEnd> {
    let view = testbed.item(item).await?;
    let at = view.protection;
    for (operation, rule) in state.forbidden {
        let what = format!("{operation:?} in {at:?}");
        let offered = view.allowed.contains(operation);
        rules.check(*rule, !offered, format!("{what} is offered: {offered}"));
        let codes = codes(*operation, at.phase);
        forbids(testbed, rules, (*rule, &what), codes, request(testbed, item, *operation, at)).await?;
        if *rule == LC_14 && at.active == Recovery {
            let what = "a failback of a cloud machine that does not replicate back";
            forbids(testbed, rules, (RE_24, what), codes, request(testbed, item, *operation, at)).await?;
        }
    }
    Ok(())
}

/// The codes by which an operation may be refused that a state does not allow. A commit has deleted
/// the points, which is as good a reason as the state.
fn codes(operation: Operation, phase: Phase) -> &'static [ErrorCode] {
    match operation {
        UnplannedFailover | PlannedFailover if phase == Committed => UNPROTECTED,
        TestFailover if phase == Committed => NOT_HERE_OR_NO_POINTS,
        ChangePoint if phase == Committed => NOT_HERE_OR_NO_POINT,
        _ => NOT_HERE,
    }
}

/// Requests an operation in the form that is right where it is allowed. An operation that starts no
/// job answers with an empty job id.
async fn request(
    testbed: &Testbed,
    item: &ItemId,
    operation: Operation,
    at: Protection,
) -> Result<JobId, CoreError> {
    let core = &testbed.core;
    let direction = Direction::from_side(at.active);
    let no_job = |()| JobId::from("");
    match operation {
        UnplannedFailover => core.failover(&failover(item, FailoverKind::Unplanned, direction, at)).await,
        PlannedFailover => core.failover(&failover(item, FailoverKind::Planned, direction, at)).await,
        TestFailover => {
            core.test_failover(&TestFailoverRequest::isolated(item, PointChoice::LatestProcessed)).await
        }
        TestFailoverCleanup => core.clean_up_test_failover(item).await,
        ChangePoint => core.change_point(item, &PointChoice::LatestProcessed).await,
        Commit => core.commit(item).await,
        Reprotect => core.reprotect(&testbed.reprotection(item, direction)).await,
        ReverseReplicate => core.reverse_replicate(item).await,
        Operation::DisableProtection => core.disable_protection(item).await,
        Operation::Verify => core.verify(item).await,
        CompleteFailover => core.complete_failover(item).await.map(no_job),
        CancelFailover => core.cancel_failover(item).await.map(no_job),
    }
}

/// Requests an operation in the direction that is impossible in this state; `None` if the operation
/// has no direction.
fn request_wrong_direction<'a>(
    testbed: &'a Testbed,
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
        match kind {
            Some(kind) => testbed.core.failover(&failover(item, kind, direction, at)).await,
            None => testbed.core.reprotect(&testbed.reprotection(item, direction)).await,
        }
    })
}

fn failover(item: &ItemId, kind: FailoverKind, direction: Direction, at: Protection) -> FailoverRequest {
    let planned_failback = kind == FailoverKind::Planned && at.active == Recovery;
    let data_sync = planned_failback.then_some(DataSync::DuringFailover);
    FailoverRequest { kind, data_sync, shut_down_source: true, ..FailoverRequest::unplanned(item, direction) }
}

async fn initial_replication(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.install(&SimInstall::new("web")).await?;
    testbed.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let enable = enable_request("web");
    let job = testbed.core.enable_protection(&enable).await?;
    let phase = testbed.item(&enable.item).await?.protection.phase;
    rules.check(LC_03, phase == Phase::InitialReplication, format!("the item is shown as {phase:?}"));
    let codes = [ErrorCode::NotAllowedInState, ErrorCode::NoRecoveryPoint, ErrorCode::Busy];
    let request = FailoverRequest::unplanned(&enable.item, OUT);
    let what = (LC_03, "a failover during initial replication");
    forbids(testbed, rules, what, &codes, testbed.core.failover(&request)).await?;
    testbed.primary.set_link(Link::default());
    testbed.completed(&job).await?;
    testbed.fail_over(&enable.item, PointChoice::Latest).await?;
    Ok(())
}

async fn foreign_point(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let one = testbed.protect("one").await?;
    let other = testbed.protect("other").await?;
    testbed.wait_for_points(&one, 2).await?;
    testbed.wait_for_points(&other, 2).await?;
    // A core may name the points of each machine alike; such a name is not another machine's.
    let own = testbed.item(&one).await?.points;
    let points = testbed.item(&other).await?.points;
    let foreign =
        points.into_iter().rfind(|point| point.processed && own.iter().all(|own| own.id != point.id));
    let Some(RecoveryPoint { id: point, .. }) = foreign else {
        rules.leave_out(RP_10);
        return Ok(());
    };
    let found = failover_refusal(testbed, &one, PointChoice::Custom(point.clone())).await?;
    let codes = [ErrorCode::UnknownId, ErrorCode::BadRequest, ErrorCode::PointExpired];
    let refused = found.is_some_and(|code| codes.contains(&code));
    rules.check(RP_10, refused, format!("a failover to {point} of another machine: {found:?}"));
    testbed.fail_over(&other, PointChoice::Custom(point)).await?;
    Ok(())
}

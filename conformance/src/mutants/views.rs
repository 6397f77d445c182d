//! False reports: what a core shows of an item or of a job, altered.

use contract::{
    Bytes, Direction, GroupPointId, ItemView, JobAction, JobKind, JobState, JobSubject, JobView, MachineId,
    Operation, Phase, PlanState, Side, Step, StepState, TestFailoverStatus,
};

/// By how much points are dated later, in milliseconds.
const LATER: u64 = 30_000;
/// By how much points are dated earlier, in milliseconds.
const EARLIER: u64 = 120_000;
/// By how much jobs begin earlier, in milliseconds.
const HOUR: u64 = 3_600_000;

pub(super) fn share_every_point(view: &mut ItemView) {
    for point in &mut view.points {
        point.multi_vm.get_or_insert_with(|| GroupPointId(point.id.0.clone()));
    }
}

pub(super) fn share_one_moment(view: &mut ItemView) {
    for moment in view.points.iter_mut().filter_map(|point| point.multi_vm.as_mut()) {
        *moment = GroupPointId("one".to_owned());
    }
}

pub(super) fn hide_other_points(view: &mut ItemView) {
    if view.protection.phase == Phase::CommitPending {
        view.points.retain(|point| Some(&point.id) == view.failed_over_to.as_ref());
    }
}

pub(super) fn date_points_later(view: &mut ItemView) {
    view.points.iter_mut().for_each(|point| point.time.0 += LATER);
}

pub(super) fn date_points_earlier(view: &mut ItemView) {
    view.points.iter_mut().for_each(|point| point.time.0 -= EARLIER);
}

pub(super) fn date_received_points_earlier(view: &mut ItemView) {
    let received = view.points.iter_mut().filter(|point| !point.processed);
    received.for_each(|point| point.time.0 -= EARLIER);
}

pub(super) fn hide_points_without_changes(view: &mut ItemView) {
    view.points.retain(|point| point.transferred > Bytes(0));
}

pub(super) fn report_no_bytes(view: &mut ItemView) {
    view.points.iter_mut().for_each(|point| point.transferred = Bytes(0));
}

pub(super) fn show_other_side(view: &mut ItemView) {
    if view.protection.phase == Phase::CommitPending {
        view.protection.active = view.protection.active.other();
    }
}

pub(super) fn show_committed(view: &mut ItemView) {
    if view.protection.phase == Phase::CommitPending {
        view.protection.phase = Phase::Committed;
    }
}

pub(super) fn show_protected(view: &mut ItemView) {
    if matches!(view.protection.phase, Phase::Committed | Phase::Stopped) {
        view.protection.phase = Phase::Protected;
    }
}

pub(super) fn offer_everything(view: &mut ItemView) {
    view.allowed = Operation::ALL.to_vec();
}

pub(super) fn offer_nothing(view: &mut ItemView) {
    view.allowed.clear();
}

pub(super) fn claim_test_failover(view: &mut ItemView) {
    view.test_failover_status = TestFailoverStatus::Performed;
}

pub(super) fn hide_incomplete(view: &mut ItemView) {
    view.synchronisation_incomplete = false;
}

pub(super) fn show_incomplete(view: &mut ItemView) {
    view.synchronisation_incomplete = true;
}

pub(super) fn hide_received(view: &mut ItemView) {
    view.points.retain(|point| point.processed);
}

pub(super) fn rename_machine(view: &mut ItemView) {
    view.primary.1 = MachineId("another".to_owned());
}

pub(super) fn hide_chosen(view: &mut ItemView) {
    view.failed_over_to = None;
}

pub(super) fn show_outward_policy(view: &mut ItemView) {
    view.policy.direction = Direction::PrimaryToRecovery;
}

pub(super) fn complete_failed(view: &mut JobView) {
    if view.state == JobState::Failed {
        view.state = JobState::Completed;
        view.error = None;
    }
}

pub(super) fn hide_warnings(view: &mut JobView) {
    if view.state == JobState::CompletedWithWarning {
        view.state = JobState::Completed;
    }
    let warned = view.steps.iter_mut().filter(|step| step.state == StepState::Warning);
    warned.for_each(|step| step.state = StepState::Done);
}

pub(super) fn invent_warnings(view: &mut JobView) {
    if view.state == JobState::Completed
        && let Some(last) = view.steps.last_mut()
    {
        view.state = JobState::CompletedWithWarning;
        last.state = StepState::Warning;
    }
}

pub(super) fn invent_warnings_of_plans(view: &mut JobView) {
    if matches!(view.subject, JobSubject::Plan(_)) {
        invent_warnings(view);
    }
}

pub(super) fn hide_warnings_of_plans(view: &mut JobView) {
    if matches!(view.subject, JobSubject::Plan(_)) {
        hide_warnings(view);
    }
}

pub(super) fn hide_warnings_of_reprotection(view: &mut JobView) {
    if view.kind == JobKind::Reprotect {
        hide_warnings(view);
    }
}

pub(super) fn show_times_of_earlier_direction(view: &mut ItemView) {
    if view.protection.active == Side::Recovery && view.protection.phase == Phase::Protected {
        view.points.iter_mut().for_each(|point| point.time.0 -= HOUR);
    }
}

pub(super) fn hide_points_before_resync(view: &mut ItemView) {
    if let Some(at) = view.resynchronisations.last().map(|resync| resync.at) {
        view.points.retain(|point| point.time >= at);
    }
}

pub(super) fn hide_points_before_verification(view: &mut ItemView) {
    if let Some(at) = view.verification.map(|found| found.at) {
        view.points.retain(|point| point.time >= at);
    }
}

pub(super) fn find_nothing(view: &mut ItemView) {
    view.verification.iter_mut().for_each(|found| found.different = Bytes(0));
}

pub(super) fn find_everything(view: &mut ItemView) {
    view.verification.iter_mut().for_each(|found| found.different.0 += 4096);
}

pub(super) fn complete_cancelled(view: &mut JobView) {
    if view.state == JobState::Cancelled {
        view.state = JobState::Completed;
    }
}

pub(super) fn hide_completion(view: &mut JobView) {
    view.actions.retain(|action| *action != JobAction::Complete);
}

pub(super) fn offer_completion(view: &mut JobView) {
    if !view.actions.contains(&JobAction::Complete) {
        view.actions.push(JobAction::Complete);
    }
}

pub(super) fn hide_cancel(view: &mut JobView) {
    view.actions.retain(|action| *action != JobAction::Cancel);
}

pub(super) fn hide_retry(view: &mut JobView) {
    view.actions.retain(|action| *action != JobAction::Retry);
}

pub(super) fn hide_resume(view: &mut JobView) {
    view.actions.retain(|action| *action != JobAction::Resume);
}

pub(super) fn keep_revision(view: &mut JobView) {
    view.revision = 1;
}

pub(super) fn hide_step_times(view: &mut JobView) {
    view.steps.iter_mut().for_each(|step| step.took = None);
}

pub(super) fn repeat_revision(view: &mut JobView) {
    if view.state.ended() {
        view.revision = 1;
    }
}

pub(super) fn restart_revision(view: &mut JobView) {
    if view.attempt > 1 {
        view.revision = 1 + view.steps.len() as u64;
    }
}

pub(super) fn begin_earlier(view: &mut JobView) {
    view.started.0 -= HOUR;
}

pub(super) fn swap_plan_times(view: &mut JobView) {
    if let Some(plan) = &mut view.plan
        && let Some(took) = &mut plan.took
    {
        std::mem::swap(took, &mut plan.manual);
    }
}

pub(super) fn finish_members(view: &mut JobView) {
    let members = view.plan.iter_mut().flat_map(|plan| &mut plan.members);
    members.for_each(|member| member.state = PlanState::Done);
}

pub(super) fn exchange_kinds(view: &mut JobView) {
    view.kind = match view.kind {
        JobKind::PlannedFailover => JobKind::UnplannedFailover,
        JobKind::UnplannedFailover => JobKind::PlannedFailover,
        other => other,
    };
}

pub(super) fn hide_processing(view: &mut JobView) {
    hide_step(view, Step::PROCESS_RECEIVED);
}

pub(super) fn hide_merge(view: &mut JobView) {
    hide_step(view, Step::MERGE_SNAPSHOTS);
}

pub(super) fn hide_creation(view: &mut JobView) {
    hide_step(view, Step::CREATE_MACHINE);
}

fn hide_step(view: &mut JobView, name: &str) {
    view.steps.retain(|step| step.name != name);
}

pub(super) fn show_hydration(view: &mut JobView) {
    if let Some(last) = view.steps.last().filter(|step| step.name != Step::HYDRATE) {
        view.steps.push(Step { name: Step::HYDRATE.to_owned(), ..last.clone() });
    }
}

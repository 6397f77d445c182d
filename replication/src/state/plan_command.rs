//! Commands of recovery plans: what a plan's job is asked to do.

use contract::{
    ActionPlace, Direction, FailoverKind, FailoverRequest, FailoverType, ItemId, JobKind, Operation,
    PlanAction, PlanActionView, PlanFailoverRequest, PlanMember, PlanProgress, PlanReprotectRequest,
    PlanState, PlanTestFailoverRequest, PointChoice, RecoveryPlan, ReprotectRequest, Side,
    TestFailoverRequest,
};
use serde::{Deserialize, Serialize};

use crate::state::command::Command;
use crate::state::record::Record;

/// What a job is asked to do with the machines of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlanCommand {
    Failover(PlanFailoverRequest),
    TestFailover(PlanTestFailoverRequest),
    CleanUp,
    Commit,
    Reprotect(PlanReprotectRequest),
}

impl PlanCommand {
    /// The kind of job that executes the command.
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Failover(request) => match request.kind {
                FailoverKind::Planned => JobKind::PlannedFailover,
                FailoverKind::Unplanned => JobKind::UnplannedFailover,
            },
            Self::TestFailover(_) => JobKind::TestFailover,
            Self::CleanUp => JobKind::TestFailoverCleanup,
            Self::Commit => JobKind::Commit,
            Self::Reprotect(_) => JobKind::Reprotect,
        }
    }

    /// The failover type by which the plan's actions are selected. `None`: the command runs no
    /// actions, so its groups need not wait for each other.
    pub(crate) fn failover_type(&self) -> Option<FailoverType> {
        match self {
            Self::Failover(request) => Some(match request.kind {
                FailoverKind::Planned => FailoverType::Planned,
                FailoverKind::Unplanned => FailoverType::Unplanned,
            }),
            Self::TestFailover(_) => Some(FailoverType::Test),
            Self::CleanUp | Self::Commit | Self::Reprotect(_) => None,
        }
    }

    /// Whether the first error ends the job (EX-T6).
    pub(crate) fn stops_on_error(&self) -> bool {
        self.failover_type() == Some(FailoverType::Planned)
    }

    /// The recovery point asked for, if the command uses one.
    pub(crate) fn point(&self) -> Option<&PointChoice> {
        match self {
            Self::Failover(request) => Some(&request.point),
            Self::TestFailover(request) => Some(&request.point),
            Self::CleanUp | Self::Commit | Self::Reprotect(_) => None,
        }
    }

    /// The side that becomes active, if the command is a failover.
    pub(crate) fn leads_to(&self) -> Option<Side> {
        let Self::Failover(request) = self else { return None };
        Some(match request.direction {
            Direction::PrimaryToRecovery => Side::Recovery,
            Direction::RecoveryToPrimary => Side::Primary,
        })
    }

    /// The command for one machine, with the recovery point chosen for it.
    pub(crate) fn for_member(&self, record: &Record, point: &PointChoice) -> Command {
        let item = record.id.clone();
        match self {
            Self::Failover(request) => Command::Failover(FailoverRequest {
                item,
                kind: request.kind,
                direction: request.direction,
                point: point.clone(),
                shut_down_source: request.shut_down_source,
                shutdown_within: request.shutdown_within,
                data_sync: request.data_sync,
                alternate: None,
                certificate: None,
            }),
            Self::TestFailover(request) => Command::TestFailover(TestFailoverRequest {
                item,
                point: point.clone(),
                network: request.network,
            }),
            Self::CleanUp => Command::TestFailoverCleanup,
            Self::Commit => Command::Commit,
            Self::Reprotect(request) => reprotect(record, request),
        }
    }
}

/// The command that makes a machine replicate in the opposite direction, which depends on its kind
/// of pair.
fn reprotect(record: &Record, request: &PlanReprotectRequest) -> Command {
    if record.pair.find(record.protection, Operation::ReverseReplicate).is_some() {
        return Command::ReverseReplicate;
    }
    let settings = request.settings.iter().find(|settings| settings.item == record.id).cloned();
    let plain = || ReprotectRequest::new(&record.id, request.direction);
    Command::Reprotect(settings.unwrap_or_else(plain))
}

/// What a plan's job is asked to do, with the plan as it was when the job began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanTask {
    pub(crate) plan: RecoveryPlan,
    pub(crate) command: PlanCommand,
}

impl PlanTask {
    /// Progress of a job that is about to begin: every machine and every due action waits.
    pub(crate) fn initial_progress(&self, direction: Direction) -> PlanProgress {
        let mut progress = PlanProgress::default();
        for (number, group) in (1..).zip(&self.plan.groups) {
            let member = |item: &ItemId| PlanMember {
                item: item.clone(),
                group: number,
                state: PlanState::Waiting,
                job: None,
                why: None,
            };
            progress.members.extend(group.items.iter().map(member));
            for (place, actions) in [(ActionPlace::Before, &group.before), (ActionPlace::After, &group.after)]
            {
                let action = |action| self.action_view(action, number, place, direction);
                progress.actions.extend(actions.iter().map(action));
            }
        }
        progress
    }

    fn action_view(
        &self,
        action: &PlanAction,
        group: u32,
        place: ActionPlace,
        direction: Direction,
    ) -> PlanActionView {
        let due = self.command.failover_type().is_some_and(|kind| action.is_due(kind, direction));
        PlanActionView {
            name: action.name.clone(),
            group,
            place,
            state: if due { PlanState::Waiting } else { PlanState::Skipped },
            runs: 0,
            started: None,
            why: None,
        }
    }

    /// The plan's items, group by group.
    pub(crate) fn items(&self) -> impl Iterator<Item = &ItemId> {
        self.plan.groups.iter().flat_map(|group| &group.items)
    }

    /// The plan's actions, in the order of [`PlanProgress::actions`].
    pub(crate) fn actions(&self) -> impl Iterator<Item = &PlanAction> {
        self.plan.groups.iter().flat_map(|group| group.before.iter().chain(&group.after))
    }
}

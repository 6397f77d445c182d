//! The recovery point of each machine of a plan (RP-07 to RP-10, PL-06).
//!
//! A multi-VM choice means the latest moment that all machines of a replication group share. Each
//! group of the plan has its own moment; machines without a group use their own latest point of the
//! same consistency.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    Consistency, CoreError, ErrorCode, GroupId, GroupPointId, ItemId, PointChoice, PointId, RecoveryPoint,
};

use crate::context::Context;
use crate::jobs::job::Job;
use crate::points::available;
use crate::state::{Command, PlanCommand, Record, Task};

/// The choice for each machine, or why there is none.
pub(super) struct Chosen {
    /// For machines without a replication group.
    otherwise: PointChoice,
    of_groups: BTreeMap<ItemId, Result<PointChoice, CoreError>>,
}

impl Chosen {
    pub(super) fn of(&self, item: &ItemId) -> Result<PointChoice, CoreError> {
        self.of_groups.get(item).cloned().unwrap_or_else(|| Ok(self.otherwise.clone()))
    }

    /// Whether one of the machines is in a replication group.
    pub(super) fn has_group(&self) -> bool {
        !self.of_groups.is_empty()
    }
}

/// A machine of a replication group, with the points that the choice may mean: moment and id,
/// oldest first.
struct Member {
    item: ItemId,
    points: Vec<(GroupPointId, PointId)>,
}

/// The minimum consistency of a multi-VM choice; `None` for any other choice.
pub(super) fn multi_vm(choice: &PointChoice) -> Option<Consistency> {
    match choice {
        PointChoice::LatestMultiVm => Some(Consistency::Crash),
        PointChoice::LatestMultiVmAppConsistent => Some(Consistency::App),
        _ => None,
    }
}

/// Chooses for all machines of a plan. `started` are the jobs that the plan's job has started
/// already: the remaining machines of a group use the same moment as those.
pub(super) async fn choose(
    ctx: &Context,
    command: &PlanCommand,
    items: impl Iterator<Item = &ItemId>,
    started: &BTreeMap<ItemId, Job>,
) -> Chosen {
    let choice = command.point().cloned().unwrap_or(PointChoice::Latest);
    let Some(consistency) = multi_vm(&choice) else {
        return Chosen { otherwise: choice, of_groups: BTreeMap::new() };
    };
    let mut groups: BTreeMap<GroupId, Vec<Member>> = BTreeMap::new();
    for id in items {
        let Ok(item) = ctx.find(id).await else { continue };
        let record = item.record.lock().await.clone();
        let Some(group) = &record.group else { continue };
        let counts = started.contains_key(id) || is_affected(command, &record);
        if !counts {
            continue;
        }
        let points = match started.get(id).and_then(point_of_job) {
            Some(point) => moment_of(&record, &point),
            None => all_moments(ctx, &record, consistency),
        };
        groups.entry(group.clone()).or_default().push(Member { item: id.clone(), points });
    }
    let otherwise = match consistency {
        Consistency::Crash => PointChoice::LatestProcessed,
        Consistency::App => PointChoice::LatestAppConsistent,
    };
    Chosen {
        otherwise,
        of_groups: groups.iter().flat_map(|(group, members)| latest_common(group, members)).collect(),
    }
}

/// Whether the command affects a machine. One that is already on the target side or does not
/// replicate must not limit the choice for the others.
fn is_affected(command: &PlanCommand, record: &Record) -> bool {
    command.leads_to() != Some(record.protection.active) && record.replica.is_some()
}

/// The point that a machine's job uses.
fn point_of_job(job: &Job) -> Option<PointId> {
    let Task::Item(command) = job.task() else { return None };
    let point = match command {
        Command::Failover(request) => &request.point,
        Command::TestFailover(request) => &request.point,
        _ => return None,
    };
    if let PointChoice::Custom(point) = point { Some(point.clone()) } else { None }
}

fn moment_of(record: &Record, point: &PointId) -> Vec<(GroupPointId, PointId)> {
    let point = record.replica.as_ref().and_then(|replica| replica.point(point));
    point.and_then(moment).into_iter().collect()
}

fn all_moments(ctx: &Context, record: &Record, consistency: Consistency) -> Vec<(GroupPointId, PointId)> {
    let (Some(replica), Ok(policy)) = (&record.replica, ctx.policies.in_force(record)) else {
        return Vec::new();
    };
    let fits = |point: &RecoveryPoint| consistency == Consistency::Crash || point.consistency == consistency;
    available(replica, &policy.policy, ctx.now()).filter(fits).filter_map(|point| moment(&point)).collect()
}

fn moment(point: &RecoveryPoint) -> Option<(GroupPointId, PointId)> {
    Some((point.multi_vm.clone()?, point.id.clone()))
}

/// Each member's point of the latest moment that all members share.
fn latest_common(group: &GroupId, members: &[Member]) -> Vec<(ItemId, Result<PointChoice, CoreError>)> {
    let moments = |member: &Member| -> BTreeSet<GroupPointId> {
        member.points.iter().map(|(moment, _)| moment.clone()).collect()
    };
    let shared = members.iter().map(moments).reduce(|all, own| &all & &own).unwrap_or_default();
    let latest =
        members.first().and_then(|first| first.points.iter().rfind(|(moment, _)| shared.contains(moment)));
    let point_of = |member: &Member| {
        let own = latest.and_then(|(latest, _)| member.points.iter().find(|(moment, _)| moment == latest));
        let none = || {
            let text = format!("the machines of group {group} have no such recovery point in common yet");
            CoreError::new(ErrorCode::NoRecoveryPoint, text)
        };
        own.map(|(_, point)| PointChoice::Custom(point.clone())).ok_or_else(none)
    };
    members.iter().map(|member| (member.item.clone(), point_of(member))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(item: &str, moments: &[&str]) -> Member {
        let points =
            moments.iter().map(|moment| ((*moment).into(), format!("{item}-{moment}").as_str().into()));
        Member { item: item.into(), points: points.collect() }
    }

    fn chosen(members: &[Member]) -> Vec<Result<PointChoice, ErrorCode>> {
        let all = latest_common(&"g".into(), members).into_iter();
        all.map(|(_, choice)| choice.map_err(|error| error.code)).collect()
    }

    #[test]
    fn members_use_the_latest_moment_that_all_of_them_share() {
        let members = [member("a", &["1", "2", "3"]), member("b", &["1", "2", "4"])];
        let custom = |point: &str| Ok(PointChoice::Custom(point.into()));
        assert_eq!(chosen(&members), [custom("a-2"), custom("b-2")]);
    }

    #[test]
    fn members_without_a_common_moment_have_no_point() {
        let members = [member("a", &["1"]), member("b", &["2"])];
        assert_eq!(chosen(&members), [Err(ErrorCode::NoRecoveryPoint), Err(ErrorCode::NoRecoveryPoint)]);
        assert_eq!(chosen(&[member("a", &[])]), [Err(ErrorCode::NoRecoveryPoint)]);
    }
}

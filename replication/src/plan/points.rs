//! Which recovery point each machine of a plan goes to (RP-07 to RP-10, PL-06).
//!
//! A choice that spans machines means the latest moment that all machines of a replication group share. Each group of a
//! plan has its own; machines in none go to their own latest point of the kind.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    Consistency, CoreError, ErrorCode, GroupId, GroupPointId, ItemId, PointChoice, PointId, RecoveryPoint,
};

use crate::core::Inner;
use crate::item::Record;
use crate::jobs::{Job, Task};
use crate::order::Order;
use crate::plan::PlanOrder;
use crate::points::offered;

/// What was chosen for each machine, or why nothing could be.
pub(super) struct Chosen {
    otherwise: PointChoice,
    of_groups: BTreeMap<ItemId, Result<PointChoice, CoreError>>,
}

impl Chosen {
    pub(super) fn of(&self, item: &ItemId) -> Result<PointChoice, CoreError> {
        self.of_groups.get(item).cloned().unwrap_or_else(|| Ok(self.otherwise.clone()))
    }

    /// Whether a replication group is among the machines.
    pub(super) fn has_group(&self) -> bool {
        !self.of_groups.is_empty()
    }
}

/// A machine of a replication group, and its points that the choice may mean: moment and name, oldest first.
struct Member {
    item: ItemId,
    points: Vec<(GroupPointId, PointId)>,
}

/// Whether a choice spans machines, and what it asks of points.
pub(super) fn spans(choice: &PointChoice) -> Option<Consistency> {
    match choice {
        PointChoice::LatestMultiVm => Some(Consistency::Crash),
        PointChoice::LatestMultiVmAppConsistent => Some(Consistency::App),
        _ => None,
    }
}

/// Chooses for all machines of a plan. `begun` are the jobs that the plan's has begun already: whoever goes later goes
/// to the moment that the others of its group went to.
pub(super) async fn choose(
    core: &Inner,
    order: &PlanOrder,
    items: impl Iterator<Item = &ItemId>,
    begun: &BTreeMap<ItemId, Job>,
) -> Chosen {
    let choice = order.point().cloned().unwrap_or(PointChoice::Latest);
    let Some(consistency) = spans(&choice) else {
        return Chosen { otherwise: choice, of_groups: BTreeMap::new() };
    };
    let mut groups: BTreeMap<GroupId, Vec<Member>> = BTreeMap::new();
    for id in items {
        let Ok(item) = core.find(id).await else { continue };
        let record = item.record.lock().await.clone();
        let (Some(group), true) = (&record.group, begun.contains_key(id) || goes(order, &record)) else {
            continue;
        };
        let points = match begun.get(id).and_then(sent_to) {
            Some(point) => of_one(&record, &point),
            None => all_of(core, &record, consistency),
        };
        groups.entry(group.clone()).or_default().push(Member { item: id.clone(), points });
    }
    let otherwise = match consistency {
        Consistency::Crash => PointChoice::LatestProcessed,
        Consistency::App => PointChoice::LatestAppConsistent,
    };
    Chosen {
        otherwise,
        of_groups: groups.iter().flat_map(|(group, members)| common(group, members)).collect(),
    }
}

/// One that is there already, or does not replicate, has no say in where the others go.
fn goes(order: &PlanOrder, record: &Record) -> bool {
    order.leads_to() != Some(record.protection.active) && record.replica.is_some()
}

/// The point that a machine's job was sent to.
fn sent_to(job: &Job) -> Option<PointId> {
    let Task::Item(order) = job.task() else { return None };
    let point = match order {
        Order::Failover(request) => &request.point,
        Order::TestFailover(request) => &request.point,
        _ => return None,
    };
    if let PointChoice::Custom(point) = point { Some(point.clone()) } else { None }
}

fn of_one(record: &Record, point: &PointId) -> Vec<(GroupPointId, PointId)> {
    let point = record.replica.as_ref().and_then(|replica| replica.point(point));
    point.and_then(moment).into_iter().collect()
}

fn all_of(core: &Inner, record: &Record, consistency: Consistency) -> Vec<(GroupPointId, PointId)> {
    let (Some(replica), Ok(policy)) = (&record.replica, core.policies().in_force(record)) else {
        return Vec::new();
    };
    let fits = |point: &RecoveryPoint| consistency == Consistency::Crash || point.consistency == consistency;
    offered(replica, &policy.policy, core.now()).filter(fits).filter_map(|point| moment(&point)).collect()
}

fn moment(point: &RecoveryPoint) -> Option<(GroupPointId, PointId)> {
    Some((point.multi_vm.clone()?, point.id.clone()))
}

/// The latest moment that all members share, as each one's own point.
fn common(group: &GroupId, members: &[Member]) -> Vec<(ItemId, Result<PointChoice, CoreError>)> {
    let moments = |member: &Member| -> BTreeSet<GroupPointId> {
        member.points.iter().map(|(moment, _)| moment.clone()).collect()
    };
    let shared = members.iter().map(moments).reduce(|all, own| &all & &own).unwrap_or_default();
    let latest =
        members.first().and_then(|first| first.points.iter().rfind(|(moment, _)| shared.contains(moment)));
    let point_of = |member: &Member| {
        let own = latest.and_then(|(latest, _)| member.points.iter().find(|(moment, _)| moment == latest));
        let none = || {
            let text = format!("the machines of group {group} share no such recovery point yet");
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
        let all = common(&"g".into(), members).into_iter();
        all.map(|(_, choice)| choice.map_err(|error| error.code)).collect()
    }

    #[test]
    fn members_go_to_the_latest_moment_that_all_of_them_share() {
        let members = [member("a", &["1", "2", "3"]), member("b", &["1", "2", "4"])];
        let custom = |point: &str| Ok(PointChoice::Custom(point.into()));
        assert_eq!(chosen(&members), [custom("a-2"), custom("b-2")]);
    }

    #[test]
    fn members_that_share_no_moment_have_no_point() {
        let members = [member("a", &["1"]), member("b", &["2"])];
        assert_eq!(chosen(&members), [Err(ErrorCode::NoRecoveryPoint), Err(ErrorCode::NoRecoveryPoint)]);
        assert_eq!(chosen(&[member("a", &[])]), [Err(ErrorCode::NoRecoveryPoint)]);
    }
}

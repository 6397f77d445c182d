//! Which machines of a plan take part, and when the whole is refused.

use std::collections::BTreeMap;

use contract::{CoreError, Direction, ErrorCode, ItemId, Network, PointChoice, Side};

use crate::core::Inner;
use crate::order::Order;
use crate::plan::points::{self, Chosen};
use crate::plan::{PlanOrder, PlanTask};
use crate::preconditions::groups;
use crate::run::free;

/// What a machine has to do with it.
pub(super) enum Part {
    /// It goes, this way.
    Goes(Order, Direction),
    /// There is nothing to do with it.
    Nothing(CoreError),
    /// It should go and cannot.
    Cannot(CoreError),
}

/// Looks at every machine before any is touched. Returns the direction of the job.
pub(super) async fn admit(core: &Inner, task: &PlanTask) -> Result<Direction, CoreError> {
    check_order(task)?;
    let chosen = points::choose(core, &task.order, task.items(), &BTreeMap::new()).await;
    check_spanning(core, task, &chosen).await?;
    let (mut direction, mut nothing, mut cannot, mut going) = (None, None, None, Vec::new());
    for id in task.items() {
        match part(core, &task.order, id, &chosen).await {
            Part::Goes(order, way) => {
                direction.get_or_insert(way);
                going.push((id, order));
            }
            Part::Nothing(why) => drop(nothing.get_or_insert(why)),
            Part::Cannot(why) => drop(cannot.get_or_insert(why)),
        }
    }
    let goes_on = goes_on_without(&task.order);
    match (direction, cannot) {
        (Some(_), Some(why)) if !goes_on => Err(why),
        (Some(direction), _) if goes_on => Ok(direction),
        (Some(direction), _) => look_ahead(core, &going).await.map(|()| direction),
        (None, Some(why)) => Err(why),
        (None, None) => Err(nothing.unwrap_or_else(|| {
            CoreError::new(ErrorCode::BadRequest, format!("plan {} has no machine", task.plan.id))
        })),
    }
}

/// What platforms have to say to what machines are told; to reprotections also what they say together.
async fn look_ahead(core: &Inner, going: &[(&ItemId, Order)]) -> Result<(), CoreError> {
    let mut told = Vec::new();
    for (id, order) in going {
        let record = core.find(id).await?.record.lock().await.clone();
        order.look(core, &record).await?;
        if let Order::Reprotect(request) = order {
            told.push((record, request.clone()));
        }
    }
    groups::check(&told)
}

/// What is wrong with a request whatever its machines are.
fn check_order(task: &PlanTask) -> Result<(), CoreError> {
    let bad = |text: String| Err(CoreError::new(ErrorCode::BadRequest, text));
    if let Some(PointChoice::Custom(point)) = task.order.point() {
        return bad(format!(
            "recovery point {point} is of one machine; a plan needs a choice for all (RP-10)"
        ));
    }
    if let PlanOrder::TestFailover(request) = &task.order
        && request.network == Network::Production
    {
        return bad("a test failover needs a network that is used for nothing else".to_owned());
    }
    if let PlanOrder::Reprotect(request) = &task.order {
        let is_member = |item: &ItemId| task.items().any(|member| member == item);
        let strangers = request.settings.iter().map(|settings| &settings.item).find(|item| !is_member(item));
        if let Some(stranger) = strangers {
            return bad(format!("item {stranger} is not in plan {}", task.plan.id));
        }
    }
    Ok(())
}

/// Only disasters and test failovers go on without those that cannot (EX-T6). A failback never does (FB-02).
fn goes_on_without(order: &PlanOrder) -> bool {
    match order {
        PlanOrder::TestFailover(_) => true,
        PlanOrder::Failover(_) => !order.stops_on_error() && order.leads_to() == Some(Side::Recovery),
        PlanOrder::CleanUp | PlanOrder::Commit | PlanOrder::Reprotect(_) => false,
    }
}

/// A point that spans machines is for plans with a replication group (RP-07).
async fn check_spanning(core: &Inner, task: &PlanTask, chosen: &Chosen) -> Result<(), CoreError> {
    if chosen.has_group() || task.order.point().and_then(points::spans).is_none() {
        return Ok(());
    }
    for id in task.items() {
        let Ok(item) = core.find(id).await else { continue };
        if item.record.lock().await.group.is_some() {
            return Ok(());
        }
    }
    let text =
        format!("plan {} has no replication group; choose a point of each machine's own", task.plan.id);
    Err(CoreError::new(ErrorCode::MultiVmNeedsGroup, text))
}

/// What a machine has to do with an order, from where it stands now. Changes nothing.
pub(super) async fn part(core: &Inner, order: &PlanOrder, id: &ItemId, chosen: &Chosen) -> Part {
    let item = match core.find(id).await {
        Ok(item) => item,
        Err(why) => return Part::Cannot(why),
    };
    let record = item.record.lock().await;
    if order.leads_to() == Some(record.protection.active) {
        let text = format!("{id} is on the {:?} side already", record.protection.active);
        return Part::Nothing(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    let point = match chosen.of(id) {
        Ok(point) => point,
        Err(why) => return Part::Cannot(why),
    };
    let told = order.for_member(&record, &point);
    match (free(&item).and_then(|()| told.check(core, &record)), order) {
        (Ok(direction), _) => Part::Goes(told, direction),
        // Commit, clean-up and reprotection are for those that have something to commit, and so on.
        (Err(why), PlanOrder::CleanUp | PlanOrder::Commit | PlanOrder::Reprotect(_))
            if matches!(why.code, ErrorCode::NotAllowedInState | ErrorCode::WrongDirection) =>
        {
            Part::Nothing(why)
        }
        (Err(why), _) => Part::Cannot(why),
    }
}

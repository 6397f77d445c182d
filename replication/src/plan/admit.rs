//! Which machines of a plan take part in a command, and when the whole command is refused.

use std::collections::BTreeMap;

use contract::{CoreError, Direction, ErrorCode, ItemId, Network, PointChoice, Side};

use crate::context::Context;
use crate::dispatch;
use crate::plan::points::{self, Chosen};
use crate::preconditions::check_groups;
use crate::state::{Command, PlanCommand, PlanTask};

/// A machine's part in a command.
pub(super) enum Part {
    /// It executes this command, in this direction.
    Executes(Command, Direction),
    /// The command does not apply to it.
    NothingToDo(CoreError),
    /// The command applies to it, but is not possible.
    Impossible(CoreError),
}

/// Checks every machine before any is touched. Returns the direction of the job.
pub(super) async fn admit(ctx: &Context, task: &PlanTask) -> Result<Direction, CoreError> {
    check_request(task)?;
    let chosen = points::choose(ctx, &task.command, task.items(), &BTreeMap::new()).await;
    check_multi_vm(ctx, task, &chosen).await?;
    let mut direction = None;
    let mut nothing_to_do = None;
    let mut impossible = None;
    let mut commands = Vec::new();
    for id in task.items() {
        match part(ctx, &task.command, id, &chosen).await {
            Part::Executes(command, way) => {
                direction.get_or_insert(way);
                commands.push((id, command));
            }
            Part::NothingToDo(why) => drop(nothing_to_do.get_or_insert(why)),
            Part::Impossible(why) => drop(impossible.get_or_insert(why)),
        }
    }
    let partial = may_be_partial(&task.command);
    match (direction, impossible) {
        (Some(_), Some(why)) if !partial => Err(why),
        (Some(direction), _) if partial => Ok(direction),
        (Some(direction), _) => check_preconditions(ctx, &commands).await.map(|()| direction),
        (None, Some(why)) => Err(why),
        (None, None) => Err(nothing_to_do.unwrap_or_else(|| {
            CoreError::new(ErrorCode::BadRequest, format!("plan {} has no machine", task.plan.id))
        })),
    }
}

/// Checks the preconditions of every machine, and for reprotections those of the replication
/// groups.
async fn check_preconditions(ctx: &Context, commands: &[(&ItemId, Command)]) -> Result<(), CoreError> {
    let mut reprotections = Vec::new();
    for (id, command) in commands {
        let record = ctx.find(id).await?.record.lock().await.clone();
        dispatch::check_preconditions(ctx, &record, command).await?;
        if let Command::Reprotect(request) = command {
            reprotections.push((record, request.clone()));
        }
    }
    check_groups(&reprotections)
}

/// Refuses a request that is wrong whatever state the machines are in.
fn check_request(task: &PlanTask) -> Result<(), CoreError> {
    let bad = |text: String| Err(CoreError::new(ErrorCode::BadRequest, text));
    if let Some(PointChoice::Custom(point)) = task.command.point() {
        return bad(format!(
            "recovery point {point} belongs to one machine; a plan needs a choice for all machines (RP-10)"
        ));
    }
    if let PlanCommand::TestFailover(request) = &task.command
        && request.network == Network::Production
    {
        return bad("a test failover needs an isolated network".to_owned());
    }
    if let PlanCommand::Reprotect(request) = &task.command {
        let is_member = |item: &ItemId| task.items().any(|member| member == item);
        let mut items = request.settings.iter().map(|settings| &settings.item);
        if let Some(other) = items.find(|item| !is_member(item)) {
            return bad(format!("item {other} is not in plan {}", task.plan.id));
        }
    }
    Ok(())
}

/// Whether the command is executed although it is not possible for some machines. That holds for
/// test failovers and unplanned failovers (EX-T6), but never for a failback (FB-02).
fn may_be_partial(command: &PlanCommand) -> bool {
    match command {
        PlanCommand::TestFailover(_) => true,
        PlanCommand::Failover(_) => !command.stops_on_error() && command.leads_to() == Some(Side::Recovery),
        PlanCommand::CleanUp | PlanCommand::Commit | PlanCommand::Reprotect(_) => false,
    }
}

/// Refuses a multi-VM point for a plan without a replication group (RP-07).
async fn check_multi_vm(ctx: &Context, task: &PlanTask, chosen: &Chosen) -> Result<(), CoreError> {
    if chosen.has_group() || task.command.point().and_then(points::multi_vm).is_none() {
        return Ok(());
    }
    for id in task.items() {
        let Ok(item) = ctx.find(id).await else { continue };
        if item.record.lock().await.group.is_some() {
            return Ok(());
        }
    }
    let text =
        format!("plan {} has no replication group; choose a point of each machine's own", task.plan.id);
    Err(CoreError::new(ErrorCode::MultiVmNeedsGroup, text))
}

/// A machine's part in a command, given its current state. Changes nothing.
pub(super) async fn part(ctx: &Context, command: &PlanCommand, id: &ItemId, chosen: &Chosen) -> Part {
    let item = match ctx.find(id).await {
        Ok(item) => item,
        Err(why) => return Part::Impossible(why),
    };
    let record = item.record.lock().await;
    if command.leads_to() == Some(record.protection.active) {
        let text = format!("{id} is already active on the {:?} side", record.protection.active);
        return Part::NothingToDo(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    let point = match chosen.of(id) {
        Ok(point) => point,
        Err(why) => return Part::Impossible(why),
    };
    let own = command.for_member(&record, &point);
    match (item.ensure_idle().and_then(|()| dispatch::check(ctx, &record, &own)), command) {
        (Ok(direction), _) => Part::Executes(own, direction),
        // A commit is for the machines that have something to commit; clean-up and reprotection
        // likewise.
        (Err(why), PlanCommand::CleanUp | PlanCommand::Commit | PlanCommand::Reprotect(_))
            if matches!(why.code, ErrorCode::NotAllowedInState | ErrorCode::WrongDirection) =>
        {
            Part::NothingToDo(why)
        }
        (Err(why), _) => Part::Impossible(why),
    }
}

//! Actions before and after a group: scripts and manual steps (PL-03, PL-04).

use std::collections::BTreeMap;

use contract::{
    ActionPlace, ActionWork, CoreError, ErrorCode, FailoverType, JobView, Millis, PlanAction, PlanActionView,
    PlanState, ScriptContext, ScriptMachine, Timestamp,
};

use crate::plan::run::PlanRun;
use crate::plan::script;
use crate::state::Record;
use crate::transfer::blocking;

/// Executes the actions before or after a group, in order.
pub(super) async fn execute_all(
    run: &PlanRun<'_>,
    kind: FailoverType,
    group: u32,
    place: ActionPlace,
) -> Result<(), CoreError> {
    for (index, action) in run.task.actions().enumerate() {
        let Some(view) = run.progress().actions.into_iter().nth(index) else { continue };
        let is_here = (view.group, view.place) == (group, place);
        if !is_here || matches!(view.state, PlanState::Done | PlanState::Skipped) {
            continue;
        }
        if let Err(error) = execute(run, kind, index, action, &view).await {
            if error.code == ErrorCode::Cancelled {
                return Err(error);
            }
            run.fail(error)?;
        }
    }
    Ok(())
}

/// Executes one action as a step of the plan's job.
async fn execute(
    run: &PlanRun<'_>,
    kind: FailoverType,
    index: usize,
    action: &PlanAction,
    view: &PlanActionView,
) -> Result<(), CoreError> {
    let began = |job: &mut JobView, now| {
        edit(job, index, |view| set_started(view, &action.work, now));
    };
    let ended = |job: &mut JobView, result: &Result<(), CoreError>, now| {
        let took = edit(job, index, |view| set_ended(view, result, now));
        add_time(job, &action.work, took.flatten().unwrap_or_default());
    };
    let step = format!("{}, {} group {}", action.name, place_name(view.place), view.group);
    let work = async {
        match &action.work {
            ActionWork::Manual { instruction } => run.job.wait_for_manual_step(instruction).await,
            ActionWork::Script { program, arguments, timeout } => {
                let context = script_context(run, kind, view).await;
                let program = program.clone();
                let arguments = arguments.clone();
                let timeout = *timeout;
                blocking(move || script::run(&program, &arguments, timeout, &context)).await
            }
        }
    };
    run.job.step_with(&step, began, work, ended).await
}

fn set_started(view: &mut PlanActionView, work: &ActionWork, now: Timestamp) {
    // A manual step that waited before a restart of the core continues; it is not counted again.
    let continues = view.state == PlanState::InProgress && matches!(work, ActionWork::Manual { .. });
    if !continues {
        view.runs += 1;
        view.started = Some(now);
    }
    view.state = PlanState::InProgress;
    view.why = None;
}

/// Returns how long the action took.
fn set_ended(view: &mut PlanActionView, result: &Result<(), CoreError>, now: Timestamp) -> Option<Millis> {
    view.why = result.as_ref().err().cloned();
    view.state = match &view.why {
        None => PlanState::Done,
        // A cancelled action has not failed; it is still to be done.
        Some(why) if why.code == ErrorCode::Cancelled => PlanState::Waiting,
        Some(_) => PlanState::Failed,
    };
    view.started.map(|started| now.since(started))
}

fn place_name(place: ActionPlace) -> &'static str {
    match place {
        ActionPlace::Before => "before",
        ActionPlace::After => "after",
    }
}

fn edit<T>(job: &mut JobView, index: usize, edit: impl FnOnce(&mut PlanActionView) -> T) -> Option<T> {
    Some(edit(job.plan.as_mut()?.actions.get_mut(index)?))
}

/// Adds to the time that is not counted as the plan's own (PL-08).
fn add_time(job: &mut JobView, work: &ActionWork, took: Millis) {
    let Some(progress) = &mut job.plan else { return };
    let sum = match work {
        ActionWork::Manual { .. } => &mut progress.manual,
        ActionWork::Script { .. } => &mut progress.scripts,
    };
    sum.0 += took.0;
}

/// What a script receives on its standard input (EX-P3).
async fn script_context(run: &PlanRun<'_>, kind: FailoverType, view: &PlanActionView) -> ScriptContext {
    let progress = run.progress();
    let mut machines = BTreeMap::new();
    for member in progress.members.into_iter().filter(|member| member.state == PlanState::Done) {
        // The protection of a machine may have ended since.
        let Ok(item) = run.ctx.find(&member.item).await else { continue };
        if let Some(machine) = started_machine(&*item.record.lock().await, kind) {
            machines.insert(member.item, machine);
        }
    }
    ScriptContext {
        plan: run.task.plan.id.clone(),
        failover_type: kind,
        direction: run.job.read(|view| view.direction),
        group: view.group,
        place: view.place,
        attempt: view.runs + 1,
        machines,
    }
}

/// The machine that the failover or test failover has started.
fn started_machine(record: &Record, kind: FailoverType) -> Option<ScriptMachine> {
    if kind == FailoverType::Test {
        let test_failover = record.test_failover.as_ref()?;
        return Some(ScriptMachine {
            machine: test_failover.machine.clone(),
            point: Some(test_failover.point.clone()),
        });
    }
    let machine = record.on(record.protection.active).1.clone();
    Some(ScriptMachine { machine, point: record.failed_over_to.clone() })
}

//! Actions before and after a group: scripts and manual steps (PL-03, PL-04).

use std::collections::BTreeMap;

use contract::{
    ActionPlace, ActionWork, CoreError, ErrorCode, FailoverType, JobView, Millis, PlanAction, PlanActionView,
    PlanState, ScriptContext, ScriptMachine, Side,
};

use crate::item::Record;
use crate::plan::run::Run;
use crate::plan::script;
use crate::transfer::blocking;

/// Does what is due at one place of a group, in order.
pub(super) async fn all_of(
    run: &Run<'_>,
    kind: FailoverType,
    group: u32,
    place: ActionPlace,
) -> Result<(), CoreError> {
    for (index, action) in run.task.actions().enumerate() {
        let Some(view) = run.progress().actions.into_iter().nth(index) else { continue };
        let here = (view.group, view.place) == (group, place);
        if !here || matches!(view.state, PlanState::Done | PlanState::Skipped) {
            continue;
        }
        if let Err(error) = perform(run, kind, index, action, &view).await {
            if error.code == ErrorCode::Cancelled {
                return Err(error);
            }
            run.fail(error)?;
        }
    }
    Ok(())
}

async fn perform(
    run: &Run<'_>,
    kind: FailoverType,
    index: usize,
    action: &PlanAction,
    view: &PlanActionView,
) -> Result<(), CoreError> {
    let began = |job: &mut JobView, now| {
        edit(job, index, |view| {
            // A manual step that was waited for before a restart is still the same one.
            let waits =
                view.state == PlanState::InProgress && matches!(action.work, ActionWork::Manual { .. });
            if !waits {
                view.runs += 1;
                view.started = Some(now);
            }
            view.state = PlanState::InProgress;
            view.why = None;
        });
    };
    let ended = |job: &mut JobView, result: &Result<(), CoreError>, now| {
        let took = edit(job, index, |view| {
            view.why = result.as_ref().err().cloned();
            view.state = match &view.why {
                None => PlanState::Done,
                // It was not done, and nothing is wrong with it.
                Some(why) if why.code == ErrorCode::Cancelled => PlanState::Waiting,
                Some(_) => PlanState::Failed,
            };
            view.started.map(|started| contract::Timestamp::since(now, started))
        });
        count(job, &action.work, took.flatten().unwrap_or_default());
    };
    let step = format!("{}, {} group {}", action.name, place_name(view.place), view.group);
    let work = async {
        match &action.work {
            ActionWork::Manual { instruction } => run.job.wait_for_person(instruction).await,
            ActionWork::Script { program, arguments, timeout } => {
                let context = context(run, kind, view).await;
                let (program, arguments, timeout) = (program.clone(), arguments.clone(), *timeout);
                blocking(move || script::run(&program, &arguments, timeout, &context)).await
            }
        }
    };
    run.job.step_with(&step, began, work, ended).await
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

/// Adds up what does not count as the plan's own time (PL-08).
fn count(job: &mut JobView, work: &ActionWork, took: Millis) {
    let Some(progress) = &mut job.plan else { return };
    let sum = match work {
        ActionWork::Manual { .. } => &mut progress.manual,
        ActionWork::Script { .. } => &mut progress.scripts,
    };
    sum.0 += took.0;
}

/// What a script is told (EX-P3).
async fn context(run: &Run<'_>, kind: FailoverType, view: &PlanActionView) -> ScriptContext {
    let progress = run.progress();
    let mut machines = BTreeMap::new();
    for member in progress.members.into_iter().filter(|member| member.state == PlanState::Done) {
        // One whose protection has ended since is of no plan any more.
        let Ok(item) = run.core.find(&member.item).await else { continue };
        if let Some(machine) = started(&*item.record.lock().await, kind) {
            machines.insert(member.item, machine);
        }
    }
    ScriptContext {
        plan: run.task.plan.id.clone(),
        failover_type: kind,
        direction: run.job.look(|view| view.direction),
        group: view.group,
        place: view.place,
        attempt: view.runs + 1,
        machines,
    }
}

/// The machine that a failover, or a test failover, has started.
fn started(record: &Record, kind: FailoverType) -> Option<ScriptMachine> {
    if kind == FailoverType::Test {
        let test_failover = record.test_failover.as_ref()?;
        return Some(ScriptMachine {
            machine: test_failover.machine.clone(),
            point: Some(test_failover.point.clone()),
        });
    }
    let side: Side = record.protection.active;
    Some(ScriptMachine { machine: record.on(side).1.clone(), point: record.failed_over_to.clone() })
}

//! Creates, deletes and lists plans.

use contract::{CoreError, ErrorCode, JobSubject, JobView, PlanId, RecoveryPlan};

use crate::context::Context;
use crate::error::unknown;
use crate::plan::shape;

pub(crate) use crate::plan::shape::LIMITS;

pub(crate) async fn create(ctx: &Context, plan: &RecoveryPlan) -> Result<(), CoreError> {
    let mut plans = ctx.plans.lock().await;
    if plans.contains_key(&plan.id) {
        let text = format!("there is already a plan {}; delete it first or choose another name", plan.id);
        return Err(CoreError::new(ErrorCode::PlanExists, text));
    }
    shape::check(ctx, plan).await?;
    ctx.store.put_plan(plan)?;
    plans.insert(plan.id.clone(), plan.clone());
    Ok(())
}

pub(crate) async fn delete(ctx: &Context, id: &PlanId) -> Result<(), CoreError> {
    let mut plans = ctx.plans.lock().await;
    if !plans.contains_key(id) {
        return Err(unknown("plan", id));
    }
    ensure_idle(ctx, id).await?;
    ctx.store.remove_plan(id)?;
    plans.remove(id);
    Ok(())
}

pub(crate) async fn list(ctx: &Context) -> Vec<RecoveryPlan> {
    ctx.plans.lock().await.values().cloned().collect()
}

/// Refuses a plan with a running job.
pub(super) async fn ensure_idle(ctx: &Context, id: &PlanId) -> Result<(), CoreError> {
    let jobs = ctx.jobs.lock().await;
    let running = |view: &JobView| {
        let runs = !view.state.ended() && matches!(&view.subject, JobSubject::Plan(plan) if plan == id);
        runs.then(|| view.id.clone())
    };
    match jobs.iter().rev().find_map(|job| job.read(running)) {
        Some(job) => Err(CoreError::new(ErrorCode::Busy, format!("job {job} of plan {id} is running"))),
        None => Ok(()),
    }
}

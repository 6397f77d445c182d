//! What a valid plan looks like (EX-P1).

use std::collections::{BTreeMap, BTreeSet};

use contract::{ActionWork, CoreError, ErrorCode, PlanAction, PlanLimits, RecoveryPlan};

use crate::context::Context;

/// Maximum size of a plan (EX-P1).
pub(crate) const LIMITS: PlanLimits = PlanLimits { groups: 7, items: 100 };

/// Refuses an invalid plan.
pub(super) async fn check(ctx: &Context, plan: &RecoveryPlan) -> Result<(), CoreError> {
    if plan.id.0.is_empty() {
        return Err(bad("a plan needs a name"));
    }
    check_size(plan)?;
    let mut seen = BTreeSet::new();
    for item in plan.groups.iter().flat_map(|group| &group.items) {
        if !seen.insert(item) {
            return Err(bad(format!("item {item} occurs twice in plan {}", plan.id)));
        }
    }
    for group in &plan.groups {
        group.before.iter().chain(&group.after).try_for_each(check_action)?;
    }
    check_items(ctx, plan).await
}

fn check_size(plan: &RecoveryPlan) -> Result<(), CoreError> {
    let items: usize = plan.groups.iter().map(|group| group.items.len()).sum();
    if items == 0 {
        return Err(bad(format!("plan {} has no item", plan.id)));
    }
    for (what, is, most) in [("groups", plan.groups.len(), LIMITS.groups), ("items", items, LIMITS.items)] {
        if is > most as usize {
            let text =
                format!("plan {} has {is} {what}, but at most {most} are allowed; split the plan", plan.id);
            return Err(CoreError::new(ErrorCode::PlanTooLarge, text));
        }
    }
    Ok(())
}

fn check_action(action: &PlanAction) -> Result<(), CoreError> {
    if action.name.is_empty() {
        return Err(bad("an action needs a name"));
    }
    let lacks = match &action.work {
        ActionWork::Script { program, .. } if program.is_empty() => "a program",
        ActionWork::Script { timeout, .. } if timeout.0 == 0 => "a timeout",
        ActionWork::Manual { instruction } if instruction.is_empty() => "an instruction",
        ActionWork::Script { .. } | ActionWork::Manual { .. } => return Ok(()),
    };
    Err(bad(format!("action {} lacks {lacks}", action.name)))
}

/// Refuses items that are not protected or are of different kinds of pairs, and replication groups
/// that are split over several groups of the plan.
async fn check_items(ctx: &Context, plan: &RecoveryPlan) -> Result<(), CoreError> {
    let mut kind = None;
    let mut group_of = BTreeMap::new();
    for (number, group) in plan.groups.iter().enumerate() {
        for id in &group.items {
            let item = ctx.find(id).await?;
            let record = item.record.lock().await;
            if *kind.get_or_insert(record.pair) != record.pair {
                let other = record.pair.title();
                let text = format!("plan {} mixes kinds of machines: {id} belongs to: {other}", plan.id);
                return Err(bad(text));
            }
            let Some(together) = &record.group else { continue };
            if *group_of.entry(together.clone()).or_insert(number) != number {
                return Err(bad(format!("plan {} splits replication group {together}", plan.id)));
            }
        }
    }
    Ok(())
}

fn bad(text: impl Into<String>) -> CoreError {
    CoreError::new(ErrorCode::BadRequest, text)
}

//! Requests that a rule forbids: whether the core refuses them by the right code, and changes
//! nothing.
//!
//! A core may refuse such a request, or accept it and let its job fail. Both are judged alike, as
//! by the checks in memory.

use contract::{
    DiskView, ErrorCode, JobState, MachineId, Operation, Platform, PointId, PowerState, Protection,
};

use crate::blame::{CoreFailure, ScenarioError, platform_causes};
use crate::real::context::{ScenarioContext, json_name};
use crate::real::edge::freshness::now;
use crate::real::edge::recovery_point::points_lost;
use crate::refusal::MayStartJob;
use crate::rules::RuleId;

/// Name of these requests in messages.
const LABEL: &str = "a request that is not allowed";

/// A request that a rule forbids.
pub(crate) struct Forbidden<'a> {
    pub(crate) rule: RuleId,
    /// What is asked for.
    pub(crate) what: &'a str,
    /// The operation that the core needs for it. The rule is skipped for a core that lacks it.
    pub(crate) needs: Option<Operation>,
    /// The codes by which the rule allows a core to refuse.
    pub(crate) codes: &'a [ErrorCode],
}

/// A machine, its power state and its disks.
type ShownMachine = (MachineId, PowerState, Vec<DiskView>);

/// What a refusal must leave as it was.
#[derive(PartialEq)]
struct ObservableState {
    protection: Protection,
    failed_over_to: Option<PointId>,
    test_failover: Option<MachineId>,
    /// The machines of each site that answers.
    machines: Vec<(String, Vec<ShownMachine>)>,
}

impl ObservableState {
    async fn of(context: &ScenarioContext) -> Result<(Self, contract::ItemView), ScenarioError> {
        let item = context.core.item(&context.item).await?;
        let mut machines = Vec::new();
        for (name, site) in context.sites() {
            // A site that was lost shows nothing.
            let Ok(shown) = site.machines().await else { continue };
            let shown = shown.into_iter().map(|machine| (machine.id, machine.power, machine.disks));
            machines.push((name.to_owned(), shown.collect()));
        }
        let state = Self {
            protection: item.protection,
            failed_over_to: item.failed_over_to.clone(),
            test_failover: item.test_failover.clone(),
            machines,
        };
        Ok((state, item))
    }

    /// The kind of thing that differs; `None` if nothing does.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        let kinds = [
            (self.protection != now.protection, "the state of the item"),
            (self.failed_over_to != now.failed_over_to, "the chosen recovery point"),
            (self.test_failover != now.test_failover, "the test failover"),
            (self.machines != now.machines, "the machines of a site"),
        ];
        kinds.into_iter().find_map(|(differs, kind)| differs.then_some(kind))
    }
}

impl ScenarioContext {
    /// Makes a request that a rule forbids, and records whether the core refuses it by one of the
    /// codes and leaves everything as it was.
    ///
    /// # Errors
    /// The core does not show what is compared, or lets a job run for ever.
    pub(crate) async fn forbids<T: MayStartJob>(
        &self,
        Forbidden { rule, what, needs, codes }: Forbidden<'_>,
        request: impl Future<Output = Result<T, CoreFailure>>,
    ) -> Result<(), ScenarioError> {
        if let Some(lacking) = needs.filter(|operation| !self.core_can(*operation)) {
            self.skip(rule, lacking);
            return Ok(());
        }
        let known = self.job_ids().await?;
        let (before, item_before) = ObservableState::of(self).await?;
        let asked = now();
        let code = match request.await {
            Err(refusal) => Some(refusal.error.code),
            Ok(answer) => match answer.job().filter(|job| !known.contains(job)) {
                Some(job) => {
                    let view = self.ended_job(LABEL, job).await?;
                    view.error.filter(|_| view.state == JobState::Failed).map(|error| error.code)
                }
                None => None,
            },
        };
        let (now, item_now) = ObservableState::of(self).await?;
        let lost = points_lost(&item_before, &item_now);
        let changed = before.difference(&now).or((lost > 0).then_some("recovery points"));
        let by_right_code = code.is_some_and(|code| codes.contains(&code));
        let changes = changed.map_or_else(String::new, |changed| format!(", and changed {changed}"));
        let found = format!("{what}: {}{changes}", answer(code));
        let excusable = is_excusable(code, changed);
        match self.stand_in_failure(asked).filter(|_| excusable) {
            Some(why) => self.unknown(rule, format!("{found}; meanwhile the stand-in itself failed: {why}")),
            None => self.check(rule, by_right_code && changed.is_none(), found),
        }
        Ok(())
    }
}

/// Whether an answer says nothing about the core if a stand-in itself failed meanwhile: the core
/// changed nothing, and a platform can be the cause of what it says.
fn is_excusable(code: Option<ErrorCode>, changed: Option<&str>) -> bool {
    changed.is_none() && code.is_some_and(platform_causes)
}

/// How a core answered a request, if `code` is that of its error or of its job's.
fn answer(code: Option<ErrorCode>) -> String {
    code.map_or_else(|| "accepted".to_owned(), |code| format!("refused with {}", json_name(&code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_platforms_error_that_changed_nothing_can_be_excused() {
        assert!(is_excusable(Some(ErrorCode::Platform), None));
        assert!(!is_excusable(Some(ErrorCode::Platform), Some("the machines of a site")));
        assert!(!is_excusable(Some(ErrorCode::NotCurable), None));
        assert!(!is_excusable(None, None), "a request that was accepted");
    }
}

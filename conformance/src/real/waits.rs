//! Waits for what the core has to do in time, and whose failure it is if it does not.

use std::time::Duration;

use contract::{Health, ItemView, Timestamp};
use harness::machine::Guest;

use crate::blame::{CoreFailure, ScenarioError};
use crate::real::context::ScenarioContext;
use crate::real::edge::freshness::now;
use crate::rules::{RuleId, RuleLog};

impl ScenarioContext {
    /// Waits for something that the core has to bring about while `guest` runs. `awaited` names it,
    /// such as `a recovery point`; `label` is the edge or phase.
    ///
    /// # Errors
    /// It did not come within `bound`, by which the core breaks `rule`, unless a stand-in itself
    /// failed meanwhile; the guest died, which proves nothing; or the error of `what`.
    pub(crate) async fn expect_of_core<T>(
        &self,
        rule: RuleId,
        label: &str,
        awaited: &str,
        guest: &Guest,
        bound: Duration,
        what: impl Future<Output = Result<T, ScenarioError>>,
    ) -> Result<T, ScenarioError> {
        let began = now();
        match guest.race(awaited, bound, async { Ok(what.await) }).await {
            Ok(result) => result.inspect_err(|error| note_unknown(&mut self.findings().rules, rule, error)),
            Err(harness::Error::TimedOut { .. }) => {
                let found = format!("no {awaited} within {bound:?}, while the guest ran");
                Err(self.overdue_since(began, rule, label, &found))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the item's health is `awaited`. A core may answer before it is, such as while a
    /// resynchronisation lets it warn, so it is asked again; the caller bounds the wait.
    pub(crate) async fn item_once(&self, awaited: Health) -> Result<ItemView, CoreFailure> {
        let mut item = self.core.item(&self.item).await?;
        while item.health != awaited {
            item = self.core.watch_health(&self.item, item.health).await?;
            // An answer that comes at once must not keep a time limit from ending this wait.
            tokio::task::yield_now().await;
        }
        Ok(item)
    }

    /// Records that the core did not do in time what `rule` demands, for which no failure of a
    /// stand-in can be the cause. Returns the error that ends the scenario.
    pub(crate) fn overdue(&self, rule: RuleId, label: &str, found: &str) -> ScenarioError {
        overdue(&mut self.findings().rules, rule, format!("{label}: {found}"), None::<&str>)
    }

    /// Records that the core did not do since `began` what `rule` demands. If a stand-in itself
    /// failed meanwhile, nothing can be said about the rule. Returns the error that ends the
    /// scenario.
    pub(crate) fn overdue_since(
        &self,
        began: Timestamp,
        rule: RuleId,
        label: &str,
        found: &str,
    ) -> ScenarioError {
        let failure = self.stand_in_failure(began);
        overdue(&mut self.findings().rules, rule, format!("{label}: {found}"), failure)
    }
}

/// Records what `found` says about the rule: what the core had to do was not done in time.
fn overdue(
    rules: &mut RuleLog,
    rule: RuleId,
    found: String,
    stand_in_failure: Option<impl std::fmt::Display>,
) -> ScenarioError {
    let error = ScenarioError::core_unless(found, stand_in_failure);
    match &error {
        ScenarioError::CoreViolation(found) => rules.check(rule, false, found.clone()),
        other => note_unknown(rules, rule, other),
    }
    error
}

/// Records that nothing can be said about a rule after an error that proves nothing.
fn note_unknown(rules: &mut RuleLog, rule: RuleId, error: &ScenarioError) {
    if let ScenarioError::Inconclusive(why) = error {
        rules.unknown(rule, why.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;
    use crate::rules::ids::LC_01;

    #[test]
    fn what_is_overdue_breaks_its_rule_only_if_no_stand_in_itself_failed_meanwhile() {
        let judged = |failure: Option<&str>| {
            let mut rules = RuleLog::default();
            let error = overdue(&mut rules, LC_01, "no point within 120s".to_owned(), failure);
            let outcome = rules.into_outcomes().remove(0);
            assert!(outcome.found.starts_with("no point within 120s"), "{}", outcome.found);
            (outcome.id, outcome.verdict, error)
        };
        let by_core = ScenarioError::core("no point within 120s");
        assert_eq!(judged(None), (LC_01, Verdict::Fail, by_core));
        let text = "no point within 120s; meanwhile the stand-in itself failed: cloud: libvirt is gone";
        let by_host = ScenarioError::inconclusive(text);
        assert_eq!(judged(Some("cloud: libvirt is gone")), (LC_01, Verdict::Unknown, by_host));
    }

    #[test]
    fn an_error_of_a_wait_that_proves_nothing_leaves_its_rule_unknown() {
        let mut rules = RuleLog::default();
        note_unknown(&mut rules, LC_01, &ScenarioError::core("the item is unknown"));
        assert!(!rules.looked_at(LC_01));
        note_unknown(&mut rules, LC_01, &ScenarioError::inconclusive("QEMU did not answer"));
        assert_eq!(rules.into_outcomes()[0].verdict, Verdict::Unknown);
    }
}

//! The tier of a scenario, from the table of scenarios.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::outcome::ScenarioOutcome;
use crate::scenario::{self, Scenario, Tier};

static ROWS: LazyLock<BTreeMap<String, Scenario>> = LazyLock::new(|| {
    let rows = scenario::all().unwrap_or_default();
    rows.into_iter().map(|row| (row.name.clone(), row)).collect()
});

/// The scenario's row; `None` if the table has no such scenario any more.
pub(super) fn row_of(scenario: &ScenarioOutcome) -> Option<&'static Scenario> {
    ROWS.get(&scenario.name)
}

/// The tier: that of its rules, or else that of its row.
pub(crate) fn tier_of(scenario: &ScenarioOutcome) -> Option<Tier> {
    scenario.rules.first().map(|rule| rule.tier).or_else(|| Some(row_of(scenario)?.tier))
}

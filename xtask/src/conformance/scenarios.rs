//! The catalogue of scenarios, and the selection by command line arguments.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;

use crate::error::usage;

/// Compiled in, so that names are checked before anything is built or installed.
const CATALOGUE: &str = include_str!("../../../conformance/scenarios.toml");

/// Where a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// In memory, with a virtual clock.
    Sim,
    /// On real guests.
    Real,
}

impl Tier {
    /// Its name, which is also the name of its test binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Real => "real",
        }
    }

    /// Whether a choice includes it.
    pub fn is_in(self, choice: TierChoice) -> bool {
        choice.includes(self)
    }
}

/// The values of `--tier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TierChoice {
    /// In memory, with a virtual clock.
    Sim,
    /// On real guests.
    Real,
    /// Both.
    All,
}

impl TierChoice {
    fn includes(self, tier: Tier) -> bool {
        match self {
            Self::Sim => tier == Tier::Sim,
            Self::Real => tier == Tier::Real,
            Self::All => true,
        }
    }
}

/// One scenario of the catalogue.
#[derive(Debug, Clone, Deserialize)]
pub struct Scenario {
    /// Its name, which is also the name of its test.
    pub name: String,
    /// Where it runs.
    pub tier: Tier,
    /// One line for people.
    pub title: String,
    /// Whether it runs by default, as the representative of its kind.
    #[serde(default)]
    pub representative: bool,
    /// Whether it runs only if it is named: a measurement, which has no verdict on a core.
    #[serde(default)]
    pub by_name_only: bool,
}

#[derive(Deserialize)]
struct Catalogue {
    scenario: Vec<Scenario>,
}

/// All scenarios.
pub fn all() -> Result<Vec<Scenario>> {
    let catalogue: Catalogue =
        toml::from_str(CATALOGUE).context("tried to read conformance/scenarios.toml")?;
    Ok(catalogue.scenario)
}

/// Selects scenarios by names and tier. Without names it selects all of the tier, except those that
/// run only if they are named. Without names and tier it selects one representative of each kind.
pub fn choose(all: &[Scenario], names: &[String], tier: Option<TierChoice>) -> Result<Vec<Scenario>> {
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|scenario| scenario.name == **name)) {
        let known: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        return Err(usage(format!("There is no scenario \"{unknown}\". Known: {}.", known.join(", "))));
    }
    let selected = |scenario: &&Scenario| match tier {
        _ if !names.is_empty() => {
            names.contains(&scenario.name) && tier.is_none_or(|tier| tier.includes(scenario.tier))
        }
        Some(tier) => tier.includes(scenario.tier) && !scenario.by_name_only,
        None => scenario.representative,
    };
    let chosen: Vec<Scenario> = all.iter().filter(selected).cloned().collect();
    if chosen.is_empty() {
        return Err(usage(
            "No named scenario belongs to that tier: `cargo xtask conformance --list` shows all with their tiers.",
        ));
    }
    Ok(chosen)
}

/// All scenarios of a tier, including those that run only if they are named.
pub fn of(all: &[Scenario], tier: TierChoice) -> Vec<Scenario> {
    all.iter().filter(|scenario| tier.includes(scenario.tier)).cloned().collect()
}

/// The catalogue as a table.
pub fn table(scenarios: &[Scenario]) -> String {
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let line = |scenario: &Scenario| {
        format!("{:<width$}  {:<4}  {}\n", scenario.name, scenario.tier.name(), scenario.title)
    };
    scenarios.iter().map(line).collect()
}

/// The scenarios as a nextest expression, combined with the `--filter` expression.
pub fn expression(scenarios: &[&Scenario], filter: Option<&str>) -> String {
    let any = any_of(scenarios.iter().map(|scenario| &scenario.name));
    filter.map_or(any.clone(), |filter| format!("({any}) & ({filter})"))
}

/// The nextest expression that selects the tests with these names.
pub fn any_of<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let tests: Vec<String> = names.into_iter().map(|name| format!("test(={name})")).collect();
    tests.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, tier: Tier) -> Scenario {
        let representative = tier == Tier::Sim;
        Scenario { name: name.into(), tier, title: "A title".into(), representative, by_name_only: false }
    }

    fn some() -> Vec<Scenario> {
        vec![scenario("a-b", Tier::Real), scenario("clock", Tier::Sim)]
    }

    #[test]
    fn the_catalogue_is_readable() {
        let all = all().expect("conformance/scenarios.toml is valid");
        assert!(all.iter().any(|scenario| scenario.name == "vmware-azure" && scenario.tier == Tier::Real));
        let mut names: Vec<_> = all.iter().map(|scenario| &scenario.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len(), "a scenario's name is its test's name");
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_list_of_known_ones() {
        let error = choose(&some(), &["a-c".into()], None).expect_err("there is no a-c");
        assert_eq!(error.to_string(), "There is no scenario \"a-c\". Known: a-b, clock.");
        assert_eq!(crate::error::code_of(&error), crate::error::USAGE);
        assert!(choose(&some(), &["clock".into()], Some(TierChoice::Real)).is_err());
    }

    #[test]
    fn names_and_tiers_select() {
        let names = |names: &[&str], tier| {
            let wanted: Vec<String> = names.iter().map(ToString::to_string).collect();
            let chosen = choose(&some(), &wanted, tier).expect("a choice");
            chosen.into_iter().map(|scenario| scenario.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], Some(TierChoice::All)), ["a-b", "clock"]);
        assert_eq!(names(&[], Some(TierChoice::Real)), ["a-b"]);
        assert_eq!(names(&["a-b"], None), ["a-b"]);
        // One representative of each kind by default.
        assert_eq!(names(&[], None), ["clock"]);
        let with_measurement =
            [scenario("a-b", Tier::Real), Scenario { by_name_only: true, ..scenario("iops", Tier::Real) }];
        assert_eq!(choose(&with_measurement, &[], Some(TierChoice::All)).expect("a choice").len(), 1);
        assert_eq!(choose(&with_measurement, &["iops".into()], None).expect("a choice")[0].name, "iops");
    }

    #[test]
    fn expressions_name_whole_tests() {
        let (a, b) = (scenario("a", Tier::Real), scenario("b", Tier::Real));
        assert_eq!(expression(&[&a, &b], None), "test(=a) | test(=b)");
        assert_eq!(expression(&[&a], Some("test(/x/)")), "(test(=a)) & (test(/x/))");
    }
}

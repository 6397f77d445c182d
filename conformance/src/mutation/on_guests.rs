//! Which mutants have to be found by which scenarios of the real tier.

use serde::Serialize;

use crate::mutants::mutants;

/// A run of a scenario on a mutant, as `cargo xtask mutants --tier real` reads it.
#[derive(Debug, Serialize)]
pub struct GuestRow {
    /// Kind of fault.
    pub class: &'static str,
    /// The value of `--mutant`.
    pub mutant: String,
    /// The scenario.
    pub scenario: &'static str,
    /// The rules that assertions must find broken.
    pub rules: Vec<&'static str>,
}

/// Every such run, in the order of the matrix.
#[must_use]
pub fn rows() -> Vec<GuestRow> {
    let runs = mutants().flat_map(|mutant| mutant.on_guests.iter().map(move |run| (mutant, run)));
    runs.map(|(mutant, run)| GuestRow {
        class: mutant.class.words(),
        mutant: run.edge.map_or(mutant.name.to_owned(), |edge| format!("{}@{edge}", mutant.name)),
        scenario: run.scenario,
        rules: run.breaks.iter().map(|rule| rule.as_str()).collect(),
    })
    .collect()
}

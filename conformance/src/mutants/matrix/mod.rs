//! Every mutant, and the rules that it must break, topic by topic.

mod data;
mod field;
mod field_sites;
mod machines;
mod points;
mod preconditions;
mod reports;
mod requests;
mod windows;

use super::mutant::Mutant;

/// Every mutant.
pub fn mutants() -> impl Iterator<Item = &'static Mutant> {
    let topics = [
        data::MUTANTS,
        field::MUTANTS,
        field_sites::MUTANTS,
        points::MUTANTS,
        machines::MUTANTS,
        reports::MUTANTS,
        requests::MUTANTS,
        windows::MUTANTS,
        preconditions::IGNORED,
        preconditions::INVENTED,
    ];
    topics.into_iter().flatten()
}

/// The mutant of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Mutant> {
    mutants().find(|mutant| mutant.name == name)
}

#[cfg(test)]
mod tests;

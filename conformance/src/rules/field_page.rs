//! Tests of `docs/field.md`: the table of field failures names rules and mutants that exist.

use super::RuleId;
use crate::mutants::{Mutant, mutants};

const PAGE: &str = include_str!("../../../docs/field.md");

/// A row of the table: what was found, the rules and the mutants.
struct Row {
    report: String,
    found: String,
    rules: Vec<RuleId>,
    mutants: Vec<&'static Mutant>,
}

fn rows() -> Vec<Row> {
    let table = PAGE.lines().skip_while(|line| !line.starts_with("| report |")).skip(2);
    table.take_while(|line| line.starts_with('|')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [report, _, found, rules, mutants, _, _] = cells[..] else { panic!("seven cells: {line}") };
    let list = |cell: &str| -> Vec<String> {
        cell.split(", ").filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
    };
    let rule = |link: &String| {
        let id = link.trim_start_matches('[').split(']').next().unwrap_or_default();
        RuleId::find(id).unwrap_or_else(|| panic!("no rule {id}: {line}"))
    };
    let mutant = |name: &String| {
        let name = name.trim_matches('`');
        self::mutants().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no mutant {name}"))
    };
    Row {
        report: report.to_owned(),
        found: found.to_owned(),
        rules: list(rules).iter().map(rule).collect(),
        mutants: list(mutants).iter().map(mutant).collect(),
    }
}

#[test]
fn every_mutant_of_a_report_breaks_a_rule_of_it() {
    for row in rows() {
        for mutant in &row.mutants {
            let on_guests = mutant.on_guests.iter().flat_map(|run| run.breaks);
            let mut broken = mutant.breaks.iter().chain(on_guests);
            assert!(broken.any(|rule| row.rules.contains(rule)), "{}: {}", row.report, mutant.name);
        }
    }
}

#[test]
fn what_is_found_has_a_rule_and_the_sums_are_right() {
    let rows = rows();
    let count = |found: &str| rows.iter().filter(|row| row.found == found).count();
    for row in rows.iter().filter(|row| row.found != "no") {
        assert!(!row.rules.is_empty(), "{}", row.report);
    }
    let (caught, partly, no) = (count("caught"), count("partly"), count("no"));
    assert_eq!(caught + partly + no, rows.len());
    let sums = format!("Of {} reports {caught} are caught, {partly} partly and {no} not.", rows.len());
    assert!(PAGE.contains(&sums), "{sums}");
}

#[test]
fn every_rule_about_field_failures_is_in_the_table() {
    let all: Vec<_> = rows().into_iter().flat_map(|row| row.rules).collect();
    for rule in super::catalogue().iter().filter(|rule| rule.id.prefix() == "FX") {
        assert!(all.contains(&rule.id), "{}", rule.id);
    }
}

//! Writes `docs/performance.md`: each figure next to its reference, its target, and what an earlier
//! version measured.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::figures::{Figure, Measured, Spread};
use crate::rules::page::wrapped_to;

/// What is expected of each row.
const GOALS: &str = include_str!("goals.toml");
/// Columns of the text of a list, whose lines are indented.
const ITEM_COLUMNS: usize = 98;

#[derive(Deserialize)]
struct Goals {
    /// What stands above the table.
    head: String,
    /// What stands below it.
    foot: String,
    row: Vec<Goal>,
}

#[derive(Deserialize)]
struct Goal {
    /// Names of the rows, as the measurements give them.
    row: String,
    /// What is measured.
    what: String,
    /// What it is compared with.
    reference: String,
    /// What the earlier version measured: ours, and the reference.
    before: String,
    /// The most that ours may take, as a multiple of the reference.
    most: Option<f64>,
    /// Why the target is missed, if it is, and what it would need.
    missed: String,
}

/// The page.
///
/// # Errors
/// The table of goals is malformed, or a row of it was not measured.
pub(super) fn render(measured: &Measured) -> Result<String> {
    let goals: Goals = toml::from_str(GOALS).context("read goals.toml")?;
    let mut page = goals.head.clone();
    let Measured { host, rounds, busy, .. } = measured;
    let _ = writeln!(page, "\nHost: {host}.\n{rounds} rounds, median and range.");
    if *busy {
        page.push_str("\n**The host was busy: these figures mean nothing.**\n");
    }
    page.push_str("\n| what | before | now | reference now | ours / reference | target | met |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    let mut missed = Vec::new();
    for goal in &goals.row {
        let figure = measured.figures.iter().find(|figure| figure.row == goal.row);
        let figure = figure.with_context(|| format!("{} was not measured", goal.row))?;
        if !line(&mut page, goal, figure) {
            missed.push(goal);
        }
    }
    if !missed.is_empty() {
        page.push_str("\n## Missed targets\n\n");
        missed.iter().for_each(|goal| {
            let item = format!("- **{}.** {}", goal.what, goal.missed);
            let _ = writeln!(page, "{}", wrapped_to(ITEM_COLUMNS, &item).replace('\n', "\n  "));
        });
    }
    page.push('\n');
    page.push_str(goals.foot.trim_start());
    Ok(page)
}

/// Adds a row and returns whether its target is met. A row without a target meets it.
fn line(page: &mut String, goal: &Goal, figure: &Figure) -> bool {
    let met = goal.most.is_none_or(|most| figure.ratio.median <= most);
    let target = goal.most.map_or_else(|| "–".to_owned(), |most| format!("{most:.2}"));
    let verdict = match (goal.most, met) {
        (None, _) => "–",
        (_, true) => "yes",
        (_, false) => "no",
    };
    let Goal { what, reference, before, .. } = goal;
    let (ours, theirs, ratio) = (words(figure.ours), words(figure.reference), words(figure.ratio));
    let _ = writeln!(
        page,
        "| {what} | {before} | {ours} s | {reference}: {theirs} s | {ratio} | {target} | {verdict} |"
    );
    met
}

fn words(spread: Spread) -> String {
    let Spread { median, least, most } = spread;
    let digits = if median < 0.01 { 5 } else { 2 };
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ratio: f64) -> Measured {
        let goals: Goals = toml::from_str(GOALS).unwrap();
        let spread = |median| Spread { median, least: median, most: median };
        let figures = goals.row.iter().map(|goal| Figure {
            row: goal.row.clone(),
            ours: spread(ratio),
            reference: spread(1.0),
            ratio: spread(ratio),
        });
        Measured { host: "a host".to_owned(), rounds: 1, busy: false, figures: figures.collect() }
    }

    #[test]
    fn a_missed_target_is_named_with_its_reason_and_a_met_one_is_not() {
        let slow = render(&measured(100.0)).unwrap();
        assert!(slow.contains("## Missed targets") && slow.contains("| no |"), "{slow}");
        let fast = render(&measured(0.1)).unwrap();
        assert!(!fast.contains("## Missed targets") && !fast.contains("| no |"), "{fast}");
    }

    #[test]
    fn a_row_that_was_not_measured_is_no_page() {
        assert!(render(&Measured { figures: Vec::new(), ..measured(1.0) }).is_err());
    }
}

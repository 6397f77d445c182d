//! All scenarios in one table, one a line.

use contract::Millis;
use maud::{Markup, html};

use super::parts::{badge, regression, scenario_link};
use crate::outcome::{EdgeOutcome, ScenarioOutcome, Verdict};

pub(super) fn section(scenarios: &[&ScenarioOutcome]) -> Markup {
    html! {
        section aria-labelledby="scenarios" {
            h2 id="scenarios" { "Scenarios" }
            table.stack {
                thead { tr {
                    th scope="col" { "scenario" } th scope="col" { "verdict" } th.n scope="col" { "edges passed" }
                    th.n scope="col" { "most lost (RPO)" } th.n scope="col" { "slowest recovery (RTO)" }
                    th.n scope="col" { "took" }
                } }
                tbody { @for scenario in scenarios { (row(scenario)) } }
            }
        }
    }
}

fn row(scenario: &ScenarioOutcome) -> Markup {
    let ScenarioOutcome { title, edges, .. } = scenario;
    html! {
        tr {
            th scope="row" { (scenario_link(scenario)) br; small { (title) } }
            td { (badge(scenario.verdict)) (regression(scenario)) }
            td.n data-label="edges passed" { (judged(edges)) }
            td.n data-label="most lost (RPO)" { (most_lost(edges)) }
            td.n data-label="slowest recovery (RTO)" { (slowest(edges)) }
            td.n data-label="took" { (Millis(scenario.ms)) }
        }
    }
}

/// `4 of 4`: how many edges passed.
fn judged(edges: &[EdgeOutcome]) -> String {
    let passed = edges.iter().filter(|edge| edge.verdict == Verdict::Pass).count();
    if edges.is_empty() { "–".to_owned() } else { format!("{passed} of {}", edges.len()) }
}

fn most_lost(edges: &[EdgeOutcome]) -> String {
    let most = edges.iter().max_by_key(|edge| (edge.rpo.ms, edge.rpo.records));
    match most {
        None => "–".to_owned(),
        Some(edge) if edge.rpo.records == 0 => "nothing".to_owned(),
        Some(edge) => format!("{} · {} records", Millis(edge.rpo.ms), edge.rpo.records),
    }
}

fn slowest(edges: &[EdgeOutcome]) -> String {
    let slowest = edges.iter().filter(|edge| edge.rto.ms > 0).max_by_key(|edge| edge.rto.ms);
    slowest.map_or_else(
        || "–".to_owned(),
        |edge| match edge.rto.boots > 0.0 {
            true => format!("{} · {:.1} boots", Millis(edge.rto.ms), edge.rto.boots),
            false => Millis(edge.rto.ms).to_string(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn the_worst_edges_of_a_scenario_are_shown() {
        let edges = &samples::passing().scenarios[0].edges;
        assert_eq!(judged(edges), "4 of 4");
        let most = edges.iter().map(|edge| edge.rpo.ms).max().unwrap();
        assert!(most_lost(edges).starts_with(&Millis(most).to_string()));
        let slowest_ms = edges.iter().map(|edge| edge.rto.ms).max().unwrap();
        assert!(slowest(edges).starts_with(&Millis(slowest_ms).to_string()));
        assert_eq!((judged(&[]), most_lost(&[]), slowest(&[])), ("–".into(), "–".into(), "–".into()));
    }
}

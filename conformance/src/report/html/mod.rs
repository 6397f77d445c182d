//! The report as one self-contained HTML page.

mod attention;
#[cfg(test)]
mod browser_tests;
mod coverage;
mod edges;
mod host;
mod overview;
mod parts;
mod rules;
mod scenario;
mod screens;
pub(super) mod trend;

use camino::Utf8Path;
use maud::{DOCTYPE, Markup, html};

use super::figures::sign;
use super::reason::{reason, worst_first};
use crate::outcome::{Results, ScenarioOutcome};
use parts::{class, page_head, scenario_anchor};

/// The page. `dir` is the directory of the run, from which plots and screenshots come.
pub(super) fn render(results: &Results, dir: &Utf8Path) -> String {
    let scenarios = worst_first(results);
    let mut budget = screens::Budget::default();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(&format!("{} Roundtrip · {}", sign(results.verdict), results.run)))
            body {
                a.skip href="#results" { "Skip to the results" }
                div.page {
                    (head(results))
                    (contents(results, &scenarios))
                    main id="results" {
                        (attention::section(results, &scenarios))
                        (overview::section(&scenarios))
                        @for scenario in &scenarios {
                            (scenario::section(results, scenario, dir, &mut budget))
                        }
                        (coverage::section(results))
                        (rules::section(results))
                        (rules::not_judged_section(results))
                        (host::section(results, dir))
                    }
                }
            }
        }
    };
    page.into_string()
}

fn head(results: &Results) -> Markup {
    html! {
        header {
            h1 { "Roundtrip: " span class=(class(results.verdict)) { (results.conclusion()) } }
            p.reason { (reason(results)) }
            p.soft {
                (cores(results)) " · run " (results.run)
                @if !results.host.accelerator.is_empty() { " · " (results.host.accelerator) }
                " · profile " (results.profile) ". Platforms are stand-ins made of QEMU guests."
            }
        }
    }
}

/// The cores that were tested.
fn cores(results: &Results) -> String {
    let cores: std::collections::BTreeSet<_> = results
        .scenarios
        .iter()
        .map(|scenario| scenario.core.as_str())
        .filter(|core| !core.is_empty())
        .collect();
    if cores.is_empty() { "no core".to_owned() } else { cores.into_iter().collect::<Vec<_>>().join(", ") }
}

fn contents(results: &Results, scenarios: &[&ScenarioOutcome]) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                @if attention::is_needed(results) { li { a href="#attention" { "Needs attention" } } }
                li {
                    a href="#scenarios" { "Scenarios" }
                    ul {
                        @for scenario in scenarios {
                            li { a href={ "#" (scenario_anchor(&scenario.name)) } {
                                span class=(class(scenario.verdict)) { (sign(scenario.verdict)) } " " (scenario.name)
                            } }
                        }
                    }
                }
                li { a href="#coverage" { "Rule coverage" } }
                li { a href="#rules" { "Rules" } }
                li { a href="#not-judged" { "Not judged" } }
                li { a href="#host" { "Host and repetition" } }
            }
        }
    }
}

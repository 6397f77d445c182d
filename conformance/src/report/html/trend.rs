//! The page of trends: each series over time, with the marks of its changes.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::parts::page_head;
use super::scenario::inline;
use crate::regressions::{Comparison, Judged, State, sentence};
use crate::report::timeline::Size;
use crate::report::trend_plot::draw;

/// The page of a comparison. What is worse comes first.
pub(in crate::report) fn render(comparison: &Comparison) -> String {
    let mut all: Vec<_> = comparison.judged.iter().collect();
    all.sort_by_key(|judged| match judged.state {
        State::Worse => 0,
        State::Better => 1,
        State::Accepted => 2,
        State::Level => 3,
        State::TooFew { .. } => 4,
    });
    let run = comparison.runs.last().map(|run| run.run.as_str()).unwrap_or_default();
    let worse = comparison.regressions().count();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(&format!("Roundtrip · trends up to {run}")))
            body {
                a.skip href="#trends" { "Skip to the trends" }
                div.page {
                    header {
                        h1 { "Roundtrip: trends" }
                        p.reason { (comparison.runs.len()) " runs up to " (run) ", " (worse) " of " (all.len()) " series worse" }
                        p.soft { "A dot is a run, a line the median between two changes, a mark the first run of a change." }
                    }
                    (contents(&all))
                    main id="trends" {
                        @for (number, judged) in all.iter().enumerate() { (one(comparison, judged, number)) }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn contents(all: &[&Judged]) -> Markup {
    html! {
        nav aria-label="Contents" { ul {
            @for (number, judged) in all.iter().enumerate() {
                li { a href={ "#series-" (number) } { (mark(judged.state)) (name(judged)) } }
            }
        } }
    }
}

fn name(judged: &Judged) -> String {
    format!("{}: {}", judged.series.place(), judged.series.measure.title)
}

fn mark(state: State) -> &'static str {
    match state {
        State::Worse => "↓ ",
        State::Better => "↑ ",
        State::Level | State::Accepted => "",
        State::TooFew { .. } => "? ",
    }
}

fn one(comparison: &Comparison, judged: &Judged, number: usize) -> Markup {
    let began: Vec<_> = comparison.runs.iter().map(|run| run.began.as_str()).collect();
    let words = sentence(comparison, judged).unwrap_or_else(|| match judged.state {
        State::TooFew { .. } => "Not judged: there are too few runs.".to_owned(),
        _ => format!("No change in {} runs.", judged.series.points.len()),
    });
    html! {
        section aria-labelledby={ "series-" (number) } {
            h2 id={ "series-" (number) } { (name(judged)) }
            p { @if judged.state == State::Worse { span class="badge unknown" { "↓ regression" } " " } (words) }
            figure.plot {
                @for (class, size) in [("wide", Size::Wide), ("narrow", Size::Narrow)] {
                    // A plot that cannot be drawn is no reason to lose the page.
                    @let svg = draw(judged, &began, size).unwrap_or_default();
                    div class=(class) role="img" aria-label=(words) { (PreEscaped(inline(&svg))) }
                }
            }
        }
    }
}

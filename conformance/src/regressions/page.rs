//! `docs/regressions.md` and its plots, generated from the stored figures.

use std::fmt::Write as _;

use super::compare::{NIGHT_ALPHA, USUAL_LAST};
use super::figures::{Curve, Figures, HostRow, Row, SERIES, measure, stored};
use super::measure::MEASURES;
use super::page_plots::curves;
use statistics::{LEAST, fewest_values};

/// The text around the figures.
const TEXT: &str = include_str!("page.md");

/// A generated file: its path in the repository, and its text.
pub type Page = (&'static str, String);

/// The page and its plots.
///
/// # Errors
/// The stored figures are malformed.
pub fn pages() -> anyhow::Result<Vec<Page>> {
    let figures = stored()?;
    let of = |all: &[Curve], before: usize| -> Vec<Curve> {
        all.iter().filter(|curve| curve.before == before).cloned().collect()
    };
    Ok(vec![
        ("docs/regressions.md", page(&figures)),
        ("docs/regressions-slowdown.svg", curves("10 % slower after 40 runs", &of(&figures.slowdowns, 40))?),
        (
            "docs/regressions-interval.svg",
            curves("interval doubled after 40 runs", &of(&figures.intervals, 40))?,
        ),
    ])
}

/// Repeats the experiments, and returns the text of the file that holds their figures.
///
/// # Errors
/// The recorded values are malformed.
pub fn figures_again(say: impl Fn(&str)) -> anyhow::Result<Page> {
    let text = serde_json::to_string_pretty(&measure(say)?)? + "\n";
    Ok(("conformance/src/regressions/figures.json", text))
}

fn page(figures: &Figures) -> String {
    let alpha = NIGHT_ALPHA / SERIES as f64;
    let values = [
        ("{night}", percent(NIGHT_ALPHA)),
        ("{last}", USUAL_LAST.to_string()),
        ("{least}", LEAST.to_string()),
        ("{series}", SERIES.to_string()),
        ("{alpha}", format!("{alpha:.6}")),
        ("{measures}", measures()),
        ("{one-look}", one_look(&figures.one_look)),
        ("{every-night}", every_night(&figures.every_night)),
        ("{hosts}", hosts(&figures.hosts)),
        ("{slowdowns}", found(&figures.slowdowns)),
        ("{intervals}", found(&figures.intervals)),
        ("{coverage}", coverage(&figures.coverage)),
        ("{recorded}", recorded(figures)),
        ("{fewest}", fewest()),
    ];
    values.iter().fold(TEXT.to_owned(), |text, (name, value)| text.replace(name, value.trim_end()))
}

/// `1 %`, `0.02 %`.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        whole if (whole - whole.round()).abs() < 1e-9 => format!("{whole:.0} %"),
        large if large >= 1.0 => format!("{large:.1} %"),
        small => format!("{small:.2} %"),
    }
}

fn share(found: usize, of: usize) -> String {
    format!("{} ({found} of {of})", percent(found as f64 / of.max(1) as f64))
}

/// A table in Markdown.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<_> = head.iter().map(ToString::to_string).collect();
    let rule: Vec<_> = head.iter().map(|_| "---".to_owned()).collect();
    [line(&heads), line(&rule)].into_iter().chain(rows.map(|row| line(&row))).collect()
}

fn measures() -> String {
    let rows = MEASURES.iter().map(|measure| {
        let least = match measure.least_value {
            none if none <= 0.0 => percent(measure.least_share),
            value => format!("{}, and {}", percent(measure.least_share), measure.show(value)),
        };
        vec![measure.title.to_owned(), measure.means.to_owned(), least]
    });
    table(&["measure", "what it is", "smallest rise that counts"], rows)
}

fn one_look(rows: &[Row]) -> String {
    let runs = rows.first().map(|row| &row.shares[..]).unwrap_or_default();
    let heads: Vec<_> = runs.iter().map(|(runs, ..)| format!("{runs} runs")).collect();
    let head: Vec<&str> =
        ["spread of the values"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    let row = |row: &Row| {
        let shares = row.shares.iter().map(|(_, found, of)| percent(*found as f64 / (*of).max(1) as f64));
        [row.spread.clone()].into_iter().chain(shares).collect()
    };
    table(&head, rows.iter().map(row))
}

fn every_night(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let shares = row.shares.iter().map(|(_, found, of)| share(*found, *of));
        [row.spread.clone()].into_iter().chain(shares).collect()
    };
    table(&["spread of the values", "series with any false alarm in 100 nights"], rows.iter().map(row))
}

fn hosts(rows: &[HostRow]) -> String {
    let row = |row: &HostRow| {
        vec![
            row.spread.clone(),
            row.nights_each.to_string(),
            share(row.nights.0, row.nights.1),
            share(row.histories.0, row.histories.1),
        ]
    };
    let head =
        ["spread of each series", "runs", "nights with a false alarm", "histories with any such night"];
    table(&head, rows.iter().map(row))
}

fn found(curves: &[Curve]) -> String {
    let row = |curve: &Curve| {
        let within = [5, 10, 15, 20].map(|runs| percent(curve.within(runs)));
        [curve.name.clone(), curve.before.to_string()].into_iter().chain(within).collect()
    };
    let head = ["standard deviation", "runs before", "within 5 runs", "10", "15", "20"];
    table(&head, curves.iter().map(row))
}

fn coverage(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let shares = row.shares.iter().map(|(_, found, of)| percent(*found as f64 / (*of).max(1) as f64));
        [row.spread.clone()].into_iter().chain(shares).collect()
    };
    let sizes = rows.first().map(|row| &row.shares[..]).unwrap_or_default();
    let heads: Vec<_> = sizes.iter().map(|(sizes, ..)| format!("{sizes} runs")).collect();
    let head: Vec<&str> = ["spread"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    table(&head, rows.iter().map(row))
}

fn recorded(figures: &Figures) -> String {
    let row = |(name, deviation): (&String, &f64)| vec![name.clone(), percent(*deviation)];
    table(&["recorded", "standard deviation"], figures.recorded.iter().map(row))
}

/// How many runs it takes before anything can be found.
fn fewest() -> String {
    let mut text = String::new();
    for series in [5, 20, 50, SERIES] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {series} | {} |", fewest_values(NIGHT_ALPHA / series as f64));
    }
    format!("| series of a run | fewest runs |\n| --- | --- |\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        for (path, text) in pages().unwrap() {
            let kept = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
            let kept = std::fs::read_to_string(&kept).unwrap_or_default();
            assert!(kept == text, "{path} is out of date: run `cargo xtask docs`");
        }
    }

    #[test]
    fn every_place_of_the_text_is_filled() {
        let text = page(&stored().unwrap());
        assert!(!text.contains('{') && !text.contains('}'), "{text}");
    }

    #[test]
    fn shares_are_shown_with_the_digits_that_matter() {
        assert_eq!([0.01, 0.0002, 0.123, 0.0, 1.0].map(percent), ["1 %", "0.02 %", "12.3 %", "0 %", "100 %"]);
    }
}

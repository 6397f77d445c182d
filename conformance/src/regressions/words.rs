//! A comparison as lines for the terminal, without escape codes.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::compare::{Comparison, NIGHT_ALPHA};
use super::judge::{Judged, Shift, State};
use super::measure::Scale;
use crate::history::RunRecord;

/// How many names are listed before the others are only counted.
const SHOWN: usize = 3;

/// What changed, for the worse first, and what was not judged.
#[must_use]
pub fn lines(comparison: &Comparison) -> String {
    let mut text = String::new();
    let Comparison { runs, judged, baseline, .. } = comparison;
    let what = match baseline {
        None => format!("{} earlier comparable runs", runs.len() - 1),
        Some(at) => format!("{} runs of the baseline, {} runs since", at + 1, runs.len() - 1 - at),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\nCompared with earlier runs: {what}, {} series.", judged.len());
    for (state, mark) in
        [(State::Worse, "↓ REGRESSION"), (State::Better, "↑ better"), (State::Accepted, "  accepted")]
    {
        for judged in judged.iter().filter(|judged| judged.state == state) {
            if let Some(sentence) = sentence(comparison, judged) {
                let _ = writeln!(text, "{mark}  {sentence}");
            }
        }
    }
    let level = judged.iter().filter(|judged| judged.state == State::Level).count();
    if level > 0 {
        let share = NIGHT_ALPHA * 100.0;
        let _ = writeln!(text, "  {level} series did not change (at most {share} % false alarms a run)");
    }
    for line in left_out(comparison) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// What was not compared, and why.
fn left_out(comparison: &Comparison) -> Vec<String> {
    let Comparison { judged, not_measured, not_passed, other_hosts, other_options, .. } = comparison;
    let mut lines = Vec::new();
    let too_few = |judged: &&Judged| matches!(judged.state, State::TooFew { .. });
    let few: Vec<_> = judged.iter().filter(too_few).collect();
    if let Some(first) = few.first() {
        let have = few.iter().map(|judged| judged.series.points.len()).max().unwrap_or_default();
        let need = match first.state {
            State::TooFew { needed: Some(needed) } => format!("{have} runs or fewer, and need {needed}"),
            _ => "too few runs before or since for any difference to show".to_owned(),
        };
        lines.push(format!("NOT JUDGED: {} series have {need}", few.len()));
    }
    if judged.is_empty() {
        lines.push("NOT JUDGED: the run measured nothing that is compared".to_owned());
    }
    if !not_measured.is_empty() {
        lines.push(format!("not measured in this run: {}", listed(not_measured)));
    }
    if !not_passed.is_empty() {
        lines.push(format!("did not pass, so that their values do not count: {}", listed(not_passed)));
    }
    if *other_hosts > 0 {
        lines.push(format!("{other_hosts} runs on other hosts or accelerators are other series"));
    }
    if *other_options > 0 {
        lines.push(format!(
            "{other_options} runs with other options, with changed cores or later are left out"
        ));
    }
    lines
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A change with its size, its confidence interval, its sample sizes and its first run.
#[must_use]
pub fn sentence(comparison: &Comparison, judged: &Judged) -> Option<String> {
    let shift = judged.shift?;
    let series = &judged.series;
    let (from, to) = (series.show(shift.from), series.show(shift.to));
    let Shift { before, after, first, .. } = shift;
    let run = comparison.runs.get(first)?;
    let mut text = format!(
        "{}: {} from {from} to {to}, {}; {before} runs before, {after} since {} of {}",
        series.place(),
        series.measure.title,
        change(judged, shift),
        run.run,
        run.began,
    );
    let earlier = comparison.runs[..first].last();
    let differences = earlier.map(|earlier| differences(earlier, run)).unwrap_or_default();
    if !differences.is_empty() {
        let _ = write!(text, "; changed with it: {}", differences.join(", "));
    }
    Some(text)
}

/// `+15.0 % (95 % interval +12.1 % to +17.8 %)`.
fn change(judged: &Judged, shift: Shift) -> String {
    let share = |difference: f64| match judged.series.measure.scale {
        Scale::Ratio => Some(difference.exp_m1() * 100.0),
        Scale::Difference => (shift.from > 0.0).then(|| difference / shift.from * 100.0),
    };
    let confidence = statistics::CONFIDENCE * 100.0;
    let all = [shift.to - shift.from, shift.interval.low, shift.interval.high].map(share);
    let [Some(change), Some(low), Some(high)] = all else { return "from nothing".to_owned() };
    format!("{change:+.1} % ({confidence:.0} % interval {low:+.1} % to {high:+.1} %)")
}

/// What else differs between two runs.
fn differences(earlier: &RunRecord, later: &RunRecord) -> Vec<String> {
    let versions = [
        ("core", &earlier.core, &later.core),
        ("suite", &earlier.suite, &later.suite),
        ("QEMU", &earlier.host.qemu, &later.host.qemu),
        ("libvirt", &earlier.host.libvirt, &later.host.libvirt),
        ("kernel", &earlier.host.kernel, &later.host.kernel),
        ("guest image", &earlier.host.image, &later.host.image),
    ];
    let changed = versions.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(what, before, after)| format!("{what} {before} → {after}")).collect()
}

/// Every series with its level, its sample size and what is known about it.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["series", "measure", "runs", "usual", "this run", "change"]);
    for judged in &comparison.judged {
        let series = &judged.series;
        let numbers = series.numbers();
        let this = numbers.last().copied().unwrap_or_default();
        let change = match (judged.state, judged.shift) {
            (State::TooFew { needed: Some(needed) }, _) => format!("not judged: needs {needed} runs"),
            (State::TooFew { needed: None }, _) => "not judged: too few runs".to_owned(),
            (_, Some(shift)) => change(judged, shift),
            (_, None) => "none".to_owned(),
        };
        table.add_row([
            series.place(),
            series.measure.title.to_owned(),
            numbers.len().to_string(),
            series.show(statistics::median(&numbers)),
            series.show(this),
            change,
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

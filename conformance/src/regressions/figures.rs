//! The figures of `docs/regressions.md`: how often the comparison is wrong, by simulation.
//!
//! `cargo xtask docs --experiments` measures them and stores them in `figures.json`. They are the
//! same on every host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use statistics::experiment::{
    Effect, Host, Nights, Share, Spread, coverage, deviation, every_night, found_after, nights, one_look,
};
use statistics::{LEAST, Threshold};

use super::compare::{NIGHT_ALPHA, USUAL_LAST};

/// How many series a night has: 200 edges and measures, and one of all edges together.
pub(super) const SERIES: usize = 201;
/// The smallest rise of a recovery time that matters.
const LEAST_RISE: f64 = 0.05;
/// What one series is held to in a night.
const THRESHOLD: Threshold = Threshold { alpha: NIGHT_ALPHA / SERIES as f64, least_rise: LEAST_RISE };
/// The standard deviation that all series of a run have in common, beside their own.
const COMMON: f64 = 0.02;

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// What the figures depend on.
    pub(super) parameters: Parameters,
    /// A small experiment, which a test repeats.
    pub(super) quick: Vec<usize>,
    /// The standard deviations of the recorded recovery times, by series.
    pub(super) recorded: BTreeMap<String, f64>,
    /// For each spread: false alarms of one series at one look, held to 5 %, by number of runs.
    pub(super) one_look: Vec<Row>,
    /// For each spread: series that raise any alarm in 100 nights.
    pub(super) every_night: Vec<Row>,
    /// For each spread: all series of a host through their nights.
    pub(super) hosts: Vec<HostRow>,
    /// For each spread: how soon a slowdown of 10 % is found.
    pub(super) slowdowns: Vec<Curve>,
    /// How soon a doubled interval is found in the data loss of one edge, and of all together.
    pub(super) intervals: Vec<Curve>,
    /// How often the confidence interval contains the true change.
    pub(super) coverage: Vec<Row>,
}

/// What the figures depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Parameters {
    pub(super) night_alpha: f64,
    pub(super) least_values: usize,
    pub(super) last: usize,
    pub(super) series: usize,
}

impl Parameters {
    /// Those of this suite.
    pub(super) fn present() -> Self {
        Self { night_alpha: NIGHT_ALPHA, least_values: LEAST, last: USUAL_LAST, series: SERIES }
    }
}

/// Shares of one kind of spread, each with the number of runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) spread: String,
    pub(super) shares: Vec<(String, usize, usize)>,
}

/// What many nights of a host raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HostRow {
    pub(super) spread: String,
    pub(super) nights_each: usize,
    /// Nights with an alarm, of how many.
    pub(super) nights: (usize, usize),
    /// Histories with such a night, of how many.
    pub(super) histories: (usize, usize),
}

/// The share of series in which a change is found, by the number of runs since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) before: usize,
    pub(super) found: Vec<f64>,
}

impl Curve {
    /// The share that is found within so many runs.
    pub(super) fn within(&self, runs: usize) -> f64 {
        self.found.get(runs.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// The recorded recovery times of one scenario on an emulated host: logarithms, less their median.
const RECORDED: &str = include_str!("recorded.json");
const STORED: &str = include_str!("figures.json");

pub(super) fn stored() -> serde_json::Result<Figures> {
    serde_json::from_str(STORED)
}

pub(super) fn recorded() -> serde_json::Result<BTreeMap<String, Vec<f64>>> {
    serde_json::from_str(RECORDED)
}

const OUTLIERS: Spread<'_> = Spread::Outliers { deviation: 0.05, share: 0.05, outlier: 0.5 };

/// Spreads of independent values, whose false alarms are limited.
fn spreads(recorded: &BTreeMap<String, Vec<f64>>) -> Vec<(String, Spread<'_>)> {
    let mut all = vec![
        ("log-normal, 5 %".to_owned(), Spread::LogNormal(0.05)),
        ("even between 0 and 1".to_owned(), Spread::Even(0.0, 1.0)),
        ("5 %, and 5 % of the runs 1.6 times as long".to_owned(), OUTLIERS),
    ];
    all.extend(recorded.iter().map(|(name, values)| (format!("recorded: {name}"), Spread::Recorded(values))));
    all
}

/// Spreads that break what the tests assume.
fn dependent() -> [(String, Spread<'static>); 2] {
    [0.3, 0.6].map(|carry| {
        let name = format!("5 %, each run keeps {carry} of the deviation of the one before");
        (name, Spread::Dependent { deviation: 0.05, carry })
    })
}

/// The small experiment.
pub(super) fn quick() -> Vec<usize> {
    let alarms = [20, 60]
        .map(|runs| one_look(OUTLIERS, runs, Threshold { alpha: 0.2, least_rise: 0.0 }, 300, 11).found);
    let effect = Effect::Rise(1.1_f64.ln());
    let found = found_after(Spread::LogNormal(0.05), (40, 20), effect, THRESHOLD, 60, 12);
    alarms.into_iter().chain(found.iter().map(|share| share.found)).collect()
}

/// Measures everything, and says what it does.
pub(super) fn measure(say: impl Fn(&str)) -> serde_json::Result<Figures> {
    let recorded = recorded()?;
    let spreads = spreads(&recorded);
    say("false alarms of one series at one look");
    let one_look = spreads.iter().map(|(name, spread)| one_look_row(name, *spread)).collect();
    say("false alarms of one series in 100 nights");
    let in_nights = spreads.iter().cloned().chain(dependent());
    let every_night = in_nights.map(|(name, spread)| every_night_row(&name, spread)).collect();
    say("false alarms of all series of a host");
    let hosts = [("log-normal, 5 %", Spread::LogNormal(0.05)), (spreads[2].0.as_str(), OUTLIERS)];
    let hosts = hosts.iter().flat_map(|(name, own)| {
        [(100, 200), (365, 40)].map(|(nights_each, histories)| host_row(name, *own, nights_each, histories))
    });
    let hosts = hosts.collect();
    say("how soon a slowdown is found");
    Ok(Figures {
        parameters: Parameters::present(),
        quick: quick(),
        recorded: recorded.iter().map(|(name, values)| (name.clone(), deviation(values))).collect(),
        one_look,
        every_night,
        hosts,
        slowdowns: slowdowns(&recorded),
        intervals: intervals(),
        coverage: coverages(),
    })
}

fn share(name: impl ToString, share: Share) -> (String, usize, usize) {
    (name.to_string(), share.found, share.of)
}

fn one_look_row(name: &str, spread: Spread<'_>) -> Row {
    let held_to = Threshold { alpha: 0.05, least_rise: 0.0 };
    let look = |runs| share(runs, one_look(spread, runs, held_to, 10_000, 1));
    Row { spread: name.to_owned(), shares: [10, 20, 40, 100].map(look).to_vec() }
}

fn every_night_row(name: &str, spread: Spread<'_>) -> Row {
    let alarms = every_night(spread, 100, USUAL_LAST, THRESHOLD, 5_000, 2);
    Row { spread: name.to_owned(), shares: vec![share(100, alarms)] }
}

fn host_row(name: &str, own: Spread<'_>, nights_each: usize, histories: usize) -> HostRow {
    let host = Host { series: SERIES - 1, own, common: COMMON };
    let Nights { nights, histories } =
        nights(host, nights_each, USUAL_LAST, NIGHT_ALPHA, LEAST_RISE, histories, 3);
    HostRow {
        spread: name.to_owned(),
        nights_each,
        nights: (nights.found, nights.of),
        histories: (histories.found, histories.of),
    }
}

/// A slowdown of 10 % after 20, 40 and 80 runs, for one edge of many, and for all edges together.
fn slowdowns(recorded: &BTreeMap<String, Vec<f64>>) -> Vec<Curve> {
    let mut spreads: Vec<(String, Spread<'_>)> =
        [3, 4, 5, 6, 8].map(|percent| (format!("{percent} %"), log_normal(percent))).to_vec();
    // Twenty edges with a spread of their own, and what they have in common.
    let pooled = (COMMON * COMMON + 0.1 * 0.1 / 20.0).sqrt();
    spreads.push(("all of 20 edges of 10 % each".to_owned(), Spread::LogNormal(pooled)));
    spreads.extend(
        recorded.iter().map(|(name, values)| (format!("recorded: {name}"), Spread::Recorded(values))),
    );
    let effect = Effect::Rise(1.1_f64.ln());
    let curves = spreads.iter().flat_map(|(name, spread)| {
        [20, 40, 80].map(|before| {
            let found = found_after(*spread, (before, 20), effect, THRESHOLD, 1_000, 4);
            Curve { name: name.clone(), before, found: found.iter().map(Share::rate).collect() }
        })
    });
    curves.collect()
}

fn log_normal(percent: u32) -> Spread<'static> {
    Spread::LogNormal(f64::from(percent) / 100.0)
}

fn intervals() -> Vec<Curve> {
    // The mean of many even spreads is normal; its level is 1, and its deviation that of one value
    // by the root of their number.
    let pooled = (1.0_f64 / 3.0 / 20.0).sqrt();
    let one = |before| {
        let threshold = Threshold { least_rise: 0.1, ..THRESHOLD };
        found_after(Spread::Even(0.0, 1.0), (before, 20), Effect::Factor(2.0), threshold, 1_000, 5)
    };
    let all = |before| {
        let threshold = Threshold { least_rise: 0.2, ..THRESHOLD };
        found_after(Spread::LogNormal(pooled), (before, 20), Effect::Rise(1.0), threshold, 1_000, 5)
    };
    let curve = |name: &str, before, found: Vec<Share>| Curve {
        name: name.to_owned(),
        before,
        found: found.iter().map(Share::rate).collect(),
    };
    let curves = [20, 40, 80].into_iter().flat_map(|before| {
        [curve("one edge", before, one(before)), curve("all of 20 edges", before, all(before))]
    });
    curves.collect()
}

fn coverages() -> Vec<Row> {
    let sizes = [(40, 20), (20, 10), (10, 5)];
    let of = |spread| {
        sizes.map(|(before, after)| {
            share(format!("{before} and {after}"), coverage(spread, before, after, 2_000, 6))
        })
    };
    [("log-normal, 5 %", Spread::LogNormal(0.05)), ("with outliers", OUTLIERS)]
        .map(|(name, spread)| Row { spread: name.to_owned(), shares: of(spread).to_vec() })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_figures_are_those_of_this_suite() {
        let stored = stored().unwrap();
        let again = "`cargo xtask docs --experiments` measures them again";
        assert_eq!(stored.parameters, Parameters::present(), "{again}");
        assert_eq!(stored.quick, quick(), "{again}");
        let deviations: BTreeMap<_, _> =
            recorded().unwrap().iter().map(|(name, values)| (name.clone(), deviation(values))).collect();
        assert_eq!(
            stored.recorded.keys().collect::<Vec<_>>(),
            deviations.keys().collect::<Vec<_>>(),
            "{again}"
        );
    }

    #[test]
    fn the_stored_figures_keep_what_the_page_promises() {
        let stored = stored().unwrap();
        for Row { spread, shares } in &stored.one_look {
            assert!(shares.iter().all(|(_, found, of)| *found * 20 <= *of), "{spread}: {shares:?}");
        }
        for HostRow { spread, nights, .. } in &stored.hosts {
            assert!(nights.0 as f64 <= NIGHT_ALPHA * nights.1 as f64, "{spread}: {nights:?}");
        }
        let steady = stored.slowdowns.iter().filter(|curve| curve.name == "4 %" && curve.before >= 40);
        assert!(steady.clone().count() > 0 && steady.clone().all(|curve| curve.within(20) >= 0.95));
    }
}

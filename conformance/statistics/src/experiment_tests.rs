//! The experiments of docs/regressions.md, in small.

use super::*;

/// What a report demands of each of 150 series, so that a night has at most 1 % false alarms.
const THRESHOLD: Threshold = Threshold { alpha: 0.01 / 151.0, least_rise: 0.05 };
const OUTLIERS: Spread<'_> = Spread::Outliers { deviation: 0.05, share: 0.05, outlier: 0.5 };

#[test]
fn a_slowdown_of_a_tenth_is_found_within_twenty_runs() {
    let found = found_after(Spread::LogNormal(0.04), (60, 20), Effect::Rise(1.1_f64.ln()), THRESHOLD, 100, 1);
    assert!(found[19].rate() >= 0.95, "{found:?}");
    assert!(found.is_sorted_by_key(|share| share.found), "{found:?}");
}

#[test]
fn a_doubled_interval_is_found_in_losses_that_are_spread_evenly() {
    let threshold = Threshold { least_rise: 0.2, ..THRESHOLD };
    let found = found_after(Spread::Even(0.0, 1.0), (60, 40), Effect::Factor(2.0), threshold, 100, 6);
    assert!(found[39].rate() >= 0.9, "{found:?}");
}

#[test]
fn a_history_without_change_raises_no_alarm_in_any_of_its_nights() {
    for spread in [Spread::LogNormal(0.05), Spread::Even(0.0, 1.0), OUTLIERS] {
        let alarms = every_night(spread, 60, 60, THRESHOLD, 200, 2);
        assert!(alarms.rate() <= 0.01, "{spread:?}: {alarms:?}");
    }
}

#[test]
fn false_alarms_are_as_rare_as_was_asked_for_whatever_the_spread() {
    let recorded: Vec<f64> = (0..12).map(|n| f64::from(n * n) / 100.0).collect();
    for spread in [Spread::LogNormal(0.05), Spread::Even(0.0, 1.0), OUTLIERS, Spread::Recorded(&recorded)] {
        for runs in [8, 20, 60] {
            let alarms = one_look(spread, runs, Threshold { alpha: 0.05, least_rise: 0.0 }, 1_000, 3);
            assert!(alarms.rate() <= 0.05, "{spread:?}, {runs} runs: {alarms:?}");
        }
    }
}

#[test]
fn a_night_of_many_series_that_share_a_host_raises_no_alarm() {
    let host = Host { series: 30, own: OUTLIERS, common: 0.02 };
    let nights = nights(host, 60, 60, 0.01, 0.05, 20, 4);
    assert!(nights.nights.rate() <= 0.01, "{nights:?}");
    assert_eq!((nights.nights.of, nights.histories.of), (20 * (60 - 7), 20));
}

#[test]
fn the_interval_contains_the_true_change_as_often_as_it_says() {
    for (before, after) in [(40, 20), (12, 6)] {
        let covered = coverage(Spread::LogNormal(0.05), before, after, 400, 5);
        assert!((0.9..=0.99).contains(&covered.rate()), "{before}, {after}: {covered:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let figures = |seed| one_look(OUTLIERS, 20, Threshold { alpha: 0.5, least_rise: 0.0 }, 200, seed);
    assert_eq!(figures(7), figures(7));
    assert_ne!(figures(7), figures(8));
}

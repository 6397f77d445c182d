//! The plot of one series: a dot for each run, a line for each level between two changes, and a
//! mark where a level begins.

use plotters::prelude::*;

use super::timeline::Size;
use crate::regressions::{Judged, State};

type Error = Box<dyn std::error::Error>;

const FONT: &str = "sans-serif";
const TEXT: i32 = 15;
const HEIGHT: u32 = 190;
/// Room for the labels of values.
const LEFT: i32 = 70;
/// Room for half of the last label.
const RIGHT: i32 = 44;
const DOT: RGBColor = RGBColor(47, 126, 216);
const LEVEL: RGBColor = RGBColor(0, 0, 0);
const WORSE: RGBColor = RGBColor(201, 70, 59);
const OTHER: RGBColor = RGBColor(15, 140, 80);

/// The SVG of a series of runs that began at these times.
///
/// # Errors
/// The library refused a coordinate.
pub(super) fn draw(judged: &Judged, began: &[&str], size: Size) -> Result<String, Error> {
    let points = &judged.series.points;
    let measure = judged.series.measure;
    let values: Vec<_> = points.iter().map(|point| (point.run, measure.value(point.compared))).collect();
    let (first, last) = (values.first().map_or(0, |(run, _)| *run), values.last().map_or(0, |(run, _)| *run));
    let highest = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max) * 1.08;
    let lowest = values.iter().map(|(_, value)| *value).fold(f64::MAX, f64::min).min(highest) * 0.92;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (size.pixels() as u32, HEIGHT)).into_drawing_area();
        let across = first as f64 - 0.5..last as f64 + 0.5;
        let mut chart = ChartBuilder::on(&root)
            .margin(6)
            .margin_right(RIGHT)
            .y_label_area_size(LEFT)
            .x_label_area_size(24)
            .build_cartesian_2d(across, lowest..highest)?;
        let day = |run: &f64| {
            let began = began.get(run.round().max(0.0) as usize).copied().unwrap_or_default();
            began.get(..10).unwrap_or(began).to_owned()
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels((size.pixels() / 160) as usize)
            .y_labels(4)
            .x_label_formatter(&day)
            .y_label_formatter(&|value| short(*value))
            .label_style((FONT, TEXT))
            .draw()?;
        for run in &judged.changes {
            let at = *run as f64 - 0.5;
            let is_newest = judged.changes.last() == Some(run);
            let colour = if judged.state == State::Worse && is_newest { WORSE } else { OTHER };
            chart.draw_series([PathElement::new([(at, lowest), (at, highest)], colour.stroke_width(2))])?;
        }
        for level in levels(&values, &judged.changes) {
            chart.draw_series([PathElement::new(level, LEVEL.stroke_width(1))])?;
        }
        let dots = values.iter().map(|(run, value)| Circle::new((*run as f64, *value), 3, DOT.filled()));
        chart.draw_series(dots)?;
        root.present()?;
    }
    Ok(svg)
}

/// A line at the median of the values between each two changes.
fn levels(values: &[(usize, f64)], changes: &[usize]) -> Vec<[(f64, f64); 2]> {
    let borders: Vec<usize> = [0].into_iter().chain(changes.iter().copied()).chain([usize::MAX]).collect();
    let part = |from: usize, to: usize| values.iter().filter(move |(run, _)| (from..to).contains(run));
    let line = |border: &[usize]| {
        let inside: Vec<_> = part(border[0], border[1]).collect();
        let level = statistics::median(&inside.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        let (first, last) = (inside.first()?.0 as f64, inside.last()?.0 as f64);
        Some([(first - 0.5, level), (last + 0.5, level)])
    };
    borders.windows(2).filter_map(line).collect()
}

/// A value with few digits.
fn short(value: f64) -> String {
    match value.abs() {
        tiny if tiny > 0.0 && tiny < 0.1 => format!("{value:.4}"),
        small if small < 10.0 => format!("{value:.2}"),
        large if large < 100_000.0 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regressions::{Measure, Point, Series};

    #[test]
    fn each_run_is_a_dot_and_each_change_a_mark() {
        let measure = Measure::find("rto").unwrap();
        let point = |run| Point { run, compared: if run < 6 { 0.1 } else { 0.4 } };
        let series =
            Series { scenario: "s".into(), edge: "e".into(), measure, points: (0..10).map(point).collect() };
        let judged = Judged { series, state: State::Worse, shift: None, changes: vec![6] };
        let began = ["2026-01-02T03:04:05Z"; 10];
        for size in [Size::Wide, Size::Narrow] {
            let svg = draw(&judged, &began, size).unwrap();
            assert_eq!(svg.matches("<circle").count(), 10, "{svg}");
            assert!(svg.contains("#C9463B") && svg.contains("2026-01-02") && !svg.contains("03:04"), "{svg}");
        }
    }

    #[test]
    fn small_values_next_to_each_other_have_different_labels() {
        assert_eq!([0.0, 0.035, 0.04, 1.25, 250.0].map(short), ["0.00", "0.0350", "0.0400", "1.25", "250"]);
    }

    #[test]
    fn values_that_are_all_the_same_or_nothing_can_be_drawn() {
        let measure = Measure::find("rpo").unwrap();
        let points = vec![Point { run: 0, compared: 0.0 }];
        let series = Series { scenario: "s".into(), edge: "e".into(), measure, points };
        let judged = Judged { series, state: State::Level, shift: None, changes: vec![] };
        assert!(draw(&judged, &[""], Size::Wide).is_ok());
        assert_eq!(levels(&[(0, 1.0), (1, 3.0)], &[]), [[(-0.5, 2.0), (1.5, 2.0)]]);
    }
}

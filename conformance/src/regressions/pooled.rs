//! One series of all edges together, for each measure. What slows the whole core down by a little
//! shows there long before it shows at a single edge.

use std::collections::BTreeMap;

use statistics::{LEAST, mean, median};

use super::measure::{MEASURES, Measure, Scale};
use super::series::{Point, Series};

/// The fewest series that are worth pooling.
const FEWEST: usize = 3;

/// The pooled series of each measure that has enough series.
pub(super) fn pooled(series: &[Series]) -> Vec<Series> {
    MEASURES.iter().filter_map(|measure| pool(measure, series)).collect()
}

/// For each run, the mean of how far its values are from what is usual for their series. A run
/// counts if it has half of the series or more.
fn pool(measure: &'static Measure, series: &[Series]) -> Option<Series> {
    let usable = |series: &&Series| series.measure.key == measure.key && series.points.len() >= 2 * LEAST;
    let relative: Vec<_> = series.iter().filter(usable).filter_map(relative).collect();
    let mut runs: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for point in relative.iter().flatten() {
        runs.entry(point.run).or_default().push(point.compared);
    }
    runs.retain(|_, values| 2 * values.len() >= relative.len());
    let points = runs.into_iter().map(|(run, values)| Point { run, compared: mean(&values) }).collect();
    let pooled = Series { scenario: String::new(), edge: String::new(), measure, points };
    (relative.len() >= FEWEST).then_some(pooled)
}

/// The values of a series beside its own median: their ratio to it, on the scale of the measure.
/// `None` if the median is 0.
fn relative(series: &Series) -> Option<Vec<Point>> {
    let usual = median(&series.numbers());
    let beside = |point: &Point| match series.measure.scale {
        Scale::Ratio => point.compared - usual,
        Scale::Difference => point.compared / usual,
    };
    let is_usable = series.measure.scale == Scale::Ratio || usual > 0.0;
    let points = || series.points.iter().map(|point| Point { compared: beside(point), ..*point }).collect();
    is_usable.then(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(edge: &str, key: &str, values: &[f64]) -> Series {
        let measure = Measure::find(key).unwrap();
        let points = values.iter().enumerate();
        let points = points
            .filter_map(|(run, value)| Some(Point { run, compared: measure.compared(*value)? }))
            .collect();
        Series { scenario: "s".to_owned(), edge: edge.to_owned(), measure, points }
    }

    #[test]
    fn edges_of_any_level_are_pooled_by_their_ratios() {
        let levels = [1.0, 4.0, 20.0];
        let series: Vec<_> = levels
            .iter()
            .map(|level| {
                let values: Vec<_> = (0..10).map(|run| level * if run == 9 { 1.5 } else { 1.0 }).collect();
                one(&level.to_string(), "rto", &values)
            })
            .collect();
        let pooled = pooled(&series);
        assert_eq!((pooled.len(), pooled[0].points.len()), (1, 10));
        let last = pooled[0].measure.value(pooled[0].points[9].compared);
        assert!((last - 1.5).abs() < 1e-9 && pooled[0].points[0].compared.abs() < 1e-9, "{last}");
    }

    #[test]
    fn a_run_with_few_of_the_edges_and_edges_without_a_level_do_not_count() {
        let mut series: Vec<_> =
            ["a", "b", "c"].map(|edge| one(edge, "rpo", &[100.0; 10])).into_iter().collect();
        series.push(one("planned", "rpo", &[0.0; 10]));
        series[1].points.truncate(9);
        series[2].points.truncate(9);
        let pooled = pooled(&series);
        assert_eq!(pooled[0].points.len(), 9);
        assert!(pooled[0].points.iter().all(|point| point.compared == 1.0));
    }

    #[test]
    fn two_series_are_not_pooled() {
        let series = ["a", "b"].map(|edge| one(edge, "rto", &[1.0; 10]));
        assert!(pooled(&series).is_empty());
    }
}

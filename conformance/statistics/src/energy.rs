//! The statistic of E-divisive (Matteson and James, "A nonparametric approach for multiple change
//! point analysis of multivariate data", 2014): the energy distance between the two parts of a
//! series, with exponent 1.

/// Where to split a series so that its two parts differ most: the index of the first value of the
/// second part. Each part has `least` values or more. `None` if the series is too short.
pub(crate) fn best_split(values: &[f64], least: usize) -> Option<usize> {
    let least = least.max(2);
    let mut sums = Sums::all_after(values);
    let mut best: Option<(usize, f64)> = None;
    for at in 1..values.len() {
        sums.move_border(values, at - 1);
        if at < least || values.len() - at < least {
            continue;
        }
        let distance = sums.distance(at, values.len() - at);
        if best.is_none_or(|(_, most)| distance > most) {
            best = Some((at, distance));
        }
    }
    best.map(|(at, _)| at)
}

/// Sums of the distances between values: of pairs across the border, before it and after it.
struct Sums {
    across: f64,
    before: f64,
    after: f64,
}

impl Sums {
    fn all_after(values: &[f64]) -> Self {
        let pairs =
            values.iter().enumerate().flat_map(|(i, x)| values[..i].iter().map(move |y| (x - y).abs()));
        Self { across: 0.0, before: 0.0, after: pairs.sum() }
    }

    /// Moves the border behind the value at `index`, the first one after it so far.
    fn move_border(&mut self, values: &[f64], index: usize) {
        let value = values[index];
        let distance = |others: &[f64]| others.iter().map(|other| (value - other).abs()).sum::<f64>();
        let (to_before, to_after) = (distance(&values[..index]), distance(&values[index + 1..]));
        self.before += to_before;
        self.after -= to_after;
        self.across += to_after - to_before;
    }

    /// The energy distance of the two parts, weighted by their numbers of values.
    fn distance(&self, before: usize, after: usize) -> f64 {
        let (n, m) = (before as f64, after as f64);
        let pairs = |count: f64| (count * (count - 1.0) / 2.0).max(1.0);
        let energy = 2.0 * self.across / (n * m) - self.before / pairs(n) - self.after / pairs(m);
        n * m / (n + m) * energy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_where_it_is() {
        let values = [1.0, 1.1, 0.9, 1.05, 2.0, 2.1, 1.9, 2.05, 2.0];
        assert_eq!(best_split(&values, 3), Some(4));
        assert_eq!(best_split(&values, 5), None, "no two parts of five");
        assert_eq!(best_split(&[], 3), None);
    }

    #[test]
    fn the_running_sums_are_those_of_all_pairs() {
        let values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6];
        let mut sums = Sums::all_after(&values);
        for at in 1..values.len() {
            sums.move_border(&values, at - 1);
            let of = |left: &[f64], right: &[f64]| {
                left.iter().flat_map(|x| right.iter().map(move |y| (x - y).abs())).sum::<f64>()
            };
            let (left, right) = values.split_at(at);
            assert!((sums.across - of(left, right)).abs() < 1e-9);
            assert!((sums.before - of(left, left) / 2.0).abs() < 1e-9);
            assert!((sums.after - of(right, right) / 2.0).abs() < 1e-9);
        }
    }
}

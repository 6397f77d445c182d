//! The exact test of Mann and Whitney: whether the values of one sample are higher than those of
//! another, by their order alone.

/// Additions that an exact count may take. Larger samples are many enough for the normal curve.
const EXACT_WITHIN: usize = 20_000_000;

/// How likely it is that two samples are as far apart as they are, or farther, in either direction,
/// if both come from the same distribution, whichever that is. Equal values count as being in the
/// wrong order, so that the probability is never too low. 1 if a sample is empty.
#[must_use]
pub fn p_of_order(before: &[f64], after: &[f64]) -> f64 {
    let disordered = |wrong: fn(f64, f64) -> bool| {
        after.iter().map(|y| before.iter().filter(|x| wrong(**x, *y)).count()).sum::<usize>()
    };
    let pairs = disordered(|x, y| x >= y).min(disordered(|x, y| x <= y));
    let (few, many) = (before.len().min(after.len()), before.len().max(after.len()));
    if few == 0 || 2 * pairs >= few * many {
        return 1.0;
    }
    let tail = if few * many * (pairs + 1) <= EXACT_WITHIN {
        exact(few, many, pairs)
    } else {
        normal(few, many, pairs)
    };
    (2.0 * tail).min(1.0)
}

/// The lowest probability that two samples of these sizes can have: that of values which do not
/// overlap.
pub(crate) fn least_p(before: usize, after: usize) -> f64 {
    let (few, many) = (before.min(after), before.max(after));
    (2.0 * exact(few, many, 0)).min(1.0)
}

/// The share of all orders of `few` and `many` values with at most `pairs` in the wrong order.
fn exact(few: usize, many: usize, pairs: usize) -> f64 {
    // Orders of j and n values by their pairs in the wrong order: the last value is one of the j,
    // which is in the wrong order with all n, or one of the n.
    let mut orders = vec![vec![0.0_f64; pairs + 1]; few + 1];
    orders.iter_mut().for_each(|row| row[0] = 1.0);
    for n in 1..=many {
        for j in 1..=few {
            for wrong in n..=pairs {
                orders[j][wrong] += orders[j - 1][wrong - n];
            }
        }
    }
    let all: f64 = (1..=few).map(|j| (many + j) as f64 / j as f64).product();
    orders[few].iter().sum::<f64>() / all
}

/// The same by the normal curve.
fn normal(few: usize, many: usize, pairs: usize) -> f64 {
    let (n, m) = (few as f64, many as f64);
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    let distance = (pairs as f64 + 0.5 - n * m / 2.0) / deviation;
    0.5 * statrs::function::erf::erfc(-distance / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_that_do_not_overlap_have_one_order_in_each_direction() {
        let p = p_of_order(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0]);
        assert!((p - 2.0 / 35.0).abs() < 1e-12, "{p}");
        assert_eq!(p, p_of_order(&[5.0, 6.0, 7.0], &[1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn the_exact_probability_is_that_of_all_orders() {
        // Five of nine places for the first sample: every choice is as likely as any other.
        let values: Vec<f64> = (0..9).map(f64::from).collect();
        for pairs in 0..20 {
            let counted = (0_u32..512).filter(|chosen| chosen.count_ones() == 5).map(|chosen| {
                let (first, second): (Vec<f64>, Vec<f64>) =
                    values.iter().partition(|value| chosen >> **value as u32 & 1 == 1);
                second.iter().map(|y| first.iter().filter(|x| **x > *y).count()).sum::<usize>()
            });
            let within = counted.filter(|count| *count <= pairs).count();
            assert!((exact(4, 5, pairs) - within as f64 / 126.0).abs() < 1e-12, "{pairs}");
        }
    }

    #[test]
    fn the_normal_curve_is_close_and_not_below() {
        for pairs in [200, 300, 400] {
            let (exact, normal) = (exact(30, 40, pairs), normal(30, 40, pairs));
            assert!(normal >= exact * 0.99 && normal < exact * 5.0, "{pairs}: {normal} for {exact}");
        }
    }

    #[test]
    fn equal_values_show_nothing() {
        assert_eq!(p_of_order(&[1.0; 9], &[1.0; 9]), 1.0);
        assert_eq!(p_of_order(&[], &[1.0]), 1.0);
    }
}

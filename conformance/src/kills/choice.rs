//! The moments at which a run asks for the core to be killed.

use std::fmt;
use std::str::FromStr;

use super::moments::Schedule;

/// How many moments lie between two kills of one run. A prime, so that the kills meet calls of
/// every kind.
const APART: u64 = 23;

/// The moments of one cycle at which the core is killed, as `--kills` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillChoice {
    /// Every moment.
    All,
    /// So many, at equal distances.
    Sample(u64),
    /// This one, to repeat a failure.
    At(u64),
}

/// What `--kills` names is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a number from 1, nor `all`, nor `@` with the number of a moment")]
pub struct BadKills(String);

impl FromStr for KillChoice {
    type Err = BadKills;

    fn from_str(text: &str) -> Result<Self, BadKills> {
        let number = |digits: &str| digits.parse().ok().filter(|number| *number > 0);
        let choice = match text.strip_prefix('@') {
            Some(digits) => number(digits).map(Self::At),
            None if text == "all" => Some(Self::All),
            None => number(text).map(Self::Sample),
        };
        choice.ok_or_else(|| BadKills(text.to_owned()))
    }
}

impl fmt::Display for KillChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "all"),
            Self::Sample(count) => write!(f, "{count}"),
            Self::At(moment) => write!(f, "@{moment}"),
        }
    }
}

impl KillChoice {
    /// The schedule of a run that kills the core again and again, without knowing how many moments
    /// there will be.
    #[must_use]
    pub fn within_one_run(self) -> Schedule {
        match self {
            Self::All => Schedule::Every { every: APART, most: u64::MAX },
            Self::Sample(most) => Schedule::Every { every: APART, most },
            Self::At(moment) => Schedule::At(moment),
        }
    }

    /// The moments among the first `count`. `chance` decides where a sample begins.
    #[must_use]
    pub fn moments(self, count: u64, chance: u64) -> Vec<u64> {
        match self {
            Self::All => (1..=count).collect(),
            Self::At(moment) => vec![moment],
            Self::Sample(wanted) => {
                let wanted = wanted.min(count);
                let first = if count == 0 { 0 } else { chance % count };
                let spread = (0..wanted).map(|nth| (first + nth * count / wanted) % count + 1);
                let mut moments: Vec<_> = spread.collect();
                moments.sort_unstable();
                moments
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        for text in ["all", "12", "@345"] {
            assert_eq!(text.parse::<KillChoice>().map(|choice| choice.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "0", "@", "@0", "some", "-1"] {
            assert!(text.parse::<KillChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_sample_is_spread_over_all_moments() {
        assert_eq!(KillChoice::Sample(4).moments(100, 90), [16, 41, 66, 91]);
        assert_eq!(KillChoice::Sample(9).moments(3, 1), [1, 2, 3]);
        assert!(KillChoice::Sample(9).moments(0, 1).is_empty());
        assert_eq!(KillChoice::All.moments(3, 1), [1, 2, 3]);
        assert_eq!(KillChoice::At(7).moments(3, 1), [7]);
    }
}

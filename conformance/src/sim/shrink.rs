//! The smallest case that fails like a drawn one.

use crate::sim::drawn_case::DrawnCase;

/// The most cases that are tried.
const MOST_TRIALS: u32 = 60;

/// A case that fails, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// The case.
    pub(crate) case: DrawnCase,
    /// What was found.
    pub(crate) why: String,
}

/// Leaves out of a failing case whatever it fails without. `fails` runs a case and says how it
/// fails, if it does.
pub(crate) fn shrink(first: Failing, mut fails: impl FnMut(&DrawnCase) -> Option<String>) -> Failing {
    let mut smallest = first;
    let mut trials = 0;
    loop {
        let mut simpler = smallest.case.simpler().into_iter();
        let found = loop {
            let Some(case) = simpler.next().filter(|_| trials < MOST_TRIALS) else { return smallest };
            trials += 1;
            if let Some(why) = fails(&case) {
                break Failing { case, why };
            }
        };
        smallest = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let large = |case: &DrawnCase| case.disks.iter().any(|size| *size > 1 << 20);
        let case = (0..).map(DrawnCase::of).find(|case| large(case) && case.disks.len() > 3);
        let first = Failing { case: case.expect("a seed draws one"), why: String::new() };
        let smallest = shrink(first, |case| large(case).then(|| "large".to_owned()));
        assert_eq!(smallest.case.disks.len(), 1);
        assert_eq!(smallest.case.storage, DrawnCase::usual().storage);
        assert!(!smallest.case.comes_back && smallest.why == "large");
    }

    #[test]
    fn a_case_that_only_fails_as_it_is_stays() {
        let first = Failing { case: DrawnCase::of(3), why: "so".to_owned() };
        assert_eq!(shrink(first.clone(), |_| None), first);
    }
}

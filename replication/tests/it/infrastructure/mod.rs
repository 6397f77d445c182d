//! Infrastructure, preconditions and places to come back to, in virtual time.

mod alternate;
mod failback;
mod groups;
mod hyperv;
mod premises;
mod reprotect;
mod target;

use std::collections::BTreeSet;

use contract::ErrorCode;
use replication::preconditions::{Way, rows};
use replication::table::Pair;

/// Rows of one way and pair.
fn asked(way: Way, pair: Pair) -> BTreeSet<(&'static str, ErrorCode)> {
    let due = rows().filter(|row| row.ways.contains(&way) && row.pairs.contains(&pair));
    due.map(|row| (row.rule, row.code)).collect()
}

#[test]
fn every_precondition_of_the_core_has_a_case_here() {
    let cases = |cases: &[(&'static str, ErrorCode)]| cases.iter().copied().collect::<BTreeSet<_>>();
    let mut back = cases(&reprotect::FOR_GOOD);
    back.extend(reprotect::CASES.iter().map(|case| (case.rule, case.code)));
    back.extend(alternate::ROWS);
    back.insert(reprotect::RELEASE);
    assert_eq!(asked(Way::ReprotectBack, Pair::Vmware), back);
    let mut home = cases(&failback::FOR_GOOD);
    home.extend(failback::CASES.iter().map(|case| (case.rule, case.code)));
    assert_eq!(asked(Way::Back, Pair::Vmware), home);
    let mut hyperv = cases(&hyperv::OTHERS);
    hyperv.extend(hyperv::CASES.iter().map(|case| (case.rule, case.code)));
    assert_eq!(asked(Way::Back, Pair::HyperV), hyperv);
    for pair in Pair::ALL {
        assert_eq!(asked(Way::Out, pair), cases(&target::ROWS));
    }
}

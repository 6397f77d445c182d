//! Components of sites, preconditions, and the locations to which a machine can fail back.

mod alternate;
mod failback;
mod fixture;
mod groups;
mod hyperv;
mod reprotect;
mod target;

use std::collections::BTreeSet;

use contract::ErrorCode;
use replication::preconditions::{Way, rows};
use replication::table::Pair;
use simulator::testbed::preconditions::{
    FAILBACK, HYPERV_FAILBACK, Precondition, REPROTECTION, REPROTECTION_JOB,
};

/// The preconditions that the core has for an operation of a pair.
fn preconditions(way: Way, pair: Pair) -> BTreeSet<(&'static str, ErrorCode)> {
    let rows = rows().filter(|row| row.ways.contains(&way) && row.pairs.contains(&pair));
    rows.map(|row| (row.rule, row.code)).collect()
}

/// The preconditions of a table, each with its code.
fn codes<Request>(table: &[Precondition<Request>]) -> impl Iterator<Item = (&'static str, ErrorCode)> {
    table.iter().map(|row| (row.rule, row.code))
}

#[test]
fn every_precondition_of_the_core_has_a_test() {
    let set = |codes: &[(&'static str, ErrorCode)]| codes.iter().copied().collect::<BTreeSet<_>>();
    let mut reprotection = set(&reprotect::FOR_GOOD);
    reprotection.extend(codes(REPROTECTION));
    reprotection.extend(codes(REPROTECTION_JOB));
    reprotection.extend(alternate::ROWS);
    reprotection.insert(reprotect::RELEASE);
    assert_eq!(preconditions(Way::ReprotectBack, Pair::Vmware), reprotection);
    let mut failback = set(&failback::FOR_GOOD);
    failback.extend(codes(FAILBACK));
    assert_eq!(preconditions(Way::Back, Pair::Vmware), failback);
    let mut hyperv = set(&hyperv::OTHERS);
    hyperv.extend(codes(HYPERV_FAILBACK));
    assert_eq!(preconditions(Way::Back, Pair::HyperV), hyperv);
    for pair in Pair::ALL {
        assert_eq!(preconditions(Way::Out, pair), set(&target::ROWS));
    }
}

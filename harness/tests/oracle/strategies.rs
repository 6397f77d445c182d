//! Random histories.

use harness::oracle::DiscardReads;
use proptest::prelude::*;

use crate::model::{CONTENTS, History, Op};

fn op(disk: u64) -> impl Strategy<Value = Op> {
    let run = move |longest: u64| (0..disk).prop_flat_map(move |s| (Just(s), 1..=longest.min(disk - s)));
    prop_oneof![
        6 => run(6).prop_flat_map(|(sector, count)| {
            prop::collection::vec(0..CONTENTS, count as usize)
                .prop_map(move |contents| Op::Write { sector, contents })
        }),
        2 => run(12).prop_map(|(sector, count)| Op::Discard { sector, count }),
        1 => Just(Op::Flush),
    ]
}

/// Disks of 8 to 64 sectors and up to `longest` operations.
pub fn history(longest: usize) -> impl Strategy<Value = History> {
    let discards = prop_oneof![3 => Just(DiscardReads::OldOrZero), 1 => Just(DiscardReads::Zero), 1 => Just(DiscardReads::Old)];
    (8u64..=64).prop_flat_map(move |disk| {
        let base = prop::collection::vec(0..CONTENTS, disk as usize);
        (base, prop::collection::vec(op(disk), 0..=longest), discards.clone())
            .prop_map(|(base, ops, discards)| History { base, ops, discards })
    })
}

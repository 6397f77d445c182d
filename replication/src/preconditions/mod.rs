//! What must hold before an operation begins, as tables.
//!
//! A row names its rule, the operations and pairs it is for, what is looked at and the code with which the operation is
//! refused. Rows are asked in order and the first that does not hold speaks. Most are asked before there is a job, so
//! that a refusal leaves no trace; where the rules say that it is the *job* that fails, and can be retried (RE-08,
//! RE-15 to RE-17), they are asked in the job's first step. What breaks later fails in the step that needs it (RE-14).
//!
//! - `facts`: what is looked at
//! - `failback`: VMware and physical machines, and regions, on their way back
//! - `hyperv`: Hyper-V machines on their way back
//! - `groups`: replication groups on their way back
//! - `target`: machines on their way out

mod facts;
mod failback;
pub(crate) mod groups;
mod hyperv;
pub(crate) mod target;

use contract::{CoreError, ErrorCode};

use crate::core::Inner;
use crate::item::Record;
use crate::table::Pair;

pub(crate) use facts::{Asked, Facts};

/// An operation with preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// A failover or a test failover out of the primary side.
    Out,
    /// Reprotection of the machine in the cloud.
    ReprotectBack,
    /// Failback: a failover out of the recovery side.
    Back,
    /// Reprotection of the machine on the primary side.
    ReprotectOut,
}

/// When a row is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Before there is a job: the operation is refused.
    Before,
    /// In the job's first step: the job fails and can be retried.
    InJob,
}

/// One precondition.
pub struct Row {
    /// The rule.
    pub rule: &'static str,
    /// With what it is refused.
    pub code: ErrorCode,
    /// When it is asked.
    pub when: When,
    /// Of which operations.
    pub ways: &'static [Way],
    /// For which pairs.
    pub pairs: &'static [Pair],
    /// What is looked at.
    pub looks_at: &'static str,
    /// Says what was found, and what to do, if it does not hold.
    objects: fn(&Facts) -> Option<String>,
}

/// Every row, in the order in which they are asked.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    target::ROWS.iter().chain(failback::ROWS).chain(hyperv::ROWS)
}

/// Asks the rows for this operation.
pub(crate) fn ask(facts: &Facts, way: Way, when: When) -> Result<(), CoreError> {
    let pair = facts.record.pair;
    let due = rows().filter(|row| row.when == when && row.ways.contains(&way) && row.pairs.contains(&pair));
    for row in due {
        if let Some(found) = (row.objects)(facts) {
            return Err(CoreError::new(row.code, format!("{found} ({})", row.rule)));
        }
    }
    Ok(())
}

/// Looks at what matters for this operation, and asks the rows.
pub(crate) async fn look_and_ask(
    core: &Inner,
    record: &Record,
    asked: Asked<'_>,
    way: Way,
    when: When,
) -> Result<(), CoreError> {
    ask(&Facts::gather(core, record, asked, way).await?, way, when)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_a_code_of_its_own_where_it_is_asked() {
        let mut seen = BTreeSet::new();
        for row in rows() {
            for way in row.ways {
                for pair in row.pairs {
                    let key = (format!("{way:?}"), format!("{pair:?}"), row.code);
                    assert!(seen.insert(key.clone()), "{key:?} occurs twice");
                }
            }
        }
        assert!(!seen.is_empty());
    }
}

//! Checks the rows of all tables.

use contract::CoreError;

use crate::context::Context;
use crate::preconditions::facts::{Facts, Request};
use crate::preconditions::row::Row;
use crate::preconditions::way::{Way, When};
use crate::preconditions::{failback, hyperv, target};
use crate::state::Record;

/// Every row, in the order in which they are checked.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    target::ROWS.iter().chain(failback::ROWS).chain(hyperv::ROWS)
}

/// Examines the sites and checks the rows of an operation.
pub(crate) async fn check(
    ctx: &Context,
    record: &Record,
    request: Request<'_>,
    way: Way,
    when: When,
) -> Result<(), CoreError> {
    let facts = Facts::gather(ctx, record, request, way).await?;
    let pair = record.pair;
    let due = rows().filter(|row| row.when == when && row.ways.contains(&way) && row.pairs.contains(&pair));
    for row in due {
        if let Some(found) = (row.violation)(&facts) {
            return Err(CoreError::new(row.code, format!("{found} ({})", row.rule)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_preconditions_of_an_operation_share_an_error_code() {
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

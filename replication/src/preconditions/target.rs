//! Failover and test failover: limits of the target platform (FO-18, EX-R12).

use contract::{CoreError, ErrorCode, MachineId};

use crate::preconditions::facts::Facts;
use crate::preconditions::row::Row;
use crate::preconditions::way::{Way, When};
use crate::table::Pair;

/// Maximum length of a machine's name.
const LONGEST_NAME: usize = 63;
/// Maximum number of disks of a machine, including the system disk.
const MOST_DISKS: usize = 65;
/// Maximum number of disks of a Hyper-V machine, including the system disk.
const MOST_DISKS_HYPERV: usize = 17;

pub(super) const ROWS: &[Row] = &[
    Row {
        rule: "FO-18",
        code: ErrorCode::IllegalName,
        when: When::Before,
        ways: &[Way::Out],
        pairs: &Pair::ALL,
        looks_at: "the target's name",
        violation: |facts| invalid_name(&facts.record.target.machine),
    },
    Row {
        rule: "FO-18",
        code: ErrorCode::TooManyDisks,
        when: When::Before,
        ways: &[Way::Out],
        pairs: &Pair::ALL,
        looks_at: "the number of disks",
        violation: too_many_disks,
    },
];

/// Refuses an invalid name of a target machine.
pub(crate) fn check_name(name: &MachineId) -> Result<(), CoreError> {
    invalid_name(name).map_or(Ok(()), |text| Err(CoreError::new(ErrorCode::IllegalName, text)))
}

/// A violation unless the name consists of letters, digits and inner hyphens.
fn invalid_name(name: &MachineId) -> Option<String> {
    let text = &name.0;
    let is_valid = (1..=LONGEST_NAME).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    (!is_valid).then(|| {
        format!(
            "the target cannot be named {text:?}; use 1 to {LONGEST_NAME} letters, digits and hyphens, \
             without a hyphen at either end"
        )
    })
}

fn too_many_disks(facts: &Facts) -> Option<String> {
    let most = if facts.record.pair == Pair::HyperV { MOST_DISKS_HYPERV } else { MOST_DISKS };
    let disks = facts.record.replica.as_ref().map_or(0, |replica| replica.base.len());
    (disks > most).then(|| format!("the target can have {most} disks and the machine has {disks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_and_inner_hyphens() {
        let longest = "a".repeat(LONGEST_NAME);
        for valid in ["a", "web-dr", "0", "A-1", &longest] {
            assert!(check_name(&valid.into()).is_ok(), "{valid}");
        }
        let longer = "a".repeat(LONGEST_NAME + 1);
        for odd in ["", "-a", "a-", "web_dr", "web dr", "wéb", &longer] {
            let code = check_name(&odd.into()).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::IllegalName), "{odd}");
        }
    }
}

//! What the target platform allows a machine to be (FO-18, EX-R12).

use contract::{CoreError, ErrorCode, MachineId};

use super::{Facts, Row, Way, When};
use crate::table::Pair;

/// Longest name of a machine.
const LONGEST_NAME: usize = 63;
/// Most disks of a machine, the system disk included.
const MOST_DISKS: usize = 65;
/// The same for a Hyper-V machine.
const MOST_DISKS_HYPERV: usize = 17;

pub(super) const ROWS: &[Row] = &[
    Row {
        rule: "FO-18",
        code: ErrorCode::IllegalName,
        when: When::Before,
        ways: &[Way::Out],
        pairs: &Pair::ALL,
        looks_at: "the target's name",
        objects: |facts| objection_to_name(&facts.record.target.machine),
    },
    Row {
        rule: "FO-18",
        code: ErrorCode::TooManyDisks,
        when: When::Before,
        ways: &[Way::Out],
        pairs: &Pair::ALL,
        looks_at: "the number of disks",
        objects: objection_to_disks,
    },
];

/// Refuses a name that the target cannot have.
pub(crate) fn check_name(name: &MachineId) -> Result<(), CoreError> {
    objection_to_name(name).map_or(Ok(()), |text| Err(CoreError::new(ErrorCode::IllegalName, text)))
}

/// Letters, digits and hyphens, a letter or digit at both ends.
fn objection_to_name(name: &MachineId) -> Option<String> {
    let text = &name.0;
    let fits = (1..=LONGEST_NAME).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    (!fits).then(|| {
        format!(
            "the target cannot be called {text:?}: 1 to {LONGEST_NAME} letters, digits and hyphens, \
             no hyphen at the ends"
        )
    })
}

fn objection_to_disks(facts: &Facts) -> Option<String> {
    let most = if facts.record.pair == Pair::HyperV { MOST_DISKS_HYPERV } else { MOST_DISKS };
    let disks = facts.record.replica.as_ref().map_or(0, |replica| replica.base.len());
    (disks > most).then(|| format!("the target can have {most} disks, the machine has {disks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_and_inner_hyphens() {
        let longest = "a".repeat(LONGEST_NAME);
        for fits in ["a", "web-dr", "0", "A-1", &longest] {
            assert!(check_name(&fits.into()).is_ok(), "{fits}");
        }
        let longer = "a".repeat(LONGEST_NAME + 1);
        for odd in ["", "-a", "a-", "web_dr", "web dr", "wéb", &longer] {
            let code = check_name(&odd.into()).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::IllegalName), "{odd}");
        }
    }
}

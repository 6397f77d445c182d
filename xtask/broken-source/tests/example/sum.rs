//! A file that is compiled with changes.

/// A sum, which the changes break.
pub(super) fn sum(first: u32, second: u32) -> u32 {
    let sum = [first, second].into_iter().sum();
    debug_assert!(sum >= first);
    sum
}

//! A check: one short simulated sequence of operations that shows whether a few rules hold.

use std::pin::Pin;

use crate::rules::{RuleId, RuleLog};
use crate::sim::testbed::{Setup, Testbed};

/// A running check. An error ends the check early.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// One check. It runs in a simulation of its own.
pub struct Check {
    /// What the check shows, as a sentence; reports and errors print it.
    pub name: &'static str,
    /// The rules that the check judges. A rule that it does not look at becomes unknown.
    pub rules: &'static [RuleId],
    /// The sites and the policy that the check starts with.
    pub(crate) setup: fn() -> Setup,
    /// The operations, and what they must lead to.
    pub(crate) body: for<'a> fn(&'a Testbed, &'a mut RuleLog) -> Running<'a>,
}

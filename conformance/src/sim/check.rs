//! A check: one short sequence of operations on a testbed that shows whether a few rules hold.

use std::pin::Pin;

use contract::{JobView, Step};

use crate::rules::{RuleId, RuleLog};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Opener, Setup, Testbed};

/// A running check. An error ends the check early.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<(), EarlyEnd>> + 'a>>;

/// One check. It runs on a testbed of its own.
pub struct Check {
    /// What the check shows, as a sentence; reports and errors print it.
    pub name: &'static str,
    /// The rules that the check judges. A rule that it does not look at becomes unknown.
    pub rules: &'static [RuleId],
    /// The primary site and the policy that the check starts with.
    pub(crate) setup: fn() -> Setup,
    /// The operations, and what they must lead to.
    pub(crate) body: for<'a> fn(&'a mut Testbed, &'a mut RuleLog, &'a Opener<'a>) -> Running<'a>,
}

/// Makes a [`Check`] of a name, rules, a function that returns the setup, and the async function
/// that is its body, which gets the testbed, the log of rules, and any arguments given after its
/// name. With `reopening` before it, the body also gets the [`Opener`].
macro_rules! check {
    ($name:expr, $rules:expr, $setup:expr, reopening $body:ident $(,)?) => {
        $crate::sim::check::Check {
            name: $name,
            rules: $rules,
            setup: $setup,
            body: |testbed, rules, opener| Box::pin($body(testbed, rules, opener)),
        }
    };
    ($name:expr, $rules:expr, $setup:expr, $body:ident $(($($argument:expr),*))? $(,)?) => {
        $crate::sim::check::Check {
            name: $name,
            rules: $rules,
            setup: $setup,
            body: |testbed, rules, _| Box::pin($body(testbed, rules $($(, $argument)*)?)),
        }
    };
}
pub(crate) use check;

/// Records whether a statement that a rule makes about the core is true.
pub(crate) fn check_that(rules: &mut RuleLog, rule: RuleId, is_true: bool, statement: &str) {
    rules.check(rule, is_true, format!("{statement}: {is_true}"));
}

/// Records under a rule whether the core did something that the rule says it does, and returns what
/// that led to. An end that is the suite's or the simulator's says nothing about the rule, and one
/// that asserts another rule is left to that one.
///
/// # Errors
/// The core did not do it, or nothing can be said.
pub(crate) fn succeeds<T, E: Into<EarlyEnd>>(
    rules: &mut RuleLog,
    (rule, what): (RuleId, &str),
    done: Result<T, E>,
) -> Result<T, EarlyEnd> {
    let done = done.map_err(Into::into);
    match &done {
        Ok(_) => rules.check(rule, true, format!("{what} succeeds")),
        Err(end) if end.is_refusal() => rules.check(rule, false, format!("{what}: {end}")),
        Err(_) => {}
    }
    done
}

/// Records that a comparison which a step makes by itself went against a rule that the check is
/// about. Returns the end.
pub(crate) fn against(rules: &mut RuleLog, rule: RuleId, end: impl Into<EarlyEnd>) -> EarlyEnd {
    let end = end.into();
    if end.asserted {
        rules.check(rule, false, end.to_string());
    }
    end
}

/// The core did not make or keep something that a check needs.
pub(crate) fn missing(what: impl Into<String>) -> EarlyEnd {
    EarlyEnd::missing(&what.into())
}

/// The step with this name, if the job has it.
pub(crate) fn step<'a>(job: &'a JobView, name: &str) -> Option<&'a Step> {
    job.steps.iter().find(|step| step.name == name)
}

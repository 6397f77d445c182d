//! The checks, one file a topic.

pub(crate) mod alternate_location;
pub(crate) mod cancel;
pub(crate) mod configuration;
pub(crate) mod failback;
pub(crate) mod failback_cases;
pub(crate) mod failback_preconditions;
pub(crate) mod failover;
pub(crate) mod groups;
pub(crate) mod hydration;
pub(crate) mod hyperv;
pub(crate) mod jobs;
pub(crate) mod plan_groups;
pub(crate) mod planned_failover;
pub(crate) mod plans;
pub(crate) mod points;
pub(crate) mod policies;
pub(crate) mod refusals;
pub(crate) mod test_failover;

use super::check::Check;

/// All checks, by what they are about.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    let topics = [
        refusals::CHECKS,
        failover::CHECKS,
        planned_failover::CHECKS,
        cancel::CHECKS,
        failback::CHECKS,
        failback_preconditions::CHECKS,
        alternate_location::CHECKS,
        hyperv::CHECKS,
        test_failover::CHECKS,
        hydration::CHECKS,
        plans::CHECKS,
        plan_groups::CHECKS,
        jobs::CHECKS,
        configuration::CHECKS,
        points::CHECKS,
        policies::CHECKS,
        groups::CHECKS,
    ];
    topics.into_iter().flatten()
}

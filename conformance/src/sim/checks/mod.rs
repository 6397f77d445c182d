//! The checks, one file for each topic.

mod alternate_location;
mod boot_entry;
mod cancel;
mod capabilities;
mod change_tracking;
mod configuration;
mod durability;
mod every_point;
mod failback;
mod failback_preconditions;
mod failed_calls;
mod failover;
mod groups;
mod hydration;
mod hyperv;
mod interrupted_copies;
mod jobs;
mod lost_sites;
mod machine_events;
mod network_cards;
mod new_machine;
mod plan_failures;
mod plan_groups;
mod planned_failover;
mod plans;
mod points;
mod policies;
mod refusals;
mod reported_figures;
mod restart;
mod retention;
mod site_events;
mod split_brain;
mod started_again;
mod test_failover;
mod trackers;
mod variety;
mod verification;
mod windows;

use crate::sim::check::Check;

/// All checks, topic by topic.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    let topics = [
        refusals::CHECKS,
        failover::CHECKS,
        planned_failover::CHECKS,
        cancel::CHECKS,
        capabilities::CHECKS,
        failback::CHECKS,
        failback_preconditions::CHECKS,
        alternate_location::CHECKS,
        hyperv::CHECKS,
        test_failover::CHECKS,
        hydration::CHECKS,
        boot_entry::CHECKS,
        network_cards::CHECKS,
        windows::CHECKS,
        plan_failures::CHECKS,
        plans::CHECKS,
        plan_groups::CHECKS,
        jobs::CHECKS,
        reported_figures::CHECKS,
        restart::CHECKS,
        configuration::CHECKS,
        points::CHECKS,
        change_tracking::CHECKS,
        policies::CHECKS,
        groups::CHECKS,
        variety::CHECKS,
        durability::CHECKS,
        every_point::CHECKS,
        retention::CHECKS,
        trackers::CHECKS,
        failed_calls::CHECKS,
        interrupted_copies::CHECKS,
        new_machine::CHECKS,
        lost_sites::CHECKS,
        site_events::CHECKS,
        split_brain::CHECKS,
        started_again::CHECKS,
        verification::CHECKS,
        machine_events::CHECKS,
    ];
    topics.into_iter().flatten()
}

//! Every variant is accepted.

use std::collections::BTreeSet;

use super::*;

/// A test for each variant, so that they run side by side, and the list of their names.
macro_rules! accepted {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                let variant = Variant::find($name).expect($name);
                let acceptance = Acceptance::of(variant, None);
                assert!(acceptance.is_accepted(), "{acceptance}");
            }
        )*
    };
}

accepted! {
    other_step_names: "other-step-names",
    few_steps: "few-steps",
    more_steps: "more-steps",
    other_words: "other-words",
    other_order: "other-order",
    jumping_revisions: "jumping-revisions",
    no_history: "no-history",
    cancel_offered: "cancel-offered",
    small_plans: "small-plans",
    default_policies: "default-policies",
    other_name: "other-name",
    slow_answers: "slow-answers",
    late_events: "late-events",
    short_waits: "short-waits",
    slow_jobs: "slow-jobs",
    slow_start: "slow-start",
    repeats_calls: "repeats-calls",
    looks_often: "looks-often",
    more_snapshots: "more-snapshots",
    epoch_consistent: "epoch-consistent",
    every_control_set: "every-control-set",
    copies_loaders: "copies-loaders",
    one_nic: "one-nic",
    more_points: "more-points",
    other_job_ids: "other-job-ids",
    other_volume_names: "other-volume-names",
    other_test_machines: "other-test-machines",
    large_grains: "large-grains",
    compares_often: "compares-often",
    never_merges: "never-merges",
    merges_at_once: "merges-at-once",
    quiesces_always: "quiesces-always",
    quiesces_later: "quiesces-later",
    warns_first: "warns-first",
    fails_jobs: "fails-jobs",
    refuses_early: "refuses-early",
    other_reasons: "other-reasons",
    checks_names_early: "checks-names-early",
    checks_settings_later: "checks-settings-later",
    minimum: "minimum",
}

#[test]
fn every_variant_has_a_name_and_a_test_of_its_own() {
    let names: BTreeSet<_> = VARIANTS.iter().map(|variant| variant.name).collect();
    assert_eq!(names.len(), VARIANTS.len());
    assert_eq!(names, TESTED.iter().copied().collect());
}

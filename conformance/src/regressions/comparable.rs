//! Which runs can be compared: those on hosts alike, under the same accelerator, with the same
//! profile and the same options that change what a run measures.

use std::collections::BTreeSet;

use crate::history::{RunRecord, UNKNOWN_HOST};

/// Options that change what a run measures; `--dir` names the disk of a benchmark. `--mutant` and
/// `--variant` change the core, and are looked at by themselves.
const OPTIONS: [&str; 5] = ["--connect", "--jobs", "--kills", "--cycles", "--dir"];
/// Options that change the core on purpose.
const CHANGES: [&str; 2] = ["--mutant", "--variant"];

/// What two runs on hosts alike must have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conditions {
    profile: String,
    options: [Option<String>; OPTIONS.len()],
}

impl Conditions {
    fn of(run: &RunRecord) -> Self {
        Self { profile: run.profile.clone(), options: OPTIONS.map(|name| run.option(name)) }
    }
}

/// How the core of a run was changed on purpose, if it was.
pub(super) fn change(run: &RunRecord) -> Option<String> {
    run.mutant.clone().or_else(|| CHANGES.iter().find_map(|name| run.option(name)))
}

/// Whether two runs took place on hosts alike. One whose host is not known is like no other.
pub(super) fn are_hosts_alike(one: &RunRecord, other: &RunRecord) -> bool {
    one.fingerprint == other.fingerprint && one.fingerprint != UNKNOWN_HOST
}

/// Whether `earlier` is a run that `run` can be compared with. A core that was changed on purpose
/// is compared with the core as it is, and nothing is compared with it.
pub(super) fn is_comparable(run: &RunRecord, earlier: &RunRecord) -> bool {
    let changed = change(earlier);
    let alike = are_hosts_alike(run, earlier) && Conditions::of(run) == Conditions::of(earlier);
    alike && (changed.is_none() || changed == change(run))
}

/// Whether what was accepted up to `accepted` is accepted of `run` as well: both are of one series,
/// and each core of `run` was there to be looked at.
pub(super) fn accepts(accepted: &RunRecord, run: &RunRecord) -> bool {
    is_comparable(run, accepted) && core_names(run).is_subset(&core_names(accepted))
}

/// The names of the cores of a run. Records of older suites name them only for the whole run.
fn core_names(run: &RunRecord) -> BTreeSet<String> {
    let of_scenarios = run.scenarios.iter().map(|scenario| scenario.core.as_str());
    let names: BTreeSet<_> = of_scenarios.filter(|core| !core.is_empty()).map(core_name).collect();
    if names.is_empty() { [core_name(&run.core)].into() } else { names }
}

/// The name of a core without its version, and whether it has a process of its own, which a series
/// of all its versions has in common.
pub(super) fn core_name(core: &str) -> String {
    let (identity, opened) = match core.split_once(", opened with ") {
        Some((identity, _)) => (identity, " (a process)"),
        None => (core, ""),
    };
    let name = identity.rsplit_once(' ').map_or(identity, |(name, _version)| name);
    format!("{name}{opened}")
}

#[cfg(test)]
mod tests {
    use super::super::series::tests::run;
    use super::*;

    fn with_command(command: &str) -> RunRecord {
        RunRecord { command: format!("cargo xtask conformance {command}"), ..run(1) }
    }

    #[test]
    fn a_run_is_comparable_with_one_of_another_core_version_and_other_scenarios() {
        let newer = RunRecord { core: "built-in 0.9.0".to_owned(), ..with_command("--tier all") };
        assert!(is_comparable(&newer, &with_command("--scenario vmware-azure --verbose")));
    }

    #[test]
    fn other_hosts_profiles_and_options_are_other_series() {
        let plain = with_command("");
        for other in [
            RunRecord { fingerprint: "other".to_owned(), ..plain.clone() },
            RunRecord { profile: "asr-2024".to_owned(), ..plain.clone() },
            with_command("--jobs 2"),
            with_command("--kills=10"),
            with_command("--connect qemu:///session"),
            with_command("--dir /mnt"),
        ] {
            assert!(!is_comparable(&plain, &other) && !is_comparable(&other, &plain), "{other:?}");
        }
    }

    #[test]
    fn a_core_changed_on_purpose_is_compared_with_the_one_as_it_is_and_not_the_other_way_round() {
        let plain = with_command("");
        let mutant = RunRecord { mutant: Some("drop-extent".to_owned()), ..plain.clone() };
        for changed in [mutant, with_command("--variant slow-start"), with_command("--mutant=x@failover")] {
            assert!(is_comparable(&changed, &plain) && is_comparable(&changed, &changed), "{changed:?}");
            assert!(!is_comparable(&plain, &changed), "{changed:?}");
        }
        assert!(!is_comparable(&with_command("--variant a"), &with_command("--variant b")));
    }

    #[test]
    fn a_run_on_a_host_that_is_not_known_is_compared_with_none() {
        let unknown = RunRecord { fingerprint: UNKNOWN_HOST.to_owned(), ..run(1) };
        assert!(!is_comparable(&unknown, &unknown) && !is_comparable(&run(2), &unknown));
    }

    #[test]
    fn many_cycles_are_another_series_also_where_nobody_typed_their_number() {
        let conformance = with_command("--scenario vmware-azure");
        let command = "cargo xtask soak --scenario vmware-azure".to_owned();
        let soak = RunRecord { command, options: "--cycles 100 --seeds 1".to_owned(), ..run(1) };
        let of_an_older_suite = RunRecord { options: String::new(), ..soak.clone() };
        for soak in [&soak, &of_an_older_suite] {
            assert!(!is_comparable(&conformance, soak) && !is_comparable(soak, &conformance), "{soak:?}");
        }
        assert!(is_comparable(&soak, &of_an_older_suite));
        assert!(is_comparable(&soak, &with_command("--cycles 100")));
    }

    #[test]
    fn what_is_accepted_of_one_host_or_core_is_not_accepted_of_another() {
        let of_core = |core: &str| {
            let mut run = run(1);
            core.clone_into(&mut run.scenarios[0].core);
            run
        };
        let plain = run(1);
        assert!(accepts(&of_core("built-in 0.2.0"), &plain) && accepts(&of_core(""), &plain));
        assert!(!accepts(&of_core("mine 1.0"), &plain));
        assert!(!accepts(&RunRecord { fingerprint: "other".to_owned(), ..run(1) }, &plain));
        assert!(!accepts(&with_command("--variant slow-start"), &plain));
    }

    #[test]
    fn a_core_keeps_its_name_when_its_version_changes() {
        assert_eq!(core_name("built-in 0.1.0"), "built-in");
        assert_eq!(core_name("built-in 0.1.0, opened with `x 1`"), "built-in (a process)");
        assert_eq!(core_name("my own core 2"), "my own core");
        assert_eq!(core_name("core"), "core");
    }
}

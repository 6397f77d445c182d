//! Which runs can be compared: those on hosts alike, under the same accelerator, with the same
//! profile and the same options that change what a run measures.

use std::collections::BTreeMap;

use crate::history::RunRecord;

/// Options that change what a run measures; `--dir` names the disk of a benchmark. `--mutant` and
/// `--variant` change the core, and are looked at by themselves.
const OPTIONS: [&str; 5] = ["--connect", "--jobs", "--kills", "--cycles", "--dir"];
/// Options that change the core on purpose.
const CHANGES: [&str; 2] = ["--mutant", "--variant"];

/// What two runs must have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    fingerprint: String,
    profile: String,
    options: BTreeMap<String, String>,
}

impl Conditions {
    pub(super) fn of(run: &RunRecord) -> Self {
        Self {
            fingerprint: run.fingerprint.clone(),
            profile: run.profile.clone(),
            options: options(&run.command, &OPTIONS),
        }
    }
}

/// How the core of a run was changed on purpose, if it was.
pub(super) fn change(run: &RunRecord) -> Option<String> {
    let asked = || options(&run.command, &CHANGES).into_iter().next().map(|(_, value)| value);
    run.mutant.clone().or_else(asked)
}

/// Whether `earlier` is a run that `run` can be compared with. A core that was changed on purpose
/// is compared with the core as it is, and nothing is compared with it.
pub(super) fn is_comparable(run: &RunRecord, earlier: &RunRecord) -> bool {
    let changed = change(earlier);
    Conditions::of(run) == Conditions::of(earlier) && (changed.is_none() || changed == change(run))
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

/// These options of a command, with their values.
fn options(command: &str, names: &[&str]) -> BTreeMap<String, String> {
    let words = shell_words::split(command).unwrap_or_default();
    let mut found = BTreeMap::new();
    for (index, word) in words.iter().enumerate() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), words.get(index + 1).cloned()),
        };
        if names.contains(&name) {
            found.insert(name.to_owned(), value.unwrap_or_default());
        }
    }
    found
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
    fn options_inside_the_command_of_a_core_are_none_of_the_run() {
        assert_eq!(options("x --core './core --jobs 3' --kills 5", &OPTIONS).len(), 1);
        assert_eq!(options("x --core './unbalanced", &OPTIONS).len(), 0);
    }

    #[test]
    fn a_core_keeps_its_name_when_its_version_changes() {
        assert_eq!(core_name("built-in 0.1.0"), "built-in");
        assert_eq!(core_name("built-in 0.1.0, opened with `x 1`"), "built-in (a process)");
        assert_eq!(core_name("my own core 2"), "my own core");
        assert_eq!(core_name("core"), "core");
    }
}

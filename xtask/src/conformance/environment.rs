//! The environment in which the tests of a run execute. `docs/environment.md` lists all variables.

use super::rundir::RunDir;
use crate::cli::ConformanceArgs;
use crate::suite::{CORE_DIR, Guests};

/// The seed of the simulated tier: set by `--seed`, or by a developer.
pub const SEED: &str = "ROUNDTRIP_SEED";
/// Prefix of the variables of the snapshot library.
const SNAPSHOTS: &str = "INSTA_";

/// A variable, and its value if the tests shall see one.
pub type Variable = (String, Option<String>);

/// Every variable that a run sets or clears, so that none left in a shell changes what a run does.
pub fn for_tests(arguments: &ConformanceArgs, dir: &RunDir, guests: Guests) -> Vec<Variable> {
    let set = [
        ("ROUNDTRIP_RUN_DIR", Some(dir.path.to_string())),
        ("ROUNDTRIP_RUN_ID", Some(dir.id.clone())),
        ("ROUNDTRIP_RUN_NAME", arguments.run_name.clone()),
        ("ROUNDTRIP_KEEP", arguments.keep.then(|| "1".to_owned())),
        ("ROUNDTRIP_CORE", arguments.core.clone()),
        (CORE_DIR, arguments.core.as_ref().and_then(|_| here())),
        ("ROUNDTRIP_KILLS", arguments.kills.clone()),
        ("ROUNDTRIP_MUTANT", arguments.mutant.clone()),
        ("ROUNDTRIP_VARIANT", arguments.variant.clone()),
        ("ROUNDTRIP_PROFILE", arguments.profile.clone()),
        ("ROUNDTRIP_CYCLES", arguments.cycles.map(|count| count.to_string())),
        ("ROUNDTRIP_RULES", (!arguments.rule.is_empty()).then(|| arguments.rule.join(","))),
        ("ROUNDTRIP_SEEDS", arguments.seeds.map(|count| count.to_string())),
    ];
    let seed = arguments.seed.map(|seed| (SEED, Some(seed.to_string())));
    let set = guests.into_iter().chain(set).chain(seed).map(|(name, value)| (name.to_owned(), value));
    snapshot_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
        .chain(set)
        .collect()
}

/// The directory in which this program was started.
fn here() -> Option<String> {
    std::env::current_dir().ok()?.into_os_string().into_string().ok()
}

/// Snapshots are compared as they are: a run neither accepts a difference nor writes new snapshots
/// beside the sources.
fn snapshot_variables(inherited: impl Iterator<Item = String>) -> impl Iterator<Item = Variable> {
    let cleared = inherited.filter(|name| name.starts_with(SNAPSHOTS)).map(|name| (name, None));
    cleared.chain([("INSTA_UPDATE".to_owned(), Some("no".to_owned()))])
}

/// One line for a run of the simulated tier that does less than usual because the developer fixed
/// its seed.
pub fn seed_notice(arguments: &ConformanceArgs, simulated: bool) -> Option<String> {
    let asked = arguments.seed.map(|seed| seed.to_string());
    notice(simulated, asked.or_else(|| std::env::var(SEED).ok()).as_deref())
}

fn notice(simulated: bool, seed: Option<&str>) -> Option<String> {
    let seed = seed.filter(|_| simulated)?;
    Some(format!("{SEED}={seed} is set: simulated scenarios run with this one seed instead of many."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Consent;

    const GUESTS: Guests = [("ROUNDTRIP_CONNECT", None), ("ROUNDTRIP_IMAGE", None)];

    #[test]
    fn inherited_snapshot_variables_are_cleared() {
        let inherited = ["INSTA_FORCE_PASS", "INSTA_UPDATE", "PATH"].map(String::from).into_iter();
        let all: Vec<Variable> = snapshot_variables(inherited).collect();
        assert!(all.contains(&("INSTA_FORCE_PASS".into(), None)));
        assert_eq!(all.last(), Some(&("INSTA_UPDATE".into(), Some("no".into()))));
        assert!(all.iter().all(|(name, _)| name != "PATH"));
    }

    #[test]
    fn options_that_are_not_given_are_cleared() {
        let dir = RunDir::plan(None).expect("a name");
        let arguments = ConformanceArgs::only("a", Consent::default());
        let all = for_tests(&arguments, &dir, GUESTS);
        let value =
            |name: &str| all.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_deref());
        for name in [
            "ROUNDTRIP_RUN_NAME",
            "ROUNDTRIP_KEEP",
            "ROUNDTRIP_CORE",
            CORE_DIR,
            "ROUNDTRIP_KILLS",
            "ROUNDTRIP_MUTANT",
            "ROUNDTRIP_PROFILE",
            "ROUNDTRIP_CYCLES",
            "ROUNDTRIP_SEEDS",
        ] {
            assert_eq!(value(name), Some(None), "{name}");
        }
        assert_eq!(value("ROUNDTRIP_RUN_ID"), Some(Some(dir.id.as_str())));
    }

    #[test]
    fn a_fixed_seed_is_announced_where_it_matters() {
        assert!(notice(true, Some("7")).is_some_and(|line| line.starts_with("ROUNDTRIP_SEED=7 is set")));
        assert_eq!(notice(false, Some("7")), None);
        assert_eq!(notice(true, None), None);
    }
}

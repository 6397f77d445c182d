//! Whether results are those of a whole run, of one of its shards, or of shards that were merged.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::HostFacts;
use crate::foreign_files;

/// File in a run's directory that holds its [`Division`]. `cargo xtask` writes that of a shard, the
/// merge that of a merged run; a whole run has none.
pub const DIVISION: &str = "division.json";

/// Which part of a run results are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Division {
    /// All of it, in one piece.
    #[default]
    Whole,
    /// One shard. It says nothing about the scenarios of the others.
    Shard(Shard),
    /// All of it, merged from shards.
    Merged(Merged),
}

/// One shard of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shard {
    /// Its number, from 1.
    pub number: usize,
    /// How many shards the run has.
    pub of: usize,
    /// The name of the run, from which the seeds of all its shards follow.
    pub run: String,
    /// The git commit of the suite's sources, with a digest of what was changed since then.
    pub sources: String,
    /// The command of the whole run.
    pub command: String,
    /// The scenarios of every shard, in the order of their numbers: the whole selection.
    pub divided: Vec<Vec<String>>,
}

/// The shards that a run was merged from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Merged {
    /// The name of the run, from which the seeds of all its shards follow.
    pub run: String,
    /// The git commit of the suite's sources, with a digest of what was changed since then.
    pub sources: String,
    /// Every shard of the run, in the order of their numbers.
    pub shards: Vec<MergedShard>,
}

/// A shard in a merged run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergedShard {
    /// Its number, from 1.
    pub number: usize,
    /// The scenarios that it had to run.
    pub scenarios: Vec<String>,
    /// What the merge found of it.
    pub state: ShardState,
    /// Its host; none if the shard is missing.
    pub host: Option<HostFacts>,
}

/// What a merge found of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// Nothing.
    Missing,
    /// Evidence, but no end: it was killed.
    Killed,
    /// It ended with this exit code.
    Ended(u8),
}

impl Division {
    /// The division of the run in `dir`.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn of_run(dir: &Utf8Path) -> Result<Self> {
        let path = dir.join(DIVISION);
        match foreign_files::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("understand {path}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::Whole),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    }

    /// Whether these are results of all of a run in one piece.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// `shard 1 of 2` or `merged from 2 shards`; `None` for a whole run.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Shard(shard) => Some(format!("shard {} of {}", shard.number, shard.of)),
            Self::Merged(merged) => Some(format!("merged from {} shards", merged.shards.len())),
        }
    }
}

impl Merged {
    /// A line for each shard that did not end.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.shards.iter().filter_map(|shard| self.complaint(shard)).collect()
    }

    /// Why nothing is known of a scenario that left no evidence; `None` if its shard did end.
    #[must_use]
    pub fn why_absent(&self, scenario: &str) -> Option<String> {
        let had_to_run = |shard: &&MergedShard| shard.scenarios.iter().any(|name| name == scenario);
        self.shards.iter().find(had_to_run).and_then(|shard| self.complaint(shard))
    }

    /// The host of a scenario: that of its shard; `None` if it is not known.
    #[must_use]
    pub fn host_of(&self, scenario: &str) -> Option<&HostFacts> {
        let mut shards = self.shards.iter();
        let shard = shards.find(|shard| shard.scenarios.iter().any(|name| name == scenario))?;
        shard.host.as_ref().filter(|host| host.is_known())
    }

    fn complaint(&self, shard: &MergedShard) -> Option<String> {
        let MergedShard { number, scenarios, .. } = shard;
        let (of, names) = (self.shards.len(), scenarios.join(", "));
        match shard.state {
            ShardState::Missing => {
                Some(format!("shard {number} of {of}, which had to run {names}, is missing"))
            }
            ShardState::Killed => {
                Some(format!("shard {number} of {of}, which had to run {names}, was killed"))
            }
            ShardState::Ended(_) => None,
        }
    }

    /// The host of the whole run, for people. Where the shards had different hosts, each fact lists
    /// them all, and numbers are the least favourable. That may look like one of them:
    /// [`Self::host_of`] tells on which one a time was measured.
    #[must_use]
    pub fn host(&self) -> HostFacts {
        let hosts: Vec<&HostFacts> = self.shards.iter().filter_map(|shard| shard.host.as_ref()).collect();
        let all = |fact: fn(&HostFacts) -> &String| {
            let mut values: Vec<&str> = hosts.iter().map(|host| fact(host).as_str()).collect();
            values.sort_unstable();
            values.dedup();
            values.join(" | ")
        };
        HostFacts {
            cpu: all(|host| &host.cpu),
            kernel: all(|host| &host.kernel),
            cores: hosts.iter().map(|host| host.cores).min().unwrap_or_default(),
            memory: hosts.iter().map(|host| host.memory).min().unwrap_or_default(),
            qemu: all(|host| &host.qemu),
            libvirt: all(|host| &host.libvirt),
            accelerator: all(|host| &host.accelerator),
            accelerator_why: all(|host| &host.accelerator_why),
            boot_ms: hosts.iter().map(|host| host.boot_ms).max().unwrap_or_default(),
            image: all(|host| &host.image),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(host: Option<HostFacts>) -> MergedShard {
        MergedShard { number: 1, scenarios: Vec::new(), state: ShardState::Ended(0), host }
    }

    fn merged(hosts: Vec<Option<HostFacts>>) -> Merged {
        let shards = hosts.into_iter().map(shard).collect();
        Merged { run: "nightly".to_owned(), sources: "abc".to_owned(), shards }
    }

    #[test]
    fn a_run_on_one_host_has_that_host_and_one_on_several_names_them() {
        let kvm = HostFacts { accelerator: "KVM".to_owned(), cores: 8, ..HostFacts::default() };
        let tcg = HostFacts { accelerator: "TCG".to_owned(), cores: 2, ..HostFacts::default() };
        assert_eq!(merged(vec![Some(kvm.clone()), None, Some(kvm.clone())]).host(), kvm);
        let both = merged(vec![Some(tcg), Some(kvm)]).host();
        assert_eq!((both.accelerator.as_str(), both.cores), ("KVM | TCG", 2));
    }

    #[test]
    fn a_division_is_read_as_it_was_written() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        assert!(Division::of_run(dir).unwrap().is_whole());
        for division in [Division::Whole, Division::Merged(merged(vec![None]))] {
            std::fs::write(dir.join(DIVISION), serde_json::to_vec(&division).unwrap()).unwrap();
            assert_eq!(Division::of_run(dir).unwrap(), division);
        }
        std::fs::write(dir.join(DIVISION), "{\"kind\": \"shard\"}").unwrap();
        assert!(Division::of_run(dir).is_err());
    }
}

//! Plans the steps of set-up from what is missing. Reads a `System` and changes nothing.

use anyhow::Result;

use crate::error::infrastructure;
use crate::setup::needs::{MINIMA, Minimum, NEEDS, Need, Origin, Version};
use crate::setup::release::{Dpkg, Release, advice, offered_qemu};
use crate::setup::sources;
use crate::system::System;

/// A tool that is installed and too old.
pub struct Outdated {
    /// The tool and its oldest usable version.
    pub minimum: &'static Minimum,
    /// The installed version.
    pub found: Version,
}

/// What is missing on this machine.
pub struct Survey {
    /// The distribution.
    pub release: Release,
    /// Needs that are not met.
    pub missing: Vec<&'static Need>,
    /// Tools that are too old.
    pub outdated: Vec<Outdated>,
    dpkg: Option<Dpkg>,
}

/// One change to the machine, made as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Adds an apt source.
    AddSource {
        /// The new file.
        path: &'static str,
        /// Its complete text.
        text: String,
    },
    /// Runs a command.
    Run {
        /// What is shown while it runs.
        what: String,
        /// The command.
        argv: Vec<String>,
    },
}

impl Survey {
    /// Examines a machine.
    pub fn of(system: &dyn System) -> Self {
        let missing = NEEDS.iter().filter(|need| !need.is_met(system)).collect();
        let outdated = MINIMA
            .iter()
            .filter_map(|minimum| Some(Outdated { minimum, found: minimum.installed(system)? }))
            .filter(|tool| tool.found < tool.minimum.version)
            .collect();
        Self { release: Release::of(system), missing, outdated, dpkg: Dpkg::of(system) }
    }

    /// Whether every package is installed and new enough.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.outdated.is_empty()
    }

    /// What is missing, one line each.
    pub fn lines(&self) -> Vec<String> {
        let missing =
            self.missing.iter().map(|need| format!("missing  {:<27} {}", need.package, need.purpose));
        let old = self.outdated.iter().map(|tool| {
            let Minimum { tool: name, version, why, .. } = tool.minimum;
            format!("too old  {name} {}, {version} is needed: {why}", tool.found)
        });
        missing.chain(old).collect()
    }

    /// The packages to install from one origin.
    fn packages(&self, origin: Origin) -> Vec<String> {
        let missing = self.missing.iter().filter(|need| need.origin == origin).map(|need| need.package);
        let upgraded = self.outdated.iter().flat_map(|tool| tool.minimum.upgrade.iter().copied());
        let mut all: Vec<String> =
            missing.chain(upgraded.filter(|_| origin == Origin::Virtualisation)).map(String::from).collect();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|name| seen.insert(name.clone()));
        all
    }

    /// Why the release's own QEMU and libvirt packages cannot be used; none if they can.
    fn needs_backports(&self, system: &dyn System) -> Option<String> {
        let wanted = MINIMA[0].version;
        if let Some(offered) = offered_qemu(system, &self.release).filter(|offered| *offered < wanted) {
            return Some(format!("{} offers QEMU {offered}, and {wanted} is needed", self.release.pretty));
        }
        let backports = self.dpkg.as_ref().map(Dpkg::from_backports).unwrap_or_default();
        let first = backports.first()?;
        Some(format!("{first} is installed from backports, and the release's own packages conflict with it"))
    }

    /// The steps, in order. None if nothing is missing.
    pub fn plan(&self, system: &dyn System) -> Result<Vec<Step>> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        if !self.release.is_debian_family() || system.program("apt-get").is_none() {
            return Err(infrastructure(self.by_hand()));
        }
        let plain = self.packages(Origin::Release);
        let virtual_ = self.packages(Origin::Virtualisation);
        let mut steps = Vec::new();
        let mut suite = None;
        if !virtual_.is_empty()
            && let Some(why) = self.needs_backports(system)
        {
            steps.extend(self.add_backports(system, &why)?);
            suite = Some(format!("{}-backports", self.release.codename));
        }
        steps.push(read_lists());
        steps.extend(install(&plain, None));
        steps.extend(install(&virtual_, suite.as_deref()));
        Ok(steps)
    }

    fn add_backports(&self, system: &dyn System, why: &str) -> Result<Option<Step>> {
        let Release { codename, .. } = &self.release;
        if !self.release.has_qemu_in_backports() {
            return Err(infrastructure(format!("{why}: {}.", advice(&self.release))));
        }
        let configured = sources::configured(system);
        if sources::has_backports(&configured, codename) {
            return Ok(None);
        }
        let Some(text) = sources::backports_beside(&configured, codename) else {
            return Err(infrastructure(format!(
                "{why}: looked in /etc/apt for the source of {codename} main, to copy it for {codename}-backports, \
                 and found none; add {codename}-backports by hand and run `cargo xtask setup` again."
            )));
        };
        Ok(Some(Step::AddSource { path: sources::BACKPORTS_FILE, text }))
    }

    fn by_hand(&self) -> String {
        format!(
            "{} has no apt, so set-up cannot install what is missing. Install these by hand (Debian's names):\n  {}",
            self.release.pretty,
            self.lines().join("\n  ")
        )
    }
}

/// Whether apt does not know a package. Containers come without package lists, and the guest image is made of
/// packages.
pub fn lacks_lists(system: &dyn System, package: &str) -> bool {
    system.output(&["apt-cache", "policy", package]).is_some_and(|text| {
        !text.lines().any(|line| line.trim().starts_with("Candidate: ") && !line.contains("(none)"))
    })
}

/// The step in which apt reads its sources.
pub fn read_lists() -> Step {
    run("read the package lists", &["apt-get", "update", "-q"])
}

fn run(what: &str, argv: &[&str]) -> Step {
    Step::Run { what: what.to_owned(), argv: argv.iter().map(ToString::to_string).collect() }
}

fn install(packages: &[String], suite: Option<&str>) -> Option<Step> {
    if packages.is_empty() {
        return None;
    }
    let from = suite.map(|suite| format!(" from {suite}")).unwrap_or_default();
    let what = format!("install {} packages{from}", packages.len());
    let mut argv = vec!["apt-get", "install", "-y", "-q", "--no-install-recommends"];
    argv.extend(suite.iter().flat_map(|suite| ["-t", suite]));
    argv.extend(packages.iter().map(String::as_str));
    Some(run(&what, &argv))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

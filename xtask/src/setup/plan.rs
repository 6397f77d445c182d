//! From what is missing to what has to be done. Pure: reads a `Host`, changes nothing.

use anyhow::Result;

use crate::error::infrastructure;
use crate::host::Host;
use crate::setup::needs::{MINIMA, Minimum, NEEDS, Need, Origin, Version};
use crate::setup::release::{Dpkg, Release, advice, offered_qemu};
use crate::setup::sources;

/// A tool that is here but too old.
pub struct Outdated {
    /// Which tool, and what it must be.
    pub minimum: &'static Minimum,
    /// What is here.
    pub found: Version,
}

/// What this machine lacks.
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
        /// All of it.
        text: String,
    },
    /// Runs a command.
    Run {
        /// What it is called while it runs.
        what: String,
        /// The command.
        argv: Vec<String>,
    },
}

impl Survey {
    /// Looks at a machine.
    pub fn of(host: &dyn Host) -> Self {
        let missing = NEEDS.iter().filter(|need| !need.is_met(host)).collect();
        let outdated = MINIMA
            .iter()
            .filter_map(|minimum| Some(Outdated { minimum, found: minimum.installed(host)? }))
            .filter(|tool| tool.found < tool.minimum.version)
            .collect();
        Self { release: Release::of(host), missing, outdated, dpkg: Dpkg::of(host) }
    }

    /// Whether every package is here and new enough.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.outdated.is_empty()
    }

    /// What is lacking, a line each.
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
        let renewed = self.outdated.iter().flat_map(|tool| tool.minimum.renew.iter().copied());
        let mut all: Vec<String> =
            missing.chain(renewed.filter(|_| origin == Origin::Virtualisation)).map(String::from).collect();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|name| seen.insert(name.clone()));
        all
    }

    /// Why the release's own QEMU and libvirt packages cannot be taken, if so.
    fn needs_backports(&self, host: &dyn Host) -> Option<String> {
        let wanted = MINIMA[0].version;
        if let Some(offered) = offered_qemu(host, &self.release).filter(|offered| *offered < wanted) {
            return Some(format!("{} offers QEMU {offered}, and {wanted} is needed", self.release.pretty));
        }
        let strays = self.dpkg.as_ref().map(Dpkg::strays).unwrap_or_default();
        let first = strays.first()?;
        Some(format!("{first} is here from backports, and the release's own packages do not fit beside it"))
    }

    /// What has to be done, in order. Nothing if the survey is complete.
    pub fn plan(&self, host: &dyn Host) -> Result<Vec<Step>> {
        if self.is_complete() {
            return Ok(Vec::new());
        }
        if !self.release.is_debian_family() || host.program("apt-get").is_none() {
            return Err(infrastructure(self.by_hand()));
        }
        let (plain, virtual_) = (self.packages(Origin::Release), self.packages(Origin::Virtualisation));
        let mut steps = Vec::new();
        let mut suite = None;
        if !virtual_.is_empty()
            && let Some(why) = self.needs_backports(host)
        {
            steps.extend(self.add_backports(host, &why)?);
            suite = Some(format!("{}-backports", self.release.codename));
        }
        steps.push(read_lists());
        steps.extend(install(&plain, None));
        steps.extend(install(&virtual_, suite.as_deref()));
        Ok(steps)
    }

    fn add_backports(&self, host: &dyn Host, why: &str) -> Result<Option<Step>> {
        let Release { codename, .. } = &self.release;
        if !self.release.has_qemu_in_backports() {
            return Err(infrastructure(format!("{why}: {}.", advice(&self.release))));
        }
        let configured = sources::configured(host);
        if sources::has_backports(&configured, codename) {
            return Ok(None);
        }
        let Some(text) = sources::backports_beside(&configured, codename) else {
            return Err(infrastructure(format!(
                "{why}: looked in /etc/apt for a source of {codename} main to put {codename}-backports beside \
                 and found none; add {codename}-backports by hand and run `cargo xtask setup` again."
            )));
        };
        Ok(Some(Step::AddSource { path: sources::BACKPORTS_FILE, text }))
    }

    fn by_hand(&self) -> String {
        format!(
            "{} has no apt, so set-up cannot install what is lacking. Install these by hand (Debian's names):\n  {}",
            self.release.pretty,
            self.lines().join("\n  ")
        )
    }
}

/// Whether apt knows nothing of this package: containers come without lists, and the image is made of packages.
pub fn lacks_lists(host: &dyn Host, package: &str) -> bool {
    host.output(&["apt-cache", "policy", package]).is_some_and(|text| {
        !text.lines().any(|line| line.trim().starts_with("Candidate: ") && !line.contains("(none)"))
    })
}

/// Has apt read its sources.
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

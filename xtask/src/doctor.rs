//! The command `doctor`: shows what this host can do, without changing anything.

use std::process::Stdio;

use anyhow::{Context, Result};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::conformance::preflight::{Resources, free_disk, memory};
use crate::error::INFRASTRUCTURE;
use crate::guest_images;
use crate::setup::needs::MINIMA;
use crate::setup::release::Release;
use crate::setup::{Changes, daemon};
use crate::suite::Suite;
use crate::system::{LiveSystem, System};
use crate::terminal::{bytes, say};

/// Everything that `doctor` shows.
#[derive(Debug, Serialize)]
struct Findings {
    os: String,
    kernel: String,
    cores: usize,
    memory_total: u64,
    memory_available: u64,
    run_disk_free: u64,
    cache_disk_free: u64,
    cache: String,
    qemu: Option<String>,
    libvirt: Option<String>,
    uri: &'static str,
    #[serde(flatten)]
    probe: Option<Probe>,
    /// What `cargo xtask setup` would do.
    setup: Vec<String>,
    ready: bool,
    verdict: String,
}

/// What the suite's binary found by booting a guest with each accelerator.
#[derive(Debug, Deserialize, Serialize)]
struct Probe {
    accelerator: String,
    boot_ms: u64,
    trials: Vec<Trial>,
    #[serde(default)]
    image: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Trial {
    accelerator: String,
    ok: bool,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    boot_ms: Option<u64>,
    #[serde(default)]
    confinement: Option<String>,
}

impl Trial {
    fn line(&self) -> String {
        let found = match (self.ok, self.boot_ms, &self.why) {
            (true, Some(ms), _) => format!("boots in {:.1} s", ms as f64 / 1000.0),
            (true, None, _) => "boots".to_owned(),
            (false, _, Some(why)) => format!("does not boot: {why}"),
            (false, _, None) => "does not boot".to_owned(),
        };
        format!("{} {found}", self.accelerator)
    }
}

/// Shows the findings. Returns 0 if the suite can run here, else 3.
pub fn command(root: &Utf8Path, json: bool) -> Result<u8> {
    let mut findings = survey()?;
    match examine(root, &mut findings) {
        Ok(()) => {
            findings.ready = true;
            findings.verdict = "ready: run `cargo xtask conformance`".into();
        }
        Err(error) => findings.verdict = format!("not ready: {error:#}"),
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print!("{}", findings.text());
    }
    Ok(if findings.ready { 0 } else { INFRASTRUCTURE })
}

/// What can be found without building or starting anything.
fn survey() -> Result<Findings> {
    let system = LiveSystem;
    let cache = guest_images::cache_dir();
    let version = |index: usize| MINIMA.get(index)?.installed_in_full(&system);
    Ok(Findings {
        os: Release::of(&system).pretty,
        kernel: system.read("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_total: memory("MemTotal"),
        memory_available: memory("MemAvailable"),
        run_disk_free: free_disk(Utf8Path::new("."))?,
        cache_disk_free: free_disk(&cache)?,
        cache: cache.to_string(),
        qemu: version(0),
        libvirt: version(1),
        uri: daemon::uri(&system),
        probe: None,
        setup: Vec::new(),
        ready: false,
        verdict: String::new(),
    })
}

/// Adds what a trial boot shows. Fails with the first thing that prevents a run.
fn examine(root: &Utf8Path, findings: &mut Findings) -> Result<()> {
    let here = Utf8Path::new(".");
    let cache = guest_images::cache_dir();
    Resources::of(here, &cache)?.require(here, &cache, 0)?;
    let changes = Changes::find(&LiveSystem, root)?;
    findings.setup = changes.lines();
    anyhow::ensure!(changes.is_empty(), "`cargo xtask setup` installs what is missing");
    say("Building the suite and booting a guest with each accelerator; the first build takes minutes.");
    findings.probe = Some(probe(&Suite::build(root, findings.uri)?)?);
    Ok(())
}

fn probe(suite: &Suite) -> Result<Probe> {
    let output = suite.command(&["probe", "--json"]).stderr(Stdio::piped()).output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "tried to boot a guest: {}", message.trim());
    serde_json::from_slice(&output.stdout).context("tried to read the result of the trial boot")
}

impl Findings {
    fn text(&self) -> String {
        let or_none = |version: &Option<String>| version.clone().unwrap_or_else(|| "not installed".into());
        let mut rows = vec![
            ("system", format!("{}, Linux {}", self.os, self.kernel)),
            ("processor", format!("{} cores", self.cores)),
            ("memory", format!("{} available of {}", bytes(self.memory_available), bytes(self.memory_total))),
            (
                "disk",
                format!(
                    "{} free here, {} free at {}",
                    bytes(self.run_disk_free),
                    bytes(self.cache_disk_free),
                    self.cache
                ),
            ),
            ("QEMU", or_none(&self.qemu)),
            ("libvirt", format!("{}, {}", or_none(&self.libvirt), self.uri)),
        ];
        if let Some(probe) = &self.probe {
            let trials: Vec<String> = probe.trials.iter().map(Trial::line).collect();
            rows.push(("accelerator", format!("{}: {}", probe.accelerator, trials.join("; "))));
            let confinement = probe.trials.iter().find_map(|trial| trial.confinement.clone());
            rows.extend(confinement.map(|found| ("guests run in", found)));
            rows.extend(probe.image.clone().map(|image| ("image", image)));
        }
        rows.extend(self.setup.iter().map(|line| ("setup would", line.clone())));
        rows.push(("verdict", self.verdict.clone()));
        rows.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_shown_with_its_reason() {
        let json = r#"{"accelerator":"tcg","boot_ms":5200,"trials":[
            {"accelerator":"kvm","ok":false,"why":"emulation failure"},
            {"accelerator":"tcg","ok":true,"boot_ms":5200}],"qemu":"10.0.2","libvirt":"11.3.0","image":"abc"}"#;
        let probe: Probe = serde_json::from_str(json).expect("a probe");
        let lines: Vec<String> = probe.trials.iter().map(Trial::line).collect();
        assert_eq!(lines, ["kvm does not boot: emulation failure", "tcg boots in 5.2 s"]);
    }
}

//! What a report says about the test host, and what a run notes of it when it begins.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use harness::accel::Probe;
use harness::machine::Accelerator;

use crate::foreign_files;
use crate::outcome::HostFacts;

/// File in a run's directory that holds its host. A report may be made on another one.
pub const HOST: &str = "host.json";

/// The test host: what the last trial boot found, and what the kernel reports.
///
/// # Errors
/// The kernel does not tell how much memory there is.
pub fn host_facts() -> Result<HostFacts> {
    let kept = std::fs::read(images::cache_dir().join("accelerator.json"));
    let probe: Option<Probe> = kept.ok().and_then(|text| serde_json::from_slice(&text).ok());
    let memory = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = cpu.map(|(_, model)| model.trim().to_owned()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from) as u64;
    let mut facts = HostFacts { cpu, cores, memory: memory.unwrap_or(0_u64) * 1024, ..HostFacts::default() };
    if let Some(probe) = probe {
        let kvm = probe.trials.iter().find(|trial| trial.accelerator == Accelerator::Kvm && !trial.ok);
        facts.accelerator_why = kvm.and_then(|trial| trial.why.clone()).unwrap_or_default();
        facts.accelerator = probe.accelerator.to_string();
        facts.boot_ms = probe.boot_ms;
        facts.kernel = probe.kernel;
        facts.qemu = probe.qemu;
        facts.libvirt = probe.libvirt;
        facts.image = probe.image;
    }
    Ok(facts)
}

/// Notes the host of the run in `dir`, of which the scenario with its evidence in `scenario`
/// begins. What an earlier scenario of the run noted stays. Before a trial boot the accelerator is
/// not known, and nothing is noted.
///
/// # Errors
/// The host does not tell its facts, or a directory is not writable.
pub fn note_host(dir: &Utf8Path, scenario: &Utf8Path) -> Result<()> {
    let path = dir.join(HOST);
    let facts = host_facts()?;
    if path.exists() || facts.accelerator.is_empty() {
        return Ok(());
    }
    // Scenarios that begin together put the same there, and nobody reads half of it.
    let working = scenario.join(HOST);
    let text = serde_json::to_vec(&facts).context("write the facts of the host")?;
    std::fs::write(&working, text).with_context(|| format!("write {working}"))?;
    std::fs::rename(&working, &path).with_context(|| format!("write {path}"))
}

/// The host that the run in `dir` noted when it began; `None` if it noted none, as runs of older
/// suites do.
///
/// # Errors
/// The file cannot be read or understood.
pub fn noted_host(dir: &Utf8Path) -> Result<Option<HostFacts>> {
    let path = dir.join(HOST);
    match foreign_files::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("understand {path}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {path}")),
    }
}

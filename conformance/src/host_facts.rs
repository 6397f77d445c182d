//! What a report says about the test host.

use anyhow::{Context as _, Result};
use harness::accel::Probe;
use harness::machine::Accelerator;

use crate::outcome::HostFacts;

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

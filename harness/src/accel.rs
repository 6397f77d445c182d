//! Chooses the accelerator by trial boot.
//!
//! A `/dev/kvm` that opens and a libvirt that lists KVM do not prove that KVM works: on some hosts
//! every stock kernel crashes under it. So each accelerator boots a guest, the fastest first, and
//! the first one whose guest says hello is chosen. The result is cached until the host kernel, QEMU
//! or the image changes.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::confinement;
use crate::host::Host;
use crate::machine::{
    Accelerator, Controller, DiskManager, DiskSpec, Firmware, GuestSpec, Hardware, Identity, Machine, Nic,
};
use crate::scratch::Scratch;
use crate::tools::{self, Format};
use crate::{Error, Result};

/// Time limit of one trial boot.
const TRIAL_WITHIN: Duration = Duration::from_secs(90);

/// One trial boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Accelerator tried.
    pub accelerator: Accelerator,
    /// Whether the guest said hello.
    pub ok: bool,
    /// Milliseconds from power-on to hello.
    pub boot_ms: Option<u64>,
    /// Why the guest did not say hello.
    pub why: Option<String>,
    /// What confined its QEMU; `None` if that is not known.
    #[serde(default)]
    pub confinement: Option<String>,
}

/// The accelerator chosen on this host, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The accelerator to use.
    pub accelerator: Accelerator,
    /// Milliseconds its trial boot took.
    pub boot_ms: u64,
    /// Why guests get no Hyper-V enlightenments; empty if they boot with them.
    pub no_enlightenments: String,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
    /// QEMU's version.
    pub qemu: String,
    /// libvirt's version.
    pub libvirt: String,
    /// Hash of the image that was booted.
    pub image: String,
    /// Host kernel for which the result is valid.
    pub kernel: String,
}

/// Returns the cached choice if it is still valid, otherwise chooses by trial boot.
///
/// # Errors
/// No accelerator boots the image; the message gives the reason for each.
pub async fn choose(host: &Host, image: &images::Image, cache: &Utf8Path) -> Result<Probe> {
    let (libvirt, qemu) = host.versions().await?;
    let kernel = "/proc/sys/kernel/osrelease";
    let kernel = std::fs::read_to_string(kernel).map_err(Error::file(kernel))?.trim().to_owned();
    let kept_at = cache.join("accelerator.json");
    let kept = std::fs::read(&kept_at).ok().and_then(|text| serde_json::from_slice::<Probe>(&text).ok());
    if let Some(kept) = kept
        && (kept.kernel.as_str(), kept.qemu.as_str(), kept.image.as_str())
            == (kernel.as_str(), qemu.as_str(), image.hash.as_str())
    {
        return Ok(kept);
    }
    let mut trials = Vec::new();
    for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
        let trial = try_boot(host, image, accelerator, false).await;
        let (ok, boot_ms) = (trial.ok, trial.boot_ms.unwrap_or_default());
        trials.push(trial);
        if ok {
            let no_enlightenments = try_enlightened(host, image, accelerator).await;
            let image = image.hash.clone();
            let probe =
                Probe { accelerator, boot_ms, no_enlightenments, trials, qemu, libvirt, image, kernel };
            let text = serde_json::to_vec_pretty(&probe).unwrap_or_default();
            std::fs::write(&kept_at, text).map_err(Error::file(&kept_at))?;
            return Ok(probe);
        }
    }
    let reasons: Vec<_> =
        trials.iter().map(|t| format!("{}: {}", t.accelerator, t.why.as_deref().unwrap_or("?"))).collect();
    Err(Error::NoAccelerator { reasons: reasons.join("; ") })
}

/// Tries to boot a guest with Hyper-V enlightenments, some of which are missing in some KVMs.
/// Returns an empty string if it boots, otherwise the reason.
async fn try_enlightened(host: &Host, image: &images::Image, accelerator: Accelerator) -> String {
    match accelerator {
        Accelerator::Tcg => "TCG does not implement them".to_owned(),
        Accelerator::Kvm => try_boot(host, image, accelerator, true).await.why.unwrap_or_default(),
    }
}

async fn try_boot(host: &Host, image: &images::Image, accelerator: Accelerator, enlightened: bool) -> Trial {
    if accelerator == Accelerator::Kvm && !Utf8Path::new("/dev/kvm").exists() {
        let why = Some("/dev/kvm does not exist".to_owned());
        return Trial { accelerator, ok: false, boot_ms: None, why, confinement: None };
    }
    match boot(host, image, accelerator, enlightened).await {
        Ok(Booted { took, confinement }) => {
            let boot_ms = u64::try_from(took.as_millis()).ok();
            Trial { accelerator, ok: true, boot_ms, why: None, confinement }
        }
        Err(error) => {
            let why = Some(error.to_string());
            Trial { accelerator, ok: false, boot_ms: None, why, confinement: None }
        }
    }
}

async fn boot(
    host: &Host,
    image: &images::Image,
    accelerator: Accelerator,
    enlightened: bool,
) -> Result<Booted> {
    let scratch = Scratch::new("probe")?;
    let dir = scratch.path().to_owned();
    let disk = dir.join("system.qcow2");
    tools::create_delta(&disk, &image.system, Format::Raw).await?;
    let data = dir.join("data.qcow2");
    tools::create_delta(&data, &image.data, Format::Raw).await?;
    let mut spec = probe_machine(&scratch, &[("system", disk), ("data", data)]);
    spec.hardware.enlightened = enlightened;
    let machine = Machine::define(host, accelerator, &scratch, spec).await?;
    let result = say_hello(&machine).await;
    machine.remove().await?;
    result
}

/// A guest that said hello.
struct Booted {
    took: Duration,
    confinement: Option<String>,
}

async fn say_hello(machine: &Machine) -> Result<Booted> {
    let guest = machine.start().await?;
    let found = guest.monitor().pid().and_then(|pid| confinement::of(pid).ok());
    let confinement = found.map(|found| found.to_string());
    let mut events = guest.monitor().events();
    // An accelerator that cannot run the kernel stops the CPU; QEMU goes on running.
    let stopped = guest.monitor().await_event(&mut events, "a stop", TRIAL_WITHIN, |e| {
        matches!(e["event"].as_str(), Some("STOP" | "GUEST_PANICKED"))
    });
    let result = tokio::select! {
        hello = guest.ready(TRIAL_WITHIN) => {
            hello.map(|_| Booted { took: guest.powered_on().elapsed(), confinement })
        }
        _ = stopped => Err(Error::Died {
            who: guest.name().to_owned(),
            awaited: "its hello".to_owned(),
            last_words: "the CPU was stopped: the accelerator cannot run this kernel".to_owned(),
        }),
    };
    if !guest.is_gone() {
        guest.power_cut().await?;
    }
    result
}

fn probe_machine(scratch: &Scratch, disks: &[(&str, Utf8PathBuf)]) -> GuestSpec {
    let token = scratch.path().file_name().unwrap_or("probe");
    GuestSpec {
        name: format!("roundtrip-probe-{token}"),
        hardware: Hardware {
            firmware: Firmware::Bios,
            system_disk: Controller::Pvscsi.into(),
            other_disks: Controller::Pvscsi.into(),
            nic: Nic::Vmxnet3,
            identity: Identity {
                vendor: "Roundtrip".to_owned(),
                product: "probe".to_owned(),
                chassis_tag: None,
            },
            enlightened: false,
            memory_mib: 256,
        },
        enlightenments: Ok(()),
        boot_entry: None,
        disks: disks
            .iter()
            .map(|(role, image)| DiskSpec {
                role: (*role).to_owned(),
                image: image.clone(),
                format: Format::Qcow2,
                backing: vec![],
                write_log: None,
            })
            .collect(),
        disk_manager: DiskManager::CommandLine,
        forwards: vec![],
        subnet: "192.0.2.0/24".to_owned(),
        address: None,
        mac: "52:54:00:00:02:01".to_owned(),
        more_nics: vec![],
        dir: scratch.path().join("logs"),
    }
}

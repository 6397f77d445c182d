//! The test host of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The test host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// Model of the processor. Results of older suites lack it.
    #[serde(default)]
    pub cpu: String,
    /// Host kernel.
    pub kernel: String,
    /// Number of processor cores.
    pub cores: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// QEMU's version.
    pub qemu: String,
    /// libvirt's version.
    pub libvirt: String,
    /// The accelerator that guests run under.
    pub accelerator: String,
    /// Why it is not KVM; empty if it is.
    pub accelerator_why: String,
    /// Milliseconds of the trial boot under this accelerator.
    pub boot_ms: u64,
    /// Hash of the guest image.
    pub image: String,
}

impl HostFacts {
    /// The host of a run that did not note it. Its times are compared with no others.
    #[must_use]
    pub fn unknown() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            cpu: unknown(),
            kernel: unknown(),
            cores: 0,
            memory: 0,
            qemu: unknown(),
            libvirt: unknown(),
            accelerator: unknown(),
            accelerator_why: String::new(),
            boot_ms: 0,
            image: unknown(),
        }
    }

    /// Whether this is a host at all: every host has a core.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.cores > 0
    }
}

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

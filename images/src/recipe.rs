//! The recipe: everything that determines the bytes of an image, and its hash.

use serde::{Deserialize, Serialize};

use crate::error::{AtPath, ImageError};
use crate::packages::{self, Package};
use crate::program::Programs;
use crate::tools;

/// The sources that determine the layout. Their hash replaces a format number, which could be
/// forgotten.
const SOURCES: &[&str] = &[
    include_str!("../Cargo.toml"),
    include_str!("build.rs"),
    include_str!("cpio.rs"),
    include_str!("ext4.rs"),
    include_str!("layout.rs"),
    include_str!("modules.rs"),
    include_str!("rootfs.rs"),
    include_str!("extras.rs"),
    include_str!("shape.rs"),
    include_str!("variant.rs"),
    include_str!("guest/firewall.nft"),
    include_str!("guest/init.sh"),
    include_str!("guest/initrd-init.sh"),
    include_str!("guest/services.sh"),
    include_str!("guest/data-disks.sh"),
    include_str!("guest/look-at-disks.sh"),
    include_str!("guest/lvm.conf"),
    include_str!("guest/shutdown.sh"),
    include_str!("guest/fsfreeze-hook.sh"),
    include_str!("guest/trim.sh"),
    include_str!("guest/udhcpc.sh"),
];

/// The inputs of an image; stored beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipe {
    pub(crate) packages: Vec<Package>,
    /// BLAKE3 of the witness.
    pub(crate) witness: String,
    /// BLAKE3 of the replication agent.
    pub(crate) agent: String,
    /// BLAKE3 of those sources of this crate that determine the layout.
    pub(crate) sources: String,
    /// Versions of the tools that write the file systems.
    pub(crate) tools: Vec<String>,
}

impl Recipe {
    pub(crate) fn new(packages: Vec<Package>, programs: &Programs) -> Result<Self, ImageError> {
        let Programs { witness, agent } = programs;
        Ok(Self {
            packages,
            witness: packages::hash_file(witness).at("cannot read the witness", witness)?,
            agent: packages::hash_file(agent).at("cannot read the agent", agent)?,
            sources: blake3::hash(SOURCES.join("\0").as_bytes()).to_hex().to_string(),
            tools: tools::versions(),
        })
    }

    /// The hash that names the image.
    pub(crate) fn hash(&self) -> String {
        blake3::hash(self.json().as_bytes()).to_hex().to_string()
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

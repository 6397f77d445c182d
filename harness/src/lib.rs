//! Real guests, and the oracle that judges their disks. Knows nothing of replication.
//!
//! - [`host`], [`machine`]: libvirt domains with the hardware of a [`machine::Hardware`] description
//! - [`witness_link`]: the conversation with the witness inside a guest
//! - [`qmp`], [`storage`], [`tools`]: QEMU's own interfaces: monitor, storage daemon, `qemu-img`
//! - [`accel`]: the accelerator, chosen by trial boot
//! - [`relay`]: a link between sites that can be slow, lossy or down
//! - [`scratch`], [`reaper`]: nothing leaks
//! - [`oracle`]: a recovered disk's place in the order of the guest's own writes

pub mod accel;
mod error;
pub mod host;
pub mod machine;
pub mod oracle;
pub mod qmp;
pub mod reaper;
pub mod relay;
pub mod scratch;
pub mod storage;
pub mod tools;
pub mod witness_link;

pub use error::{Error, Result};

//! Real guests, and the oracle that judges their disks. Replication is not known here.
//!
//! - [`host`], [`machine`]: libvirt domains with the hardware that a [`machine::Hardware`]
//!   describes
//! - [`witness_link`]: the protocol with the witness inside a guest
//! - [`qmp`], [`storage`], [`tools`]: QEMU's own interfaces: monitor, storage daemon, `qemu-img`
//! - [`confinement`]: how a process is confined, and where it listens
//! - [`lines`]: lines of bounded length from programs in guests
//! - [`accel`]: the accelerator, chosen by trial boot
//! - [`relay`]: a link between sites that can be slow, lossy or down
//! - [`scratch`], [`reaper`]: cleaning up, also after a run that was killed
//! - [`oracle`]: finds which prefix of the guest's own writes a recovered disk holds
//! - [`recovered`]: what a machine would find on its disks, without booting it
//! - [`crash_states`]: the states in which a power loss may leave a disk, built from its write log

pub mod accel;
pub mod confinement;
pub mod crash_states;
mod ending;
mod error;
pub mod host;
pub mod lines;
pub mod machine;
pub mod oracle;
pub mod qmp;
pub mod reaper;
pub mod recovered;
pub mod relay;
pub mod scratch;
pub mod storage;
pub mod tools;
pub mod witness_link;

pub use ending::Ending;
pub use error::{Error, Result};

//! The disks and write logs of a scenario that passed, without repetition and compressed.
//!
//! The disks of a scenario share nearly all of their content with each other, and what a disk holds
//! was written through a write log. So files are divided into blocks, and each block is stored
//! once: many blocks together form a pack, which is compressed. The index says which blocks make up
//! each file. All of it lies in the folder [`PACKED`] of the scenario; whoever copies the scenario
//! copies everything that `recheck` needs.
//!
//! - `index`: the index, and what makes a block
//! - `blocks`: divides a file into blocks
//! - `write`: writes packs and the index
//! - `read`: checks packs and restores files
//! - `compact`: replaces the files of a scenario by packs, in an order that survives being killed;
//!   `whole_run` does so for all scenarios of a run

mod blocks;
mod compact;
mod index;
mod read;
#[cfg(test)]
mod tests;
mod whole_run;
mod write;

pub use compact::{Compacted, compact};
pub use index::PACKED;
pub use read::PackedEvidence;
pub use whole_run::compact_run;

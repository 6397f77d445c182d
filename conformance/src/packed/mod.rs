//! The disks and write logs of edges that passed, without repetition and compressed.
//!
//! The disks of a scenario share nearly all of their content with each other, and what a disk holds
//! was written through a write log. So files are divided into blocks, and each block is stored
//! once: many blocks together form a pack, which is compressed. The index says which blocks make up
//! each file. All of it lies in the folder [`PACKED`] of the scenario, and of one with many cycles
//! in folders beside it; whoever copies the scenario copies everything that `recheck` needs.
//!
//! - `index`: the index, and what makes a block
//! - `blocks`: divides a file into blocks
//! - `write`: writes packs and the index
//! - `folder`: checks the packs of one folder and restores files; `evidence` does so for all
//!   folders of a scenario
//! - `compact`: replaces the files of a scenario by packs, in an order that survives being killed;
//!   `whole_run` does so for all scenarios of a run, and `earlier_edges` for the edges that a
//!   scenario which still runs has left behind

mod blocks;
mod compact;
mod earlier_edges;
mod evidence;
mod folder;
mod index;
#[cfg(test)]
mod tests;
mod whole_run;
mod write;

pub use compact::{Compacted, compact};
pub use earlier_edges::EarlierEdges;
pub use evidence::PackedEvidence;
pub use index::PACKED;
pub use whole_run::compact_run;

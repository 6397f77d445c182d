//! The faults between a core and the platforms that it drives, by name.

/// What a core that is sound otherwise does wrong at its platforms. Which rules must break is in
/// [`MUTANTS`](super::MUTANTS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformFault {
    /// Never shuts down a machine in the cloud, so that both sides run after a failback.
    CloudSourceRuns,
    /// Takes application-consistent points without quiescing the applications.
    SkipsQuiesce,
    /// Never deletes a volume.
    KeepsVolumes,
    /// Never deletes a machine.
    KeepsMachines,
    /// Makes target machines with their disks in the wrong order.
    SwapsDisks,
    /// Makes target machines without their last disk.
    LosesDisk,
    /// Connects test failovers to the production network.
    TestsInProduction,
    /// Takes the points of a group one machine after another.
    GroupNotTogether,
    /// Does not merge the snapshots of the machine that reprotection writes to.
    KeepsSnapshots,
    /// Loses the transfer that follows a shutdown.
    LosesLastTransfer,
    /// Goes on taking snapshots of a machine that it no longer replicates.
    ReplicatesForever,
    /// Powers a machine off before it takes a snapshot of it.
    PowersSourceOff,
}

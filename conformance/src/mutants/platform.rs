//! The faults between a core and the platforms that it drives, by name.

/// What a core that is sound otherwise does wrong at its platforms. Which rules must break is in
/// [`mutants`](super::mutants).
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
    /// Exchanges the disks of the first two machines whose points are taken together.
    SwapsGroupMembers,
    /// Writes the changes of a point into the point before it.
    WritesIntoOlderPoint,
    /// Starts test failovers from the disks of the point itself.
    TestsOnThePoint,
    /// Makes machines and does not start them.
    StartsNothing,
    /// Takes a shutdown for done before it is.
    SourceEndsLate,
    /// Takes another snapshot of a cloud machine once the original has been started.
    TransfersAfterStart,
    /// Opens the disks of a machine on premises before it powers that machine off.
    OpensDisksOfRunningOriginal,
    /// Powers machines off instead of shutting them down.
    KillsSource,
    /// Deletes a cloud machine soon after it was shut down.
    DeletesCloudCopyEarly,
    /// Makes a machine on premises anew before it starts it.
    MakesNewMachine,
    /// Takes no snapshots while a test failover lasts.
    StopsInTestFailovers,
    /// Takes no snapshots any more once one has failed.
    StopsAfterOutage,
    /// Takes no snapshots of machines that it replicated before it was opened.
    StopsWhenReopened,
    /// Destroys the content of a replica before it is compared with its source.
    TransfersEverything,
    /// Edits the system disk of every machine before it makes it.
    HydratesSilently,
    /// Writes into the recovery point, too, what it edits on the system disk of a target.
    HydratesThePoint,
    /// Writes the disks of another machine instead of those that it has to write.
    WritesForeignDisk,
    /// Makes machines whose last disk is empty and one byte short.
    ShortDisk,
    /// Makes machines whose first disk has zeroes in its last sector.
    LosesSecondTable,
    /// Merges no volumes any more once a test failover was made.
    PinsTestedChains,
    /// Loses the first sector that a point has changed when it is merged into an older one.
    LosesMergedSector,
    /// Takes no more snapshots of several machines at one moment after the first few.
    StopsSharing,
    /// Neither shuts down nor powers off a machine on premises.
    LeavesOriginalRunning,
    /// Starts no machine while another site does not answer.
    NeedsEverySite,
    /// Opens the firewall inside every machine that it makes in the cloud.
    OpensGuestFirewall,
    /// Disables the SSH server inside every machine that it makes in the cloud.
    DisablesGuestSsh,
}

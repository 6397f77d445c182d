//! Hooks: let the conformance suite make this core misbehave on purpose, or do correctly what other
//! cores do differently.
//!
//! A suite that has never seen a faulty core proves little about correct ones, and one that knows a
//! single sound core may demand more than the rules do. A hook sees every extent on its way from
//! the landing log into a recovery point and can change, drop or replace it, and it answers the
//! questions that the rules leave to each core. Without a hook the core is unmodified.

use contract::{MachineId, MachineSpec};

/// Granularity of transfers in bytes, unless a hook says otherwise.
pub const GRAIN: u64 = 64 * 1024;

/// Content of a contiguous range of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Index of the disk in the machine.
    pub disk: usize,
    /// First byte.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Intercepts what the core does with data and machines.
pub trait FaultHook: Send + Sync {
    /// Called for each extent that is about to be written into a recovery point. `batch` numbers
    /// transfers from 1. Returns whether to write the extent.
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool;

    /// Called after each write to the core's store, before the core acts on it. Tests crash the
    /// core here: a process can only die between two writes.
    fn stored(&self) {}

    /// Whether to compare disks whose source has no change record.
    fn compares(&self) -> bool {
        true
    }

    /// Whether to hydrate target copies that need it.
    fn hydrates(&self) -> bool {
        true
    }

    /// Which start types of drivers and services are changed on a Windows disk.
    fn registry_edits(&self) -> RegistryEdits {
        RegistryEdits::Needed
    }

    /// How new machines start whose source is started by an entry of its firmware variables.
    fn boot_entries(&self) -> BootEntries {
        BootEntries::Both
    }

    /// Whether to notice that a disk of the source has another size than its replica.
    fn notices_growth(&self) -> bool {
        true
    }

    /// Which connections to a replica are flushed before its content is taken for stored.
    fn flushes(&self) -> Flushes {
        Flushes::All
    }

    /// Called before a target machine is created; can change its specification.
    fn shape(&self, _spec: &mut MachineSpec) {}

    /// Granularity of the transfers after the first one in a direction, in bytes: a power of two,
    /// [`GRAIN`] or more.
    fn grain(&self) -> u64 {
        GRAIN
    }

    /// Name of the machine that a test failover starts, for a target machine of this name.
    fn test_machine(&self, target: &MachineId) -> MachineId {
        test_machine(target)
    }

    /// How recovery points are merged away that can no longer be chosen.
    fn merging(&self) -> Merging {
        Merging::default()
    }

    /// Whether a full copy writes zeroes where the target holds something else.
    fn clears_target(&self) -> bool {
        true
    }

    /// How far a verification goes.
    fn verifying(&self) -> Verifying {
        Verifying::Everything
    }

    /// For which transfers the applications are quiesced, under a policy that asks for it.
    fn quiescing(&self) -> Quiescing {
        Quiescing::AtOnce
    }
}

/// For which transfers the applications are quiesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiescing {
    /// For the first one, and again after the policy's time between two application-consistent
    /// points.
    AtOnce,
    /// Not before that time has passed since the first one.
    Later,
    /// For every one.
    Always,
}

/// Name of the machine that a test failover starts, unless a hook says otherwise.
pub(crate) fn test_machine(target: &MachineId) -> MachineId {
    MachineId(format!("{target}-test"))
}

/// Which connections to a replica are flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushes {
    /// All of them.
    All,
    /// Changes are written over four connections to each disk, and only the first is flushed.
    FirstOfFour,
    /// None.
    None,
}

/// How far a verification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifying {
    /// It compares everything and repairs what differs.
    Everything,
    /// It compares only what the source reports as changed.
    TrustsTracker,
    /// It takes for empty what allocation maps call empty.
    TrustsAllocation,
    /// It reports what differs and leaves it so.
    RepairsNothing,
}

/// Which start types of drivers and services are changed on a Windows disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryEdits {
    /// Those that have to be, in the current control set.
    Needed,
    /// Those that have to be, in every control set.
    EverySet,
    /// Those that have to be, but in the first control set, current or not.
    FirstSet,
    /// None.
    None,
    /// Of the drivers, all but one.
    AllButOne,
    /// Those that have to be, and another service's.
    OneMore,
    /// Those that have to be, in whatever state the volume is.
    AnyState,
    /// Those that have to be, also on disks of which no machine needs it.
    Everywhere,
    /// VMware Tools are not disabled.
    ToolsStart,
    /// VMware Tools are not enabled again.
    ToolsStayDisabled,
}

/// How a new machine starts whose source is started by an entry of its firmware variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootEntries {
    /// It gets the same entry, and in a cloud, which ignores that, a copy of the boot loader where
    /// firmware looks for it.
    Both,
    /// It gets a copy of the boot loader, whatever the platform.
    OnlyLoaders,
    /// It gets the same entry.
    OnlyEntries,
    /// In a cloud it gets a copy of the boot loader, and elsewhere nothing.
    OnlyInClouds,
}

/// How recovery points are merged away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merging {
    /// Minimum number of expired points for a merge, so that its cost is shared by many points.
    pub batch: usize,
    /// Whether old points are thinned out by age (EX-R4).
    pub thins: bool,
    /// Where the periods begin of which one point is kept each.
    pub periods: Periods,
}

/// Where the periods begin of which one point is kept each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Periods {
    /// At fixed times.
    Fixed,
    /// At the present, so that points move from one period into the next.
    FromNow,
}

impl Default for Merging {
    fn default() -> Self {
        Self { batch: 8, thins: true, periods: Periods::Fixed }
    }
}

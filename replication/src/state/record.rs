//! The stored record of a protected item.

use std::net::Ipv4Addr;

use contract::{
    Bytes, ComponentId, ConfigurationIssue, Firmware, GroupId, GuestFacts, GuestOs, ItemId, MachineId,
    MachineView, NicSpec, PlatformKind, PointId, PolicyId, Protection, ReprotectRequest, Side, SiteId,
    TargetSettings, Timestamp, VolumeId,
};
use serde::{Deserialize, Serialize};

use crate::state::command::ActiveCommand;
use crate::state::progress::Progress;
use crate::state::replica::{Replica, Volumes};
use crate::table::Pair;

/// A test failover that is not cleaned up yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TestFailoverCopy {
    pub(crate) machine: MachineId,
    /// The point it was started from.
    pub(crate) point: PointId,
    pub(crate) disks: Volumes,
}

/// Properties of the machine when it last became protected on the primary side. They are stored
/// because the primary site may be lost when they are needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceIdentity {
    pub(crate) kind: PlatformKind,
    pub(crate) firmware: Firmware,
    pub(crate) os: GuestOs,
    pub(crate) memory: Bytes,
    pub(crate) guest: GuestFacts,
    /// The host that the machine ran on.
    pub(crate) host: Option<ComponentId>,
    /// The virtual switch that the machine was connected to.
    pub(crate) switch: Option<String>,
    /// Its hardware UUID; empty if it is not known.
    #[serde(default)]
    pub(crate) uuid: String,
    /// The volumes of its disks.
    #[serde(default)]
    pub(crate) volumes: Vec<VolumeId>,
    /// The boot loader that its firmware variables name.
    #[serde(default)]
    pub(crate) boot_entry: Option<String>,
    /// The address that was chosen for its first network card.
    #[serde(default)]
    pub(crate) address: Option<Ipv4Addr>,
    /// Its further network cards.
    #[serde(default)]
    pub(crate) more_nics: Vec<NicSpec>,
}

impl SourceIdentity {
    pub(crate) fn of(kind: PlatformKind, machine: &MachineView) -> Self {
        Self {
            kind,
            firmware: machine.firmware,
            os: machine.os,
            memory: machine.memory,
            guest: machine.guest.clone(),
            host: machine.placement.host.clone(),
            switch: machine.placement.switch.clone(),
            uuid: machine.uuid.clone(),
            boot_entry: machine.boot_entry.clone(),
            address: machine.placement.address,
            more_nics: machine.more_nics.iter().map(NicSpec::from).collect(),
            volumes: machine.disks.iter().map(|disk| disk.volume.clone()).collect(),
        }
    }
}

/// A machine that was created on the primary side as the target of a failback (RE-05). It is
/// recorded until that failback has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CreatedTarget {
    pub(crate) at: (SiteId, MachineId),
    pub(crate) disks: Volumes,
    /// The machine that it replaces.
    pub(crate) replaces: (SiteId, MachineId),
    /// The UUID of that machine.
    #[serde(default)]
    pub(crate) uuid: String,
}

/// Everything about an item that survives a restart of the core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: ItemId,
    pub(crate) pair: Pair,
    pub(crate) protection: Protection,
    pub(crate) primary: (SiteId, MachineId),
    pub(crate) recovery: (SiteId, MachineId),
    pub(crate) source_identity: SourceIdentity,
    /// The site whose configuration server has the machine in its database.
    pub(crate) registered_at: SiteId,
    pub(crate) created_target: Option<CreatedTarget>,
    /// The resource group in which the machine on the recovery side was created (RE-22).
    pub(crate) recovery_resource_group: Option<String>,
    /// The request by which the machine replicates back: its process server, master target and so
    /// on. `None` while it replicates to the recovery side.
    pub(crate) route: Option<ReprotectRequest>,
    pub(crate) target: TargetSettings,
    pub(crate) policy: PolicyId,
    pub(crate) group: Option<GroupId>,
    pub(crate) replica: Option<Replica>,
    /// Replica volumes that the recovery side keeps from earlier rounds, so that only changes are
    /// transferred again (C-18).
    pub(crate) seed: Option<Volumes>,
    /// How VMware Tools started before the last failover disabled them; `None` if it did not
    /// (FO-16).
    #[serde(default)]
    pub(crate) tools_started: Option<u32>,
    /// Disks of the machine that a failover built on the recovery side, until they are removed with
    /// it.
    pub(crate) built: Volumes,
    pub(crate) failed_over_to: Option<PointId>,
    /// When replication in this direction began.
    #[serde(default)]
    pub(crate) replicating_since: Option<Timestamp>,
    /// Why replication does not work; `None` while it works.
    pub(crate) replication_error: Option<String>,
    /// Why the last attempt at an application-consistent point failed, if it did.
    pub(crate) quiesce_warning: Option<String>,
    /// Time of the last attempt at an application-consistent point.
    pub(crate) quiesce_attempted: Option<Timestamp>,
    /// Findings of the last configuration check.
    pub(crate) issues: Vec<ConfigurationIssue>,
    pub(crate) test_failover: Option<TestFailoverCopy>,
    /// Whether a test failover has succeeded and was cleaned up since replication in this direction
    /// began.
    pub(crate) test_failover_performed: bool,
    pub(crate) progress: Progress,
    /// The command of the item's job, while it has one.
    pub(crate) active_command: Option<ActiveCommand>,
    /// The last number used in a volume name. Numbers are never used twice.
    pub(crate) counter: u64,
}

impl Record {
    /// A number that was never used before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Site and machine on a side.
    pub(crate) fn on(&self, side: Side) -> &(SiteId, MachineId) {
        match side {
            Side::Primary => &self.primary,
            Side::Recovery => &self.recovery,
        }
    }
}

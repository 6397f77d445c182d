//! The requests of [`ReplicationCore`](crate::ReplicationCore), and constructors for their usual
//! values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Access, Component, ComponentId, ComponentKind, Direction, GroupId, ItemId, MachineId, Millis, Network,
    PointId, PolicyId, SiteId, TargetSettings,
};

/// A request to protect a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnableProtection {
    /// Name for the new item.
    pub item: ItemId,
    /// Where the machine runs.
    pub primary: SiteId,
    /// The machine.
    pub machine: MachineId,
    /// The site to which it can be recovered.
    pub recovery: SiteId,
    /// Settings of the target machine.
    pub target: TargetSettings,
    /// A policy for machines of the primary site's platform.
    pub policy: PolicyId,
    /// The replication group that it joins. A group is created with its first machine and deleted
    /// with its last (EX-R13).
    #[serde(default)]
    pub group: Option<GroupId>,
}

/// Kind of a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailoverKind {
    /// Continues if the source cannot be shut down (FO-07).
    Unplanned,
    /// Fails if the source cannot be shut down (PF-04).
    Planned,
}

/// When a failback to Hyper-V transfers the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DataSync {
    /// While the cloud machine runs; the job then waits for completion (HF-06 to HF-09).
    BeforeFailover,
    /// All data, without comparison, while neither machine runs (HF-10, HF-11).
    DuringFailover,
}

/// Choice of a recovery point (RP-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PointChoice {
    /// Process everything received, then use the newest point: lowest RPO (RP-02, RP-03).
    Latest,
    /// The newest point that is already processed: lowest RTO (RP-04).
    LatestProcessed,
    /// The newest processed point that is application-consistent (RP-06).
    LatestAppConsistent,
    /// The newest processed point that all machines of the group share; for plans (RP-07, RP-08).
    LatestMultiVm,
    /// The newest processed application-consistent point that all machines of the group share
    /// (RP-09).
    LatestMultiVmAppConsistent,
    /// This point (RP-10).
    Custom(PointId),
}

/// A failover, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailoverRequest {
    /// The item.
    pub item: ItemId,
    /// Kind.
    pub kind: FailoverKind,
    /// The direction that the caller expects; a wrong one is refused (LC-08).
    pub direction: Direction,
    /// Choice of recovery point.
    pub point: PointChoice,
    /// Whether to shut the source down and transfer the last changes first (FO-06). Implied by a
    /// planned failover and by a failback (FB-06).
    pub shut_down_source: bool,
    /// Time limit for the shutdown of the source.
    pub shutdown_within: Millis,
    /// Required for a planned failover back to Hyper-V, and used only there.
    #[serde(default)]
    pub data_sync: Option<DataSync>,
    /// Fail back to this host of the primary site instead of the original one; Hyper-V only
    /// (HF-22).
    #[serde(default)]
    pub alternate: Option<AlternateHost>,
    /// Required if [`TargetSettings::encrypted_with`] names one (HF-14).
    #[serde(default)]
    pub certificate: Option<String>,
}

/// Default time limit for the shutdown of a source.
const SHUTDOWN_WITHIN: Millis = Millis(60_000);

impl FailoverRequest {
    /// An unplanned failover to the newest point that does not touch the source.
    #[must_use]
    pub fn unplanned(item: &ItemId, direction: Direction) -> Self {
        Self {
            item: item.clone(),
            kind: FailoverKind::Unplanned,
            direction,
            point: PointChoice::Latest,
            shut_down_source: false,
            shutdown_within: SHUTDOWN_WITHIN,
            data_sync: None,
            alternate: None,
            certificate: None,
        }
    }

    /// A planned failover: it shuts the source down first and starts from the newest point (PF-01,
    /// PF-05).
    #[must_use]
    pub fn planned(item: &ItemId, direction: Direction) -> Self {
        Self { kind: FailoverKind::Planned, shut_down_source: true, ..Self::unplanned(item, direction) }
    }
}

/// An alternate host to fail back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlternateHost {
    /// The host; it must be prepared and have a switch with the name of the original one (HF-23,
    /// HF-24).
    pub host: ComponentId,
    /// Whether to create the machine if there is none (HF-22).
    pub create_machine: bool,
}

/// A test failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestFailoverRequest {
    /// The item.
    pub item: ItemId,
    /// Choice of recovery point (TF-03).
    pub point: PointChoice,
    /// The network for the test failover (TF-04); a production network is refused.
    pub network: Network,
}

impl TestFailoverRequest {
    /// A test failover in the isolated network, as the rules recommend (TF-04).
    #[must_use]
    pub fn isolated(item: &ItemId, point: PointChoice) -> Self {
        Self { item: item.clone(), point, network: Network::Isolated }
    }
}

/// A request to replicate in the opposite direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReprotectRequest {
    /// The item.
    pub item: ItemId,
    /// The new direction of replication; a wrong one is refused.
    pub direction: Direction,
    /// A site other than the machine's original one (FB-10); a physical server fails back to a
    /// machine of a VMware site, which must be named here (PH-01). If there is no such machine it
    /// is created and replicated in full (RE-05).
    #[serde(default)]
    pub failback_site: Option<SiteId>,
    /// The process server at the sending site (RE-25, RE-29). Required for VMware and physical
    /// machines, but not between regions.
    #[serde(default)]
    pub process_server: Option<ComponentId>,
    /// The master target at the receiving site. Required, as are the following fields, for failback
    /// to VMware (RE-25).
    #[serde(default)]
    pub master_target: Option<ComponentId>,
    /// The datastore for disks that have to be created. Required, but ignored if none has to be
    /// (RE-26).
    #[serde(default)]
    pub datastore: Option<ComponentId>,
    /// A retention drive of the master target (IN-04).
    #[serde(default)]
    pub retention_drive: Option<String>,
}

impl ReprotectRequest {
    /// A request with only a direction, which is sufficient between regions.
    #[must_use]
    pub fn new(item: &ItemId, direction: Direction) -> Self {
        Self {
            item: item.clone(),
            direction,
            failback_site: None,
            process_server: None,
            master_target: None,
            datastore: None,
            retention_drive: None,
        }
    }

    /// Fills in the default choices: a process server at the sending site (`from`), and at the
    /// receiving site (`to`) the master target that came with the configuration server (IN-03), its
    /// first retention drive and its first writable datastore. A field without a choice stays
    /// `None`.
    #[must_use]
    pub fn with_defaults(mut self, from: &[Component], to: &[Component]) -> Self {
        let server = from.iter().find(|component| component.kind == ComponentKind::ProcessServer);
        self.process_server = server.map(|server| server.id.clone());
        let mut targets: Vec<_> = to.iter().filter_map(|c| Some((&c.id, c.master_target()?))).collect();
        targets.sort_by_key(|(_, target)| !target.built_in);
        let Some((id, target)) = targets.first() else { return self };
        self.master_target = Some((*id).clone());
        self.retention_drive = target.retention_drives.first().cloned();
        let writable = target.mounts.iter().find(|mount| mount.access == Access::Write);
        self.datastore = writable.map(|mount| mount.datastore.clone());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GuestOs, MasterTarget, Mount};

    fn part(id: &str, kind: ComponentKind) -> Component {
        Component { id: id.into(), connected: true, kind }
    }

    fn master_target(id: &str, built_in: bool, drives: &[&str]) -> Component {
        let mount = |datastore: &str, access| Mount { datastore: datastore.into(), access };
        part(
            id,
            ComponentKind::MasterTarget(MasterTarget {
                built_in,
                configuration_server: "server".into(),
                os: GuestOs::Linux,
                uuid: id.to_owned(),
                snapshots: 0,
                retention_drives: drives.iter().map(|drive| (*drive).to_owned()).collect(),
                mounts: vec![mount("only-read", Access::Read), mount("written", Access::Write)],
                disks: Vec::new(),
            }),
        )
    }

    #[test]
    fn the_default_master_target_is_the_one_that_came_with_the_configuration_server() {
        let from = [part("link", ComponentKind::HostConnection), part("sends", ComponentKind::ProcessServer)];
        let to = [
            part("other", ComponentKind::ProcessServer),
            master_target("added", false, &["/a"]),
            master_target("own", true, &["/r", "/s"]),
        ];
        let bare = ReprotectRequest::new(&"item".into(), Direction::RecoveryToPrimary);
        let full = bare.clone().with_defaults(&from, &to);
        assert_eq!(full.process_server, Some("sends".into()));
        assert_eq!(full.master_target, Some("own".into()));
        assert_eq!(full.retention_drive.as_deref(), Some("/r"));
        assert_eq!(full.datastore, Some("written".into()));
        assert_eq!(bare.clone().with_defaults(&[], &[]), bare);
    }
}

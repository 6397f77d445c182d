//! The two interfaces of a conformance run, as plain serialisable data.
//!
//! [`ReplicationCore`] is what is tested: it protects machines and takes them through failover, reprotect and
//! failback. [`Platform`] is what a core drives: the machines and disks of one site. Everything that crosses
//! either interface can be written as JSON; no handle, closure or open file does. Streams of blocks cross as
//! NBD URIs. Rule ids in the documentation (`LC-04`, `RP-02`, …) are those of the catalogue.

mod core;
mod error;
mod ids;
mod infrastructure;
mod item;
mod job;
mod network;
mod plan;
mod platform;
mod policy;
mod requests;
mod units;

pub use crate::core::{Capabilities, ReplicationCore};
pub use error::{CoreError, ErrorCode, PlatformError, PlatformErrorKind};
pub use ids::{
    ChangeId, ComponentId, DiskId, ExportId, GroupId, GroupPointId, ItemId, JobId, MachineId, PlanId,
    PointId, PolicyId, SiteId, SnapshotId, VolumeId,
};
pub use infrastructure::{
    AccountRole, AgentVersion, Component, ComponentKind, ConfigurationServer, Host, HostEdition, MachineSize,
    MasterTarget, Mount, PrivateLink, Subscription, Vcenter,
};
pub use item::{
    ConfigurationIssue, Consistency, Direction, Health, IssueClass, ItemView, Operation, Phase, Protection,
    RecoveryPoint, Resynchronisation, Side, TargetSettings, TestFailoverStatus,
};
pub use job::{JobAction, JobFilter, JobKind, JobState, JobSubject, JobView, Step, StepState};
pub use network::{
    AddressRange, Decision, Network, NicView, NoAddressRange, Protocol, SecurityRule, SecurityRules, Subnet,
};
pub use plan::{
    ActionPlace, ActionWork, FailoverType, PlanAction, PlanActionView, PlanFailoverRequest, PlanGroup,
    PlanLimits, PlanMember, PlanProgress, PlanReprotectRequest, PlanState, PlanTestFailoverRequest,
    RecoveryPlan, ScriptContext, ScriptMachine,
};
pub use platform::{
    Access, Acknowledge, ChangesUnavailable, DiskKind, DiskSnapshot, DiskView, Export, Firmware, GuestFacts,
    GuestOs, MachineSpec, MachineView, Placement, Platform, PlatformKind, PowerState, SiteView, SnapshotDisk,
    SnapshotRequest, VolumeView,
};
pub use policy::{Policy, PolicyView};
pub use requests::{
    AlternateHost, DataSync, EnableProtection, FailoverKind, FailoverRequest, PointChoice, ReprotectRequest,
    TestFailoverRequest,
};
pub use units::{Bytes, Millis, Timestamp};

//! The two interfaces of a conformance run, as plain serialisable data.
//!
//! [`ReplicationCore`] is what is tested: it protects machines and takes them through failover,
//! reprotect and failback. [`Platform`] is what a core drives: the machines and disks of one site.
//! Everything that crosses either interface can be written as JSON; no handle, closure or open file
//! does. Streams of blocks cross as NBD URIs. Rule ids in the documentation (`LC-04`, `RP-02`, …)
//! are those of `conformance/rules.toml`.
//!
//! # What is left open
//!
//! The rules say what a core must achieve and not how. No check asks for more than this:
//!
//! - **Names.** Jobs, recovery points, volumes, snapshots and the machines of test failovers have
//!   the names that the core gives them, of any shape. The suite compares them and never builds
//!   one. The names of items, policies, plans and target machines are those of the request.
//! - **Words.** Messages, notes, [`ItemView::trouble`] and [`ConfigurationIssue::what`] say what
//!   the core wants. Only [`ErrorCode`], [`IssueClass`] and the other enumerations are judged.
//! - **Steps of jobs.** Five steps have names, the constants of [`Step`]. Which others a job has,
//!   how they are called and in which order they run is up to the core.
//! - **Order.** Points are listed oldest first, jobs newest last, plans by name, disks as the
//!   machine has them. Everything else may be listed in any order.
//! - **Refusal or failed job.** A request that a rule forbids is refused, or its job fails. In
//!   both cases the error has a code that the rule allows, and machines, disks, points and the
//!   state of the item stay as they were. Only a core that lets the job fail can be asked to retry
//!   it.
//! - **Boot entries.** A core gives the machine that it creates the boot entry of the source, or
//!   puts a copy of the boot loader at the path that firmware tries by default. Only the second
//!   helps in a cloud.
//! - **Network cards.** A core without [`Capabilities::several_nics`] leaves out the further
//!   network cards of a machine, or puts them where it likes.
//! - **Amounts.** Where a rule asks for differences only, a core sends them in pieces of any size
//!   up to [`RecoveryPoint::LARGEST_PIECE`]. Where no rule asks for it, a core may compare or send
//!   whole disks.
//! - **Points.** A core may make more points than the policy asks for, and takes the first
//!   application-consistent one within [`Policy::app_consistent_every`]. Points that can no longer
//!   be chosen are merged away at any time, or never, within [`Policy::most_points`].
//! - **Thinning.** Within the retention time a core may keep fewer of the older points, or all of
//!   them. It keeps at least one of each period that the profile gives for their age
//!   (`thinning_tiers_hours`, EX-R4, FX-64).
//! - **Crash consistency.** A crash-consistent point holds what a disk holds that has lost power:
//!   everything up to a flush of the guest, and any of the writes between that and the next flush.
//! - **Health.** Replication that fails is [`Health::Critical`] in the end and may be
//!   [`Health::Warning`] before. Health may be judged again a while after the event that changes
//!   it.
//! - **Verifications.** A job that found differences ends with a warning or without one. The
//!   repair may be a point of the job's own or the next transfer's.
//! - **Times.** No method and no job has a time limit but that of the suite. A core may poll
//!   instead of waiting for events, repeat calls to a platform that failed, take snapshots that it
//!   does not use, and look at its platforms whenever it wants.
//! - **Abilities.** Every method with a default implementation may be left out. What a core does
//!   not support is not judged, and neither passed nor failed.
//!
//! # Restart
//!
//! A core can be killed at any moment, and is then opened again on the same directory. It continues
//! where it was:
//!
//! - **What it has shown stays true.** Items, policies, plans, points and jobs are still there
//!   under their ids. A job that had ended shows the same end, a point the same time.
//! - **Requests.** A request whose answer was lost was accepted as a whole or not at all. If it
//!   was, [`ReplicationCore::jobs`] lists its job; if it was not, it can be made again.
//! - **Jobs that were at work** go on to their end, or fail. A job that failed because of the kill
//!   leaves the item in a state in which the same request is accepted again.
//! - **Replication goes on.** The transfer that was interrupted may be missing: the next point may
//!   come one interval later.
//! - **Platforms.** A core first calls [`Platform::close_all`], so that nothing stays open that the
//!   killed process had opened. A call that was in progress may have taken effect or not, and may
//!   still take effect while the new process starts.
//!
//! # A minimal core
//!
//! A core implements the methods that every core needs, and leaves out operations that it does not
//! support: their default implementations refuse with `not-supported`. This core has no operations
//! and no items:
//!
//! ```
//! # extern crate roundtrip_contract as contract;
//! use async_trait::async_trait;
//! use contract::{
//!     Capabilities, CoreError, EnableProtection, ErrorCode, FailoverRequest, ItemId, ItemView,
//!     JobId,
//!     JobView, PlanLimits, ReplicationCore,
//! };
//!
//! struct EmptyCore;
//!
//! fn unknown<T>(what: &str, id: &impl std::fmt::Display) -> Result<T, CoreError> {
//!     Err(CoreError::new(ErrorCode::UnknownId, format!("there is no {what} {id}")))
//! }
//!
//! #[async_trait]
//! impl ReplicationCore for EmptyCore {
//!     async fn capabilities(&self) -> Result<Capabilities, CoreError> {
//!         let plans = PlanLimits { groups: 0, items: 0 };
//!         let name = "empty 1.0".to_owned();
//!         Ok(Capabilities {
//!             name,
//!             operations: Vec::new(),
//!             plans,
//!             windows_registry: false,
//!             several_nics: false,
//!         })
//!     }
//!     async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
//!         unknown("machine", &request.machine)
//!     }
//!     async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
//!         unknown("item", item)
//!     }
//!     async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
//!         unknown("item", &request.item)
//!     }
//!     async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
//!         unknown("item", item)
//!     }
//!     async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
//!         unknown("job", job)
//!     }
//!     async fn watch_job(&self, job: &JobId, _after: u64) -> Result<JobView, CoreError> {
//!         unknown("job", job)
//!     }
//!     async fn close(&self) -> Result<(), CoreError> {
//!         Ok(())
//!     }
//! }
//!
//! # use std::task::{Context, Poll, Waker};
//! # fn now<T>(work: impl Future<Output = T>) -> T {
//! #     match std::pin::pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
//! #         Poll::Ready(result) => result,
//! #         Poll::Pending => panic!("this core never waits"),
//! #     }
//! # }
//! // `now` polls a future that is ready at once.
//! let item = ItemId::from("web");
//! let refused = now(EmptyCore.disable_protection(&item)).unwrap_err();
//! assert_eq!(refused.code, ErrorCode::NotSupported);
//! assert_eq!(now(EmptyCore.commit(&item)).unwrap_err().code, ErrorCode::UnknownId);
//! ```

mod core;
mod direction;
mod error;
mod guest;
mod ids;
mod infrastructure;
mod item;
mod job;
mod machine;
mod network;
mod plan;
mod platform;
mod platform_kind;
mod policy;
mod requests;
mod snapshot;
mod units;
mod volume;

pub use crate::core::{Capabilities, ReplicationCore};
pub use direction::{Direction, Side};
pub use error::{CoreError, ErrorCode, PlatformError, PlatformErrorKind};
pub use guest::{AgentVersion, GuestFacts, GuestOs};
pub use ids::{
    ChangeId, ComponentId, DiskId, ExportId, GroupId, GroupPointId, ItemId, JobId, MachineId, PlanId,
    PointId, PolicyId, SiteId, SnapshotId, VolumeId,
};
pub use infrastructure::{
    AccountRole, Component, ComponentKind, ConfigurationServer, Host, HostEdition, MachineSize, MasterTarget,
    Mount, PrivateLink, Subscription, Vcenter,
};
pub use item::{
    ConfigurationIssue, Health, IssueClass, ItemView, Operation, Phase, Protection, RecoveryPoint,
    Resynchronisation, TargetSettings, TestFailoverStatus, Verification,
};
pub use job::{JobAction, JobFilter, JobKind, JobState, JobSubject, JobView, Step, StepState};
pub use machine::{
    DiskKind, DiskView, Firmware, LibvirtDomain, MachineSpec, MachineView, Placement, PowerState,
};
pub use network::{
    AddressRange, Decision, Network, NicSpec, NicView, NoAddressRange, Protocol, SecurityRule, SecurityRules,
    Subnet,
};
pub use plan::{
    ActionPlace, ActionWork, FailoverType, PlanAction, PlanActionView, PlanFailoverRequest, PlanGroup,
    PlanLimits, PlanMember, PlanProgress, PlanReprotectRequest, PlanState, PlanTestFailoverRequest,
    RecoveryPlan, ScriptContext, ScriptMachine,
};
pub use platform::{Platform, SiteView};
pub use platform_kind::{HostManager, Hydration, PlatformKind, PlatformProfile, ProcessServerUse};
pub use policy::{Policy, PolicyView};
pub use requests::{
    AlternateHost, DataSync, EnableProtection, FailoverKind, FailoverRequest, PointChoice, ReprotectRequest,
    TestFailoverRequest,
};
pub use snapshot::{
    Acknowledge, ChangesUnavailable, Consistency, DiskSnapshot, SnapshotDisk, SnapshotRequest,
};
pub use units::{Bytes, Millis, Timestamp};
pub use volume::{Access, Export, VolumeView};

//! The methods of both interfaces: one list, from which the client, the server, the schemas and the
//! documentation are made.
//!
//! A row is `call [operation] name(argument: [type], …) -> [type];` with the types of the trait.
//! `wait` instead of `call` marks a method that may wait for something without a limit of its own.
//! The operation is the one of `Capabilities::operations` that a core needs for the method; `by
//! kind` means that the kind of the failover decides. A test compares the list with the traits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Gives the list of the methods of `ReplicationCore` to a macro; see [`methods`](crate::methods).
#[macro_export]
macro_rules! core_methods {
    ($($use:ident)::+) => {
        $($use)::+! {
            call [] capabilities() -> [Capabilities];
            call [] create_policy(id: [&PolicyId], policy: [&Policy]) -> [()];
            call [] update_policy(id: [&PolicyId], policy: [&Policy]) -> [()];
            call [] delete_policy(id: [&PolicyId]) -> [()];
            call [] policies() -> [Vec<PolicyView>];
            call [] enable_protection(request: [&EnableProtection]) -> [JobId];
            call [DisableProtection] disable_protection(item: [&ItemId]) -> [JobId];
            call [] update_target(item: [&ItemId], target: [&TargetSettings]) -> [ItemView];
            call [] check_configuration(item: [&ItemId]) -> [ItemView];
            call [] item(item: [&ItemId]) -> [ItemView];
            call [] items() -> [Vec<ItemView>];
            wait [] watch_points(item: [&ItemId], count: [u64]) -> [ItemView];
            wait [] watch_health(item: [&ItemId], known: [Health]) -> [ItemView];
            call [by kind] failover(request: [&FailoverRequest]) -> [JobId];
            call [TestFailover] test_failover(request: [&TestFailoverRequest]) -> [JobId];
            call [TestFailoverCleanup] clean_up_test_failover(item: [&ItemId]) -> [JobId];
            call [CompleteFailover] complete_failover(item: [&ItemId]) -> [()];
            call [CancelFailover] cancel_failover(item: [&ItemId]) -> [()];
            call [ChangePoint] change_point(item: [&ItemId], point: [&PointChoice]) -> [JobId];
            call [Commit] commit(item: [&ItemId]) -> [JobId];
            call [Reprotect] reprotect(request: [&ReprotectRequest]) -> [JobId];
            call [ReverseReplicate] reverse_replicate(item: [&ItemId]) -> [JobId];
            call [Verify] verify(item: [&ItemId]) -> [JobId];
            call [] create_plan(plan: [&RecoveryPlan]) -> [()];
            call [] delete_plan(plan: [&PlanId]) -> [()];
            call [] plans() -> [Vec<RecoveryPlan>];
            call [] failover_plan(request: [&PlanFailoverRequest]) -> [JobId];
            call [] test_failover_plan(request: [&PlanTestFailoverRequest]) -> [JobId];
            call [] clean_up_test_failover_plan(plan: [&PlanId]) -> [JobId];
            call [] commit_plan(plan: [&PlanId]) -> [JobId];
            call [] reprotect_plan(request: [&PlanReprotectRequest]) -> [JobId];
            call [] jobs(filter: [&JobFilter]) -> [Vec<JobView>];
            call [] retry_job(job: [&JobId]) -> [()];
            call [] resume_job(job: [&JobId]) -> [()];
            call [] cancel_job(job: [&JobId]) -> [()];
            call [] job(job: [&JobId]) -> [JobView];
            wait [] watch_job(job: [&JobId], after: [u64]) -> [JobView];
            call [] close() -> [()];
        }
    };
}

/// Gives the list of the methods of `Platform` to a macro; see [`methods`](crate::methods). The
/// platform bounds the duration of every call itself.
#[macro_export]
macro_rules! platform_methods {
    ($($use:ident)::+) => {
        $($use)::+! {
            wait [] site() -> [SiteView];
            wait [] infrastructure() -> [Vec<Component>];
            wait [] connect_agent(machine: [&MachineId], process_server: [Option<&ComponentId>]) -> [()];
            wait [] attach_to_master_target(machine: [&MachineId], master_target: [&ComponentId]) -> [()];
            wait [] detach_from_master_target(machine: [&MachineId]) -> [()];
            wait [] merge_snapshots(machine: [&MachineId]) -> [()];
            wait [] machine(id: [&MachineId]) -> [MachineView];
            wait [] machines() -> [Vec<MachineView>];
            wait [] create_machine(spec: [&MachineSpec]) -> [MachineView];
            wait [] delete_machine(id: [&MachineId]) -> [()];
            wait [] start(id: [&MachineId]) -> [()];
            wait [] shut_down(id: [&MachineId], within: [Millis]) -> [()];
            wait [] power_off(id: [&MachineId]) -> [()];
            wait [] screenshot(id: [&MachineId]) -> [Vec<u8>];
            wait [] open_snapshot(machine: [&MachineId], since: [Option<&ChangeId>]) -> [DiskSnapshot];
            wait [] open_snapshots(request: [&SnapshotRequest]) -> [Vec<DiskSnapshot>];
            wait [] close_snapshot(snapshot: [&SnapshotId], acknowledge: [Acknowledge]) -> [()];
            wait [] stop_tracking(machine: [&MachineId]) -> [()];
            wait [] volume(id: [&VolumeId]) -> [VolumeView];
            wait [] create_volume(id: [&VolumeId], size: [Bytes], datastore: [Option<&ComponentId>]) -> [VolumeView];
            wait [] derive_volume(id: [&VolumeId], parent: [&VolumeId]) -> [VolumeView];
            wait [] merge_volumes(top: [&VolumeId], base: [&VolumeId]) -> [()];
            wait [] delete_volume(id: [&VolumeId]) -> [()];
            wait [] export_volume(id: [&VolumeId], access: [Access]) -> [Export];
            wait [] close_export(id: [&ExportId]) -> [()];
            wait [] close_all() -> [()];
        }
    };
}
pub(crate) use {crate::core_methods, crate::platform_methods};

/// Bytes, which are a Base64 text on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Base64 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Base64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

impl From<Base64> for Vec<u8> {
    fn from(bytes: Base64) -> Self {
        bytes.0
    }
}

impl From<Vec<u8>> for Base64 {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// The type of an argument as a parameter on the wire.
macro_rules! owned {
    (& $type:ty) => { $type };
    (Option<& $type:ty>) => { Option<$type> };
    ($type:ty) => { $type };
}

/// The type of a result on the wire.
macro_rules! on_wire {
    (Vec<u8>) => { $crate::methods::Base64 };
    ($($type:tt)+) => { $($type)+ };
}

/// An argument of a method, which is borrowed from the parameters.
pub(crate) trait Argument<'a> {
    /// The parameter.
    type Owned;

    /// Makes the parameter.
    fn own(self) -> Self::Owned;

    /// Makes the argument.
    fn lend(owned: &'a Self::Owned) -> Self;
}

impl<'a, T: Clone> Argument<'a> for &'a T {
    type Owned = T;

    fn own(self) -> T {
        self.clone()
    }

    fn lend(owned: &'a T) -> Self {
        owned
    }
}

impl<'a, T: Clone> Argument<'a> for Option<&'a T> {
    type Owned = Option<T>;

    fn own(self) -> Option<T> {
        self.cloned()
    }

    fn lend(owned: &'a Option<T>) -> Self {
        owned.as_ref()
    }
}

macro_rules! plain_arguments {
    ($($type:ty),+) => {$(
        impl Argument<'_> for $type {
            type Owned = Self;

            fn own(self) -> Self {
                self
            }

            fn lend(owned: &Self) -> Self {
                *owned
            }
        }
    )+};
}
plain_arguments!(
    u64,
    contract::Millis,
    contract::Bytes,
    contract::Health,
    contract::Access,
    contract::Acknowledge
);

macro_rules! waits {
    (call) => {
        false
    };
    (wait) => {
        true
    };
}

macro_rules! core_params {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        /// The parameters of the methods of `ReplicationCore`.
        pub mod core {$(
            #[doc = concat!("`core.", stringify!($name), "`")]
            pub mod $name {
                use contract::*;
                use schemars::JsonSchema;
                use serde::{Deserialize, Serialize};

                /// The data of its errors.
                pub type Refusal = CoreError;

                /// The parameters.
                #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
                pub struct Params {$(
                    #[doc = concat!("The argument `", stringify!($argument), "`.")]
                    pub $argument: owned!($($type)+),
                )*}

                impl crate::method::Method for Params {
                    const NAME: &'static str = concat!("core.", stringify!($name));
                    const WAITS: bool = waits!($kind);
                    type Result = on_wire!($($result)+);
                }
            }
        )+}

        /// The methods of `ReplicationCore`, by their names in the trait.
        pub const CORE: &[&str] = &[$(stringify!($name)),+];
    };
}
core_methods!(core_params);

macro_rules! platform_params {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        /// The parameters of the methods of `Platform`.
        pub mod platform {$(
            #[doc = concat!("`platform.", stringify!($name), "`")]
            pub mod $name {
                use contract::*;
                use schemars::JsonSchema;
                use serde::{Deserialize, Serialize};

                /// The parameters.
                #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
                pub struct Params {
                    /// The site.
                    pub site: SiteId,
                    $(
                        #[doc = concat!("The argument `", stringify!($argument), "`.")]
                        pub $argument: owned!($($type)+),
                    )*
                }

                impl crate::method::Method for Params {
                    const NAME: &'static str = concat!("platform.", stringify!($name));
                    const WAITS: bool = waits!($kind);
                    type Result = on_wire!($($result)+);
                }
            }
        )+}

        /// The methods of `Platform`, by their names in the trait.
        pub const PLATFORM: &[&str] = &[$(stringify!($name)),+];
    };
}
platform_methods!(platform_params);

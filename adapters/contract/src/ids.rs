//! Ids. Each kind of id has its own type, so that they cannot be confused. An id that a core gives
//! may have any shape.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )+};
}

text_id! {
    /// A site: one platform at one place, such as an on-premises data centre or a cloud region.
    SiteId,
    /// A machine, within its site.
    MachineId,
    /// A disk of a machine, such as `system` or `data`; the same on every site the machine visits.
    DiskId,
    /// A stored disk image, within its site.
    VolumeId,
    /// An open export of a volume.
    ExportId,
    /// A snapshot of all disks of a machine.
    SnapshotId,
    /// A moment since which a platform can report changes.
    ChangeId,
    /// A replicated item: a protected machine, wherever it currently runs.
    ItemId,
    /// A recovery point.
    PointId,
    /// A job.
    JobId,
    /// A recovery plan.
    PlanId,
    /// A replication policy.
    PolicyId,
    /// A replication group: machines with recovery points at common moments (RP-11).
    GroupId,
    /// A moment shared by the recovery points of several machines of a group.
    GroupPointId,
    /// A component of a site's infrastructure.
    ComponentId,
}

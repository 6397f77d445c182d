//! Names of things. Each kind of name is a type of its own, so that none is taken for another.

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// An open door to a volume.
    ExportId,
    /// A point-in-time view of all disks of a machine.
    SnapshotId,
    /// A moment from which a platform can tell what changed.
    ChangeId,
    /// A replicated item: a machine under protection, wherever it currently runs.
    ItemId,
    /// A recovery point.
    PointId,
    /// A job.
    JobId,
    /// A recovery plan.
    PlanId,
    /// A replication policy.
    PolicyId,
    /// A replication group: machines whose points share moments (RP-11).
    GroupId,
    /// A moment that the points of several machines of a group share.
    GroupPointId,
    /// A component of a site's infrastructure.
    ComponentId,
}

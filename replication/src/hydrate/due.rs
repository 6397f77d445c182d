//! When a machine's copy needs hydration, as a table (HY-01 to HY-07). If no row applies, the job
//! has no hydration step (HY-07).

use contract::{AgentVersion, GuestFacts, GuestOs, Hydration, PlatformKind};

use crate::state::SourceIdentity;

/// A reason for hydration.
pub(crate) struct Reason {
    /// Id of the rule that asks for it.
    pub(crate) rule: &'static str,
    /// Explanation.
    pub(crate) because: &'static str,
    applies: fn(&SourceIdentity, PlatformKind) -> bool,
}

/// All reasons, in the order in which they are checked.
pub(crate) const REASONS: [Reason; 6] = [
    // This includes Hyper-V machines that are protected as physical servers (HY-04).
    Reason {
        rule: "HY-02",
        because: "it is a physical server",
        applies: |source, _| hydration(source) == Hydration::Always,
    },
    Reason {
        rule: "HY-03",
        because: "it is a Linux machine on VMware",
        applies: |source, _| may_be_unprepared(source) && source.os == GuestOs::Linux,
    },
    Reason {
        rule: "HY-01",
        because: "its agent is older than 9.8",
        applies: |source, _| {
            may_be_unprepared(source) && source.guest.agent < AgentVersion::WITHOUT_HYDRATION
        },
    },
    Reason {
        rule: "HY-05",
        because: "its DHCP service does not start",
        applies: |source, _| may_be_unprepared(source) && !source.guest.dhcp_service,
    },
    Reason {
        rule: "HY-06",
        because: "some of the cloud's drivers do not start at boot",
        applies: |source, _| may_be_unprepared(source) && lacks_driver(&source.guest),
    },
    Reason {
        rule: "HY-08",
        because: "the recovery site has other hardware",
        applies: |source, target| hydration(source) == Hydration::ForOtherHardware && target != source.kind,
    },
];

/// The first reason why a machine's copy needs hydration on a site of kind `target`; `None` if it
/// needs none.
pub(crate) fn reason(source: &SourceIdentity, target: PlatformKind) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| (reason.applies)(source, target))
}

fn hydration(source: &SourceIdentity) -> Hydration {
    source.kind.profile().hydration
}

fn may_be_unprepared(source: &SourceIdentity) -> bool {
    hydration(source) == Hydration::IfUnprepared
}

fn lacks_driver(guest: &GuestFacts) -> bool {
    let starts = |driver: &str| guest.boot_drivers.iter().any(|known| known == driver);
    !GuestFacts::CLOUD_DRIVERS.iter().all(|driver| starts(driver))
}

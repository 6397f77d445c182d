//! When a copy needs hydration, as a table (HY-01 to HY-07). Where no row holds, the step is absent (HY-07).

use contract::{AgentVersion, GuestFacts, GuestOs, PlatformKind};

use crate::item::Origin;

/// One reason.
pub(crate) struct Reason {
    /// The rule.
    pub(crate) rule: &'static str,
    /// In words.
    pub(crate) because: &'static str,
    holds: fn(&Origin) -> bool,
}

/// All of them.
pub(crate) const REASONS: [Reason; 5] = [
    // A Hyper-V machine that is protected as a physical server is one (HY-04).
    Reason {
        rule: "HY-02",
        because: "it is a physical server",
        holds: |origin| origin.kind == PlatformKind::Physical,
    },
    Reason {
        rule: "HY-03",
        because: "it is a Linux machine of VMware's",
        holds: |origin| is_vmware(origin) && origin.os == GuestOs::Linux,
    },
    Reason {
        rule: "HY-01",
        because: "its agent is older than 9.8",
        holds: |origin| is_vmware(origin) && origin.guest.agent < AgentVersion::WITHOUT_HYDRATION,
    },
    Reason {
        rule: "HY-05",
        because: "its DHCP service does not start",
        holds: |origin| is_vmware(origin) && !origin.guest.dhcp_service,
    },
    Reason {
        rule: "HY-06",
        because: "not all of the cloud's drivers start at boot",
        holds: |origin| is_vmware(origin) && lacks_driver(&origin.guest),
    },
];

/// The first reason for which a machine's copy needs hydration.
pub(crate) fn reason(origin: &Origin) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| (reason.holds)(origin))
}

fn is_vmware(origin: &Origin) -> bool {
    origin.kind == PlatformKind::Vmware
}

fn lacks_driver(guest: &GuestFacts) -> bool {
    let starts = |driver: &str| guest.boot_drivers.iter().any(|known| known == driver);
    !GuestFacts::CLOUD_DRIVERS.iter().all(|driver| starts(driver))
}

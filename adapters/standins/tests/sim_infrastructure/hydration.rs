//! When the extra step is due: a machine of each kind, differing in one fact (HY-01 to HY-07).

use contract::{AgentVersion, GuestFacts, GuestOs, Platform, ReplicationCore};
use standins::sim::{SimInstall, SimProfile, run};

use crate::premises::{MACHINE, Premises, steps};
use crate::sim_support::{OUT, drill, failover};

/// A Windows machine to which nothing is to be added: it starts with its own driver and the cloud's.
fn windows(guest: GuestFacts) -> SimInstall {
    let loads = Some(["vmw_pvscsi", "ahci", "ata_piix"].map(ToOwned::to_owned).to_vec());
    SimInstall { os: GuestOs::Windows, guest, loads, ..SimInstall::new(MACHINE) }
}

/// Whether a drill and a failover of such a machine have the step. Both come up.
fn hydrates(profile: SimProfile, install: &SimInstall) -> bool {
    run(500, async |world| {
        let premises = Premises::new(world, profile);
        premises.protect(install).await;
        let job = premises.core.test_failover(&drill(&premises.item, contract::PointChoice::Latest)).await;
        let tested = steps(&premises.completed(job).await).contains(&"hydrate");
        let job = premises.core.failover(&failover(&premises.item, OUT)).await;
        let view = premises.completed(job).await;
        let step = view.steps.iter().find(|step| step.name == "hydrate");
        // HY-09: its time is told.
        assert!(step.is_none_or(|step| step.took.is_some()));
        assert_eq!(tested, step.is_some(), "a drill differs from a failover (TF-09)");
        let boot = premises.recovery.last_boot(&crate::sim_support::dr(MACHINE)).unwrap();
        assert!(boot.up.is_ok(), "{:?}", boot.up);
        assert_eq!(premises.recovery.machines().await.unwrap().len(), 1);
        step.is_some()
    })
}

#[test]
fn a_current_windows_machine_of_vmwares_with_everything_in_order_needs_no_step() {
    assert!(!hydrates(SimProfile::VMWARE, &windows(GuestFacts::default())));
}

#[test]
fn each_single_fact_makes_the_step_due() {
    let current = GuestFacts::default;
    let agent = |agent| GuestFacts { agent, ..current() };
    assert!(hydrates(SimProfile::VMWARE, &windows(agent(AgentVersion(9, 7)))));
    assert!(!hydrates(SimProfile::VMWARE, &windows(agent(AgentVersion(9, 8)))));
    assert!(hydrates(SimProfile::VMWARE, &windows(GuestFacts { dhcp_service: false, ..current() })));
    for driver in GuestFacts::CLOUD_DRIVERS {
        let mut guest = current();
        guest.boot_drivers.retain(|other| other != driver);
        assert!(hydrates(SimProfile::VMWARE, &windows(guest)), "{driver}");
    }
}

#[test]
fn linux_of_vmwares_and_every_physical_server_need_it_and_hyperv_machines_and_regions_never() {
    let old = GuestFacts { agent: AgentVersion(9, 1), dhcp_service: false, ..GuestFacts::default() };
    assert!(hydrates(SimProfile::VMWARE, &SimInstall::new(MACHINE)));
    assert!(hydrates(SimProfile::PHYSICAL, &windows(GuestFacts::default())));
    assert!(hydrates(SimProfile::PHYSICAL, &SimInstall::new(MACHINE)));
    assert!(!hydrates(SimProfile::HYPERV, &SimInstall { guest: old.clone(), ..SimInstall::new(MACHINE) }));
    assert!(!hydrates(SimProfile::AZURE, &SimInstall { guest: old, ..SimInstall::new(MACHINE) }));
}

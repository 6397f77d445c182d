//! What a target shall look like, whether it can be, and what is wrong with its configuration (FO-17, FO-18, MO-03).

use contract::{
    AddressRange, AgentVersion, Bytes, ComponentKind, DiskId, DiskKind, ErrorCode, GuestFacts, GuestOs,
    IssueClass, Network, Placement, Platform, PointChoice, ReplicationCore, Subscription, TargetSettings,
};
use simulator::{SimInstall, SimProfile, run};

use crate::infrastructure::premises::{MACHINE, Premises, Seen, machine, target};
use crate::support::{OUT, dr, failover, test_failover_request};

/// Rows with tests here.
pub const ROWS: [(&str, ErrorCode); 2] =
    [("FO-18", ErrorCode::IllegalName), ("FO-18", ErrorCode::TooManyDisks)];

fn subscription(premises: &Premises, change: fn(&mut Subscription)) {
    premises.recovery.components().alter("subscription", |part| {
        if let ComponentKind::Subscription(subscription) = &mut part.kind {
            change(subscription);
        }
    });
}

#[test]
fn what_is_set_before_failover_shows_on_the_machine_that_is_made() {
    run(400, async |world| {
        let premises = Premises::protected(world, SimProfile::VMWARE).await;
        let placement = Placement {
            resource_group: Some("archive".to_owned()),
            size: Some("medium".to_owned()),
            availability_set: Some("set-1".to_owned()),
            disk_kind: DiskKind::Managed,
            subnet: Some("test-failovers".to_owned()),
            address: Some("203.0.113.7".parse().unwrap()),
            ..Placement::default()
        };
        let network = Some(Network::Isolated);
        let wanted =
            TargetSettings { network, placement: placement.clone(), ..TargetSettings::new("shop", Bytes(1)) };
        let view = premises.core.update_target(&premises.item, &wanted).await.unwrap();
        assert_eq!((&view.target, &view.recovery.1.0), (&wanted, &"shop".to_owned()));
        assert_eq!(premises.core.item(&premises.item).await.unwrap().target, wanted);
        let job = premises.core.failover(&failover(&premises.item, OUT)).await;
        premises.completed(job).await;
        let made = premises.recovery.machine(&"shop".into()).await.unwrap();
        // The size decides over the memory.
        assert_eq!((made.memory, &made.placement), (Bytes(512 << 20), &placement));
        assert_eq!(premises.recovery.spec(&"shop".into()).unwrap().network, Network::Isolated);
        assert_eq!((made.nic.network, made.nic.address), (Network::Isolated, placement.address));
        assert!(premises.recovery.machine(&dr(MACHINE)).await.is_err());
        // From now on it is what it is.
        let error = premises.core.update_target(&premises.item, &target()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotAllowedInState);
    });
}

#[test]
fn a_name_that_the_target_cannot_have_is_refused_wherever_it_is_met() {
    run(401, async |world| {
        let premises = Premises::new(world, SimProfile::VMWARE);
        let odd = TargetSettings::new("web_dr", Bytes(1 << 30));
        premises.protect_as(&SimInstall::new(MACHINE), odd.clone()).await;
        let before = Seen::of(&premises).await;
        let core = &premises.core;
        for code in [
            core.failover(&failover(&premises.item, OUT)).await.unwrap_err().code,
            core.test_failover(&test_failover_request(&premises.item, PointChoice::Latest))
                .await
                .unwrap_err()
                .code,
            core.update_target(&premises.item, &odd).await.unwrap_err().code,
        ] {
            assert_eq!(code, ErrorCode::IllegalName);
        }
        assert!(Seen::of(&premises).await == before);
        core.update_target(&premises.item, &target()).await.unwrap();
        let job = core.failover(&failover(&premises.item, OUT)).await;
        premises.completed(job).await;
    });
}

#[test]
fn a_machine_with_more_disks_than_the_target_can_have_is_refused() {
    for (count, expected) in [(18, Some(ErrorCode::TooManyDisks)), (17, None)] {
        run(402, async |world| {
            let premises = Premises::new(world, SimProfile::HYPERV);
            let disk = |number| (DiskId(format!("disk-{number}")), Bytes(1 << 19));
            let disks = std::iter::once((DiskId::from("system"), Bytes(1 << 20)));
            let disks = disks.chain((1..count).map(disk)).collect();
            premises.protect(&SimInstall { disks, ..SimInstall::new(MACHINE) }).await;
            let asked = premises.core.failover(&failover(&premises.item, OUT)).await;
            assert_eq!(asked.as_ref().err().map(|error| error.code), expected);
            if asked.is_ok() {
                premises.completed(asked).await;
            }
        });
    }
}

/// MO-03: one issue of each class, by itself, and none once it is put right.
#[test]
fn each_class_of_configuration_issue_is_found_and_gone_once_it_is_cured() {
    type Act = fn(&Premises);
    let settings = |network, size: &str, group: &str| TargetSettings {
        network,
        placement: Placement {
            size: Some(size.to_owned()),
            resource_group: Some(group.to_owned()),
            ..Placement::default()
        },
        ..target()
    };
    let production = Some(Network::Production);
    let agent = |premises: &Premises, version| {
        premises.primary.components().alter("configuration-server", |part| {
            if let ComponentKind::ConfigurationServer(server) = &mut part.kind {
                server.agent = version;
            }
        });
    };
    let at_sites: [(IssueClass, Act, Act); 2] = [
        (
            IssueClass::MissingResource,
            |at| subscription(at, |has| has.resource_groups.retain(|group| group != "recovery")),
            |at| subscription(at, |has| has.resource_groups.push("recovery".to_owned())),
        ),
        (
            IssueClass::SubscriptionQuota,
            |at| subscription(at, |has| has.cores_left = 1),
            |at| subscription(at, |has| has.cores_left = 2),
        ),
    ];
    run(403, async |world| {
        let premises = Premises::protected(world, SimProfile::VMWARE).await;
        let core = &premises.core;
        let classes = |view: contract::ItemView| -> Vec<_> {
            view.issues.into_iter().map(|issue| issue.class).collect()
        };
        let good = settings(production, "medium", "recovery");
        assert_eq!(classes(core.update_target(&premises.item, &good).await.unwrap()), []);
        for (class, spoil, cure) in at_sites {
            spoil(&premises);
            assert_eq!(classes(core.check_configuration(&premises.item).await.unwrap()), [class]);
            cure(&premises);
            assert_eq!(classes(core.check_configuration(&premises.item).await.unwrap()), []);
        }
        let open = settings(None, "medium", "recovery");
        let found = core.update_target(&premises.item, &open).await.unwrap();
        assert_eq!(classes(found), [IssueClass::MissingConfiguration]);
        core.update_target(&premises.item, &good).await.unwrap();
        agent(&premises, AgentVersion(9, 61));
        // Nobody asks: it is found at its regular time.
        premises.live(contract::Millis(12 * 3600 * 1000 + 1000)).await;
        let view = core.item(&premises.item).await.unwrap();
        assert_eq!(classes(view), [IssueClass::SoftwareUpdate]);
    });
}

/// What the platform lacks it refuses as well, whatever the core has looked at.
#[test]
fn a_target_that_the_subscription_cannot_give_fails_the_failover_and_not_the_source() {
    run(404, async |world| {
        let premises = Premises::protected(world, SimProfile::VMWARE).await;
        subscription(&premises, |has| has.cores_left = 0);
        let job = premises.core.failover(&failover(&premises.item, OUT)).await.unwrap();
        let view = premises.ended(Ok(job.clone())).await;
        assert_eq!(view.error.map(|error| error.code), Some(ErrorCode::Platform));
        assert!(premises.recovery.machines().await.unwrap().is_empty());
        assert!(premises.primary.last_boot(&machine()).unwrap().ended().is_none());
        subscription(&premises, |has| has.cores_left = 1);
        premises.core.retry_job(&job).await.unwrap();
        premises.completed(Ok(job)).await;
    });
}

/// CN-10, TF-04: the chosen address is the target's in the network that serves, and not a test failover's in another.
#[test]
fn a_chosen_address_is_the_targets_and_not_the_test_failovers() {
    run(405, async |world| {
        let premises = Premises::protected(world, SimProfile::VMWARE).await;
        let (core, item) = (&premises.core, &premises.item);
        let at = |address: &str| Placement {
            subnet: Some("backend".to_owned()),
            address: Some(address.parse().unwrap()),
            ..Placement::default()
        };
        let wanted = |address| TargetSettings { placement: at(address), ..target() };
        let stray = core.update_target(item, &wanted("198.51.100.7")).await.unwrap();
        assert_eq!(
            stray.issues.iter().map(|issue| issue.class).collect::<Vec<_>>(),
            [IssueClass::MissingResource]
        );
        assert!(core.update_target(item, &wanted("198.51.100.140")).await.unwrap().issues.is_empty());
        let job = core.test_failover(&test_failover_request(item, PointChoice::Latest)).await;
        premises.completed(job).await;
        let name = core.item(item).await.unwrap().test_failover.unwrap();
        let held = premises.recovery.machine(&name).await.unwrap();
        assert_eq!(
            (held.nic.network, held.placement.subnet.as_deref()),
            (Network::Isolated, Some("test-failovers"))
        );
        assert!(AddressRange::TEST_NET_3.contains(held.nic.address.unwrap()));
        let job = core.clean_up_test_failover(item).await;
        premises.completed(job).await;
        let job = core.failover(&failover(item, OUT)).await;
        premises.completed(job).await;
        let made = premises.recovery.machine(&dr(MACHINE)).await.unwrap();
        assert_eq!(made.placement.subnet.as_deref(), Some("backend"));
        assert_eq!(made.nic.address, at("198.51.100.140").address);
        assert_eq!((made.nic.network, made.nic.address), (Network::Production, made.placement.address));
        assert_eq!(made.nic.public_address, None);
    });
}

/// CN-01: a Linux machine whose SSH server does not start is found, and fails over all the same.
#[test]
fn an_ssh_server_that_does_not_start_is_found_and_stops_nothing() {
    for (os, expected) in
        [(GuestOs::Linux, vec![IssueClass::MissingConfiguration]), (GuestOs::Windows, vec![])]
    {
        run(406, async |world| {
            let premises = Premises::new(world, SimProfile::VMWARE);
            let guest = GuestFacts { ssh_at_boot: false, ..GuestFacts::default() };
            premises.protect(&SimInstall { os, guest, ..SimInstall::new(MACHINE) }).await;
            let found = premises.core.check_configuration(&premises.item).await.unwrap().issues;
            assert_eq!(found.iter().map(|issue| issue.class).collect::<Vec<_>>(), expected);
            let job = premises.core.failover(&failover(&premises.item, OUT)).await;
            premises.completed(job).await;
        });
    }
}

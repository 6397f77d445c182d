//! Target settings: what they make, when they cannot be met, and which issues they have (FO-17,
//! FO-18, MO-03).

use contract::{
    AddressRange, AgentVersion, Bytes, ComponentKind, DiskId, DiskKind, ErrorCode, FailoverRequest,
    GuestFacts, GuestOs, IssueClass, ItemView, Millis, Network, Placement, Platform, PointChoice,
    TargetSettings, TestFailoverRequest,
};
use simulator::testbed::preconditions::subscription;
use simulator::testbed::{HOUR, OUT, Testbed, cloud_machine};
use simulator::{SimInstall, SimProfile, run};

use crate::infrastructure::fixture::{MACHINE, item, machine, protect, protected, target};
use crate::support::{ObservableState, testbed_of};

/// The preconditions that this file tests.
pub const ROWS: [(&str, ErrorCode); 2] =
    [("FO-18", ErrorCode::IllegalName), ("FO-18", ErrorCode::TooManyDisks)];

#[test]
fn a_failover_creates_the_machine_that_the_target_settings_describe() {
    run(400, async |world| {
        let testbed = protected(world, SimProfile::VMWARE).await;
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
        let view = testbed.core.update_target(&item(), &wanted).await.unwrap();
        assert_eq!((&view.target, &view.recovery.1.0), (&wanted, &"shop".to_owned()));
        assert_eq!(testbed.item(&item()).await.unwrap().target, wanted);
        testbed
            .completed(testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await)
            .await
            .unwrap();
        let made = testbed.recovery.machine(&"shop".into()).await.unwrap();
        // The size in the settings overrides the memory.
        assert_eq!((made.memory, &made.placement), (Bytes(512 << 20), &placement));
        assert_eq!(testbed.recovery.spec(&"shop".into()).unwrap().network, Network::Isolated);
        assert_eq!((made.nic.network, made.nic.address), (Network::Isolated, placement.address));
        assert!(testbed.recovery.machine(&cloud_machine(MACHINE)).await.is_err());
        // After the failover the settings cannot be changed.
        let error = testbed.core.update_target(&item(), &target()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotAllowedInState);
    });
}

#[test]
fn a_name_that_the_target_platform_does_not_allow_is_refused_by_every_operation() {
    run(401, async |world| {
        let testbed = testbed_of(world, SimProfile::VMWARE);
        let odd = TargetSettings::new("web_dr", Bytes(1 << 30));
        protect(&testbed, &SimInstall::new(MACHINE), odd.clone()).await;
        let before = ObservableState::of(&testbed).await;
        let core = &testbed.core;
        for code in [
            core.failover(&FailoverRequest::unplanned(&item(), OUT)).await.unwrap_err().code,
            core.test_failover(&TestFailoverRequest::isolated(&item(), PointChoice::Latest))
                .await
                .unwrap_err()
                .code,
            core.update_target(&item(), &odd).await.unwrap_err().code,
        ] {
            assert_eq!(code, ErrorCode::IllegalName);
        }
        before.assert_unchanged(&testbed, "web_dr").await;
        core.update_target(&item(), &target()).await.unwrap();
        let job = core.failover(&FailoverRequest::unplanned(&item(), OUT)).await;
        testbed.completed(job).await.unwrap();
    });
}

#[test]
fn a_failover_with_more_disks_than_the_target_platform_allows_is_refused() {
    for (count, expected) in [(18, Some(ErrorCode::TooManyDisks)), (17, None)] {
        run(402, async |world| {
            let testbed = testbed_of(world, SimProfile::HYPERV);
            let disk = |number| (DiskId(format!("disk-{number}")), Bytes(1 << 19));
            let disks = std::iter::once((DiskId::from("system"), Bytes(1 << 20)));
            let disks = disks.chain((1..count).map(disk)).collect();
            protect(&testbed, &SimInstall { disks, ..SimInstall::new(MACHINE) }, target()).await;
            let asked = testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await;
            assert_eq!(asked.as_ref().err().map(|error| error.code), expected);
            if asked.is_ok() {
                testbed.completed(asked).await.unwrap();
            }
        });
    }
}

/// MO-03: one issue of each class, and none once its cause is repaired.
#[test]
fn each_class_of_configuration_issue_is_found_and_gone_once_its_cause_is_repaired() {
    type Act = fn(&Testbed);
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
    let agent = |testbed: &Testbed, version| {
        testbed.primary.components().alter("configuration-server", |part| {
            if let ComponentKind::ConfigurationServer(server) = &mut part.kind {
                server.agent = version;
            }
        });
    };
    let at_sites: [(IssueClass, Act, Act); 2] = [
        (
            IssueClass::MissingResource,
            |at| subscription(&at.recovery, |has| has.resource_groups.retain(|group| group != "recovery")),
            |at| subscription(&at.recovery, |has| has.resource_groups.push("recovery".to_owned())),
        ),
        (
            IssueClass::SubscriptionQuota,
            |at| subscription(&at.recovery, |has| has.cores_left = 1),
            |at| subscription(&at.recovery, |has| has.cores_left = 2),
        ),
    ];
    run(403, async |world| {
        let testbed = protected(world, SimProfile::VMWARE).await;
        let core = &testbed.core;
        let classes =
            |view: ItemView| -> Vec<_> { view.issues.into_iter().map(|issue| issue.class).collect() };
        let good = settings(production, "medium", "recovery");
        assert_eq!(classes(core.update_target(&item(), &good).await.unwrap()), []);
        for (class, break_it, repair) in at_sites {
            break_it(&testbed);
            assert_eq!(classes(core.check_configuration(&item()).await.unwrap()), [class]);
            repair(&testbed);
            assert_eq!(classes(core.check_configuration(&item()).await.unwrap()), []);
        }
        let open = settings(None, "medium", "recovery");
        let found = core.update_target(&item(), &open).await.unwrap();
        assert_eq!(classes(found), [IssueClass::MissingConfiguration]);
        core.update_target(&item(), &good).await.unwrap();
        agent(&testbed, AgentVersion(9, 61));
        // The core finds it at its next regular check, without a request.
        testbed.advance(Millis(12 * HOUR.0 + 1000)).await;
        let view = core.item(&item()).await.unwrap();
        assert_eq!(classes(view), [IssueClass::SoftwareUpdate]);
    });
}

/// The platform refuses it even if the core does not look at the quota first.
#[test]
fn a_failover_that_exceeds_the_quota_fails_and_the_source_goes_on_serving() {
    run(404, async |world| {
        let testbed = protected(world, SimProfile::VMWARE).await;
        subscription(&testbed.recovery, |has| has.cores_left = 0);
        let job = testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.error.map(|error| error.code), Some(ErrorCode::Platform));
        assert!(testbed.recovery.machines().await.unwrap().is_empty());
        assert!(testbed.primary.last_boot(&machine()).unwrap().ended().is_none());
        subscription(&testbed.recovery, |has| has.cores_left = 1);
        testbed.core.retry_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
    });
}

/// CN-10, TF-04: the chosen address belongs to the target in the production network, and not to a
/// test failover.
#[test]
fn a_chosen_address_is_given_to_the_target_and_not_to_a_test_failover() {
    run(405, async |world| {
        let testbed = protected(world, SimProfile::VMWARE).await;
        let core = &testbed.core;
        let item = &item();
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
        let job = core.test_failover(&TestFailoverRequest::isolated(item, PointChoice::Latest)).await;
        testbed.completed(job).await.unwrap();
        let name = core.item(item).await.unwrap().test_failover.unwrap();
        let tested = testbed.recovery.machine(&name).await.unwrap();
        assert_eq!(
            (tested.nic.network, tested.placement.subnet.as_deref()),
            (Network::Isolated, Some("test-failovers"))
        );
        assert!(AddressRange::TEST_NET_3.contains(tested.nic.address.unwrap()));
        let job = core.clean_up_test_failover(item).await;
        testbed.completed(job).await.unwrap();
        let job = core.failover(&FailoverRequest::unplanned(item, OUT)).await;
        testbed.completed(job).await.unwrap();
        let made = testbed.recovery.machine(&cloud_machine(MACHINE)).await.unwrap();
        assert_eq!(made.placement.subnet.as_deref(), Some("backend"));
        assert_eq!(made.nic.address, at("198.51.100.140").address);
        assert_eq!((made.nic.network, made.nic.address), (Network::Production, made.placement.address));
        assert_eq!(made.nic.public_address, None);
    });
}

/// CN-01: a Linux machine whose SSH server does not start has an issue, and fails over all the
/// same.
#[test]
fn an_ssh_server_that_does_not_start_is_an_issue_and_prevents_nothing() {
    for (os, expected) in
        [(GuestOs::Linux, vec![IssueClass::MissingConfiguration]), (GuestOs::Windows, vec![])]
    {
        run(406, async |world| {
            let testbed = testbed_of(world, SimProfile::VMWARE);
            let guest = GuestFacts { ssh_at_boot: false, ..GuestFacts::default() };
            protect(&testbed, &SimInstall { os, guest, ..SimInstall::new(MACHINE) }, target()).await;
            let found = testbed.core.check_configuration(&item()).await.unwrap().issues;
            assert_eq!(found.iter().map(|issue| issue.class).collect::<Vec<_>>(), expected);
            testbed
                .completed(testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await)
                .await
                .unwrap();
        });
    }
}

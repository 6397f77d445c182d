//! Components of a real stand-in, without guests: datastores of disks, snapshots, and operations
//! that are not allowed.
#![expect(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use contract::{
    Access, AccountRole, Bytes, ComponentKind, Firmware, GuestOs, MachineSpec, Network, Platform,
    PlatformErrorKind as Kind, PowerState,
};
use harness::host::Host;
use harness::machine::Accelerator;
use harness::scratch::Scratch;
use nbd::Client;
use standins::{SiteConfig, StandInSite, profile};

const SIZE: u64 = 1 << 20;

/// A VMware stand-in with one machine that is off.
async fn site() -> (Arc<StandInSite>, Arc<Scratch>) {
    let scratch = Arc::new(Scratch::new("site-components").unwrap());
    let config = SiteConfig {
        id: "vmware".into(),
        profile: profile::vmware(),
        host: Host::connect(None).await.unwrap(),
        accelerator: Accelerator::Tcg,
        enlightenments: Err("no guest runs here".to_owned()),
        log_writes: true,
        scratch: Arc::clone(&scratch),
        dir: scratch.path().join("site"),
    };
    let site = StandInSite::open(config).await.unwrap();
    site.create_volume(&"web-system".into(), Bytes(SIZE), Some(&"datastore-2".into())).await.unwrap();
    let spec = MachineSpec {
        id: "web".into(),
        firmware: Firmware::Bios,
        os: GuestOs::Linux,
        memory: Bytes(256 << 20),
        disks: vec![("system".into(), "web-system".into())],
        network: Network::Production,
        guest: contract::GuestFacts::default(),
        placement: contract::Placement::default(),
        boot_entry: None,
        more_nics: Vec::new(),
    };
    site.create_machine(&spec).await.unwrap();
    (site, scratch)
}

async fn write(site: &StandInSite, volume: &str, offset: u64, byte: u8) {
    let export = site.export_volume(&volume.into(), Access::Write).await.unwrap();
    let uri = export.uri.clone();
    let written = move || {
        let mut client = Client::connect(&uri).unwrap();
        client.write(offset, &[byte; 4096]).unwrap();
        client.flush().unwrap();
    };
    tokio::task::spawn_blocking(written).await.unwrap();
    site.close_export(&export.id).await.unwrap();
}

async fn read(site: &StandInSite, volume: &str, offset: u64) -> u8 {
    let export = site.export_volume(&volume.into(), Access::Read).await.unwrap();
    let uri = export.uri.clone();
    let read = move || {
        let mut buffer = [0; 1];
        Client::connect(&uri).unwrap().read(offset, &mut buffer).unwrap();
        buffer[0]
    };
    let byte = tokio::task::spawn_blocking(read).await.unwrap();
    site.close_export(&export.id).await.unwrap();
    byte
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_lies_in_its_datastore_and_snapshots_are_merged_into_it() {
    let (site, _scratch) = site().await;
    let own = site.files_of(&"web-system".into()).await;
    assert_eq!(own[0].0.parent().unwrap().file_name(), Some("datastore-2"));
    write(&site, "web-system", 0, 1).await;
    for (offset, byte) in [(0, 2), (65536, 3)] {
        site.snapshot_machine(&"web".into()).await.unwrap();
        let top = site.machine(&"web".into()).await.unwrap().disks[0].volume.clone();
        write(&site, &top.0, offset, byte).await;
    }
    let view = site.machine(&"web".into()).await.unwrap();
    assert_eq!((view.snapshots, view.power), (2, PowerState::Off));
    site.merge_snapshots(&"web".into()).await.unwrap();
    let view = site.machine(&"web".into()).await.unwrap();
    assert_eq!((view.snapshots, view.disks[0].volume.0.as_str()), (0, "web-system"));
    assert_eq!(site.files_of(&"web-system".into()).await, own);
    assert_eq!(site.volume_files().await.len(), 1);
    assert_eq!([read(&site, "web-system", 0).await, read(&site, "web-system", 65536).await], [2, 3]);
    site.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_waits_for_the_readers_of_its_base_and_others_may_open_disks_meanwhile() {
    let (site, _scratch) = site().await;
    site.snapshot_machine(&"web".into()).await.unwrap();
    let reader = site.export_volume(&"web-system".into(), Access::Read).await.unwrap();
    let merging = {
        let site = Arc::clone(&site);
        tokio::spawn(async move { site.merge_snapshots(&"web".into()).await })
    };
    let open_another = async {
        // Each lets the merge come to its wait.
        for _ in 0..10 {
            assert_eq!(read(&site, "web-system", 0).await, 0);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), open_another).await.expect("another reader is let in");
    assert!(!merging.is_finished(), "the first reader is still there");
    site.close_export(&reader.id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), merging).await.expect("it goes on").unwrap().unwrap();
    assert_eq!(site.machine(&"web".into()).await.unwrap().snapshots, 0);
    site.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_disks_are_attached_elsewhere_does_not_start_and_only_mounted_datastores_are_written()
{
    let (site, _scratch) = site().await;
    let (machine, target) = ("web".into(), "master-target".into());
    site.attach_to_master_target(&machine, &target).await.unwrap();
    assert_eq!(site.machine(&machine).await.unwrap().disks_on, Some(target.clone()));
    assert_eq!(site.start(&machine).await.unwrap_err().kind, Kind::WrongPowerState);
    write(&site, "web-system", 0, 1).await;
    site.components().alter("master-target", |part| {
        if let ComponentKind::MasterTarget(target) = &mut part.kind {
            target.mounts[1].access = Access::Read;
        }
    });
    let denied = site.export_volume(&"web-system".into(), Access::Write).await.unwrap_err();
    assert_eq!(denied.kind, Kind::Denied, "{denied}");
    assert_eq!(read(&site, "web-system", 0).await, 1);
    site.components().disconnect("vcenter");
    assert_eq!(site.detach_from_master_target(&machine).await.unwrap_err().kind, Kind::Unreachable);
    assert_eq!(site.machines().await.unwrap_err().kind, Kind::Unreachable);
    site.components().connect("vcenter");
    site.detach_from_master_target(&machine).await.unwrap();
    assert_eq!(site.machine(&machine).await.unwrap().disks_on, None);
    site.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_account_can_list_but_not_change() {
    let (site, _scratch) = site().await;
    let role = |role| {
        site.components().alter("vcenter", |part| {
            if let ComponentKind::Vcenter(vcenter) = &mut part.kind {
                vcenter.role = role;
            }
        });
    };
    role(AccountRole::ReadOnly);
    assert_eq!(site.machines().await.unwrap().len(), 1);
    let parts = site.infrastructure().await.unwrap();
    let listed = parts.iter().find_map(|part| Some(part.vcenter()?.datastores.len()));
    assert_eq!(listed, Some(0));
    let refused = [
        site.create_volume(&"more".into(), Bytes(SIZE), None).await.map(drop),
        site.derive_volume(&"above".into(), &"web-system".into()).await.map(drop),
        site.export_volume(&"web-system".into(), Access::Write).await.map(drop),
        site.attach_to_master_target(&"web".into(), &"master-target".into()).await,
        site.merge_snapshots(&"web".into()).await,
    ];
    assert!(refused.iter().all(|answer| answer.as_ref().is_err_and(|error| error.kind == Kind::Denied)));
    role(AccountRole::Full);
    site.create_volume(&"more".into(), Bytes(SIZE), None).await.unwrap();
    site.close().await.unwrap();
}

//! Examples of the calls of a core.

use contract::*;

use super::example::{Example, NOW};
use crate::methods::Base64;
use crate::methods::platform as calls;

/// An example for a method at the primary site: its parameters and its result.
macro_rules! example {
    ($name:ident { $($argument:ident: $value:expr),* } => $result:expr) => {
        Example::of(&calls::$name::Params { site: "primary".into(), $($argument: $value),* }, &$result)
    };
}

pub(super) fn all() -> Vec<Example> {
    [components(), machines(), snapshots(), volumes()].concat()
}

fn web() -> MachineId {
    "web".into()
}

fn components() -> Vec<Example> {
    let site = SiteView {
        id: "primary".into(),
        kind: PlatformKind::Vmware,
        boot_drivers: vec!["vmw_pvscsi".to_owned()],
    };
    let server = Component { id: "ps-1".into(), connected: true, kind: ComponentKind::ProcessServer };
    vec![
        example!(site {} => site),
        example!(infrastructure {} => vec![server]),
        example!(connect_agent { machine: web(), process_server: Some("ps-1".into()) } => ()),
        example!(attach_to_master_target { machine: web(), master_target: "mt-1".into() } => ()),
        example!(detach_from_master_target { machine: web() } => ()),
        example!(merge_snapshots { machine: web() } => ()),
    ]
}

fn machine() -> MachineView {
    MachineView {
        id: web(),
        power: PowerState::On,
        firmware: Firmware::Bios,
        os: GuestOs::Linux,
        memory: Bytes(1 << 30),
        disks: vec![DiskView { id: "system".into(), volume: "web-system".into(), size: Bytes(2 << 30) }],
        uuid: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        snapshots: 0,
        guest: GuestFacts::default(),
        placement: Placement::default(),
        process_server: Some("ps-1".into()),
        disks_on: None,
        migrated: false,
        nic: NicView::default(),
        more_nics: Vec::new(),
        boot_entry: None,
        libvirt: None,
    }
}

fn machines() -> Vec<Example> {
    let spec = MachineSpec {
        id: "web-dr".into(),
        firmware: Firmware::Bios,
        os: GuestOs::Linux,
        memory: Bytes(1 << 30),
        disks: vec![("system".into(), "web-system-copy".into())],
        network: Network::Production,
        guest: GuestFacts::default(),
        placement: Placement::default(),
        boot_entry: None,
        more_nics: Vec::new(),
    };
    let created = MachineView { id: "web-dr".into(), power: PowerState::Off, ..machine() };
    vec![
        example!(machine { id: web() } => machine()),
        example!(machines {} => vec![machine()]),
        example!(create_machine { spec: spec } => created),
        example!(delete_machine { id: "web-dr".into() } => ()),
        example!(start { id: web() } => ()),
        example!(shut_down { id: web(), within: Millis(60_000) } => ()),
        example!(power_off { id: web() } => ()),
        example!(screenshot { id: web() } => Base64(b"\x89PNG".to_vec())),
    ]
}

fn snapshots() -> Vec<Example> {
    let disk = SnapshotDisk {
        id: "system".into(),
        size: Bytes(2 << 30),
        uri: "nbd+unix:///system?socket=/tmp/run/snapshot.sock".to_owned(),
        changed: Some("qemu:dirty-bitmap:c16".to_owned()),
    };
    let snapshot = DiskSnapshot {
        id: "s17".into(),
        taken_at: NOW,
        change_id: "c17".into(),
        disks: vec![disk],
        changes_unavailable: None,
    };
    let request =
        SnapshotRequest { machines: vec![(web(), Some("c16".into()))], consistency: Consistency::App };
    vec![
        example!(open_snapshot { machine: web(), since: Some("c16".into()) } => snapshot.clone()),
        example!(open_snapshots { request: request } => vec![snapshot]),
        example!(close_snapshot { snapshot: "s17".into(), acknowledge: Acknowledge::Advance } => ()),
        example!(stop_tracking { machine: web() } => ()),
    ]
}

fn volumes() -> Vec<Example> {
    let volume = |id: &str, parent: Option<VolumeId>| VolumeView {
        id: id.into(),
        size: Bytes(2 << 30),
        parent,
        allocated: Bytes(0),
        datastore: None,
    };
    let export = Export { id: "e3".into(), uri: "nbd+unix:///copy?socket=/tmp/run/export.sock".to_owned() };
    let derived = volume("copy-2", Some("copy".into()));
    vec![
        example!(volume { id: "copy".into() } => volume("copy", None)),
        example!(create_volume { id: "copy".into(), size: Bytes(2 << 30), datastore: None } => volume("copy", None)),
        example!(derive_volume { id: "copy-2".into(), parent: "copy".into() } => derived),
        example!(merge_volumes { top: "copy-2".into(), base: "copy".into() } => ()),
        example!(delete_volume { id: "copy-2".into() } => ()),
        example!(export_volume { id: "copy".into(), access: Access::Write } => export),
        example!(close_export { id: "e3".into() } => ()),
        example!(close_all {} => ()),
    ]
}

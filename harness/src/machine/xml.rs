//! libvirt's XML description of a machine.
//!
//! libvirt owns the domain. Write logs and the network go through `qemu:commandline`, because
//! libvirt cannot express a write log below a device or a forwarded port that the system chooses.
//! So do the disks, unless they are managed by libvirt (`managed_disks`).

use std::fmt::Write as _;

use camino::Utf8Path;
use serde_json::json;

use super::firmware_variables::{VARIABLES_TEMPLATE, variables_file};
use super::forwards::NETWORK;
use super::hardware::FIRST_NIC_SLOT;
use super::nodes::{disk_serial, escape, format_node, logged_node, write_log};
use super::{Controller, DiskManager, DiskSpec, Firmware, GuestSpec, agent, managed_disks};
use crate::host::Host;
use crate::machine::Accelerator;
use crate::scratch::Owner;

/// XML namespace of the mark that says who owns a domain.
pub(crate) const NAMESPACE: &str = "urn:roundtrip:domain:1";

/// The sockets of one domain; the suite listens on all of them before it starts.
pub(crate) struct Sockets {
    pub(crate) monitor: String,
    pub(crate) serial: String,
    pub(crate) witness: String,
    pub(crate) agent: String,
}

impl Sockets {
    pub(crate) fn in_dir(dir: &Utf8Path) -> Self {
        let path = |name: &str| dir.join(name).into_string();
        Self { monitor: path("qmp"), serial: path("serial"), witness: path("witness"), agent: path("agent") }
    }
}

/// The complete XML.
pub(crate) fn domain(
    spec: &GuestSpec,
    security: &str,
    accelerator: Accelerator,
    owner: &Owner,
    scratch: &Utf8Path,
    sockets: &Sockets,
    uuid: Option<&str>,
) -> String {
    let Owner { run, pid, started } = owner;
    let identity = &spec.hardware.identity;
    let mut arguments = vec![
        "-chardev".to_owned(),
        format!("socket,id=rt-monitor,path={}", sockets.monitor),
        "-mon".to_owned(),
        "chardev=rt-monitor,mode=control".to_owned(),
    ];
    network(spec, &mut arguments);
    let managed = match spec.disk_manager {
        DiskManager::CommandLine => {
            controllers(spec, &mut arguments);
            for (index, disk) in spec.disks.iter().enumerate() {
                disk_arguments(spec, index, disk, &mut arguments);
            }
            managed_disks::Elements::default()
        }
        DiskManager::Libvirt => managed_disks::elements(spec, &mut arguments),
    };
    let mut command_line = String::new();
    for argument in &arguments {
        // Writing to a `String` cannot fail.
        let _ = writeln!(command_line, "    <qemu:arg value='{}'/>", escape(argument));
    }
    let chassis = identity.chassis_tag.as_deref().map_or_else(String::new, |tag| {
        format!("\n    <chassis><entry name='asset'>{}</entry></chassis>", escape(tag))
    });
    format!(
        r#"<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>{uuid}
  <metadata>
    <rt:owner xmlns:rt='{NAMESPACE}' run='{run}' pid='{pid}' started='{started}' scratch='{scratch}'/>
  </metadata>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
{os}
  <sysinfo type='smbios'>
    <system><entry name='manufacturer'>{vendor}</entry><entry name='product'>{product}</entry></system>{chassis}
  </sysinfo>
{features}
  <cpu mode='{cpu}' check='none'/>
  <clock offset='utc'>{timer}</clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
{security}  <devices>
{disks}    <controller type='usb' model='none'/>
    <serial type='unix'><source mode='connect' path='{serial}'/></serial>
    <channel type='unix'>
      <source mode='connect' path='{witness}'/><target type='virtio' name='{witness_port}'/>
    </channel>
    <channel type='unix'>
      <source mode='bind' path='{agent}'/><target type='virtio' name='org.qemu.guest_agent.0'/>
      <alias name='{agent_channel}'/>
    </channel>
    <video><model type='vga' vram='16384'/></video>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='builtin'/></rng>
  </devices>
  <qemu:commandline>
{command_line}  </qemu:commandline>
{overrides}</domain>
"#,
        kind = accelerator.domain_type(),
        uuid = uuid.map_or_else(String::new, |uuid| format!("\n  <uuid>{uuid}</uuid>")),
        disks = managed.devices,
        overrides = managed.overrides,
        name = escape(&spec.name),
        run = escape(run),
        memory = spec.hardware.memory_mib,
        os = firmware(spec),
        vendor = escape(&identity.vendor),
        product = escape(&identity.product),
        cpu = accelerator.cpu_mode(),
        features = features(spec),
        timer = if enlightened(spec) { HYPERV_CLOCK } else { "" },
        serial = sockets.serial,
        witness = sockets.witness,
        witness_port = witness::protocol::CONTROL_PORT,
        agent = sockets.agent,
        agent_channel = agent::CHANNEL,
    )
}

fn firmware(spec: &GuestSpec) -> String {
    let loader = match spec.hardware.firmware {
        Firmware::Bios => String::new(),
        Firmware::Uefi => format!(
            "\n    <loader readonly='yes' secure='no' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>\
             \n    <nvram template='{VARIABLES_TEMPLATE}'>{}</nvram>",
            escape(variables_file(spec).as_str())
        ),
    };
    format!(
        "  <os>\n    <type arch='x86_64' machine='pc'>hvm</type>{loader}\n    <smbios mode='sysinfo'/>\n  </os>"
    )
}

/// The clock that accompanies Hyper-V enlightenments.
const HYPERV_CLOCK: &str = "<timer name='hypervclock' present='yes'/>";

fn enlightened(spec: &GuestSpec) -> bool {
    spec.hardware.enlightened && spec.enlightenments.is_ok()
}

/// Features of the board; on an enlightened platform also the Hyper-V enlightenments, if the
/// accelerator has them.
fn features(spec: &GuestSpec) -> String {
    if enlightened(spec) {
        return "  <features>
    <acpi/>
    <hyperv mode='custom'>
      <relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/>
      <vpindex state='on'/><runtime state='on'/><synic state='on'/><stimer state='on'/>
      <frequencies state='on'/>
    </hyperv>
  </features>"
            .to_owned();
    }
    let left_out = match &spec.enlightenments {
        Err(why) if spec.hardware.enlightened => {
            // Two dashes would end the XML comment.
            let why = escape(why).replace("--", "-");
            format!("\n  <!-- Hyper-V's enlightenments are left out: {why} -->")
        }
        _ => String::new(),
    };
    format!("  <features><acpi/></features>{left_out}")
}

/// Security labels: guests run as the invoking user and open what that user may open.
pub(super) fn security(host: &Host) -> String {
    let mut labels = String::new();
    if host.is_system() {
        let user = rustix::process::getuid().as_raw();
        let group = rustix::process::getgid().as_raw();
        let _ = writeln!(
            labels,
            "  <seclabel type='static' model='dac' relabel='no'><label>+{user}:+{group}</label></seclabel>"
        );
    }
    for model in host.confined_by() {
        let _ = writeln!(labels, "  <seclabel type='none' model='{model}'/>");
    }
    labels
}

/// User-mode networks with documentation addresses; the system chooses the loopback ports.
fn network(spec: &GuestSpec, arguments: &mut Vec<String>) {
    let forwards: String =
        spec.forwards.iter().map(|port| format!(",hostfwd=tcp:127.0.0.1:0-:{port}")).collect();
    let given = spec.address.map_or_else(String::new, |address| format!(",dhcpstart={address}"));
    arguments.extend([
        "-netdev".to_owned(),
        format!("user,id={NETWORK},net={}{given},restrict=on{forwards}", spec.subnet),
        "-device".to_owned(),
        nic_device(spec, NETWORK, &spec.mac, FIRST_NIC_SLOT),
    ]);
    for (number, nic) in (1..).zip(&spec.more_nics) {
        let network = format!("further-net{number}");
        let slot = spec.hardware.nic.further_slot(number);
        arguments.extend([
            "-netdev".to_owned(),
            format!("user,id={network},net={},dhcpstart={},restrict=on", nic.subnet, nic.address),
            "-device".to_owned(),
            nic_device(spec, &network, &nic.mac, slot),
        ]);
    }
}

fn nic_device(spec: &GuestSpec, network: &str, mac: &str, slot: usize) -> String {
    format!("{},netdev={network},mac={mac},addr={slot:#x}", spec.hardware.nic.device())
}

/// Controllers at PCI slots that libvirt leaves free; a controller that serves all disks is added
/// once. One that can have an I/O thread has one of its own.
fn controllers(spec: &GuestSpec, arguments: &mut Vec<String>) {
    let mut added = Vec::new();
    for bus in [&spec.hardware.system_disk, &spec.hardware.other_disks] {
        if added.contains(&bus.controller) {
            continue;
        }
        added.push(bus.controller);
        if let Some(device) = bus.controller.device() {
            let slot = 0x10 + added.len();
            let id = controller_id(bus.controller);
            let mut device = format!("{device},id={id},addr={slot:#x}");
            if bus.controller.supports_io_thread() {
                let thread = format!("thread-{id}");
                arguments.extend(["-object".to_owned(), format!("iothread,id={thread}")]);
                // Writing to a `String` cannot fail.
                let _ = write!(device, ",iothread={thread}");
            }
            arguments.extend(["-device".to_owned(), device]);
        }
    }
}

/// QEMU's id of a controller. A machine has each kind at most once.
fn controller_id(controller: Controller) -> String {
    format!("disks-{}", controller.driver())
}

fn disk_arguments(spec: &GuestSpec, index: usize, disk: &DiskSpec, arguments: &mut Vec<String>) {
    let role = &disk.role;
    let file = json!({"driver": "file", "filename": disk.image, "discard": "unmap"});
    let format = json!({
        "driver": disk.format.name(), "node-name": format_node(role), "discard": "unmap", "file": file,
    });
    let mut nodes = vec![format];
    let top = match &disk.write_log {
        None => format_node(role),
        Some(log) => {
            let name = logged_node(role);
            nodes.push(write_log(&name, &format_node(role), log));
            name
        }
    };
    for node in nodes {
        arguments.extend(["-blockdev".to_owned(), node.to_string()]);
    }
    let (bus, place) = spec.hardware.place_of(index);
    let device = bus.disk_device(&controller_id(bus.controller), place);
    arguments.extend([
        "-device".to_owned(),
        format!("{device},id=disk-{role},drive={top},serial={},bootindex={}", disk_serial(role), index + 1),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Hardware, Identity, Nic, NicSpec};

    fn machine(enlightened: bool, enlightenments: Result<(), String>) -> GuestSpec {
        let identity = Identity { vendor: "A & B".to_owned(), product: "C".to_owned(), chassis_tag: None };
        let disks = ["system", "data"].map(|role| DiskSpec {
            role: role.to_owned(),
            image: format!("/images/{role}.vhdx").into(),
            format: crate::tools::Format::Vhdx,
            backing: vec![],
            write_log: None,
        });
        GuestSpec {
            name: "machine".to_owned(),
            hardware: Hardware {
                firmware: Firmware::Bios,
                system_disk: Controller::Ahci.into(),
                other_disks: Controller::Pvscsi.into(),
                nic: Nic::E1000,
                identity,
                enlightened,
                memory_mib: 256,
            },
            enlightenments,
            boot_entry: None,
            disks: disks.to_vec(),
            disk_manager: DiskManager::CommandLine,
            forwards: vec![],
            subnet: "192.0.2.0/24".to_owned(),
            address: Some([192, 0, 2, 77].into()),
            mac: "52:54:00:00:02:01".to_owned(),
            more_nics: vec![NicSpec {
                subnet: "192.0.2.128/25".to_owned(),
                address: [192, 0, 2, 200].into(),
                mac: "52:54:00:00:02:02".to_owned(),
            }],
            dir: "/logs".into(),
        }
    }

    fn xml(enlightened: bool, accelerator: Accelerator) -> String {
        let owner = Owner { run: "r".to_owned(), pid: 1, started: "1".to_owned() };
        let (scratch, sockets) = (Utf8Path::new("/scratch"), Sockets::in_dir(Utf8Path::new("/scratch/m")));
        let has = match accelerator {
            Accelerator::Kvm => Ok(()),
            Accelerator::Tcg => Err("TCG -- has <none>".to_owned()),
        };
        domain(&machine(enlightened, has), "", accelerator, &owner, scratch, &sockets, None)
    }

    #[test]
    fn enlightenments_are_offered_only_where_they_work_and_left_out_with_a_reason_elsewhere() {
        let under_kvm = xml(true, Accelerator::Kvm);
        assert!(under_kvm.contains("<hyperv mode='custom'>") && under_kvm.contains(HYPERV_CLOCK));
        let translated = xml(true, Accelerator::Tcg);
        assert!(!translated.contains("<hyperv") && !translated.contains("hypervclock"));
        assert!(translated.contains("<!-- Hyper-V's enlightenments are left out: TCG - has &lt;none> -->"));
    }

    #[test]
    fn a_platform_without_enlightenments_does_not_mention_them() {
        for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
            let other = xml(false, accelerator);
            assert!(!other.contains("hyperv") && !other.contains("enlightenments"), "{accelerator}");
        }
    }

    #[test]
    fn the_network_gives_the_chosen_address() {
        let xml = xml(false, Accelerator::Tcg);
        assert!(xml.contains("user,id=net0,net=192.0.2.0/24,dhcpstart=192.0.2.77,restrict=on"));
    }

    #[test]
    fn a_further_card_has_a_network_of_its_own_behind_or_in_front_of_the_first() {
        let xml = xml(false, Accelerator::Tcg);
        for argument in [
            "user,id=further-net1,net=192.0.2.128/25,dhcpstart=192.0.2.200,restrict=on",
            "e1000,netdev=further-net1,mac=52:54:00:00:02:02,addr=0x13",
            "e1000,netdev=net0,mac=52:54:00:00:02:01,addr=0x10",
        ] {
            assert!(xml.contains(&format!("<qemu:arg value='{argument}'/>")), "{argument}");
        }
        assert_eq!([Nic::Vmxnet3, Nic::Tulip].map(|nic| nic.further_slot(1)), [0x13, 0xf]);
    }

    #[test]
    fn a_controller_has_an_io_thread_where_qemu_supports_it() {
        let arguments = |controller: Controller| {
            let mut spec = machine(false, Ok(()));
            (spec.hardware.system_disk, spec.hardware.other_disks) = (controller.into(), controller.into());
            let mut arguments = vec![];
            controllers(&spec, &mut arguments);
            arguments
        };
        let thread = "thread-disks-virtio_scsi";
        let device = format!("virtio-scsi-pci,id=disks-virtio_scsi,addr=0x11,iothread={thread}");
        let with_thread = ["-object", &format!("iothread,id={thread}"), "-device", &device];
        assert_eq!(arguments(Controller::VirtioScsi), with_thread);
        assert_eq!(arguments(Controller::Pvscsi), ["-device", "pvscsi,id=disks-vmw_pvscsi,addr=0x11"]);
    }

    #[test]
    fn disks_are_attached_to_the_controllers_that_the_hardware_names() {
        let xml = xml(false, Accelerator::Tcg);
        for argument in [
            "ich9-ahci,id=disks-ahci,addr=0x11",
            "pvscsi,id=disks-vmw_pvscsi,addr=0x12",
            "ide-hd,bus=disks-ahci.0,id=disk-system,drive=format-system,serial=RT-system,bootindex=1",
            "scsi-hd,bus=disks-vmw_pvscsi.0,scsi-id=0,id=disk-data,drive=format-data,serial=RT-data,bootindex=2",
        ] {
            assert!(xml.contains(&format!("<qemu:arg value='{argument}'/>")), "{argument}");
        }
    }
}

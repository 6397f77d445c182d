//! Failback of Hyper-V machines. It needs neither a process server nor a master target (HF-27).

use contract::{Component, ComponentId, ComponentKind, DataSync, DiskKind, ErrorCode, Host};

use crate::preconditions::facts::Facts;
use crate::preconditions::row::Row;
use crate::preconditions::way::{Way, When};
use crate::table::Pair;

const fn row(
    rule: &'static str,
    code: ErrorCode,
    looks_at: &'static str,
    violation: fn(&Facts) -> Option<String>,
) -> Row {
    Row { rule, code, when: When::Before, ways: &[Way::Back], pairs: &[Pair::HyperV], looks_at, violation }
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("RE-23", ErrorCode::CloudMachineGone, "the cloud machine", Facts::cloud_machine_gone),
    row("HF-26", ErrorCode::ManagedDisks, "the cloud machine's disks", managed_disks),
    row("HF-14", ErrorCode::CertificateNotGiven, "the request", certificate_not_given),
    row("HF-14", ErrorCode::CertificateWrong, "the certificate", certificate_wrong),
    row("HF-02", ErrorCode::HostDisconnected, "the connection to the hosts", disconnected),
    row("HF-22", ErrorCode::HostUnknown, "the requested host", host_unknown),
    row("HF-24", ErrorCode::HostNotPrepared, "the requested host", not_prepared),
    row("HF-23", ErrorCode::SwitchMissing, "its virtual switches", switch_missing),
    row("HF-22", ErrorCode::NameTaken, "machines on other hosts", name_taken),
    row("HF-22", ErrorCode::MachineMissing, "the machine, and whether it may be created", machine_missing),
];

fn managed_disks(facts: &Facts) -> Option<String> {
    let managed = facts.running.as_ref()?.placement.disk_kind == DiskKind::Managed;
    managed.then(|| "a Hyper-V machine cannot fail back from managed disks".to_owned())
}

fn certificate_not_given(facts: &Facts) -> Option<String> {
    let needed = facts.record.target.encrypted_with.as_ref()?;
    let none = facts.failover.as_ref()?.certificate.is_none();
    none.then(|| format!("the data in the cloud is encrypted with {needed}; name that certificate"))
}

fn certificate_wrong(facts: &Facts) -> Option<String> {
    let needed = facts.record.target.encrypted_with.as_ref()?;
    let given = facts.failover.as_ref()?.certificate.as_ref()?;
    (given != needed).then(|| format!("the data in the cloud is encrypted with {needed}, not with {given}"))
}

fn disconnected(facts: &Facts) -> Option<String> {
    let down =
        facts.here.iter().find(|part| part.kind == ComponentKind::HostConnection && !part.connected)?;
    Some(format!("{} is disconnected; connect it again", down.id))
}

fn requested_host(facts: &Facts) -> Option<&ComponentId> {
    Some(&facts.failover.as_ref()?.alternate.as_ref()?.host)
}

fn host(facts: &Facts) -> Option<(&Component, &Host)> {
    let part = Component::find(&facts.here, requested_host(facts)?)?;
    Some((part, part.host()?))
}

fn host_unknown(facts: &Facts) -> Option<String> {
    let name = requested_host(facts)?;
    host(facts).is_none().then(|| format!("there is no host {name} at {}", facts.site))
}

fn not_prepared(facts: &Facts) -> Option<String> {
    let (part, host) = host(facts)?;
    (!host.prepared).then(|| format!("{} is not prepared to run machines", part.id))
}

fn switch_missing(facts: &Facts) -> Option<String> {
    let (part, host) = host(facts)?;
    let switch = facts.record.source_identity.switch.as_ref()?;
    let there = host.switches.contains(switch);
    (!there).then(|| format!("{} has no virtual switch {switch} like the original host; create one", part.id))
}

fn name_taken(facts: &Facts) -> Option<String> {
    let name = requested_host(facts)?;
    let machine = facts.original.as_ref()?;
    let on = machine.placement.host.as_ref().filter(|on| *on != name)?;
    Some(format!("{} already exists on {on}; fail back to it there, or remove it", machine.id))
}

fn machine_missing(facts: &Facts) -> Option<String> {
    if facts.original.is_some() {
        return None;
    }
    let request = facts.failover.as_ref()?;
    let may_be_created = match &request.alternate {
        Some(alternate) => alternate.create_machine,
        // A full download creates a missing machine (HF-11).
        None => request.data_sync == Some(DataSync::DuringFailover),
    };
    let machine = &facts.record.primary.1;
    (!may_be_created).then(|| {
        format!("{machine} no longer exists at {}; let it be created, or download it in full", facts.site)
    })
}

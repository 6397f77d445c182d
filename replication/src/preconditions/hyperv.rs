//! Hyper-V machines on their way back. No process server and no master target is needed (HF-27).

use contract::{Component, ComponentId, ComponentKind, DataSync, DiskKind, ErrorCode, Host};

use super::{Facts, Row, Way, When};
use crate::table::Pair;

const fn row(
    rule: &'static str,
    code: ErrorCode,
    looks_at: &'static str,
    objects: fn(&Facts) -> Option<String>,
) -> Row {
    Row { rule, code, when: When::Before, ways: &[Way::Back], pairs: &[Pair::HyperV], looks_at, objects }
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("RE-23", ErrorCode::CloudMachineGone, "the cloud machine", cloud_machine_gone),
    row("HF-26", ErrorCode::ManagedDisks, "the cloud machine's disks", managed_disks),
    row("HF-14", ErrorCode::CertificateNotGiven, "the request", certificate_not_given),
    row("HF-14", ErrorCode::CertificateWrong, "the certificate", certificate_wrong),
    row("HF-02", ErrorCode::HostDisconnected, "the connection to the hosts", disconnected),
    row("HF-22", ErrorCode::HostUnknown, "the host asked for", host_unknown),
    row("HF-24", ErrorCode::HostNotPrepared, "the host asked for", not_prepared),
    row("HF-23", ErrorCode::SwitchMissing, "its virtual switches", switch_missing),
    row("HF-22", ErrorCode::NameTaken, "machines on other hosts", name_taken),
    row("HF-22", ErrorCode::MachineMissing, "the machine, and whether it may be made", machine_missing),
];

fn cloud_machine_gone(facts: &Facts) -> Option<String> {
    let (site, machine) = &facts.record.recovery;
    facts
        .running
        .is_none()
        .then(|| format!("{machine} exists no more at {site}; nothing can come back from there"))
}

fn managed_disks(facts: &Facts) -> Option<String> {
    let managed = facts.running.as_ref()?.placement.disk_kind == DiskKind::Managed;
    managed.then(|| "a Hyper-V machine cannot fail back from managed disks".to_owned())
}

fn certificate_not_given(facts: &Facts) -> Option<String> {
    let needed = facts.record.target.encrypted_with.as_ref()?;
    let none = facts.failover.as_ref()?.certificate.is_none();
    none.then(|| format!("data in the cloud is encrypted with {needed}; name that certificate"))
}

fn certificate_wrong(facts: &Facts) -> Option<String> {
    let needed = facts.record.target.encrypted_with.as_ref()?;
    let given = facts.failover.as_ref()?.certificate.as_ref()?;
    (given != needed).then(|| format!("data in the cloud is encrypted with {needed}, not with {given}"))
}

fn disconnected(facts: &Facts) -> Option<String> {
    let down =
        facts.here.iter().find(|part| part.kind == ComponentKind::HostConnection && !part.connected)?;
    Some(format!("{} is down; connect it again", down.id))
}

fn wanted(facts: &Facts) -> Option<&ComponentId> {
    Some(&facts.failover.as_ref()?.alternate.as_ref()?.host)
}

fn host(facts: &Facts) -> Option<(&Component, &Host)> {
    let part = Component::find(&facts.here, wanted(facts)?)?;
    Some((part, part.host()?))
}

fn host_unknown(facts: &Facts) -> Option<String> {
    let name = wanted(facts)?;
    host(facts).is_none().then(|| format!("there is no host {name} at {}", facts.site))
}

fn not_prepared(facts: &Facts) -> Option<String> {
    let (part, host) = host(facts)?;
    (!host.prepared).then(|| format!("{} is not prepared to run machines", part.id))
}

fn switch_missing(facts: &Facts) -> Option<String> {
    let (part, host) = host(facts)?;
    let switch = facts.record.origin.switch.as_ref()?;
    let there = host.switches.contains(switch);
    (!there)
        .then(|| format!("{} has no virtual switch {switch}, as the original host had; make one", part.id))
}

fn name_taken(facts: &Facts) -> Option<String> {
    let (name, machine) = (wanted(facts)?, facts.original.as_ref()?);
    let on = machine.placement.host.as_ref().filter(|on| *on != name)?;
    Some(format!("{} is there on {on}; fail back to it there, or remove it", machine.id))
}

fn machine_missing(facts: &Facts) -> Option<String> {
    if facts.original.is_some() {
        return None;
    }
    let request = facts.failover.as_ref()?;
    let may_be_made = match &request.alternate {
        Some(alternate) => alternate.create_machine,
        // A full download makes what is not there (HF-11).
        None => request.data_sync == Some(DataSync::DuringFailover),
    };
    let machine = &facts.record.primary.1;
    (!may_be_made)
        .then(|| format!("{machine} exists no more at {}; have it made, or download it in full", facts.site))
}

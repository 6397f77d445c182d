//! The trials: hardware to boot on, and what must work there.

use std::fmt::Write as _;

use images::{Image, Variant, layout};
use witness::protocol::{Findings, FromGuest, Hello, Load, ToGuest};

use crate::guest::{Disks, Guest, Result};

/// A trial, which returns a line for the report.
pub type Trial = fn(&Image) -> Result<String>;

const SCSI_DISKS: &str = "-drive if=none,id=a,format=raw,file={system} -device scsi-hd,drive=a,bootindex=0 \
     -drive if=none,id=b,format=raw,file={data} -device scsi-hd,drive=b";
const IDE: &str = "-machine pc -drive if=ide,format=raw,file={system} -drive if=ide,format=raw,file={data}";
const AHCI: &str = "-machine q35 -drive if=ide,format=raw,file={system} -drive if=ide,format=raw,file={data}";
const UEFI: &str = "-drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
     -drive if=pflash,format=raw,unit=1,snapshot=on,file=/usr/share/OVMF/OVMF_VARS_4M.fd";
const LOAD: Load = Load {
    epoch: 1,
    records_per_second: 200,
    churn_per_second: 50,
    churn_bytes: 8192,
    transfers_per_second: 20,
    seed: 7,
};

/// All trials by name.
pub const ALL: &[(&str, Trial)] = &[
    ("pvscsi", |image| cycle(image, &scsi("pvscsi"), "vmxnet3", None)),
    ("ide-bare", |image| no_root(image, IDE, "tulip")),
    ("ide-hydrated", |image| cycle(image, IDE, "tulip", Some(&["vmw_pvscsi", "ata_piix"]))),
    ("ahci", |image| cycle(image, AHCI, "e1000", Some(&["ahci"]))),
    ("lsi53c895a", |image| cycle(image, &scsi("lsi53c895a"), "e1000", Some(&["sym53c8xx"]))),
    ("uefi-virtio", |image| cycle(image, &uefi("virtio-scsi-pci"), "virtio-net-pci", Some(&["virtio_scsi"]))),
    ("uefi-ahci", |image| cycle(image, &format!("{AHCI} {UEFI}"), "e1000", Some(&["ahci"]))),
    // There is no trial of PVSCSI under UEFI: Debian 12's OVMF has no driver for it and ends in its
    // shell.
    ("crash", crash),
    ("agent", agent),
    ("power-button", power_button),
];

/// Runs one trial.
pub fn run(name: &str, trial: Trial, image: &Image) -> Result<String> {
    eprintln!("{name} ...");
    trial(image)
}

fn scsi(controller: &str) -> String {
    format!("-machine pc -device {controller} {SCSI_DISKS}")
}

fn uefi(controller: &str) -> String {
    format!("-machine q35 -device {controller} {SCSI_DISKS} {UEFI}")
}

fn variant(drivers: &[&str]) -> Variant {
    Variant { boot_drivers: drivers.iter().map(|d| (*d).to_owned()).collect(), ..Variant::default() }
}

/// Boots, starts the workload, quiesces, uses the service and shuts down.
fn cycle(image: &Image, hardware: &str, nic: &str, drivers: Option<&[&str]>) -> Result<String> {
    let disks = Disks::copy(image, drivers.map(variant).as_ref())?;
    let mut guest = Guest::power_on(&disks, hardware, nic)?;
    let mut report = String::new();
    let hello = hello(&mut guest, &mut report)?;
    let found = check(&mut guest)?;
    expect(found.ledger.highest == 0 && found.bank.accounts == 0, "a fresh machine has no data")?;
    guest.execute(&ToGuest::Start(LOAD))?;
    acks(&mut guest, 100)?;
    let answer = guest.service()?;
    write!(report, ", service {:.1} s", guest.seconds())?;
    expect(
        answer.bank.sound() && answer.ledger >= 100 && answer.boot_id == hello.boot_id,
        "the service answers correctly",
    )?;
    guest.execute(&ToGuest::Quiesce)?;
    guest.execute(&ToGuest::Thaw)?;
    acks(&mut guest, 20)?;
    guest.execute(&ToGuest::Stop)?;
    guest.ask(&ToGuest::Shutdown)?;
    guest.wait_for(|message| matches!(message, FromGuest::Down).then_some(()))?;
    write!(report, ", off {:.1} s", guest.wait_off()?)?;
    Ok(report)
}

fn no_root(image: &Image, hardware: &str, nic: &str) -> Result<String> {
    let disks = Disks::copy(image, None)?;
    let guest = Guest::power_on(&disks, hardware, nic)?;
    let line = guest.wait_line(layout::NO_ROOT_LINE)?;
    Ok(format!("{:.1} s: {line}", guest.seconds()))
}

/// Kills the machine under load and checks what survived on other hardware.
fn crash(image: &Image) -> Result<String> {
    let disks = Disks::copy(image, None)?;
    let mut guest = Guest::power_on(&disks, &scsi("pvscsi"), "vmxnet3")?;
    guest.execute(&ToGuest::Start(LOAD))?;
    let acked = acks(&mut guest, 300)?;
    drop(guest);
    disks.customise(&variant(&["vmw_pvscsi", "ata_piix"]))?;
    let mut guest = Guest::power_on(&disks, IDE, "tulip")?;
    let mut report = String::new();
    hello(&mut guest, &mut report)?;
    let served = guest.service()?;
    let found = check(&mut guest)?;
    expect(found.file_systems.iter().all(|fs| fs.needed_recovery && !fs.errors), "journals were replayed")?;
    expect(
        found.ledger.contiguous >= acked && found.ledger.torn.is_empty(),
        "no acknowledged record is lost",
    )?;
    expect(
        found.bank.sound() && found.bank.wal_bytes > 0,
        "the bank is consistent after its log was replayed",
    )?;
    expect(
        served.bank.sound() && served.ledger == found.ledger.contiguous,
        "the service is up before the workload starts",
    )?;
    guest.execute(&ToGuest::Start(Load { epoch: 2, ..LOAD }))?;
    let next = acks(&mut guest, 1)?;
    expect(next == found.ledger.contiguous + 1, "the ledger continues after its last record")?;
    guest.ask(&ToGuest::Shutdown)?;
    guest.wait_off()?;
    write!(report, ", {acked} acked, {} found", found.ledger.contiguous)?;
    expect_clean(&disks, &scsi("pvscsi"), false)?;
    Ok(report)
}

/// Freezes and shuts down through the guest agent.
fn agent(image: &Image) -> Result<String> {
    let disks = Disks::copy(image, None)?;
    let mut guest = Guest::power_on(&disks, &scsi("pvscsi"), "vmxnet3")?;
    let mut report = String::new();
    hello(&mut guest, &mut report)?;
    guest.execute(&ToGuest::Start(LOAD))?;
    acks(&mut guest, 50)?;
    let frozen = guest.agent("guest-fsfreeze-freeze")?;
    write!(report, ", agent froze at {:.1} s: {}", guest.seconds(), frozen.trim())?;
    let copy = disks.copy_now()?;
    let thawed = guest.agent("guest-fsfreeze-thaw")?;
    expect(frozen == thawed && frozen.contains("return"), "as many file systems are thawed as were frozen")?;
    acks(&mut guest, 400)?;
    guest.agent_shutdown()?;
    guest.wait_off()?;
    expect_clean(&copy, &scsi("pvscsi"), true)?;
    Ok(report)
}

fn power_button(image: &Image) -> Result<String> {
    let disks = Disks::copy(image, None)?;
    let mut guest = Guest::power_on(&disks, &scsi("pvscsi"), "vmxnet3")?;
    let mut report = String::new();
    hello(&mut guest, &mut report)?;
    guest.execute(&ToGuest::Start(LOAD))?;
    acks(&mut guest, 400)?;
    guest.press_power()?;
    guest.wait_for(|message| matches!(message, FromGuest::Down).then_some(()))?;
    write!(report, ", off {:.1} s", guest.wait_off()?)?;
    expect_clean(&disks, &scsi("pvscsi"), false)?;
    Ok(report)
}

/// Boots disks after a clean shutdown or a freeze, and expects that nothing needs repair.
fn expect_clean(disks: &Disks, hardware: &str, quiesced: bool) -> Result<()> {
    let mut guest = Guest::power_on(disks, hardware, "vmxnet3")?;
    let found = check(&mut guest)?;
    let clean = found.file_systems.iter().all(|fs| !fs.needed_recovery && !fs.errors);
    expect(
        clean && found.bank.wal_bytes == 0 && found.bank.sound(),
        &format!("nothing to repair in {found:?}"),
    )?;
    expect(found.ledger.ends_quiesced == quiesced, "the last record says whether the workload was quiesced")
}

fn hello(guest: &mut Guest, report: &mut String) -> Result<Hello> {
    let pick =
        |message: &FromGuest| if let FromGuest::Hello(hello) = message { Some(hello.clone()) } else { None };
    let hello = guest.wait_for(pick)?;
    write!(report, "hello {:.1} s", guest.seconds())?;
    let drivers: Vec<&str> = hello.disks.iter().map(|disk| disk.driver.as_str()).collect();
    let cards: Vec<&str> = hello.nics.iter().map(|nic| nic.driver.as_str()).collect();
    write!(report, " ({}; {}; {})", hello.firmware, drivers.join(" "), cards.join(" "))?;
    expect(hello.disks.len() == 2 && hello.nics.len() == 1, "two disks and a network card")?;
    Ok(hello)
}

fn check(guest: &mut Guest) -> Result<Findings> {
    guest.ask(&ToGuest::Check)?;
    guest
        .wait_for(|message| if let FromGuest::Findings(found) = message { Some(found.clone()) } else { None })
}

/// Waits for `count` acknowledgements and returns the last number.
fn acks(guest: &mut Guest, count: u32) -> Result<u64> {
    let mut last = 0;
    for _ in 0..count {
        last = guest
            .wait_for(|message| if let FromGuest::Ack { number } = message { Some(*number) } else { None })?;
    }
    Ok(last)
}

fn expect(truth: bool, what: &str) -> Result<()> {
    if truth { Ok(()) } else { Err(format!("expected: {what}").into()) }
}

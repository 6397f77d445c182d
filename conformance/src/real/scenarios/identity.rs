//! What a guest sees of each stand-in: SMBIOS, firmware, controllers, disks, network card.
//!
//! Failing over between platforms is hard because the hardware changes under the guest. This scenario boots a machine on
//! every stand-in there is and writes down what changes.

use std::sync::Arc;

use async_trait::async_trait;
use contract::{MachineId, Platform as _};
use harness::machine::{Firmware, Hardware};
use standins::{Profile, StandInSite, profile};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use witness::protocol::Hello;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::ScenarioOutcome;
use crate::real::context::BOOT_WITHIN;
use crate::real::edge::measure::millis;
use crate::real::environment::{ScenarioRun, TestEnvironment};
use crate::real::setup;
use crate::rules::RuleLog;
use crate::rules::ids::*;

/// Guests at a time.
const AT_A_TIME: usize = 2;

/// A walk over all stand-ins.
pub(crate) struct Walk {
    stage: Arc<TestEnvironment>,
    seats: Arc<Semaphore>,
    sites: Arc<Mutex<Vec<Arc<StandInSite>>>>,
    found: Mutex<Vec<Seen>>,
}

/// One stand-in, as its guest sees it.
struct Seen {
    /// Its place in the list of stand-ins.
    place: usize,
    profile: Profile,
    remarks: Vec<String>,
    hello: Hello,
    boot_ms: u64,
}

impl Walk {
    pub(crate) async fn open(context: &RunContext, evidence: &Arc<Evidence>) -> Result<Self, ScenarioError> {
        let stage = Arc::new(TestEnvironment::open(context, evidence).await?);
        let seats = Arc::new(Semaphore::new(AT_A_TIME));
        Ok(Self { stage, seats, sites: Arc::default(), found: Mutex::default() })
    }
}

#[async_trait]
impl ScenarioRun for Walk {
    async fn run(&self) -> Result<(), ScenarioError> {
        let mut visits = JoinSet::new();
        for (place, (name, _)) in profile::ALL.into_iter().enumerate() {
            let (stage, seats, sites) = (self.stage.clone(), self.seats.clone(), self.sites.clone());
            visits.spawn(async move {
                let _seat = seats.acquire().await.map_err(anyhow::Error::from)?;
                let site = stage.site(name).await?;
                sites.lock().await.push(Arc::clone(&site));
                visit(&stage, &site, place).await
            });
        }
        while let Some(ended) = visits.join_next().await {
            let seen = ended.map_err(anyhow::Error::from)??;
            self.found.lock().await.push(seen);
        }
        Ok(())
    }

    async fn record(&self, outcome: &mut ScenarioOutcome) {
        let mut found = self.found.lock().await;
        found.sort_by_key(|seen| seen.place);
        let mut rules = RuleLog::default();
        for seen in found.iter() {
            expect(&mut rules, &seen.profile, &seen.hello);
            outcome.boots_ms.push(seen.boot_ms);
            outcome.remarks.extend_from_slice(&seen.remarks);
            outcome.trace.extend(lines(seen.profile.label, &seen.hello));
        }
        outcome.rules = rules.into_outcomes();
    }

    async fn close(&self, _failed: bool) -> Result<(), ScenarioError> {
        // Each visit takes its site down; this is for those that were broken off.
        let mut first = Ok(());
        for site in self.sites.lock().await.drain(..) {
            first = first.and(site.close().await);
        }
        Ok(first?)
    }
}

/// Boots a machine on one stand-in, listens to what it sees, and takes it down.
async fn visit(stage: &TestEnvironment, site: &StandInSite, place: usize) -> Result<Seen, ScenarioError> {
    let label = site.label();
    let step = stage.evidence.step("", label);
    let looked = look(stage, site).await;
    let closed = site.close().await;
    let (hello, boot_ms) = step.with(looked)?;
    closed?;
    Ok(Seen { place, profile: site.profile().clone(), remarks: site.remarks(), hello, boot_ms })
}

async fn look(stage: &TestEnvironment, site: &StandInSite) -> Result<(Hello, u64), ScenarioError> {
    let machine = MachineId::from("shop");
    setup::install(site, &machine, &stage.image, &stage.evidence.dir().join("install").join(site.label()))
        .await?;
    site.start(&machine).await?;
    let boot = site.boot_after(&machine, 0).await;
    let hello = boot.guest.ready(BOOT_WITHIN).await?;
    Ok((hello, millis(boot.guest.powered_on().elapsed())))
}

/// What the guest sees of the platform; nothing that differs from run to run.
fn lines(label: &str, hello: &Hello) -> Vec<String> {
    let Hello { vendor, product, chassis_tag, firmware, .. } = hello;
    let chassis = if chassis_tag.is_empty() { "no chassis tag" } else { chassis_tag };
    let mut lines = vec![format!("{vendor} | {product} | {chassis} | {firmware}")];
    let disks = hello.disks.iter();
    lines.extend(disks.map(|disk| format!("disk {}: {} on {}", disk.role, disk.model, disk.driver)));
    lines.extend(hello.nics.iter().map(|nic| format!("card: {} driven by {}", nic.model, nic.driver)));
    lines.into_iter().map(|line| format!("{label}: {line}")).collect()
}

/// ST-01: the guest sees the platform that its stand-in is described to be.
pub(crate) fn expect(rules: &mut RuleLog, profile: &Profile, hello: &Hello) {
    let wrong = differences(&profile.hardware, hello);
    let text = if wrong.is_empty() { "seen as described".to_owned() } else { wrong.join("; ") };
    rules.check(ST_01, wrong.is_empty(), format!("{}: {text}", profile.label));
}

/// Where the guest sees something else than the stand-in is described to show.
fn differences(expected: &Hardware, hello: &Hello) -> Vec<String> {
    let identity = &expected.identity;
    let firmware = match expected.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    let mut pairs = vec![
        ("vendor".to_owned(), identity.vendor.clone(), &hello.vendor),
        ("product".to_owned(), identity.product.clone(), &hello.product),
        ("chassis tag".to_owned(), identity.chassis_tag.clone().unwrap_or_default(), &hello.chassis_tag),
        ("firmware".to_owned(), firmware.to_owned(), &hello.firmware),
    ];
    let nothing = String::new();
    for (role, bus) in setup::DISKS.into_iter().zip([&expected.system_disk, &expected.other_disks]) {
        let disk = hello.disks.iter().find(|disk| disk.role == role);
        let driver = disk.map_or(&nothing, |disk| &disk.driver);
        pairs.push((format!("driver of disk {role}"), bus.controller.driver().to_owned(), driver));
        if let Some(wanted) = bus.model_in_linux() {
            let model = disk.map_or(&nothing, |disk| &disk.model);
            pairs.push((format!("model of disk {role}"), wanted, model));
        }
    }
    let card = hello.nics.first().map_or(&nothing, |nic| &nic.driver);
    pairs.push(("driver of the network card".to_owned(), expected.nic.driver().to_owned(), card));
    let wrong = pairs.into_iter().filter(|(_, wanted, seen)| wanted != *seen);
    wrong.map(|(what, wanted, seen)| format!("{what} is {seen:?}, described as {wanted:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use witness::protocol::{GuestDisk, GuestNic};

    type Spoil = fn(&mut Hello);

    fn as_vmware() -> Hello {
        let disk = |role: &str| GuestDisk {
            role: role.to_owned(),
            driver: "vmw_pvscsi".to_owned(),
            device: "sda".to_owned(),
            model: "VMware Virtual disk".to_owned(),
            bytes: 1,
            stable_writes: true,
        };
        let nic =
            GuestNic { driver: "vmxnet3".to_owned(), model: "15ad:07b0".to_owned(), address: String::new() };
        Hello {
            protocol: 1,
            agent_version: String::new(),
            uptime_ms: 1,
            boot_id: String::new(),
            kernel: String::new(),
            vendor: "VMware, Inc.".to_owned(),
            product: "VMware Virtual Platform".to_owned(),
            chassis_tag: String::new(),
            firmware: "bios".to_owned(),
            boot_drivers: vec![],
            disks: vec![disk("system"), disk("data")],
            nics: vec![nic],
        }
    }

    #[test]
    fn a_guest_that_sees_what_is_described_differs_in_nothing() {
        assert_eq!(differences(&profile::vmware().hardware, &as_vmware()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_a_guest_sees_otherwise_is_named() {
        let spoilt: [(&str, Spoil); 6] = [
            ("vendor", |hello| hello.vendor.clear()),
            ("chassis tag", |hello| hello.chassis_tag.push('x')),
            ("firmware", |hello| hello.firmware = "uefi".to_owned()),
            ("driver of disk data", |hello| hello.disks[1].driver = "ahci".to_owned()),
            ("model of disk system", |hello| hello.disks.remove(0).model.clear()),
            ("driver of the network card", |hello| hello.nics.clear()),
        ];
        for (what, spoil) in spoilt {
            let mut hello = as_vmware();
            spoil(&mut hello);
            let wrong = differences(&profile::vmware().hardware, &hello);
            assert!(wrong.iter().any(|line| line.starts_with(what)), "{what}: {wrong:?}");
        }
    }
}

//! The hardware that a guest sees on each stand-in: SMBIOS, firmware, controllers, disks, network
//! card.
//!
//! Failover between platforms is hard because the hardware changes under the guest. This scenario
//! boots a machine on every stand-in and records what changes.

use std::sync::Arc;

use async_trait::async_trait;
use contract::MachineId;
use standins::{OwnFailure, Profile, StandInSite, profile};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use witness::protocol::Hello;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::ScenarioOutcome;
use crate::real::context::BOOT_WITHIN;
use crate::real::edge::measure::millis;
use crate::real::edge::platform_identity;
use crate::real::environment::TestEnvironment;
use crate::real::scenario_run::ScenarioRun;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::rules::RuleLog;

/// Guests that run at a time.
const AT_A_TIME: usize = 2;

pub(crate) const SCRIPT: Script = Script {
    edges: Vec::new,
    repeatable: false,
    needs: &[],
    start: Start::OnItsOwn(|run, _, evidence| Box::pin(open(run, evidence))),
};

/// One guest on every stand-in.
struct IdentityRun {
    environment: Arc<TestEnvironment>,
    slots: Arc<Semaphore>,
    sites: Arc<Mutex<Vec<Arc<StandInSite>>>>,
    observed: Mutex<Vec<Observation>>,
}

/// A stand-in as its guest sees it.
struct Observation {
    /// The stand-in's place in the list of all.
    place: usize,
    profile: Profile,
    remarks: Vec<String>,
    hello: Hello,
    boot_ms: u64,
}

async fn open(run: &RunContext, evidence: &Arc<Evidence>) -> Result<Arc<dyn ScenarioRun>, ScenarioError> {
    let environment = Arc::new(TestEnvironment::open(run, evidence).await?);
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    Ok(Arc::new(IdentityRun { environment, slots, sites: Arc::default(), observed: Mutex::default() }))
}

#[async_trait]
impl ScenarioRun for IdentityRun {
    async fn run(&self) -> Result<(), ScenarioError> {
        let mut observations = JoinSet::new();
        for (place, (name, _)) in profile::ALL.into_iter().enumerate() {
            let environment = Arc::clone(&self.environment);
            let slots = Arc::clone(&self.slots);
            let sites = Arc::clone(&self.sites);
            observations.spawn(async move {
                let _slot = slots.acquire().await.map_err(anyhow::Error::from)?;
                let site = environment.site(name).await?;
                sites.lock().await.push(Arc::clone(&site));
                observe(&environment, &site, place).await
            });
        }
        while let Some(ended) = observations.join_next().await {
            let observation = ended.map_err(anyhow::Error::from)??;
            self.observed.lock().await.push(observation);
        }
        Ok(())
    }

    async fn record(&self, outcome: &mut ScenarioOutcome) {
        let mut observed = self.observed.lock().await;
        observed.sort_by_key(|observation| observation.place);
        let mut rules = RuleLog::default();
        for Observation { profile, hello, boot_ms, remarks, .. } in observed.iter() {
            platform_identity::check(&mut rules, profile, hello);
            outcome.boots_ms.push(*boot_ms);
            outcome.remarks.extend_from_slice(remarks);
            outcome.trace.extend(lines(profile.label, hello));
        }
        outcome.rules = rules.into_outcomes();
    }

    async fn unexplained_ends(&self) -> Vec<OwnFailure> {
        self.sites.lock().await.iter().flat_map(|site| site.unexplained_ends()).collect()
    }

    async fn close(&self, _failed: bool) -> Result<(), ScenarioError> {
        // Every observation closes its own site; this closes the sites of interrupted ones.
        let mut first = Ok(());
        for site in self.sites.lock().await.drain(..) {
            first = first.and(site.close().await);
        }
        Ok(first?)
    }
}

/// Boots a machine on one stand-in, records what its guest sees, and closes the stand-in.
async fn observe(
    environment: &TestEnvironment,
    site: &StandInSite,
    place: usize,
) -> Result<Observation, ScenarioError> {
    let step = environment.evidence.step("", site.label());
    let booted = boot(environment, site).await;
    let closed = site.close().await;
    let (hello, boot_ms) = step.with(booted)?;
    closed?;
    Ok(Observation { place, profile: site.profile().clone(), remarks: site.remarks(), hello, boot_ms })
}

/// Boots a machine. Returns its witness's hello and the milliseconds until that came.
async fn boot(environment: &TestEnvironment, site: &StandInSite) -> Result<(Hello, u64), ScenarioError> {
    use contract::Platform as _;
    let machine = MachineId::from("shop");
    let dir = environment.evidence.dir().join("install").join(site.label());
    setup::install(site, &machine, &environment.image, &dir).await?;
    site.start(&machine).await?;
    let boot = site.boot_after(&machine, 0).await;
    let hello = boot.guest.ready(BOOT_WITHIN).await?;
    Ok((hello, millis(boot.guest.powered_on().elapsed())))
}

/// Trace lines of what a guest sees; only what is the same in every run.
fn lines(label: &str, hello: &Hello) -> Vec<String> {
    let Hello { vendor, product, chassis_tag, firmware, .. } = hello;
    let chassis = if chassis_tag.is_empty() { "no chassis tag" } else { chassis_tag };
    let mut lines = vec![format!("{vendor} | {product} | {chassis} | {firmware}")];
    let disks = hello.disks.iter();
    lines.extend(disks.map(|disk| format!("disk {}: {} on {}", disk.role, disk.model, disk.driver)));
    lines.extend(hello.nics.iter().map(|nic| format!("card: {} driven by {}", nic.model, nic.driver)));
    lines.into_iter().map(|line| format!("{label}: {line}")).collect()
}

//! Everything that can be observed of a core and its sites, to show that a refused request left no
//! side effects.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    Component, ItemView, JobFilter, JobView, MachineId, MachineSpec, PolicyView, RecoveryPlan, VolumeId,
};
use simulator::testbed::{Testbed, cloud_machine, test_machine};
use simulator::{Event, SimSite, Snapshot};

/// Calls that change nothing at a site, as the site's trace names them.
const READS: [&str; 5] = ["Site:", "Infrastructure:", "Machine:", "Machines:", "Volume:"];
const SECTOR: usize = 512;

/// The state of a core and its sites at one moment.
pub struct ObservableState {
    items: Vec<ItemView>,
    jobs: Vec<JobView>,
    plans: Vec<RecoveryPlan>,
    policies: Vec<PolicyView>,
    sites: Vec<SiteState>,
}

struct SiteState {
    trace: Vec<Event>,
    fingerprint: u64,
    contents: BTreeMap<VolumeId, Snapshot>,
    stock: SiteStock,
}

/// Machines, volumes and components of a site, without the volumes' content.
#[derive(Debug, PartialEq)]
struct SiteStock {
    machines: BTreeMap<MachineId, MachineState>,
    volumes: Vec<VolumeId>,
    components: Vec<Component>,
    left_open: usize,
}

#[derive(Debug, PartialEq)]
struct MachineState {
    spec: Option<MachineSpec>,
    boots: usize,
    runs: bool,
}

impl ObservableState {
    /// Looks at the core, and at the sites without a call that they would count.
    pub async fn of(testbed: &Testbed) -> Self {
        let core = &testbed.core;
        let items = core.items().await.unwrap();
        let machines = machines_of(&items);
        Self {
            items,
            jobs: core.jobs(&JobFilter::default()).await.unwrap(),
            plans: core.plans().await.unwrap(),
            policies: core.policies().await.unwrap(),
            sites: testbed.sites().map(|site| SiteState::of(site, &machines)).into(),
        }
    }

    /// How many jobs the core lists.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Asserts that nothing has changed since. `by` names the request that must not have changed
    /// anything.
    pub async fn assert_unchanged(&self, testbed: &Testbed, by: &str) {
        let now = Self::of(testbed).await;
        assert_eq!(now.items, self.items, "{by}: the items");
        assert_eq!(now.jobs, self.jobs, "{by}: the jobs");
        assert_eq!(now.plans, self.plans, "{by}: the plans");
        assert_eq!(now.policies, self.policies, "{by}: the policies");
        for (number, (before, now)) in self.sites.iter().zip(&now.sites).enumerate() {
            before.assert_unchanged(now, &format!("{by}, site {number}"));
        }
    }

    /// Asserts that the sites have the same machines, volumes and components as before. Time may
    /// have passed, so that guests may have written.
    pub async fn assert_same_stock(&self, testbed: &Testbed, by: &str) {
        let now = Self::of(testbed).await;
        for (number, (before, now)) in self.sites.iter().zip(&now.sites).enumerate() {
            assert_eq!(now.stock, before.stock, "{by}, site {number}");
        }
    }
}

/// Every machine that the tests or these items have.
fn machines_of(items: &[ItemView]) -> BTreeSet<MachineId> {
    let mut sources: BTreeSet<_> = items.iter().map(|item| item.primary.1.clone()).collect();
    sources.insert("web".into());
    let targets = items.iter().map(|item| item.recovery.1.clone());
    let copies = sources.iter().flat_map(|MachineId(name)| [cloud_machine(name), test_machine(name)]);
    let others: Vec<_> = targets.chain(copies).collect();
    sources.extend(others);
    sources
}

impl SiteState {
    fn of(site: &SimSite, machines: &BTreeSet<MachineId>) -> Self {
        let volumes = site.volumes();
        let content = |id: &VolumeId| site.snapshot(id).map(|content| (id.clone(), content));
        let contents = volumes.iter().filter_map(content).collect();
        let machines = machines.iter().map(|id| (id.clone(), MachineState::of(site, id))).collect();
        let components = site.components().all();
        let stock = SiteStock { machines, volumes, components, left_open: site.left_open() };
        Self { trace: site.trace(), fingerprint: site.fingerprint(), contents, stock }
    }

    fn assert_unchanged(&self, now: &Self, by: &str) {
        let calls = &now.trace[self.trace.len()..];
        let is_read = |event: &&Event| READS.iter().any(|read| event.what.starts_with(read));
        let changes: Vec<_> = calls.iter().filter(|event| !is_read(event)).collect();
        assert!(changes.is_empty(), "{by}: {changes:?}");
        assert!(!calls.is_empty() || now.fingerprint == self.fingerprint, "{by}: the fingerprint");
        assert_eq!(now.stock, self.stock, "{by}");
        for (id, before) in &self.contents {
            let now = now.contents.get(id).unwrap_or_else(|| panic!("{by}: {id} cannot be read"));
            assert!(now.differences(before, SECTOR).is_empty(), "{by}: the content of {id}");
        }
    }
}

impl MachineState {
    fn of(site: &SimSite, id: &MachineId) -> Self {
        let boots = site.boots(id);
        Self {
            spec: site.spec(id),
            boots: boots.len(),
            runs: boots.last().is_some_and(|boot| boot.ended().is_none()),
        }
    }
}

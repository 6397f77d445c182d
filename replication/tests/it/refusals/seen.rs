//! All that can be seen of a core and its sites, to tell whether a refusal left anything behind.

use std::collections::BTreeMap;

use contract::{ErrorCode, ItemView, JobId, JobView, MachineId, MachineSpec, ReplicationCore, VolumeId};
use simulator::{Event, SimSite, Snapshot};

use crate::refusals::house::{MACHINE, test_machine};
use crate::support::{Pair, dr};

/// Calls that change nothing at a site, as the trace names them.
const READS: [&str; 4] = ["Site:", "Machine:", "Machines:", "Volume:"];
const SECTOR: usize = 512;

/// What is there at one moment.
pub struct Seen {
    items: Vec<ItemView>,
    jobs: Vec<JobView>,
    sites: [SiteSeen; 2],
}

struct SiteSeen {
    trace: Vec<Event>,
    fingerprint: u64,
    machines: BTreeMap<MachineId, MachineSeen>,
    volumes: Vec<(VolumeId, Snapshot)>,
    left_open: usize,
}

#[derive(Debug, PartialEq)]
struct MachineSeen {
    spec: Option<MachineSpec>,
    boots: usize,
    runs: bool,
}

impl Seen {
    /// Looks without asking the sites anything that they would put on record.
    pub async fn of(pair: &Pair) -> Self {
        Self {
            items: pair.core.items().await.unwrap(),
            jobs: jobs(pair).await,
            sites: [SiteSeen::of(&pair.primary), SiteSeen::of(&pair.recovery)],
        }
    }

    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Asserts that nothing was changed since by what was refused.
    pub async fn unchanged(&self, pair: &Pair, by: &str) {
        let now = Self::of(pair).await;
        assert_eq!(now.items, self.items, "{by}: the items");
        assert_eq!(now.jobs, self.jobs, "{by}: the jobs");
        for (site, (before, now)) in
            ["primary", "recovery"].into_iter().zip(self.sites.iter().zip(&now.sites))
        {
            before.unchanged(now, &format!("{by}, {site} site"));
        }
    }
}

impl SiteSeen {
    fn of(site: &SimSite) -> Self {
        let machines = [MACHINE.into(), dr(MACHINE), test_machine()];
        let volume = |id: VolumeId| site.snapshot(&id).map(|content| (id, content));
        Self {
            trace: site.trace(),
            fingerprint: site.fingerprint(),
            machines: machines.into_iter().map(|id| (id.clone(), MachineSeen::of(site, &id))).collect(),
            volumes: site.volumes().into_iter().filter_map(volume).collect(),
            left_open: site.left_open(),
        }
    }

    fn unchanged(&self, now: &Self, by: &str) {
        let news = &now.trace[self.trace.len()..];
        let told: Vec<_> =
            news.iter().filter(|event| !READS.iter().any(|read| event.what.starts_with(read))).collect();
        assert!(told.is_empty(), "{by}: {told:?}");
        assert!(!news.is_empty() || now.fingerprint == self.fingerprint, "{by}: the fingerprint");
        assert_eq!(now.machines, self.machines, "{by}: the machines");
        assert_eq!(now.left_open, self.left_open, "{by}: views and exports that are open");
        let names = |seen: &Self| seen.volumes.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        assert_eq!(names(now), names(self), "{by}: the volumes");
        for ((id, before), (_, now)) in self.volumes.iter().zip(&now.volumes) {
            assert!(now.differences(before, SECTOR).is_empty(), "{by}: the content of {id}");
        }
    }
}

impl MachineSeen {
    fn of(site: &SimSite, id: &MachineId) -> Self {
        let boots = site.boots(id);
        Self {
            spec: site.spec(id),
            boots: boots.len(),
            runs: boots.last().is_some_and(|boot| boot.ended().is_none()),
        }
    }
}

/// Every job there is. They are counted from 1.
async fn jobs(pair: &Pair) -> Vec<JobView> {
    let mut jobs = Vec::new();
    loop {
        match pair.core.job(&JobId(format!("job-{}", jobs.len() + 1))).await {
            Ok(job) => jobs.push(job),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::UnknownId);
                return jobs;
            }
        }
    }
}

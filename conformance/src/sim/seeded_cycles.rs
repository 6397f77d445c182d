//! Whole cycles, one a seed.
//!
//! Each seed gives other writes, another moment of the disaster and another phase of replication. The seeds of a
//! run follow from its id; `ROUNDTRIP_SEED` runs a single one again.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::{
    Bytes, CoreError, Direction, EnableProtection, FailoverKind, FailoverRequest, ItemId, JobId, JobState,
    MachineId, Millis, Phase, Platform, PointChoice, Policy, ReplicationCore, ReprotectRequest, Side, SiteId,
    TargetSettings, Timestamp,
};
use simulator::{Cut, SimBoot, SimConfig, SimInstall, SimProfile, SimSite, SimWorld, cut_of, last_record};

use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::mutants::Planned;
use crate::outcome::{DiskEvidence, DiskOutcome, EdgeOutcome, Rpo, Rto, ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::sim::said;

/// Cycles of one run.
const SEEDS: u64 = 64;
/// Time between two transfers, virtual.
const INTERVAL: Millis = Millis(60_000);
/// A guest's boot takes less, virtual.
const BOOT: Millis = Millis(10_000);
const MACHINE: &str = "web";
/// Name of the replication policy.
const POLICY: &str = "every-minute";
/// Kinds of edges.
const EDGES: [&str; 2] = ["failover", "failback"];
/// Failed edges of a kind that are kept in the report; the first one tells the seed.
const SHOWN: usize = 4;

/// Runs a cycle for each seed and notes what each brought.
pub(crate) fn run(
    context: &RunContext,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Result<Verdict> {
    let mut verdict = Verdict::Pass;
    let seeds = seeds(context)?;
    for (done, seed) in (1..).zip(&seeds) {
        let result = one(*seed, context.mutant.as_deref());
        verdict = verdict.and(note(outcome, rules, *seed, result));
        evidence.progress("cycles", "seeds", done, seeds.len() as u64, "seeds");
    }
    outcome.edges = condensed(std::mem::take(&mut outcome.edges));
    Ok(verdict)
}

fn seeds(context: &RunContext) -> Result<Vec<u64>> {
    if let Ok(seed) = std::env::var("ROUNDTRIP_SEED") {
        return Ok(vec![seed.parse().context("ROUNDTRIP_SEED is not a number")?]);
    }
    let first = context.chance("sim") % 1_000_000_000;
    Ok((first..first + SEEDS).collect())
}

/// What one seed brought: its edges, or why it did not get to its end.
type Cycle = Result<Vec<EdgeOutcome>, String>;

fn one(seed: u64, mutant: Option<&str>) -> Cycle {
    let mutant = match mutant {
        None => None,
        Some(words) => Some(Planned::parse(words).ok_or_else(|| format!("there is no mutant {words}"))?),
    };
    let dir = crate::sim::testbed::in_memory()?;
    let path = dir.path().to_owned();
    simulator::run(seed, async |world| cycle(world, path, mutant).await)
}

/// What a person wants to see of many seeds: of each kind of edge the worst that passed, and what failed.
fn condensed(edges: Vec<EdgeOutcome>) -> Vec<EdgeOutcome> {
    let mut kept: Vec<EdgeOutcome> = Vec::new();
    for kind in EDGES {
        let (passed, failed): (Vec<_>, Vec<_>) = edges
            .iter()
            .filter(|edge| edge.name.starts_with(kind))
            .cloned()
            .partition(|edge| edge.verdict == Verdict::Pass);
        let count = passed.len();
        kept.extend(passed.into_iter().max_by_key(|edge| edge.rpo.ms).map(|mut worst| {
            worst.name = format!("{}, worst of {count}", worst.name);
            worst
        }));
        kept.extend(failed.into_iter().take(SHOWN));
    }
    kept
}

/// Adds a seed's edges and what they say of the rules.
fn note(outcome: &mut ScenarioOutcome, rules: &mut RuleLog, seed: u64, cycle: Cycle) -> Verdict {
    let edges = match cycle {
        Ok(edges) => edges,
        Err(why) => {
            let why = format!("seed {seed}: {why}; ROUNDTRIP_SEED={seed} runs it again");
            rules.expect("LC-01", false, why.clone());
            if outcome.why.is_empty() {
                outcome.why = why;
            }
            return Verdict::Fail;
        }
    };
    rules.expect("LC-01", true, "every seed's cycle ended where it began");
    let mut verdict = Verdict::Pass;
    for edge in edges {
        let held = edge.verdict == Verdict::Pass;
        rules.expect("FO-10", held, format!("seed {seed}, {}: {}", edge.name, edge.disks[0].words));
        if edge.name.starts_with("failback") {
            rules.expect(
                "LC-09",
                held && edge.rpo.records == 0,
                format!("seed {seed}: {} lost", edge.rpo.records),
            );
        } else {
            rules.expect("FO-09", held, format!("seed {seed}: the source site was lost"));
        }
        if !held && outcome.why.is_empty() {
            outcome.why = format!("{}: {}; ROUNDTRIP_SEED={seed} runs it again", edge.name, edge.why);
        }
        verdict = verdict.and(edge.verdict);
        outcome.edges.push(edge);
    }
    verdict
}

struct Run {
    world: SimWorld,
    primary: Arc<SimSite>,
    recovery: Arc<SimSite>,
    core: replication::Core,
    item: ItemId,
}

async fn cycle(world: SimWorld, dir: std::path::PathBuf, mutant: Option<Arc<Planned>>) -> Cycle {
    let seed = world.seed();
    let primary = world.site(SimConfig::new("primary", SimProfile::VMWARE));
    let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
    let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
    platforms.insert("primary".into(), primary.clone());
    platforms.insert("recovery".into(), recovery.clone());
    let enter = |edge: &str| mutant.iter().for_each(|mutant| mutant.enter(edge));
    let tap = mutant.clone().map(|mutant| mutant as Arc<dyn replication::fault_hook::FaultHook>);
    let clock = world.clock().clone();
    let clock = replication::Clock::new(move || clock.now());
    let core = replication::Core::open(replication::Config { platforms, dir, fault_hook: tap, clock })
        .map_err(said)?;
    let run = Run { world, primary, recovery, core, item: ItemId::from("item") };
    run.protect().await?;
    enter(EDGES[0]);
    run.points(4).await?;
    run.live(Millis(seed.wrapping_mul(7919) % INTERVAL.0)).await;
    let out = run.fail_over(seed).await?;
    run.ended(run.core.commit(&run.item).await).await?;
    run.primary.restore();
    enter(EDGES[1]);
    run.reprotect(Direction::RecoveryToPrimary).await?;
    run.live(Millis(seed.wrapping_mul(104_729) % INTERVAL.0)).await;
    let back = run.fail_back(seed).await?;
    run.ended(run.core.commit(&run.item).await).await?;
    run.reprotect(Direction::PrimaryToRecovery).await?;
    let view = run.core.item(&run.item).await.map_err(said)?;
    run.core.close().await.map_err(said)?;
    let at_start = view.protection.phase == Phase::Protected && view.protection.active == Side::Primary;
    if !at_start {
        return Err(format!("the cycle ends {:?}", view.protection));
    }
    let open = run.primary.left_open() + run.recovery.left_open();
    if open > 0 {
        return Err(format!("{open} exports and views are left open"));
    }
    Ok(vec![out, back])
}

impl Run {
    async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    async fn protect(&self) -> Result<(), String> {
        let refused = |error: contract::PlatformError| error.to_string();
        self.primary.install(&SimInstall::new(MACHINE)).map_err(refused)?;
        self.primary.start(&MACHINE.into()).await.map_err(refused)?;
        self.live(INTERVAL).await;
        let policy =
            Policy { most_points: Some(3), ..Policy::for_machines_of(self.primary.profile().kind, INTERVAL) };
        self.core.create_policy(&POLICY.into(), &policy).await.map_err(said)?;
        let request = EnableProtection {
            item: self.item.clone(),
            primary: "primary".into(),
            machine: MACHINE.into(),
            recovery: "recovery".into(),
            target: TargetSettings::new(cloud(), Bytes(1 << 30)),
            policy: POLICY.into(),
            group: None,
        };
        self.ended(self.core.enable_protection(&request).await).await
    }

    async fn points(&self, count: u64) -> Result<(), String> {
        self.core.watch_points(&self.item, count).await.map(drop).map_err(said)
    }

    /// Follows a job to its end, which must be a good one.
    async fn ended(&self, job: Result<JobId, CoreError>) -> Result<(), String> {
        let job = job.map_err(said)?;
        let mut view = self.core.job(&job).await.map_err(said)?;
        while !view.state.ended() {
            view = self.core.watch_job(&job, view.revision).await.map_err(said)?;
        }
        match view.state {
            JobState::Completed | JobState::CompletedWithWarning => Ok(()),
            _ => Err(format!("{:?} ended {:?}: {:?}", view.kind, view.state, view.error)),
        }
    }

    async fn reprotect(&self, direction: Direction) -> Result<(), String> {
        self.live(INTERVAL).await;
        let (from, to) = match direction {
            Direction::PrimaryToRecovery => (&self.primary, &self.recovery),
            Direction::RecoveryToPrimary => (&self.recovery, &self.primary),
        };
        let request = ReprotectRequest::new(&self.item, direction)
            .with_defaults(&from.components().all(), &to.components().all());
        self.ended(self.core.reprotect(&request).await).await?;
        self.points(3).await
    }

    fn request(&self, direction: Direction) -> FailoverRequest {
        FailoverRequest {
            item: self.item.clone(),
            kind: FailoverKind::Unplanned,
            direction,
            point: PointChoice::Latest,
            shut_down_source: false,
            shutdown_within: Millis(60_000),
            data_sync: None,
            alternate: None,
            certificate: None,
        }
    }

    async fn fail_over(&self, seed: u64) -> Result<EdgeOutcome, String> {
        let struck = self.primary.lose();
        self.live(Millis(1_000)).await;
        let began = self.world.clock().now();
        self.ended(self.core.failover(&self.request(Direction::PrimaryToRecovery)).await).await?;
        self.live(BOOT).await;
        let source = self.primary.last_boot(&MACHINE.into()).ok_or("the source never booted")?;
        let target = self.recovery.last_boot(&cloud()).ok_or("no machine came up")?;
        Ok(judge(&format!("failover (seed {seed})"), &source, &target, struck, began, INTERVAL))
    }

    async fn fail_back(&self, seed: u64) -> Result<EdgeOutcome, String> {
        let began = self.world.clock().now();
        self.ended(self.core.failover(&self.request(Direction::RecoveryToPrimary)).await).await?;
        self.live(BOOT).await;
        let source = self.recovery.last_boot(&cloud()).ok_or("the cloud machine never booted")?;
        let target = self.primary.last_boot(&MACHINE.into()).ok_or("no machine came up")?;
        let struck = source.ended().map_or(began, |(at, _)| at);
        Ok(judge(&format!("failback (seed {seed})"), &source, &target, struck, began, Millis(0)))
    }
}

fn cloud() -> MachineId {
    MachineId(format!("{MACHINE}-dr"))
}

/// Places the recovered disks in the write order, and holds what the guest found inside against it. `most` is what
/// may be lost at most.
fn judge(
    name: &str,
    source: &SimBoot,
    target: &SimBoot,
    struck: Timestamp,
    began: Timestamp,
    most: Millis,
) -> EdgeOutcome {
    let log = source.log();
    let (cut, words) = match cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) {
        Cut::Exact(range) => {
            (Some(*range.end()), format!("exact: the first {} of {} writes", range.end(), log.len()))
        }
        Cut::Broken(offence) => (None, format!("{offence:?}")),
        Cut::Unknown(why) => (None, why),
    };
    let record = cut.map_or(0, |cut| last_record(&log, cut));
    let lost: Vec<_> =
        source.acks().into_iter().filter(|ack| ack.number > record && ack.at <= struck).collect();
    let ms = lost.first().map_or(Millis(0), |ack| struck.since(ack.at));
    let inside = target.found.as_ref().map(|found| (found.contiguous, found.highest));
    let why = match (cut, &target.up) {
        (None, _) => words.clone(),
        (_, Err(why)) => format!("the recovered machine did not come up: {why}"),
        _ if inside != Some((record, record)) => {
            format!("the disks hold {record}, the guest finds {inside:?}")
        }
        _ if ms > most => format!("{ms} were lost, {most} may be"),
        _ => String::new(),
    };
    let after = &log[cut.unwrap_or(log.len())..];
    let bytes = after.iter().map(|write| u64::from(write.length)).sum();
    EdgeOutcome {
        name: name.to_owned(),
        verdict: if why.is_empty() { Verdict::Pass } else { Verdict::Fail },
        why,
        disks: vec![DiskOutcome {
            name: "all".to_owned(),
            oracle: if cut.is_some() { "exact" } else { "broken" }.to_owned(),
            cut: cut.map(|cut| cut as u64),
            of: log.len() as u64,
            compared: source.bases().iter().map(simulator::Snapshot::size).sum(),
            words,
            second_reader: "not asked: simulated".to_owned(),
            evidence: DiskEvidence::default(),
        }],
        rpo: Rpo { ms: ms.0, records: lost.len() as u64, writes: after.len() as u64, bytes },
        rto: Rto { ms: target.up.as_ref().map_or(0, |up| up.since(began).0), ..Rto::default() },
        flip: None,
    }
}

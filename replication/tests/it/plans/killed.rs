//! The core dies in the midst of a plan, at every call it makes and after every write to its store, and its successor
//! goes on where it stopped: no machine has two jobs, and no script runs twice unless it was cut in its midst.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::{
    CoreError, ErrorCode, JobFilter, JobId, JobState, JobSubject, JobView, Millis, Phase,
    PlanFailoverRequest, PlanGroup, PlanState, Platform, PlatformKind, ReplicationCore, Side, SiteId,
};
use replication::fault_hook::{Extent, FaultHook};
use replication::{Clock, Config, Core};
use simulator::{SimConfig, SimInstall, SimProcess, SimProfile, SimSite, SimWorld, run};
use tempfile::TempDir;

use crate::plans::fleet::{
    BOOT, PLAN, failover, group, item, manual, plan, reprotect, shell, test_failover_request,
};
use crate::support::{BACK, INTERVAL, OUT, POLICY, dr, enable, exact, is_up, policy};

const SEED: u64 = 41;
const MACHINES: [&str; 3] = ["db", "cache", "web"];
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// What is done with the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    TestFailover,
    CleanUp,
    FailOver,
    Commit,
    ReprotectBack,
    FailBack,
}

use Stage::{CleanUp, Commit, FailBack, FailOver, ReprotectBack, TestFailover};

const STAGES: [Stage; 6] = [TestFailover, CleanUp, FailOver, Commit, ReprotectBack, FailBack];

/// When the core dies, counted from the beginning of a stage.
#[derive(Clone, Copy, Debug)]
enum Death {
    Call {
        call: u64,
        takes_effect: bool,
    },
    /// After a write to the store, before anything follows from it.
    Write(u64),
}

/// Lets a process die after a write, and keeps the store as it was then.
struct Clerk {
    dir: PathBuf,
    /// What was written when the process died.
    left: PathBuf,
    /// Gone as soon as the core is dead, so that what is still moving of it runs no script.
    alive: PathBuf,
    process: Arc<SimProcess>,
    writes: AtomicU64,
    last: AtomicU64,
    copied: Mutex<bool>,
}

impl FaultHook for Clerk {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn stored(&self) {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.last.load(Ordering::SeqCst) {
            std::fs::remove_file(&self.alive).unwrap();
            copy(&self.dir, &self.left);
            *self.copied.lock().unwrap() = true;
            self.process.kill();
        }
    }
}

/// Copies a core's directory, but not what SQLite makes anew.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&path, &target);
        } else if path.extension().is_none_or(|extension| extension != "db-shm") {
            // A transfer under way may take its file away.
            let _ = std::fs::copy(path, target);
        }
    }
}

/// A core between two sites, in a process, with a plan.
struct House {
    world: SimWorld,
    primary: Arc<SimSite>,
    recovery: Arc<SimSite>,
    process: Arc<SimProcess>,
    clerk: Arc<Clerk>,
    core: Core,
    dir: TempDir,
    /// Calls and writes of the last stage.
    took: (u64, u64),
}

impl House {
    async fn new(world: SimWorld) -> Self {
        let primary = world.site(SimConfig::new("primary", SimProfile::VMWARE));
        let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::write(dir.path().join("alive"), "").unwrap();
        let process = SimProcess::new();
        let (clerk, core) = open(dir.path(), "1", &process, [&primary, &recovery]);
        let house = Self { world, primary, recovery, process, clerk, core, dir, took: (0, 0) };
        house.core.create_policy(&POLICY.into(), &policy(PlatformKind::Vmware, 3)).await.unwrap();
        for machine in MACHINES {
            house.primary.install(&SimInstall::new(machine)).unwrap();
            house.primary.start(&machine.into()).await.unwrap();
            let job = house.core.enable_protection(&enable(&item(machine), machine)).await.unwrap();
            assert_eq!(house.follow(&job).await.state, JobState::Completed);
        }
        house.points().await;
        let first = PlanGroup {
            before: vec![house.script("announce")],
            after: vec![manual("check"), house.script("greet")],
            ..group(&["db", "cache"])
        };
        let second = PlanGroup { after: vec![house.script("done")], ..group(&["web"]) };
        house.core.create_plan(&plan(&[first, second])).await.unwrap();
        house
    }

    /// A script that writes its name down, while the core lives.
    fn script(&self, name: &str) -> contract::PlanAction {
        let lines = format!("test -e \"$0/alive\" || exit 0; echo {name} >> \"$0/notes\"");
        shell(name, &lines, self.dir.path())
    }

    /// How often each script has run since they were counted last.
    fn scripts_run(&self) -> BTreeMap<String, u32> {
        let path = self.dir.path().join("notes");
        let mut runs = BTreeMap::new();
        for name in std::fs::read_to_string(&path).unwrap_or_default().lines() {
            *runs.entry(name.to_owned()).or_default() += 1;
        }
        let _ = std::fs::remove_file(path);
        runs
    }

    async fn points(&self) {
        for machine in MACHINES {
            let item = item(machine);
            let seen = tokio::time::timeout(PATIENCE, self.core.watch_points(&item, 2)).await;
            seen.unwrap_or_else(|_| panic!("no point of {machine}")).unwrap();
        }
    }

    async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    /// What happens around the core.
    async fn prepare(&self, stage: Stage) {
        match stage {
            FailBack => self.points().await,
            TestFailover | CleanUp | FailOver | Commit | ReprotectBack => {}
        }
        self.live(Millis(1000)).await;
    }

    async fn ask(&self, stage: Stage) -> Result<JobId, CoreError> {
        let (core, plan) = (&self.core, PLAN.into());
        match stage {
            TestFailover => core.test_failover_plan(&test_failover_request()).await,
            CleanUp => core.clean_up_test_failover_plan(&plan).await,
            FailOver => {
                let request = PlanFailoverRequest { shut_down_source: true, ..failover(OUT) };
                core.failover_plan(&request).await
            }
            Commit => core.commit_plan(&plan).await,
            ReprotectBack => core.reprotect_plan(&reprotect(core, BACK).await).await,
            FailBack => core.failover_plan(&failover(BACK)).await,
        }
    }

    /// Follows a job to its end, doing what is to be done by hand.
    async fn follow(&self, job: &JobId) -> JobView {
        let follow = async {
            let mut view = self.core.job(job).await.unwrap();
            while !view.state.ended() {
                if view.state == JobState::WaitingForManualAction {
                    self.core.resume_job(job).await.unwrap();
                    self.world.settle().await;
                    view = self.core.job(job).await.unwrap();
                    continue;
                }
                view = self.core.watch_job(job, view.revision).await.unwrap();
            }
            view
        };
        tokio::time::timeout(PATIENCE, follow).await.unwrap_or_else(|_| panic!("{job} never ends"))
    }

    fn counted(&self) -> (u64, u64) {
        (self.process.calls(), self.clerk.writes.load(Ordering::SeqCst))
    }

    /// Goes through a stage, and dies in it if told to. Returns the plan's job.
    async fn take(&mut self, stage: Stage, death: Option<Death>) -> JobView {
        self.prepare(stage).await;
        let (calls, writes) = self.counted();
        match death {
            Some(Death::Call { call, takes_effect }) => self.process.die_at(calls + call, takes_effect),
            Some(Death::Write(write)) => self.clerk.last.store(writes + write, Ordering::SeqCst),
            None => {}
        }
        let work = async {
            let job = self.ask(stage).await.unwrap();
            self.follow(&job).await
        };
        tokio::select! {
            biased;
            () = self.process.died() => {}
            view = work => {
                if tokio::time::timeout(Duration::from_millis(5), self.process.died()).await.is_err() {
                    assert!(death.is_none(), "it did not die");
                    let now = self.counted();
                    self.took = (now.0 - calls, now.1 - writes);
                    return view;
                }
            }
        }
        self.restart().await;
        let arrived = self.arrived().await;
        let of_plan = JobFilter { plan: Some(PLAN.into()), ..JobFilter::default() };
        let jobs = self.core.jobs(&of_plan).await.unwrap();
        let own = jobs.into_iter().rfind(|job| matches!(job.subject, JobSubject::Plan(_)));
        let known = own.filter(|job| job.kind == kind(stage) && job.direction == direction(stage));
        let job = match known {
            Some(job) => job.id,
            None => self.ask(stage).await.unwrap(),
        };
        let view = self.follow(&job).await;
        // Whoever served already went on serving.
        for (machine, boots) in arrived {
            assert_eq!(self.recovery.boots(&dr(machine)).len(), boots, "{machine} was started again");
        }
        view
    }

    /// Machines that serve on the recovery side as the store has it, with how often they were started.
    async fn arrived(&self) -> Vec<(&'static str, usize)> {
        let mut arrived = Vec::new();
        for machine in MACHINES {
            let at = self.core.item(&item(machine)).await.unwrap().protection;
            if (at.phase, at.active) == (Phase::CommitPending, Side::Recovery) {
                arrived.push((machine, self.recovery.boots(&dr(machine)).len()));
            }
        }
        arrived
    }

    /// Goes through all stages before one.
    async fn until(&mut self, stage: Stage) {
        for other in STAGES.into_iter().take_while(|other| *other != stage) {
            let job = self.take(other, None).await;
            self.judge(other, &job).await;
        }
    }

    /// Another process takes the dead one's place, on what it left.
    async fn restart(&mut self) {
        let _ = std::fs::remove_file(self.dir.path().join("alive"));
        self.live(Millis(3000)).await;
        std::fs::write(self.dir.path().join("alive"), "").unwrap();
        self.process = SimProcess::new();
        let last = if *self.clerk.copied.lock().unwrap() { "2" } else { "1" };
        let sites = [&self.primary, &self.recovery];
        (self.clerk, self.core) = open(self.dir.path(), last, &self.process, sites);
    }

    /// Everything is as the stage should leave it.
    async fn judge(&self, stage: Stage, job: &JobView) {
        assert_eq!(job.state, JobState::Completed, "{job:#?}");
        let progress = job.plan.as_ref().unwrap();
        assert!(progress.members.iter().all(|member| member.state == PlanState::Done), "{progress:#?}");
        let below = JobFilter { parent: Some(job.id.clone()), ..JobFilter::default() };
        assert_eq!(self.core.jobs(&below).await.unwrap().len(), MACHINES.len());
        let ran = self.scripts_run();
        for action in &progress.actions {
            let ran = ran.get(&action.name).copied().unwrap_or(0);
            let cut = job.steps.iter().any(|step| {
                step.name.starts_with(&action.name) && step.note.contains("the core was stopped")
            });
            match (action.state, action.runs) {
                (PlanState::Skipped, 0) => assert_eq!(ran, 0, "{action:?}"),
                (PlanState::Done, 1) if action.name == "check" => {}
                (PlanState::Done, 1) => assert_eq!(ran, 1, "{action:?}"),
                // Cut in its midst: it may have come to its end all the same.
                (PlanState::Done, 2) => assert!(cut && (1..=2).contains(&ran), "{action:?} ran {ran} times"),
                other => panic!("{other:?}: {action:?}"),
            }
        }
        self.live(BOOT).await;
        for machine in MACHINES {
            let view = self.core.item(&item(machine)).await.unwrap();
            assert_eq!((view.protection.phase, view.protection.active), stands(stage), "{machine}");
            assert_eq!(view.job, None);
            self.runs(stage, machine);
        }
    }

    fn runs(&self, stage: Stage, machine: &str) {
        let here = (&self.primary, contract::MachineId(machine.to_owned()));
        let there = (&self.recovery, dr(machine));
        let test = (&self.recovery, contract::MachineId(format!("{machine}-dr-test")));
        let (from, to) = match stage {
            TestFailover => (here, test),
            FailOver => (here, there),
            FailBack => (there, here),
            CleanUp | Commit | ReprotectBack => return,
        };
        let (source, target) = (from.0.last_boot(&from.1).unwrap(), to.0.last_boot(&to.1).unwrap());
        let (_, record) = exact(&source, &target);
        is_up(to.0, &target, record);
    }
}

fn kind(stage: Stage) -> contract::JobKind {
    use contract::JobKind;
    match stage {
        TestFailover => JobKind::TestFailover,
        CleanUp => JobKind::TestFailoverCleanup,
        FailOver | FailBack => JobKind::UnplannedFailover,
        Commit => JobKind::Commit,
        ReprotectBack => JobKind::Reprotect,
    }
}

fn direction(stage: Stage) -> contract::Direction {
    if matches!(stage, ReprotectBack | FailBack) { BACK } else { OUT }
}

fn stands(stage: Stage) -> (Phase, Side) {
    match stage {
        TestFailover | CleanUp => (Phase::Protected, Side::Primary),
        FailOver => (Phase::CommitPending, Side::Recovery),
        Commit => (Phase::Committed, Side::Recovery),
        ReprotectBack => (Phase::Protected, Side::Recovery),
        FailBack => (Phase::CommitPending, Side::Primary),
    }
}

fn open(root: &Path, life: &str, process: &Arc<SimProcess>, sites: [&Arc<SimSite>; 2]) -> (Arc<Clerk>, Core) {
    let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
    for (id, site) in ["primary", "recovery"].into_iter().zip(sites) {
        platforms.insert(id.into(), process.platform(site));
    }
    let dir = root.join(life);
    let clerk = Arc::new(Clerk {
        dir: dir.clone(),
        left: root.join("2"),
        alive: root.join("alive"),
        process: Arc::clone(process),
        writes: AtomicU64::new(0),
        last: AtomicU64::new(u64::MAX),
        copied: Mutex::new(false),
    });
    let tap: Arc<dyn FaultHook> = clerk.clone();
    let clock = sites[0].clock().clone();
    let clock = Clock::new(move || clock.now());
    let core = Core::open(Config { platforms, dir, fault_hook: Some(tap), clock }).unwrap();
    (clerk, core)
}

/// Goes as far as a stage and through it undisturbed. Returns how many calls and writes the stage takes.
fn undisturbed(stage: Stage) -> (u64, u64) {
    run(SEED, async |world| {
        let mut house = House::new(world).await;
        house.until(stage).await;
        let job = house.take(stage, None).await;
        let took = house.took;
        house.judge(stage, &job).await;
        took
    })
}

fn disturbed(stage: Stage, death: Death) {
    run(SEED, async |world| {
        let mut house = House::new(world).await;
        house.until(stage).await;
        let job = house.take(stage, Some(death)).await;
        house.judge(stage, &job).await;
        house.core.close().await.unwrap();
    });
}

/// Dies at every call and after every write of a stage.
fn die_in(stage: Stage) {
    let began = Instant::now();
    let (calls, writes) = undisturbed(stage);
    assert!(writes > 0, "{stage:?} writes nothing");
    let calls =
        (1..=calls).flat_map(|call| [false, true].map(|takes_effect| Death::Call { call, takes_effect }));
    let deaths: Vec<_> = calls.chain((1..=writes).map(Death::Write)).collect();
    let mut wrong = Vec::new();
    for death in &deaths {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| disturbed(stage, *death))) {
            wrong.push(format!("seed {SEED}, {stage:?}, {death:?}: {}", said(&*panic)));
        }
    }
    let (runs, seconds) = (deaths.len(), began.elapsed().as_secs_f32());
    println!("{stage:?}: {runs} runs in {seconds:.1} s, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {runs} runs:\n{}", wrong.len(), wrong.join("\n"));
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn killed_in_a_test_failover_of_a_plan_it_goes_on() {
    die_in(TestFailover);
}

#[test]
fn killed_in_the_clean_up_of_a_plan_it_goes_on() {
    die_in(CleanUp);
}

#[test]
fn killed_in_the_failover_of_a_plan_it_goes_on() {
    die_in(FailOver);
}

#[test]
fn killed_in_the_commit_of_a_plan_it_goes_on() {
    die_in(Commit);
}

#[test]
fn killed_in_the_reprotection_of_a_plan_it_goes_on() {
    die_in(ReprotectBack);
}

#[test]
fn killed_in_the_failback_of_a_plan_it_goes_on() {
    die_in(FailBack);
}

#[test]
fn plans_and_their_jobs_outlive_the_core() {
    run(SEED, async |world| {
        let mut house = House::new(world).await;
        let job = house.take(TestFailover, None).await;
        let plans = house.core.plans().await.unwrap();
        house.core.close().await.unwrap();
        house.restart().await;
        assert_eq!(house.core.plans().await.unwrap(), plans);
        assert_eq!(house.core.job(&job.id).await.unwrap(), job);
        house.core.delete_plan(&PLAN.into()).await.unwrap();
        house.restart().await;
        assert!(house.core.plans().await.unwrap().is_empty());
        assert_eq!(house.core.delete_plan(&PLAN.into()).await.unwrap_err().code, ErrorCode::UnknownId);
    });
}

#[test]
fn a_core_that_is_killed_while_a_person_is_waited_for_waits_again() {
    run(SEED, async |world| {
        let mut house = House::new(world).await;
        let job = house.core.failover_plan(&failover(OUT)).await.unwrap();
        let mut view = house.core.job(&job).await.unwrap();
        while view.state != JobState::WaitingForManualAction {
            view = house.core.watch_job(&job, view.revision).await.unwrap();
        }
        house.process.kill();
        house.process.died().await;
        house.restart().await;
        house.live(INTERVAL).await;
        let view = house.core.job(&job).await.unwrap();
        assert_eq!(view.state, JobState::WaitingForManualAction);
        assert_eq!(view.plan.as_ref().unwrap().actions[1].runs, 1);
        let view = house.follow(&job).await;
        house.judge(FailOver, &view).await;
    });
}

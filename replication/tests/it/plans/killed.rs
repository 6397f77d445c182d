//! The core dies during a plan, at each call that it makes and after each write to its store, and
//! its successor finishes the plan: no machine gets two jobs, and no script runs twice unless it
//! was interrupted.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::{
    CoreError, Direction, ErrorCode, JobFilter, JobId, JobKind, JobState, JobSubject, JobView, MachineId,
    Millis, Phase, PlanAction, PlanFailoverRequest, PlanGroup, PlanState, Platform, ReplicationCore, Side,
    SiteId,
};
use simulator::testbed::{
    BACK, BOOT, CoreParts, INTERVAL, OUT, Testbed, cloud_machine, enable_request, failover_plan_request,
    group, item_of, manual, plan_id, shell, test_failover_plan_request, test_machine,
};
use simulator::{SimInstall, SimProcess, SimWorld, run};

use crate::support::{Extent, FaultHook, assert_prefix, assert_up, open_core_over, panic_text, setup};

const SEED: u64 = 41;
const MACHINES: [&str; 3] = ["db", "cache", "web"];

/// A request about the plan.
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

/// Lets a process die after a write to the store, and copies the store as it was then.
struct DeathAfterWrite {
    dir: PathBuf,
    /// Where the copy goes.
    left: PathBuf,
    /// A file that is deleted when the core dies, so that what is left of the dead core runs no
    /// script.
    alive: PathBuf,
    process: Arc<SimProcess>,
    writes: AtomicU64,
    last: AtomicU64,
    copied: Mutex<bool>,
}

impl FaultHook for DeathAfterWrite {
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

/// Copies a core's directory, without the files that SQLite recreates.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&path, &target);
        } else if path.extension().is_none_or(|extension| extension != "db-shm") {
            // A transfer may delete its file meanwhile.
            let _ = std::fs::copy(path, target);
        }
    }
}

/// A testbed with a plan, whose core runs in a process that can be killed.
struct PlanRestartFixture {
    testbed: Testbed,
    process: Arc<SimProcess>,
    hook: Arc<DeathAfterWrite>,
    /// Calls and writes of the last stage.
    took: (u64, u64),
}

impl PlanRestartFixture {
    async fn new(world: SimWorld) -> Self {
        let process = SimProcess::new();
        let mut hook = None;
        let open_first = |parts: CoreParts| {
            std::fs::write(parts.dir.join("alive"), "").unwrap();
            let opened = hook.insert(DeathAfterWrite::new(&parts.dir, "1", &process));
            open(parts, &process, opened)
        };
        let testbed = Testbed::open(world, setup(), open_first).unwrap();
        let hook = hook.expect("the core was opened");
        let fixture = Self { testbed, process, hook, took: (0, 0) };
        fixture.protect_machines().await;
        let first = PlanGroup {
            before: vec![fixture.script("announce")],
            after: vec![manual("check"), fixture.script("greet")],
            ..group(&["db", "cache"])
        };
        let second = PlanGroup { after: vec![fixture.script("done")], ..group(&["web"]) };
        fixture.testbed.create_plan(&[first, second]).await.unwrap();
        fixture
    }

    async fn protect_machines(&self) {
        let testbed = &self.testbed;
        testbed.make_policy().await.unwrap();
        for machine in MACHINES {
            testbed.primary.install(&SimInstall::new(machine)).unwrap();
            testbed.primary.start(&machine.into()).await.unwrap();
            let job = testbed.core.enable_protection(&enable_request(machine)).await;
            assert_eq!(testbed.ended(job).await.unwrap().state, JobState::Completed);
        }
        self.points().await;
    }

    /// A script that writes its name down while its core is alive.
    fn script(&self, name: &str) -> PlanAction {
        let lines = format!("test -e \"$0/alive\" || exit 0; echo {name} >> \"$0/notes\"");
        shell(name, &lines, self.testbed.dir())
    }

    /// How often each script has run since this was asked last.
    fn scripts_run(&self) -> BTreeMap<String, u32> {
        let path = self.testbed.dir().join("notes");
        let mut runs = BTreeMap::new();
        for name in std::fs::read_to_string(&path).unwrap_or_default().lines() {
            *runs.entry(name.to_owned()).or_default() += 1;
        }
        let _ = std::fs::remove_file(path);
        runs
    }

    async fn points(&self) {
        for machine in MACHINES {
            self.testbed.wait_for_points(&item_of(machine), 2).await.unwrap();
        }
    }

    /// Does what a stage needs before its request.
    async fn prepare(&self, stage: Stage) {
        match stage {
            FailBack => self.points().await,
            TestFailover | CleanUp | FailOver | Commit | ReprotectBack => {}
        }
        self.testbed.advance(Millis(1000)).await;
    }

    async fn ask(&self, stage: Stage) -> Result<JobId, CoreError> {
        let core = &self.testbed.core;
        let plan = plan_id();
        match stage {
            TestFailover => core.test_failover_plan(&test_failover_plan_request()).await,
            CleanUp => core.clean_up_test_failover_plan(&plan).await,
            FailOver => {
                let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
                core.failover_plan(&request).await
            }
            Commit => core.commit_plan(&plan).await,
            ReprotectBack => core.reprotect_plan(&self.testbed.plan_reprotection(BACK, &MACHINES)).await,
            FailBack => core.failover_plan(&failover_plan_request(BACK)).await,
        }
    }

    /// Follows a job to its end, confirming its manual steps.
    async fn follow(&self, job: &JobId) -> JobView {
        loop {
            let waits = |view: &JobView| view.state == JobState::WaitingForManualAction;
            let view = self.testbed.until(job, waits).await.unwrap();
            if view.state.ended() {
                return view;
            }
            self.testbed.core.resume_job(job).await.unwrap();
            self.testbed.world.settle().await;
        }
    }

    fn counted(&self) -> (u64, u64) {
        (self.process.calls(), self.hook.writes.load(Ordering::SeqCst))
    }

    /// Goes through a stage, and lets the core die in it if a death is given. Returns the plan's
    /// job.
    async fn take(&mut self, stage: Stage, death: Option<Death>) -> JobView {
        self.prepare(stage).await;
        let (calls, writes) = self.counted();
        match death {
            Some(Death::Call { call, takes_effect }) => self.process.die_at(calls + call, takes_effect),
            Some(Death::Write(write)) => self.hook.last.store(writes + write, Ordering::SeqCst),
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
                    assert!(death.is_none(), "the core did not die");
                    let now = self.counted();
                    self.took = (now.0 - calls, now.1 - writes);
                    return view;
                }
            }
        }
        self.restart().await;
        let arrived = self.arrived().await;
        let of_plan = JobFilter { plan: Some(plan_id()), ..JobFilter::default() };
        let jobs = self.testbed.core.jobs(&of_plan).await.unwrap();
        let own = jobs.into_iter().rfind(|job| matches!(job.subject, JobSubject::Plan(_)));
        let known = own.filter(|job| job.kind == kind(stage) && job.direction == direction(stage));
        let job = match known {
            Some(job) => job.id,
            None => self.ask(stage).await.unwrap(),
        };
        let view = self.follow(&job).await;
        // Machines that served already go on serving.
        for (machine, boots) in arrived {
            assert_eq!(
                self.testbed.recovery.boots(&cloud_machine(machine)).len(),
                boots,
                "{machine} was started again"
            );
        }
        view
    }

    /// The machines that have failed over by the core's store, with how often each was started.
    async fn arrived(&self) -> Vec<(&'static str, usize)> {
        let mut arrived = Vec::new();
        for machine in MACHINES {
            let at = self.testbed.core.item(&item_of(machine)).await.unwrap().protection;
            if (at.phase, at.active) == (Phase::CommitPending, Side::Recovery) {
                arrived.push((machine, self.testbed.recovery.boots(&cloud_machine(machine)).len()));
            }
        }
        arrived
    }

    /// Goes through all stages before this one.
    async fn until(&mut self, stage: Stage) {
        for other in STAGES.into_iter().take_while(|other| *other != stage) {
            let job = self.take(other, None).await;
            self.judge(other, &job).await;
        }
    }

    /// Starts another process, on what the dead one left.
    async fn restart(&mut self) {
        let alive = self.testbed.dir().join("alive");
        let _ = std::fs::remove_file(&alive);
        self.testbed.advance(Millis(3000)).await;
        std::fs::write(alive, "").unwrap();
        self.process = SimProcess::new();
        let directory = if *self.hook.copied.lock().unwrap() { "2" } else { "1" };
        self.hook = DeathAfterWrite::new(self.testbed.dir(), directory, &self.process);
        self.testbed.core = open(self.testbed.parts(), &self.process, &self.hook).unwrap();
    }

    /// Asserts that the stage did what it has to do.
    async fn judge(&self, stage: Stage, job: &JobView) {
        assert_eq!(job.state, JobState::Completed, "{job:#?}");
        let progress = job.plan.as_ref().unwrap();
        assert!(progress.members.iter().all(|member| member.state == PlanState::Done), "{progress:#?}");
        let below = JobFilter { parent: Some(job.id.clone()), ..JobFilter::default() };
        assert_eq!(self.testbed.core.jobs(&below).await.unwrap().len(), MACHINES.len());
        let ran = self.scripts_run();
        for action in &progress.actions {
            let ran = ran.get(&action.name).copied().unwrap_or(0);
            let interrupted = job.steps.iter().any(|step| {
                step.name.starts_with(&action.name) && step.note.contains("the core was stopped")
            });
            match (action.state, action.runs) {
                (PlanState::Skipped, 0) => assert_eq!(ran, 0, "{action:?}"),
                (PlanState::Done, 1) if action.name == "check" => {}
                (PlanState::Done, 1) => assert_eq!(ran, 1, "{action:?}"),
                // The script was interrupted, and may have ended all the same.
                (PlanState::Done, 2) => {
                    assert!(interrupted && (1..=2).contains(&ran), "{action:?} ran {ran} times")
                }
                other => panic!("{other:?}: {action:?}"),
            }
        }
        self.testbed.advance(BOOT).await;
        for machine in MACHINES {
            let view = self.testbed.core.item(&item_of(machine)).await.unwrap();
            assert_eq!((view.protection.phase, view.protection.active), expected_state(stage), "{machine}");
            assert_eq!(view.job, None);
            self.assert_recovered(stage, machine);
        }
    }

    /// Asserts that the machine that a stage starts is up, with an exact prefix of its source's
    /// writes.
    fn assert_recovered(&self, stage: Stage, machine: &str) {
        let Testbed { primary, recovery, .. } = &self.testbed;
        let original = (primary, MachineId::from(machine));
        let copy = (recovery, cloud_machine(machine));
        let (from, to) = match stage {
            TestFailover => (original, (recovery, test_machine(machine))),
            FailOver => (original, copy),
            FailBack => (copy, original),
            CleanUp | Commit | ReprotectBack => return,
        };
        let source = from.0.last_boot(&from.1).unwrap();
        let target = to.0.last_boot(&to.1).unwrap();
        let record = assert_prefix(&source, &target).last_record;
        assert_up(to.0, &target, record);
    }
}

fn kind(stage: Stage) -> JobKind {
    match stage {
        TestFailover => JobKind::TestFailover,
        CleanUp => JobKind::TestFailoverCleanup,
        FailOver | FailBack => JobKind::UnplannedFailover,
        Commit => JobKind::Commit,
        ReprotectBack => JobKind::Reprotect,
    }
}

fn direction(stage: Stage) -> Direction {
    if matches!(stage, ReprotectBack | FailBack) { BACK } else { OUT }
}

fn expected_state(stage: Stage) -> (Phase, Side) {
    match stage {
        TestFailover | CleanUp => (Phase::Protected, Side::Primary),
        FailOver => (Phase::CommitPending, Side::Recovery),
        Commit => (Phase::Committed, Side::Recovery),
        ReprotectBack => (Phase::Protected, Side::Recovery),
        FailBack => (Phase::CommitPending, Side::Primary),
    }
}

impl DeathAfterWrite {
    /// Watches the store in this directory below `root`.
    fn new(root: &Path, directory: &str, process: &Arc<SimProcess>) -> Arc<Self> {
        Arc::new(Self {
            dir: root.join(directory),
            left: root.join("2"),
            alive: root.join("alive"),
            process: Arc::clone(process),
            writes: AtomicU64::new(0),
            last: AtomicU64::new(u64::MAX),
            copied: Mutex::new(false),
        })
    }
}

/// Opens a core over the store that `hook` watches, whose calls to the primary and the recovery
/// site belong to a process.
fn open(
    parts: CoreParts,
    process: &Arc<SimProcess>,
    hook: &Arc<DeathAfterWrite>,
) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let of_process =
        |id: &str| -> (SiteId, Arc<dyn Platform>) { (id.into(), process.platform(&parts.sites[&id.into()])) };
    let platforms: BTreeMap<_, _> = ["primary", "recovery"].map(of_process).into();
    let hook = Arc::clone(hook);
    open_core_over(platforms, CoreParts { dir: hook.dir.clone(), ..parts }, Some(hook))
}

/// Goes to a stage and through it without a death. Returns how many calls and writes the stage
/// takes.
fn undisturbed(stage: Stage) -> (u64, u64) {
    run(SEED, async |world| {
        let mut fixture = PlanRestartFixture::new(world).await;
        fixture.until(stage).await;
        let job = fixture.take(stage, None).await;
        let took = fixture.took;
        fixture.judge(stage, &job).await;
        took
    })
}

fn disturbed(stage: Stage, death: Death) {
    run(SEED, async |world| {
        let mut fixture = PlanRestartFixture::new(world).await;
        fixture.until(stage).await;
        let job = fixture.take(stage, Some(death)).await;
        fixture.judge(stage, &job).await;
        fixture.testbed.core.close().await.unwrap();
    });
}

/// Kills the core at every call and after every write of a stage.
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
            wrong.push(format!("seed {SEED}, {stage:?}, {death:?}: {}", panic_text(&*panic)));
        }
    }
    let (runs, seconds) = (deaths.len(), began.elapsed().as_secs_f32());
    println!("{stage:?}: {runs} runs in {seconds:.1} s, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {runs} runs:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_core_that_is_killed_during_a_plans_test_failover_finishes_it() {
    die_in(TestFailover);
}

#[test]
fn a_core_that_is_killed_during_a_plans_clean_up_finishes_it() {
    die_in(CleanUp);
}

#[test]
fn a_core_that_is_killed_during_a_plans_failover_finishes_it() {
    die_in(FailOver);
}

#[test]
fn a_core_that_is_killed_during_a_plans_commit_finishes_it() {
    die_in(Commit);
}

#[test]
fn a_core_that_is_killed_during_a_plans_reprotection_finishes_it() {
    die_in(ReprotectBack);
}

#[test]
fn a_core_that_is_killed_during_a_plans_failback_finishes_it() {
    die_in(FailBack);
}

#[test]
fn plans_and_their_jobs_survive_a_restart() {
    run(SEED, async |world| {
        let mut fixture = PlanRestartFixture::new(world).await;
        let job = fixture.take(TestFailover, None).await;
        let plans = fixture.testbed.core.plans().await.unwrap();
        fixture.testbed.core.close().await.unwrap();
        fixture.restart().await;
        assert_eq!(fixture.testbed.core.plans().await.unwrap(), plans);
        assert_eq!(fixture.testbed.core.job(&job.id).await.unwrap(), job);
        fixture.testbed.core.delete_plan(&plan_id()).await.unwrap();
        fixture.restart().await;
        assert!(fixture.testbed.core.plans().await.unwrap().is_empty());
        assert_eq!(
            fixture.testbed.core.delete_plan(&plan_id()).await.unwrap_err().code,
            ErrorCode::UnknownId
        );
    });
}

#[test]
fn a_core_that_is_killed_during_a_manual_step_waits_for_it_again() {
    run(SEED, async |world| {
        let mut fixture = PlanRestartFixture::new(world).await;
        let job = fixture.testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        fixture.testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
        fixture.process.kill();
        fixture.process.died().await;
        fixture.restart().await;
        fixture.testbed.advance(INTERVAL).await;
        let view = fixture.testbed.core.job(&job).await.unwrap();
        assert_eq!(view.state, JobState::WaitingForManualAction);
        assert_eq!(view.plan.as_ref().unwrap().actions[1].runs, 1);
        let view = fixture.follow(&job).await;
        fixture.judge(FailOver, &view).await;
    });
}

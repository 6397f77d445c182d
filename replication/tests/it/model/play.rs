//! Plays steps on the core and on the model, and compares the two after each.

use std::collections::BTreeSet;

use contract::{
    FailoverKind, Health, ItemView, JobId, JobState, Millis, Phase, ReplicationCore, Side, Timestamp,
};
use simulator::{Call, run};

use crate::model::data::{Demand, never_both, points_hold, recovered, untouched};
use crate::model::reference::{Fate, Item, Model, Power, Sky, index};
use crate::model::rules::{Kind, must_shut_down};
use crate::model::step::{Ask, Choice, FailOver, Meddle, Step, Trouble};
use crate::model::suite::Suite;
use crate::support::INTERVAL;

/// Pauses after failed transfers grow to 64 intervals.
const RECOVERS: u64 = 66;

/// How a run went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub steps: u64,
    pub accepted: u64,
    pub refused: u64,
    pub failovers: u64,
    pub deaths: u64,
}

impl Count {
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.failovers += other.failovers;
        self.deaths += other.deaths;
    }
}

/// Plays a whole run.
pub fn play(kind: Kind, seed: u64, steps: &[Step]) -> Result<Count, String> {
    run(seed, async |world| {
        let mut play = ScenarioRun {
            suite: Suite::new(world, kind).await,
            model: Model::new(kind),
            may_overlap: BTreeSet::new(),
            waiting: None,
            unbooted: None,
            smooth_since: Timestamp(0),
            count: Count::default(),
        };
        for (number, step) in steps.iter().enumerate() {
            if let Err(what) = play.take(*step).await {
                return Err(format!("step {number}, {step:?}: {what}\n{:?}", play.model));
            }
            play.count.steps += 1;
        }
        if let Err(what) = play.end(seed).await {
            return Err(format!("at the end: {what}\n{:?}", play.model));
        }
        play.suite.core.close().await.map_err(|error| error.message)?;
        Ok(play.count)
    })
}

struct ScenarioRun {
    suite: Suite,
    model: Model,
    /// Boots of the primary machine beside which the recovered one may run (LC-10).
    may_overlap: BTreeSet<u32>,
    /// The failback that waits to be completed, with its request.
    waiting: Option<(JobId, Ask)>,
    /// The last boot of a recovered machine that was built anew after it and not started: it wrote none of its disks.
    unbooted: Option<u32>,
    /// Since when nothing went wrong and replication was not begun anew.
    smooth_since: Timestamp,
    count: Count,
}

/// What an ended job says.
struct Ended {
    state: JobState,
    why: String,
    was_cancelled: bool,
    /// The core died on the way.
    died: bool,
}

impl ScenarioRun {
    fn now(&self) -> Timestamp {
        self.suite.world.clock().now()
    }

    async fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Time(seconds) => self.pass(Millis(u64::from(seconds) * 1000)).await?,
            Step::Next(which, meddle) => {
                let ask = self.next(which);
                self.ask(ask, meddle).await?;
            }
            Step::Ask(ask, meddle) => self.ask(ask, meddle).await?,
            Step::Trouble(trouble) => self.lose_site_and_fail_over(trouble),
            Step::Heal => {
                self.suite.heal();
                self.model.sky = Sky { leaky: self.model.sky.leaky, ..Sky::default() };
                self.smooth_since = self.now();
            }
            Step::PowerOn => self.power_on().await,
            Step::Restart => self.restart().await?,
        }
        self.suite.world.settle().await;
        self.model.sky.armed = self.suite.is_armed();
        self.look().await
    }

    fn lose_site_and_fail_over(&mut self, trouble: Trouble) {
        self.suite.lose_site_and_fail_over(trouble);
        self.smooth_since = self.now();
        let side = trouble.side();
        match trouble {
            Trouble::Lost(_) => self.model.lost(side),
            Trouble::LinkCut(_) => self.model.sky.cut[index(side)] = true,
            Trouble::Deaf(_) => self.model.sky.deaf[index(side)] = true,
            Trouble::Call { call, takes_effect, .. } => {
                self.model.sky.armed = true;
                self.model.sky.leaky |= takes_effect && Trouble::call(call) == Call::ExportVolume;
            }
            Trouble::Read(..) | Trouble::Write(..) => self.model.sky.armed = true,
        }
    }

    /// A careful operator: never both sides.
    async fn power_on(&mut self) {
        let active = self.model.item.as_ref().map_or(Side::Primary, |item| item.active);
        let off = self.suite.power(active, &Suite::machine(active)) == Power::Off;
        let other = self.suite.power(active.other(), &Suite::machine(active.other()));
        let half = self.model.item.as_ref().is_some_and(|item| item.half) && active == Side::Primary;
        if off && other != Power::On && !half && !self.model.sky.lost[index(active)] {
            self.suite.power_on(active).await;
            self.model.power[index(active)] = None;
        }
    }

    /// The core dies, and another one takes its place, which begins with closing what is open.
    async fn die(&mut self) {
        self.suite.restart().await;
        self.count.deaths += 1;
        self.smooth_since = self.now();
        let sky = &mut self.model.sky;
        sky.leaky &= sky.armed || sky.lost.contains(&true);
    }

    async fn restart(&mut self) -> Result<(), String> {
        self.die().await;
        // A failback that waited synchronises once more and waits again.
        let Some((job, ask)) = self.waiting.clone() else { return Ok(()) };
        let ended = self.follow(&job).await?;
        let calm = self.model.sky == Default::default() && self.model.power[1] == Some(Power::On);
        let fate = if calm { Fate::Succeeds } else { Fate::Open };
        self.conclude(&job, ask, fate, ended, Demand::All).await
    }

    /// One of what is allowed now, in a sensible form; the number says which.
    fn next(&self, which: u8) -> Ask {
        let Some(item) = &self.model.item else { return Ask::Protect };
        if item.waits {
            return if which.is_multiple_of(4) { Ask::Cancel } else { Ask::Complete };
        }
        let (shut_down, other_point) = (which & 0x40 != 0, which & 0x30 == 0x30);
        let point = match other_point {
            false => Choice::Latest,
            true if which & 0x80 != 0 => Choice::Processed,
            true => Choice::Oldest,
        };
        let back = item.active == Side::Recovery;
        let sync = (self.model.kind.synchronises_back() && back).then_some(if shut_down {
            contract::DataSync::BeforeFailover
        } else {
            contract::DataSync::DuringFailover
        });
        let over = |kind| Ask::FailOver(FailOver { kind, astray: false, point, shut_down, sync });
        let planned =
            FailOver { kind: FailoverKind::Planned, astray: false, point: Choice::Latest, shut_down, sync };
        let all = [
            over(FailoverKind::Unplanned),
            Ask::FailOver(planned),
            Ask::Commit,
            Ask::Reprotect { astray: false },
            Ask::Reverse,
            Ask::TestFailover(point),
            Ask::CleanUp,
            Ask::ChangePoint(point),
        ];
        let allowed: Vec<_> = all.into_iter().filter(|ask| self.model.refusals(*ask).is_empty()).collect();
        let nothing_else = Ask::Disable;
        allowed.get(usize::from(which) % allowed.len().max(1)).copied().unwrap_or(nothing_else)
    }

    /// Whether what is asked begins with a look at sites, which may fail now. A way out begins without one (FO-09).
    fn looks_first(&self, ask: Ask) -> bool {
        let back = self.model.item.as_ref().is_some_and(|item| item.active == Side::Recovery);
        let looks = match ask {
            Ask::Protect | Ask::Reprotect { .. } | Ask::Reverse => true,
            Ask::FailOver(_) => back,
            _ => false,
        };
        looks && (self.model.sky.armed || self.model.sky.lost.contains(&true))
    }

    async fn ask(&mut self, ask: Ask, meddle: Meddle) -> Result<(), String> {
        let refusals = self.model.refusals(ask);
        let fate = self.model.fate(ask);
        let demand = self.demand(ask).await;
        if let (Ask::FailOver(FailOver { kind: FailoverKind::Unplanned, .. }), true) =
            (ask, refusals.is_empty())
        {
            self.may_overlap.extend(self.suite.boots(Side::Primary).last().map(|boot| boot.number));
        }
        let job = match self.suite.ask(ask).await {
            Err(error) => {
                self.count.refused += 1;
                // A look that fails tells nothing, or what is not so.
                let blind = self.looks_first(ask)
                    && (self.model.sky.armed || error.code == contract::ErrorCode::Platform);
                let due = refusals.contains(&error.code) || blind;
                return if due { Ok(()) } else { Err(format!("refused: {error:?}, due: {refusals:?}")) };
            }
            Ok(_) if !refusals.is_empty() => return Err(format!("accepted, due: {refusals:?}")),
            Ok(job) => job,
        };
        self.count.accepted += 1;
        let (job, first) = match (job, self.waiting.clone()) {
            (Some(job), _) => (job, ask),
            (None, Some((job, first))) => (job, first),
            (None, None) => return Err("accepted, and there is no job".to_owned()),
        };
        let ended = match (ask, job_meddle(ask, meddle)) {
            (Ask::Cancel, _) => {
                let ended = self.follow(&job).await?;
                Ended { was_cancelled: true, ..ended }
            }
            (_, Meddle::No) => self.follow(&job).await?,
            (_, Meddle::Also(other)) => self.ask_beside(&job, other).await?,
            (_, Meddle::CancelAfter(time)) => self.cancel(&job, ask, time).await?,
            (_, Meddle::Die { call, takes_effect }) => self.die_in(&job, call, takes_effect).await?,
        };
        let ask = if ask == Ask::Cancel { first } else { ask };
        self.conclude(&job, ask, fate, ended, demand).await
    }

    /// Asks for something else while a job is at work.
    async fn ask_beside(&mut self, job: &JobId, other: Ask) -> Result<Ended, String> {
        if !matches!(other, Ask::Cancel | Ask::Complete) {
            let due = if other == Ask::Protect {
                [contract::ErrorCode::AlreadyProtected, contract::ErrorCode::Platform]
            } else {
                [contract::ErrorCode::Busy; 2]
            };
            match self.suite.ask(other).await {
                Err(error) if due.contains(&error.code) => self.count.refused += 1,
                // The job may have ended before the sites were looked at.
                _ if self.suite.core.job(job).await.is_ok_and(|view| view.state.ended()) => {
                    return Err(format!("{other:?} came too late to be refused"));
                }
                answer => return Err(format!("{other:?} beside {job}: {answer:?}, due: {due:?}")),
            }
        }
        self.follow(job).await
    }

    /// Cancels a job on the way.
    async fn cancel(&mut self, job: &JobId, ask: Ask, time: u16) -> Result<Ended, String> {
        self.suite.live(Millis(time.into())).await;
        let view = self.suite.core.job(job).await.map_err(|error| error.message)?;
        let is_failover = matches!(ask, Ask::FailOver(_) | Ask::Complete);
        let due = is_failover && !view.state.ended();
        let accepted = match self.suite.core.cancel_failover(&Suite::item_id()).await {
            Ok(()) => true,
            Err(error) if !due => {
                let gone = [contract::ErrorCode::NotAllowedInState, contract::ErrorCode::UnknownId];
                if !gone.contains(&error.code) {
                    return Err(format!("a cancellation that is not due: {error:?}"));
                }
                false
            }
            Err(error) => return Err(format!("a failover at work cannot be cancelled: {error}")),
        };
        if accepted != due {
            return Err("a cancellation is accepted where no failover runs".to_owned());
        }
        if accepted {
            self.suite.world.settle().await;
        }
        let ended = self.follow(job).await?;
        Ok(Ended { was_cancelled: accepted, ..ended })
    }

    /// Dies at a call while a job is at work; a new core has to bring it to its end.
    async fn die_in(&mut self, job: &JobId, call: u8, takes_effect: bool) -> Result<Ended, String> {
        self.suite.process.die_at(self.suite.process.calls() + u64::from(call), takes_effect);
        let process = std::sync::Arc::clone(&self.suite.process);
        let ended = tokio::select! {
            biased;
            () = process.died() => None,
            ended = self.follow(job) => Some(ended?),
        };
        self.suite.process.die_at(u64::MAX, false);
        if let Some(ended) = ended
            && !self.suite.is_dead().await
        {
            return Ok(ended);
        }
        self.die().await;
        Ok(Ended { died: true, ..self.follow(job).await? })
    }

    async fn follow(&self, job: &JobId) -> Result<Ended, String> {
        // What was asked takes effect once the job moves on.
        self.suite.world.settle().await;
        let view = self.suite.follow(job).await?;
        self.suite.world.settle().await;
        let step = view.steps.last().map(|step| step.name.clone()).unwrap_or_default();
        let why = format!("in {step:?}: {:?}", view.error);
        Ok(Ended { state: view.state, why, was_cancelled: false, died: false })
    }

    /// What a recovered machine would have to hold, by what is known before.
    async fn demand(&self, ask: Ask) -> Demand {
        let Some(item) = &self.model.item else { return Demand::Prefix(None) };
        let healthy = self.suite.item().await.is_some_and(|view| view.health == Health::Healthy);
        let calm = healthy && self.model.sky == Sky::default();
        let smooth = calm && self.now().since(self.smooth_since) >= Millis(INTERVAL.0 * 3);
        match ask {
            Ask::Complete => Demand::All,
            Ask::FailOver(request) if request.point != Choice::Latest => Demand::Prefix(None),
            Ask::FailOver(request) if must_shut_down(request.kind, item.active) || request.shut_down => {
                Demand::All
            }
            Ask::FailOver(_) if smooth => Demand::Prefix(Some((self.now(), Millis(INTERVAL.0 * 2)))),
            _ => Demand::Prefix(None),
        }
    }

    /// Takes note of how a job ended, if it may have ended so.
    async fn conclude(
        &mut self,
        job: &JobId,
        ask: Ask,
        fate: Fate,
        ended: Ended,
        demand: Demand,
    ) -> Result<(), String> {
        let Ended { state, why, was_cancelled, died } = ended;
        let wrong = |due: &str| Err(format!("{job} ended {state:?} {why}; {due}"));
        let waited = self.waiting.take().map(|(_, ask)| ask);
        match state {
            JobState::WaitingForCompletion => {
                // What is interrupted in its second phase begins with the first again.
                let first = waited.filter(|_| died && ask == Ask::Complete).unwrap_or(ask);
                if !self.model.waits_first(first) || was_cancelled {
                    return wrong("nothing waits here");
                }
                self.waiting = Some((job.clone(), first));
                self.model.waiting();
                return untouched(&self.suite);
            }
            JobState::Cancelled if was_cancelled => self.model.cancelled(),
            _ if was_cancelled => return wrong("it was cancelled"),
            JobState::Completed if matches!(fate, Fate::Succeeds | Fate::Open) => {
                self.done(ask, false, demand)?;
            }
            JobState::CompletedWithWarning if matches!(fate, Fate::Warns | Fate::Open) => {
                self.done(ask, true, Demand::Prefix(None))?;
            }
            JobState::Failed if matches!(fate, Fate::Fails | Fate::Open) => {
                self.model.failed(ask, fate);
                if matches!(ask, Ask::ChangePoint(_)) {
                    self.unbooted = Some(self.suite.last_boot(Side::Recovery));
                }
                self.stopped(ask, fate).await;
            }
            _ => return wrong(&format!("{fate:?} is due")),
        }
        untouched(&self.suite)
    }

    fn done(&mut self, ask: Ask, warned: bool, demand: Demand) -> Result<(), String> {
        let before = self.model.item.clone();
        let active = before.as_ref().map_or(Side::Primary, |item| item.active);
        let since = self.suite.last_boot(active);
        self.model.succeeded(ask, warned, since);
        if matches!(ask, Ask::Protect | Ask::Reprotect { .. } | Ask::Reverse) {
            self.smooth_since = self.now();
        }
        let Some(Item { since: begun, .. }) = before else { return Ok(()) };
        // A failback that synchronises follows nothing but the boot that it ends.
        let failback = matches!(ask, Ask::FailOver(_) | Ask::Complete) && active == Side::Recovery;
        let synchronises = self.model.kind.synchronises_back() && failback;
        let since = if synchronises { since } else { begun };
        let (target, machine) = match ask {
            Ask::FailOver(_) | Ask::Complete => (active.other(), Suite::machine(active.other())),
            Ask::ChangePoint(_) => (Side::Recovery, Suite::machine(Side::Recovery)),
            Ask::TestFailover(_) => (Side::Recovery, Suite::test_machine()),
            _ => return Ok(()),
        };
        if target == Side::Primary && self.unbooted == Some(self.suite.last_boot(Side::Recovery)) {
            return Ok(());
        }
        self.count.failovers += 1;
        let boot = self.suite.site(target).last_boot(&machine).ok_or("nothing was started")?;
        recovered(&self.suite, target.other(), since, &boot, demand)
    }

    /// A failure in the midst of a merge, or of the end of protection, stops replication for good.
    async fn stopped(&mut self, ask: Ask, fate: Fate) {
        let stopped = self.suite.item().await.is_some_and(|view| view.protection.phase == Phase::Stopped);
        if let Some(item) = self.model.item.as_mut() {
            let merging = matches!(ask, Ask::FailOver(_)) && item.active == Side::Recovery;
            let may = fate == Fate::Open && (merging || ask == Ask::Disable);
            if stopped && may {
                (item.phase, item.has_points) = (Phase::Stopped, None);
            }
        }
    }

    /// Time passes. An item that calls itself healthy gets new points meanwhile.
    async fn pass(&mut self, time: Millis) -> Result<(), String> {
        let began = self.now();
        self.suite.live(time).await;
        let calm = self.model.sky == Default::default();
        let replicates = self.model.item.as_ref().is_some_and(|item| item.phase == Phase::Protected);
        if !calm || !replicates {
            return Ok(());
        }
        let view = self.suite.item().await.ok_or("the item is gone")?;
        if time < due_within(&view) { Ok(()) } else { fresh(&view, began) }
    }

    /// Compares what is there with what should be, and learns what the rules leave open.
    async fn look(&mut self) -> Result<(), String> {
        never_both(&self.suite, &self.may_overlap)?;
        for side in [Side::Primary, Side::Recovery] {
            let found = self.suite.power(side, &Suite::machine(side));
            let due = *self.model.power[index(side)].get_or_insert(found);
            if found != due {
                return Err(format!("the {side:?} machine is {found:?} and should be {due:?}"));
            }
        }
        let view = self.suite.item().await;
        match (&view, self.model.item.as_mut()) {
            (None, None) => {}
            (Some(view), Some(item)) => {
                item.test_failover.get_or_insert(view.test_failover.is_some());
                item.chosen.get_or_insert(view.failed_over_to.is_some());
                item.fixed.get_or_insert(!view.allowed.contains(&contract::Operation::ChangePoint));
                item.has_points.get_or_insert(!view.points.is_empty());
                self.same(view)?;
            }
            (view, item) => {
                return Err(format!("there is an item: {}, due: {}", view.is_some(), item.is_some()));
            }
        }
        self.test_machine()
    }

    fn same(&self, view: &ItemView) -> Result<(), String> {
        let Some(item) = &self.model.item else { return Ok(()) };
        let mut allowed = view.allowed.clone();
        allowed.sort();
        let mut due = self.model.allowed();
        due.sort();
        let pending = item.phase == Phase::CommitPending;
        let facts = [
            ("phase", format!("{:?}", view.protection.phase), format!("{:?}", item.phase)),
            ("active side", format!("{:?}", view.protection.active), format!("{:?}", item.active)),
            ("allowed", format!("{allowed:?}"), format!("{due:?}")),
            (
                "has points",
                (!view.points.is_empty()).to_string(),
                (item.has_points == Some(true)).to_string(),
            ),
            (
                "test failover",
                view.test_failover.is_some().to_string(),
                (item.test_failover == Some(true)).to_string(),
            ),
            ("half synchronised", view.synchronisation_incomplete.to_string(), item.half.to_string()),
            ("held", view.job.is_some().to_string(), item.waits.to_string()),
            (
                "failed over to a point",
                (view.failed_over_to.is_some() || !pending).to_string(),
                (item.chosen == Some(true) || !pending).to_string(),
            ),
        ];
        if let Some((what, is, due)) = facts.iter().find(|(_, is, due)| is != due) {
            return Err(format!("{what}: {is}, due: {due}; {view:?}"));
        }
        healthy(view, item)
    }

    /// A test failover's machine is there as long as the test failover. One that broke off may be there in part.
    fn test_machine(&self) -> Result<(), String> {
        let found = self.suite.power(Side::Recovery, &Suite::test_machine());
        let due = self.model.item.as_ref().is_some_and(|item| item.test_failover == Some(true));
        if !due && found != Power::Absent {
            return Err(format!("a test machine without a test failover: {found:?}"));
        }
        Ok(())
    }

    /// Once everything is mended, an item that replicates is healthy again in the end, and can be failed over.
    async fn end(&mut self, seed: u64) -> Result<(), String> {
        self.take(Step::Heal).await?;
        if self.model.sky.leaky {
            self.take(Step::Restart).await?;
        }
        self.take(Step::PowerOn).await?;
        let Some(item) = self.model.item.clone().filter(|item| item.phase == Phase::Protected) else {
            return Ok(());
        };
        if item.active == Side::Primary || self.unbooted != Some(self.suite.last_boot(Side::Recovery)) {
            points_hold(&self.suite, item.active, item.since).await?;
        }
        if seed.is_multiple_of(8) {
            let view = self.suite.item().await.ok_or("the item is gone")?;
            self.suite.live(Millis(view.policy.policy.interval.0 * RECOVERS)).await;
            let began = self.now();
            self.suite.live(due_within(&view)).await;
            let view = self.suite.item().await.ok_or("the item is gone")?;
            if view.health == Health::Critical {
                return Err(format!("it does not recover: {}", view.trouble));
            }
            fresh(&view, began)?;
        }
        self.take(Step::Next(0x40, Meddle::No)).await
    }
}

/// What can come in between a request of this kind.
fn job_meddle(ask: Ask, meddle: Meddle) -> Meddle {
    match (ask, meddle) {
        // The item's end is not a moment at which to ask for more.
        (Ask::Disable, Meddle::Also(Ask::Protect)) => Meddle::No,
        _ => meddle,
    }
}

/// Time in which an item that replicates has a new point.
fn due_within(view: &ItemView) -> Millis {
    Millis(view.policy.policy.interval.0 * 5 / 2)
}

fn fresh(view: &ItemView, began: Timestamp) -> Result<(), String> {
    let newest = view.points.iter().rfind(|point| point.processed).map(|point| point.time);
    if view.health != Health::Critical && newest.is_none_or(|newest| newest < began) {
        return Err(format!("it calls itself {:?} and has had no point since {}", view.health, began.0));
    }
    Ok(())
}

fn healthy(view: &ItemView, item: &Item) -> Result<(), String> {
    let due: &[Health] = match item.phase {
        _ if item.half => &[Health::Critical],
        Phase::CommitPending | Phase::Committed => &[Health::NotApplicable],
        Phase::Stopped => &[Health::Critical],
        Phase::InitialReplication | Phase::Protected => &[Health::Healthy, Health::Warning, Health::Critical],
    };
    if due.contains(&view.health) { Ok(()) } else { Err(format!("health {:?}, due: {due:?}", view.health)) }
}

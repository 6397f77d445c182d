//! Plays steps on the core and on the model, and compares the two after each step.

mod compare;

use std::collections::BTreeSet;

use contract::{FailoverKind, Health, JobId, JobState, Millis, Phase, Side, Timestamp};
use simulator::testbed::INTERVAL;
use simulator::{Call, run};

use compare::{due_within, fresh};

use crate::model::disks::{Required, points_are_intact, recovered};
use crate::model::reference::{Conditions, ExpectedEnd, Item, Model, Power, index};
use crate::model::rules::{Kind, must_shut_down};
use crate::model::step::{Ask, Choice, Disturbance, FailOver, Interference, Step};
use crate::model::system::{MACHINE, System};
use crate::support::running_disks_untouched;

/// After how many intervals a failed transfer is tried again at the latest: pauses grow to 64
/// intervals.
const LONGEST_PAUSE: u64 = 66;

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

/// Plays a run from its first step to its end.
pub fn play(kind: Kind, seed: u64, steps: &[Step]) -> Result<Count, String> {
    run(seed, async |world| {
        let mut play = Play {
            system: System::new(world, kind).await,
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
        play.system.testbed.core.close().await.map_err(|error| error.message)?;
        Ok(play.count)
    })
}

struct Play {
    system: System,
    model: Model,
    /// Boots of the primary machine beside which the recovered one may run (LC-10).
    may_overlap: BTreeSet<u32>,
    /// The failback that waits to be completed, with its request.
    waiting: Option<(JobId, Ask)>,
    /// Number of the recovered machine's last boot, if the machine was rebuilt after that boot and
    /// not started since: its disks are not those of the boot.
    unbooted: Option<u32>,
    /// Since when there was no disturbance and replication was not restarted.
    smooth_since: Timestamp,
    count: Count,
}

/// How a job ended.
struct Ended {
    state: JobState,
    why: String,
    was_cancelled: bool,
    /// The core died while the job ran.
    died: bool,
}

impl Play {
    fn now(&self) -> Timestamp {
        self.system.testbed.world.clock().now()
    }

    async fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Time(seconds) => self.pass(Millis(u64::from(seconds) * 1000)).await?,
            Step::Next(which, interference) => {
                let ask = self.next(which);
                self.ask(ask, interference).await?;
            }
            Step::Ask(ask, interference) => self.ask(ask, interference).await?,
            Step::Disturbance(disturbance) => self.inject(disturbance),
            Step::Heal => {
                self.system.heal();
                self.model.conditions = Conditions {
                    leaked_export: self.model.conditions.leaked_export,
                    ..Conditions::default()
                };
                self.smooth_since = self.now();
            }
            Step::PowerOn => self.power_on().await,
            Step::Restart => self.restart().await?,
        }
        self.system.testbed.world.settle().await;
        self.model.conditions.armed = self.system.is_armed();
        self.look().await
    }

    fn inject(&mut self, disturbance: Disturbance) {
        self.system.inject(disturbance);
        self.smooth_since = self.now();
        let side = disturbance.side();
        match disturbance {
            Disturbance::Lost(_) => self.model.lost(side),
            Disturbance::LinkCut(_) => self.model.conditions.cut[index(side)] = true,
            Disturbance::RefusesShutdown(_) => self.model.conditions.refuses_shutdown[index(side)] = true,
            Disturbance::Call { call, takes_effect, .. } => {
                self.model.conditions.armed = true;
                self.model.conditions.leaked_export |=
                    takes_effect && Disturbance::call(call) == Call::ExportVolume;
            }
            Disturbance::Read(..) | Disturbance::Write(..) => self.model.conditions.armed = true,
        }
    }

    /// Starts the machine that should serve if it is off, as a careful operator does: never on both
    /// sides.
    async fn power_on(&mut self) {
        let active = self.model.item.as_ref().map_or(Side::Primary, |item| item.active);
        let off = self.system.power(active, &System::machine(active)) == Power::Off;
        let other = self.system.power(active.other(), &System::machine(active.other()));
        let incomplete =
            self.model.item.as_ref().is_some_and(|item| item.incomplete) && active == Side::Primary;
        if off && other != Power::On && !incomplete && !self.model.conditions.lost[index(active)] {
            self.system.power_on(active).await;
            self.model.power[index(active)] = None;
        }
    }

    /// Kills the core and opens another one, which first closes what is open at the sites.
    async fn die(&mut self) {
        self.system.restart().await;
        self.count.deaths += 1;
        self.smooth_since = self.now();
        let conditions = &mut self.model.conditions;
        conditions.leaked_export &= conditions.armed || conditions.lost.contains(&true);
    }

    async fn restart(&mut self) -> Result<(), String> {
        self.die().await;
        // A failback that waited synchronises once more, and waits again.
        let Some((job, ask)) = self.waiting.clone() else { return Ok(()) };
        let ended = self.follow(&job).await?;
        let calm = self.model.conditions == Default::default() && self.model.power[1] == Some(Power::On);
        let expected_end = if calm { ExpectedEnd::Succeeds } else { ExpectedEnd::Open };
        self.conclude(&job, ask, expected_end, ended, Required::All).await
    }

    /// A request for one of the operations that are allowed now, in a sensible form; the number
    /// chooses it.
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
        let over = |kind| Ask::FailOver(FailOver { kind, wrong_direction: false, point, shut_down, sync });
        let planned = FailOver {
            kind: FailoverKind::Planned,
            wrong_direction: false,
            point: Choice::Latest,
            shut_down,
            sync,
        };
        let all = [
            over(FailoverKind::Unplanned),
            Ask::FailOver(planned),
            Ask::Commit,
            Ask::Reprotect { wrong_direction: false },
            Ask::Reverse,
            Ask::TestFailover(point),
            Ask::CleanUp,
            Ask::ChangePoint(point),
        ];
        let allowed: Vec<_> = all.into_iter().filter(|ask| self.model.refusals(*ask).is_empty()).collect();
        let nothing_else = Ask::Disable;
        allowed.get(usize::from(which) % allowed.len().max(1)).copied().unwrap_or(nothing_else)
    }

    /// Whether a request makes the core read the sites first, which may fail now. A failover out of
    /// the primary site reads none first (FO-09).
    fn looks_first(&self, ask: Ask) -> bool {
        let back = self.model.item.as_ref().is_some_and(|item| item.active == Side::Recovery);
        let looks = match ask {
            Ask::Protect | Ask::Reprotect { .. } | Ask::Reverse => true,
            Ask::FailOver(_) => back,
            _ => false,
        };
        looks && (self.model.conditions.armed || self.model.conditions.lost.contains(&true))
    }

    async fn ask(&mut self, ask: Ask, interference: Interference) -> Result<(), String> {
        if ask == Ask::Disable && self.model.conditions.lost.contains(&true) {
            // What is left on the lost site then (FX-11) is unknown to the model.
            return Ok(());
        }
        let refusals = self.model.refusals(ask);
        let expected_end = self.model.expected_end(ask);
        let required = self.required(ask).await;
        if let (Ask::FailOver(FailOver { kind: FailoverKind::Unplanned, .. }), true) =
            (ask, refusals.is_empty())
        {
            self.may_overlap.extend(self.system.boots(Side::Primary).last().map(|boot| boot.number));
        }
        let job = match self.system.ask(ask).await {
            Err(error) => {
                self.count.refused += 1;
                // If reading a site fails, the core knows nothing, or something wrong.
                let blind = self.looks_first(ask)
                    && (self.model.conditions.armed || error.code == contract::ErrorCode::Platform);
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
        let ended = match (ask, possible_interference(ask, interference)) {
            (Ask::Cancel, _) => {
                let ended = self.follow(&job).await?;
                Ended { was_cancelled: true, ..ended }
            }
            (_, Interference::None) => self.follow(&job).await?,
            (_, Interference::Also(other)) => self.ask_beside(&job, other).await?,
            (_, Interference::CancelAfter(time)) => self.cancel(&job, ask, time).await?,
            (_, Interference::Die { call, takes_effect }) => self.die_in(&job, call, takes_effect).await?,
        };
        let ask = if ask == Ask::Cancel { first } else { ask };
        self.conclude(&job, ask, expected_end, ended, required).await
    }

    /// Makes another request while a job runs.
    async fn ask_beside(&mut self, job: &JobId, other: Ask) -> Result<Ended, String> {
        if !matches!(other, Ask::Cancel | Ask::Complete) {
            let due = if other == Ask::Protect {
                [contract::ErrorCode::AlreadyProtected, contract::ErrorCode::Platform]
            } else {
                [contract::ErrorCode::Busy; 2]
            };
            match self.system.ask(other).await {
                Err(error) if due.contains(&error.code) => self.count.refused += 1,
                // The job may have ended before the core read the sites.
                _ if self.system.testbed.core.job(job).await.is_ok_and(|view| view.state.ended()) => {
                    return Err(format!("{other:?} came too late to be refused"));
                }
                answer => return Err(format!("{other:?} beside {job}: {answer:?}, due: {due:?}")),
            }
        }
        self.follow(job).await
    }

    /// Cancels a job while it runs.
    async fn cancel(&mut self, job: &JobId, ask: Ask, time: u16) -> Result<Ended, String> {
        self.system.testbed.advance(Millis(time.into())).await;
        let view = self.system.testbed.core.job(job).await.map_err(|error| error.message)?;
        let is_failover = matches!(ask, Ask::FailOver(_) | Ask::Complete);
        let due = is_failover && !view.state.ended();
        let accepted = match self.system.testbed.core.cancel_failover(&System::item_id()).await {
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
            self.system.testbed.world.settle().await;
        }
        let ended = self.follow(job).await?;
        Ok(Ended { was_cancelled: accepted, ..ended })
    }

    /// Lets the core die at a call while a job runs; a new core has to finish the job.
    async fn die_in(&mut self, job: &JobId, call: u8, takes_effect: bool) -> Result<Ended, String> {
        self.system.process.die_at(self.system.process.calls() + u64::from(call), takes_effect);
        let process = std::sync::Arc::clone(&self.system.process);
        let ended = tokio::select! {
            biased;
            () = process.died() => None,
            ended = self.follow(job) => Some(ended?),
        };
        self.system.process.die_at(u64::MAX, false);
        if let Some(ended) = ended
            && !self.system.is_dead().await
        {
            return Ok(ended);
        }
        self.die().await;
        Ok(Ended { died: true, ..self.follow(job).await? })
    }

    async fn follow(&self, job: &JobId) -> Result<Ended, String> {
        // A request takes effect when the job continues.
        self.system.testbed.world.settle().await;
        let view = self.system.follow(job).await.map_err(|error| error.to_string())?;
        self.system.testbed.world.settle().await;
        let step = view.steps.last().map(|step| step.name.clone()).unwrap_or_default();
        let why = format!("in {step:?}: {:?}", view.error);
        Ok(Ended { state: view.state, why, was_cancelled: false, died: false })
    }

    /// What a recovered machine has to contain, by what is known before the request.
    async fn required(&self, ask: Ask) -> Required {
        let Some(item) = &self.model.item else { return Required::Prefix(None) };
        let healthy = self.system.item().await.is_some_and(|view| view.health == Health::Healthy);
        let calm = healthy && self.model.conditions == Conditions::default();
        let smooth = calm && self.now().since(self.smooth_since) >= Millis(INTERVAL.0 * 3);
        match ask {
            Ask::Complete => Required::All,
            Ask::FailOver(request) if request.point != Choice::Latest => Required::Prefix(None),
            Ask::FailOver(request) if must_shut_down(request.kind, item.active) || request.shut_down => {
                Required::All
            }
            Ask::FailOver(_) if smooth => Required::Prefix(Some((self.now(), Millis(INTERVAL.0 * 2)))),
            _ => Required::Prefix(None),
        }
    }

    /// Updates the model by how a job ended, if it may have ended so.
    async fn conclude(
        &mut self,
        job: &JobId,
        ask: Ask,
        expected_end: ExpectedEnd,
        ended: Ended,
        required: Required,
    ) -> Result<(), String> {
        let Ended { state, why, was_cancelled, died } = ended;
        let wrong = |due: &str| Err(format!("{job} ended {state:?} {why}; {due}"));
        let waited = self.waiting.take().map(|(_, ask)| ask);
        match state {
            JobState::WaitingForCompletion => {
                // A failback that is interrupted in its second phase begins with the first phase
                // again.
                let first = waited.filter(|_| died && ask == Ask::Complete).unwrap_or(ask);
                if !self.model.waits_first(first) || was_cancelled {
                    return wrong("nothing waits here");
                }
                self.waiting = Some((job.clone(), first));
                self.model.waiting();
                return running_disks_untouched(&self.system.testbed, MACHINE);
            }
            JobState::Cancelled if was_cancelled => self.model.cancelled(),
            _ if was_cancelled => return wrong("it was cancelled"),
            JobState::Completed if matches!(expected_end, ExpectedEnd::Succeeds | ExpectedEnd::Open) => {
                self.done(ask, false, required)?;
            }
            JobState::CompletedWithWarning
                if matches!(expected_end, ExpectedEnd::Warns | ExpectedEnd::Open) =>
            {
                self.done(ask, true, if self.model.is_away() { required } else { Required::Prefix(None) })?;
            }
            JobState::Failed if matches!(expected_end, ExpectedEnd::Fails | ExpectedEnd::Open) => {
                self.model.failed(ask, expected_end);
                if matches!(ask, Ask::ChangePoint(_)) {
                    self.unbooted = Some(self.system.last_boot(Side::Recovery));
                }
                self.stopped(ask, expected_end).await;
            }
            _ => return wrong(&format!("{expected_end:?} is due")),
        }
        running_disks_untouched(&self.system.testbed, MACHINE)
    }

    fn done(&mut self, ask: Ask, warned: bool, required: Required) -> Result<(), String> {
        let before = self.model.item.clone();
        let active = before.as_ref().map_or(Side::Primary, |item| item.active);
        let since = self.system.last_boot(active);
        self.model.succeeded(ask, warned, since);
        if matches!(ask, Ask::Protect | Ask::Reprotect { .. } | Ask::Reverse) {
            self.smooth_since = self.now();
        }
        let Some(Item { since: begun, .. }) = before else { return Ok(()) };
        // A failback that synchronises data is compared only with the boot that it ends.
        let failback = matches!(ask, Ask::FailOver(_) | Ask::Complete) && active == Side::Recovery;
        let synchronises = self.model.kind.synchronises_back() && failback;
        let since = if synchronises { since } else { begun };
        let (target, machine) = match ask {
            Ask::FailOver(_) | Ask::Complete => (active.other(), System::machine(active.other())),
            Ask::ChangePoint(_) => (Side::Recovery, System::machine(Side::Recovery)),
            Ask::TestFailover(_) => (Side::Recovery, System::test_machine()),
            _ => return Ok(()),
        };
        if target == Side::Primary && self.unbooted == Some(self.system.last_boot(Side::Recovery)) {
            return Ok(());
        }
        self.count.failovers += 1;
        let boot = self.system.site(target).last_boot(&machine).ok_or("nothing was started")?;
        recovered(&self.system, target.other(), since, &boot, required)
    }

    /// A failure during a merge, or while protection is disabled, stops replication for good.
    async fn stopped(&mut self, ask: Ask, expected_end: ExpectedEnd) {
        let stopped = self.system.item().await.is_some_and(|view| view.protection.phase == Phase::Stopped);
        if let Some(item) = self.model.item.as_mut() {
            let merging = matches!(ask, Ask::FailOver(_)) && item.active == Side::Recovery;
            let may = expected_end == ExpectedEnd::Open && (merging || ask == Ask::Disable);
            if stopped && may {
                (item.phase, item.has_points) = (Phase::Stopped, None);
            }
        }
    }

    /// Advances the clock. An item that is shown as healthy has to get new points meanwhile.
    async fn pass(&mut self, time: Millis) -> Result<(), String> {
        let began = self.now();
        self.system.testbed.advance(time).await;
        let calm = self.model.conditions == Default::default();
        let replicates = self.model.item.as_ref().is_some_and(|item| item.phase == Phase::Protected);
        if !calm || !replicates {
            return Ok(());
        }
        let view = self.system.item().await.ok_or("the item is gone")?;
        if time < due_within(&view) { Ok(()) } else { fresh(&view, began) }
    }

    /// Ends a run: without disturbances an item that replicates becomes healthy, and can be failed
    /// over.
    async fn end(&mut self, seed: u64) -> Result<(), String> {
        self.take(Step::Heal).await?;
        if self.model.conditions.leaked_export {
            self.take(Step::Restart).await?;
        }
        self.take(Step::PowerOn).await?;
        let Some(item) = self.model.item.clone().filter(|item| item.phase == Phase::Protected) else {
            return Ok(());
        };
        if item.active == Side::Primary || self.unbooted != Some(self.system.last_boot(Side::Recovery)) {
            points_are_intact(&self.system, item.active, item.since).await?;
        }
        if seed.is_multiple_of(8) {
            let view = self.system.item().await.ok_or("the item is gone")?;
            self.system.testbed.advance(Millis(view.policy.policy.interval.0 * LONGEST_PAUSE)).await;
            let began = self.now();
            self.system.testbed.advance(due_within(&view)).await;
            let view = self.system.item().await.ok_or("the item is gone")?;
            if view.health == Health::Critical {
                return Err(format!("it does not recover: {}", view.trouble));
            }
            fresh(&view, began)?;
        }
        self.take(Step::Next(0x40, Interference::None)).await
    }
}

/// The interference that is possible with a request.
fn possible_interference(ask: Ask, interference: Interference) -> Interference {
    match (ask, interference) {
        // Whether the item still exists is undetermined while its protection is disabled.
        (Ask::Disable, Interference::Also(Ask::Protect)) => Interference::None,
        _ => interference,
    }
}

//! An edge from its beginning to its verdict.
//!
//! Whatever the operation, an edge has these steps:
//!
//! 1. [`Edge::begin`] activates the mutant that was planned for it;
//! 2. the caller asks the core for the operation;
//! 3. [`Edge::recover`] waits until the recovered machine serves;
//! 4. [`Edge::judge_recovery_from`] or [`Edge::judge_recovery`] judges what was booted, and
//!    [`Edge::judge_point`] a recovery point if nothing was booted;
//! 5. [`Edge::finish`] or [`Edge::finish_replication`] records the verdict.

use contract::{ItemView, JobId, Millis, PointChoice, RecoveryPoint};
use standins::{Boot, BootDisk, StandInSite};
use tracing::Span;

use crate::blame::ScenarioError;
use crate::judge::{self, DiskUnderTest, SecondReading};
use crate::outcome::{Rpo, Rto, Sent};
use crate::real::context::ScenarioContext;
use crate::real::edge::disk_pairs::pair_disks;
use crate::real::edge::freshness::{self, HostClock, JudgedChoice};
use crate::real::edge::hydration_diff::{check_hydration, need_of};
use crate::real::edge::judge::{JudgedDisks, Judgement, contradiction_inside, finish_edge, judge_disks};
use crate::real::edge::measure::{self, Outage};
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::{self, Recovered, RecoveryTarget};
use crate::real::edge::recovery_point::{self, PointFiles};
use crate::real::machine::Running;
use crate::real::workload::INTERVAL;
use crate::rules::ids::{FO_10, HY_08};

/// A transition of a machine that is under way.
#[derive(Clone, Copy)]
pub(crate) struct Edge<'a> {
    context: &'a ScenarioContext,
    name: EdgeName,
    /// The machine whose writes the oracle compares with: the one that runs when the edge begins.
    source: &'a Running,
}

/// A recovered machine, and the verdict on what it was booted from.
pub(crate) struct JudgedRecovery {
    pub(crate) recovered: Recovered,
    pub(crate) judgement: Judgement,
    /// The recovery point as it was read; empty if the machine was not booted from one.
    pub(crate) point: Vec<PointFiles>,
    /// Boot files that hydration edited.
    pub(crate) edited: Vec<String>,
}

impl JudgedRecovery {
    /// Adds an objection, which counts if there is no other.
    pub(crate) fn object(&mut self, objection: Option<String>) {
        let known = self.judgement.other_objection.take();
        self.judgement.other_objection = known.or(objection);
    }
}

impl<'a> Edge<'a> {
    /// Begins an edge of the machine `source`.
    pub(crate) fn begin(context: &'a ScenarioContext, name: EdgeName, source: &'a Running) -> Self {
        context.begin_edge(name.as_str());
        Self { context, name, source }
    }

    /// The context of the machine.
    pub(crate) fn context(&self) -> &'a ScenarioContext {
        self.context
    }

    /// The edge's name.
    pub(crate) fn name(&self) -> EdgeName {
        self.name
    }

    /// The machine that runs when the edge begins.
    pub(crate) fn source(&self) -> &'a Running {
        self.source
    }

    /// A span for the work of the edge, so that its log lines carry the name.
    pub(crate) fn span(&self) -> Span {
        tracing::info_span!("edge", edge = self.name.as_str(), machine = %self.context.machine)
    }

    /// Waits until the source has written a good number of further records.
    pub(crate) async fn wait_for_work(&self) -> Result<(), ScenarioError> {
        recover::wait_for_work(self.context, self.name.as_str(), self.source).await
    }

    /// FO-10: waits until replication has made recovery points of moments after this call, which
    /// shows that it still runs, and lets the source work on for a moment, so that what follows
    /// begins at any time of the replication interval.
    ///
    /// # Errors
    /// No such points came although the guest ran: the core's failure.
    pub(crate) async fn wait_for_fresh_points(&self) -> Result<(), ScenarioError> {
        let label = self.name.as_str();
        recovery_point::wait_for_fresh_points(self.context, FO_10, label, self.source).await?;
        recover::work_for_a_moment(self.context, label, self.source).await
    }

    /// Waits until the machine that the job starts serves. A machine that does not come up is
    /// judged as well, because its disks show whether and where the core went wrong.
    ///
    /// # Errors
    /// The machine does not serve.
    pub(crate) async fn recover(
        &self,
        target: &RecoveryTarget,
        job: &JobId,
    ) -> Result<Recovered, ScenarioError> {
        match recover::recover(self.context, self.name.as_str(), target, job).await {
            Ok(recovered) => Ok(recovered),
            Err(error) => Err(self.judge_failed_boot(target, error).await),
        }
    }

    /// Judges a machine that did not come up, if it was started at all. Returns the error that ends
    /// the scenario.
    async fn judge_failed_boot(&self, target: &RecoveryTarget, error: ScenarioError) -> ScenarioError {
        let ScenarioError::CoreViolation(why) = &error else { return error };
        let Some(boot) = target.failed_boot().await else { return error };
        self.check_hydrated_boot(&boot, why);
        let disks = match self.booted_disks(&boot, |_| Err("the machine did not come up".to_owned())) {
            Ok(disks) => disks,
            Err(mismatch) => return ScenarioError::core(format!("{error}; {mismatch}")),
        };
        let initial_record = self.source.initial_record;
        match judge::judge(disks, initial_record, self.context.evidence.dir()).await {
            Err(_) => error,
            Ok(machine) => {
                let why = why.strip_prefix(&format!("{}: ", self.name)).unwrap_or(why).to_owned();
                let judgement = Judgement {
                    disks: JudgedDisks { machine, self_test: None },
                    rpo: Rpo::default(),
                    rto: Rto::default(),
                    sent: None,
                    other_objection: Some(why),
                };
                finish_edge(self.context, self.name, judgement).err().unwrap_or(error)
            }
        }
    }

    /// HY-08: a machine boots once it is hydrated. This one did not, and still lacks drivers.
    fn check_hydrated_boot(&self, boot: &Boot, why: &str) {
        let Some(disk) = boot.disks.first() else { return };
        let need = need_of(self.context, self.source.boot.profile.kind, &disk.base, &boot.profile);
        // A boot partition that cannot be read has another cause.
        let lacking = need.map(|need| need.drivers.join(", ")).unwrap_or_default();
        if !lacking.is_empty() {
            self.context.check(HY_08, false, format!("it lacks the drivers [{lacking}]: {why}"));
        }
    }

    /// Judges a machine that was booted from a recovery point of the recovery site. The point is
    /// read into the evidence, and what was booted must differ from it only by hydration (FO-01,
    /// HY-08).
    pub(crate) async fn judge_recovery_from(
        &self,
        point: &RecoveryPoint,
        recovered: Recovered,
        outage: Outage,
    ) -> Result<JudgedRecovery, ScenarioError> {
        let dir = self.context.edge_dir(self.name.as_str())?;
        let site = &self.context.recovery;
        let judge = async |files: Vec<PointFiles>| {
            let kind = self.source.boot.profile.kind;
            let edited = check_hydration(self.context, kind, &recovered.boot, &files)?;
            let disks = self.booted_disks(&recovered.boot, |index| match files.get(index) {
                Some(file) => file.second_reading(),
                None => Err("the recovery point lacks the disk".to_owned()),
            })?;
            let disks = self.judge_disks(disks).await?;
            Ok((edited, disks, files))
        };
        let (edited, disks, files) = recovery_point::with_point(site, point, &dir, judge).await?;
        let stale = self.check_content(&disks, point);
        let claimed = HostClock::read().time_of(outage.source_stopped).since(point.time);
        let judgement = self.judgement(disks, &recovered, outage, claimed);
        let mut judged = JudgedRecovery { recovered, judgement, point: files, edited };
        judged.object(stale);
        Ok(judged)
    }

    /// FO-10: the disks that were recovered from a point hold what had been acknowledged at its
    /// moment, and nothing that was written later. Returns the objection.
    fn check_content(&self, disks: &JudgedDisks, point: &RecoveryPoint) -> Option<String> {
        // Disks that are no exact prefix have an objection of their own.
        let contiguous = disks.machine.contiguous()?;
        let acks = self.source.boot.guest.witness().acks();
        let objection = freshness::content_objection(&acks, HostClock::read(), point.time, contiguous);
        let objection = objection.map(|why| format!("recovery point {} is not of its time: {why}", point.id));
        let found = objection.clone();
        let found =
            found.unwrap_or_else(|| format!("the disks hold what they had at the time of {}", point.id));
        self.context.check(FO_10, objection.is_none(), found);
        objection
    }

    /// RP-02, RP-04, RP-06, FO-01, FO-10: the recovery point is the one that was asked for, and was
    /// not too old when the source stopped. `at_trigger` is the item as it was then.
    pub(crate) fn check_choice(
        &self,
        choice: &PointChoice,
        at_trigger: &ItemView,
        point: &RecoveryPoint,
        outage: Outage,
        judged: &mut JudgedRecovery,
    ) {
        if let Some(JudgedChoice { rule, objection }) =
            freshness::judge_choice(choice, point, &at_trigger.points)
        {
            let found = objection.clone();
            let found =
                found.unwrap_or_else(|| format!("recovery point {} was used, as asked for", point.id));
            self.context.check(rule, objection.is_none(), found);
            judged.object(objection);
        }
        if matches!(choice, PointChoice::LatestAppConsistent | PointChoice::Custom(_)) {
            // Such a point may be of any age (RP-18).
            return;
        }
        let stopped = HostClock::read().time_of(outage.source_stopped);
        let too_old = freshness::age_objection(point.time, stopped, INTERVAL);
        if let Some(why) = too_old {
            self.context.check(FO_10, false, why.clone());
            judged.object(Some(why));
        }
    }

    /// Judges a machine that was booted from disks of its own rather than from a recovery point.
    pub(crate) async fn judge_recovery(
        &self,
        recovered: Recovered,
        outage: Outage,
    ) -> Result<JudgedRecovery, ScenarioError> {
        let not_read = |_| Err("what was booted is judged, and its disk is in use".to_owned());
        let disks = self.judge_disks(self.booted_disks(&recovered.boot, not_read)?).await?;
        // Such a recovery claims to lose nothing.
        let judgement = self.judgement(disks, &recovered, outage, Millis(0));
        Ok(JudgedRecovery { recovered, judgement, point: vec![], edited: vec![] })
    }

    /// Judges a recovery point by itself.
    pub(crate) async fn judge_point(
        &self,
        site: &StandInSite,
        point: &RecoveryPoint,
    ) -> Result<JudgedDisks, ScenarioError> {
        let dir = self.context.edge_dir(self.name.as_str())?;
        let judge = async |files: Vec<PointFiles>| {
            let pairs = self.pair_disks(&format!("recovery point {}", point.id), &files)?;
            let disks = pairs.into_iter().map(|(source, file)| DiskUnderTest {
                name: source.id.0.clone(),
                initial_image: source.base.clone(),
                log: source.log.clone(),
                recovered: file.raw.clone(),
                editable_files: vec![],
                second_reader: file.second_reading(),
            });
            self.judge_disks(disks.collect()).await
        };
        recovery_point::with_point(site, point, &dir, judge).await
    }

    /// Records the verdict on a recovered machine.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) fn finish(self, judged: JudgedRecovery) -> Result<Recovered, ScenarioError> {
        finish_edge(self.context, self.name, judged.judgement)?;
        Ok(judged.recovered)
    }

    /// Records the verdict on an edge that begins replication and boots nothing. `point` is the
    /// recovery point that was judged.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) fn finish_replication(
        self,
        point: &RecoveryPoint,
        disks: JudgedDisks,
        rpo: Rpo,
        rto: Rto,
        sent: Option<Sent>,
    ) -> Result<(), ScenarioError> {
        let other_objection = self.check_content(&disks, point);
        finish_edge(self.context, self.name, Judgement { disks, rpo, rto, sent, other_objection })
    }

    async fn judge_disks(&self, disks: Vec<DiskUnderTest>) -> Result<JudgedDisks, ScenarioError> {
        judge_disks(self.context, self.name, disks, self.source.initial_record).await
    }

    /// The disks of a boot, each with the write log of the source's disk. What is judged is what
    /// was booted, which the stand-in copied below the core, and not what the core says it built.
    fn booted_disks(
        &self,
        boot: &Boot,
        second_reader: impl Fn(usize) -> Result<SecondReading, String>,
    ) -> Result<Vec<DiskUnderTest>, ScenarioError> {
        let pairs = self.pair_disks("the recovered machine", &boot.disks)?;
        let editable = self.editable_files(boot)?;
        let disks = pairs.into_iter().enumerate();
        let disks = disks.map(|(index, (source, booted))| {
            let editable = if index == 0 { &editable[..] } else { &[] };
            DiskUnderTest {
                name: source.id.0.clone(),
                initial_image: source.base.clone(),
                log: source.log.clone(),
                recovered: booted.base.clone(),
                editable_files: editable.iter().map(ToString::to_string).collect(),
                second_reader: second_reader(index),
            }
        });
        Ok(disks.collect())
    }

    /// The source's disks, each with its copy. FO-10: every disk has one.
    pub(crate) fn pair_disks<'d, R>(
        &'d self,
        what: &str,
        copies: &'d [R],
    ) -> Result<Vec<(&'d BootDisk, &'d R)>, ScenarioError> {
        let pairs = pair_disks(&format!("{}: {what}", self.name), &self.source.boot.disks, copies);
        pairs.inspect_err(|error| self.context.check(FO_10, false, error.to_string()))
    }

    /// The files of the source's boot partition that hydration may edit in its copy. No guest
    /// writes to that partition, so it is still what the source booted with.
    fn editable_files(&self, recovered: &Boot) -> Result<Vec<&'static str>, ScenarioError> {
        let source = &self.source.boot;
        let before = &source.disks[0].base;
        Ok(need_of(self.context, source.profile.kind, before, &recovered.profile)?.editable())
    }

    /// Adds to the oracle's verdict what was measured from outside and what the witness found
    /// inside. `claimed` is the loss that the core claims.
    fn judgement(
        &self,
        disks: JudgedDisks,
        recovered: &Recovered,
        outage: Outage,
        claimed: Millis,
    ) -> Judgement {
        let acks = self.source.boot.guest.witness().acks();
        let survived = recovered.last_record();
        self.context.note_cut(self.name.as_str(), &acks, survived, outage.source_stopped);
        Judgement {
            rpo: measure::rpo(&acks, survived, outage.source_stopped, disks.machine.lost, claimed),
            rto: recovered.rto(outage, self.context.cold_boot_ms()),
            sent: None,
            other_objection: contradiction_inside(&recovered.findings, &disks.machine),
            disks,
        }
    }
}

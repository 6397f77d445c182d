//! The faults at the core's interface, by name.

/// How the interface of a sound core is made faulty. Which rules must break is in
/// [`mutants`](super::mutants).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceFault {
    /// Answers a request that it refuses with an older job that has ended.
    AcceptsAll,
    /// Adds a note to every item once it has refused a request.
    RefusalLeavesTrace,
    /// Refuses with an error code that says nothing about the reason.
    WrongErrorCode,
    /// Drops the oldest points when a test failover is cleaned up.
    TestFailoverDeletesPoints,
    /// Never records that a test failover took place.
    ForgetsTestFailovers,
    /// Runs all groups of a recovery plan as one.
    MergesPlanGroups,
    /// Leaves out the actions of recovery plans.
    SkipsPlanActions,
    /// Runs a planned failover from the primary side as an unplanned one.
    PlannedBecomesUnplanned,
    /// Does not shut down the source although the request asks for it.
    LeavesSourceRunning,
    /// Takes *latest* for *latest processed*.
    LatestIsLatestProcessed,
    /// Reports every item as healthy.
    AlwaysHealthy,
    /// Reports no configuration issue.
    HidesIssues,
    /// Leaves the hydration step out of job records.
    HidesHydrationStep,
    /// Reports the opposite direction of every job.
    ReversesJobDirection,
    /// Refuses to retry any job.
    RefusesRetry,
    /// Leaves test failovers out of the list of jobs.
    HidesTestFailoverJobs,
    /// Accepts new target settings and ignores them.
    IgnoresTargetUpdate,
    /// Answers a commit with an older job and does nothing.
    SkipsCommit,
    /// Answers the commit of a failback with an older job and does nothing.
    SkipsFailbackCommit,
    /// Answers a change of recovery point with an older job and does nothing.
    SkipsChangePoint,
    /// Accepts a cancellation and ignores it.
    IgnoresCancel,
    /// Completes a failback to Hyper-V without waiting for the operator.
    NeverWaitsForCompletion,
    /// Runs every test failover from the newest point.
    TestsNewestPoint,
    /// Fills in what a reprotection request leaves out.
    FillsInReprotection,
    /// Takes each machine's own newest point instead of the one that several machines share.
    IgnoresSharedPoints,
    /// Answers failovers and test failovers of plans with an older job and does nothing.
    SkipsPlans,
    /// Shows the volumes of the newest point for the oldest one.
    OldestPointIsNewest,
    /// Leaves failback policies out of the list of policies.
    HidesFailbackPolicy,
    /// Shows policies without their counterparts.
    UnlinksPolicies,
    /// Gives failback policies the longest retention and no server, and accepts changes to them.
    LooseFailbackPolicy,
    /// Takes a point that is named for the newest processed one.
    CustomIsNewest,
    /// Takes *latest processed* for *latest*.
    ProcessedIsLatest,
    /// Takes *latest app-consistent* for *latest processed*.
    AppConsistentIsNewest,
    /// Takes *latest* for the oldest point.
    LatestIsOldest,
    /// Halves the retention of policies.
    HalvesRetention,
    /// Doubles the interval of policies, and shows it as it was asked for.
    DoublesInterval,
    /// Answers the clean-up of a test failover with an older job and does nothing.
    SkipsCleanUp,
    /// Synchronises differences where a full download was asked for.
    DownloadsDifferences,
    /// Makes new disks in the first datastore, whichever is named.
    DefaultDatastore,
    /// Uses the first master target, whichever is named.
    DefaultMasterTarget,
    /// Reprotects each machine of a plan by the settings of another one.
    MixesPlanSettings,
    /// Ignores the host that a failback names.
    IgnoresAlternateHost,
    /// Refuses test failovers to other points than the newest one.
    RefusesTestPoints,
    /// Refuses to fail a Hyper-V machine back without a reprotection.
    DemandsReprotection,
    /// Fails machines over whose replication is critical.
    FailsOverByItself,
    /// Leaves the last machine out of recovery plans.
    DropsPlanMember,
    /// Runs the groups of recovery plans in reverse order.
    ReversesPlan,
    /// Refuses a plan unless each of its machines has a recovery point.
    RefusesPartialPlans,
    /// Leaves the manual steps out of recovery plans.
    SkipsManualSteps,
    /// Shuts the source down although the request does not ask for it.
    ShutsSourceDown,
    /// Refuses to fail a machine over that had no test failover.
    DemandsTestFailover,
    /// Takes the point with the latest date for the latest one.
    LatestByDate,
    /// Takes the point after the one that is named.
    UsesNextPoint,
    /// Ends protection only while replication works.
    EndsHealthyOnly,
    /// Fails back to the newest application-consistent point instead of the latest one.
    FailsBackToAppConsistent,
    /// Shows only policies that were made since it was opened.
    ForgetsPolicies,
    /// Shows only plans that were made since it was opened.
    ForgetsPlans,
    /// Accepts the deletion of a policy that an item uses.
    DeletesUsedPolicies,
    /// Accepts the deletion of policies and keeps them.
    KeepsDeletedPolicies,
}

//! A minimal core: the built-in one, of which only what every core has is left.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, EnableProtection, ErrorCode, FailoverRequest, ItemId, ItemView, JobId, JobView,
    Operation, Policy, ReplicationCore, TestFailoverRequest,
};
use simulator::testbed::INTERVAL;

use crate::mutants::InjectedFault;
use crate::outcome::RuleOutcome;
use crate::sim::runner;
use crate::verdict::Verdict;

/// Protect, item, test failover, failover, commit, and jobs by `watch_job`.
struct MinimalCore(Arc<dyn ReplicationCore>);

fn minimal(core: Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore> {
    Arc::new(MinimalCore(core))
}

#[async_trait]
impl ReplicationCore for MinimalCore {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        let operations = vec![Operation::UnplannedFailover, Operation::TestFailover, Operation::Commit];
        let whole = self.0.capabilities().await?;
        Ok(Capabilities { name: "minimal".to_owned(), operations, ..whole })
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        // It has one policy of its own for each platform.
        for kind in ["vmware", "physical", "hyper-v", "azure"] {
            let Ok(kind) = serde_json::from_value(kind.into()) else { continue };
            let own = Policy::for_machines_of(kind, INTERVAL);
            let _ = self.0.create_policy(&request.policy, &own).await;
            let protected = self.0.enable_protection(request).await;
            if !matches!(&protected, Err(error) if error.code == ErrorCode::BadRequest) {
                return protected;
            }
            let _ = self.0.delete_policy(&request.policy).await;
        }
        self.0.enable_protection(request).await
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        self.0.item(item).await
    }

    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        self.0.failover(request).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        self.0.test_failover(request).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        self.0.commit(item).await
    }

    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError> {
        self.0.watch_job(job, after).await
    }

    async fn close(&self) -> Result<(), CoreError> {
        self.0.close().await
    }
}

fn outcomes(front: fn(Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore>) -> Vec<RuleOutcome> {
    runner::judge_every_rule(&InjectedFault::in_front(front), 7)
}

#[test]
fn a_minimal_core_fails_no_rule_and_what_it_lacks_is_skipped_by_name() {
    let found = outcomes(minimal);
    let of = |verdict| found.iter().filter(move |rule| rule.verdict == verdict);
    let failed: Vec<_> = of(Verdict::Fail).chain(of(Verdict::Unknown)).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(of(Verdict::Pass).count() > 10, "{} rules passed", of(Verdict::Pass).count());
    let needs: BTreeSet<_> = of(Verdict::Skipped).filter_map(|rule| rule.needs.as_deref()).collect();
    assert!(needs.contains("reprotect") && needs.contains("create_plan"), "{needs:?}");
    assert_eq!(of(Verdict::Skipped).filter(|rule| rule.needs.is_none()).count(), 0);
}

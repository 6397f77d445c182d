//! A replication core that manages policies and refuses everything else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contract::{
    Capabilities, ComponentId, CoreError, Direction, EnableProtection, ErrorCode, FailoverRequest, ItemId,
    ItemView, JobId, JobView, PlanLimits, Platform, PlatformKind, Policy, PolicyId, PolicyView,
    ReplicationCore, SiteId,
};

/// The core.
pub struct MyCore {
    platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    policies: Mutex<BTreeMap<PolicyId, PolicyView>>,
}

impl MyCore {
    /// Opens a core between these sites.
    pub fn open(platforms: BTreeMap<SiteId, Arc<dyn Platform>>) -> Self {
        Self { platforms, policies: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PolicyId, PolicyView>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration servers of all sites of this kind (PO-02).
    async fn configuration_servers(&self, kind: PlatformKind) -> Vec<(SiteId, ComponentId)> {
        let mut servers = Vec::new();
        for (id, platform) in &self.platforms {
            if !platform.site().await.is_ok_and(|site| site.kind == kind) {
                continue;
            }
            let components = platform.infrastructure().await.unwrap_or_default();
            let server = components.iter().find(|part| part.configuration_server().is_some());
            servers.extend(server.map(|server| (id.clone(), server.id.clone())));
        }
        servers
    }
}

fn not_supported<T>(operation: &str) -> Result<T, CoreError> {
    Err(CoreError::new(ErrorCode::NotSupported, format!("this core has no {operation}")))
}

fn unknown(what: &str) -> CoreError {
    CoreError::new(ErrorCode::UnknownId, format!("there is no {what}"))
}

#[async_trait]
impl ReplicationCore for MyCore {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        let plans = PlanLimits { groups: 0, items: 0 };
        let name = "my-core 0.1.0".to_owned();
        Ok(Capabilities { name, operations: Vec::new(), plans, windows_registry: false, several_nics: false })
    }

    async fn create_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        let configuration_servers = self.configuration_servers(policy.source).await;
        let failback_id = PolicyId(format!("{id}-failback"));
        let failback = policy.failback().map(|policy| PolicyView {
            id: failback_id.clone(),
            policy,
            direction: Direction::RecoveryToPrimary,
            counterpart: Some(id.clone()),
            configuration_servers,
        });
        let outgoing = PolicyView {
            id: id.clone(),
            policy: *policy,
            direction: Direction::PrimaryToRecovery,
            counterpart: failback.as_ref().map(|_| failback_id),
            configuration_servers: Vec::new(),
        };
        let mut policies = self.lock();
        if policies.contains_key(id) {
            return Err(CoreError::new(ErrorCode::InUse, format!("policy {id} exists")));
        }
        for view in std::iter::once(outgoing).chain(failback) {
            policies.insert(view.id.clone(), view);
        }
        Ok(())
    }

    async fn update_policy(&self, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        let mut policies = self.lock();
        let view = policies.get_mut(id).ok_or_else(|| unknown(&format!("policy {id}")))?;
        if view.direction == Direction::RecoveryToPrimary {
            let why = format!("{id} is a failback policy, which cannot be changed (PO-03)");
            return Err(CoreError::new(ErrorCode::ReadOnly, why));
        }
        view.policy = *policy;
        Ok(())
    }

    async fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        Ok(self.lock().values().cloned().collect())
    }

    async fn enable_protection(&self, _request: &EnableProtection) -> Result<JobId, CoreError> {
        not_supported("enable_protection")
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        Err(unknown(&format!("item {item}")))
    }

    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        Ok(Vec::new())
    }

    async fn failover(&self, _request: &FailoverRequest) -> Result<JobId, CoreError> {
        not_supported("failover")
    }

    async fn commit(&self, _item: &ItemId) -> Result<JobId, CoreError> {
        not_supported("commit")
    }

    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        Err(unknown(&format!("job {job}")))
    }

    async fn watch_job(&self, job: &JobId, _after: u64) -> Result<JobView, CoreError> {
        Err(unknown(&format!("job {job}")))
    }

    async fn close(&self) -> Result<(), CoreError> {
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    let about = wire::server::About::any_time("my-core", "0.1.0");
    wire::server::run(about, |parts| Ok::<_, CoreError>(MyCore::open(parts.platforms)))
}

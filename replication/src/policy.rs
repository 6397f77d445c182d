//! Replication policies (PO-01 to PO-06).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use contract::{
    Component, ComponentId, CoreError, Direction, ErrorCode, Platform, PlatformKind, Policy, PolicyId,
    PolicyView, Side, SiteId,
};

use crate::error::unknown;
use crate::state::Record;
use crate::store::Store;

/// Configuration servers and their sites.
pub(crate) type Servers = Vec<(SiteId, ComponentId)>;

/// The configuration servers of all sites of a kind. A site that does not answer is left out; it is
/// associated with the policy when one of its machines is protected.
pub(crate) async fn servers(
    platforms: &BTreeMap<SiteId, Arc<dyn Platform>>,
    source: PlatformKind,
) -> Servers {
    let mut found = Servers::new();
    for (id, platform) in platforms {
        if !platform.site().await.is_ok_and(|site| site.kind == source) {
            continue;
        }
        let parts = platform.infrastructure().await.unwrap_or_default();
        let server = parts.into_iter().find(|part: &Component| part.configuration_server().is_some());
        found.extend(server.map(|server| (id.clone(), server.id)));
    }
    found
}

/// All policies of a core.
#[derive(Default)]
pub(crate) struct Policies(Mutex<BTreeMap<PolicyId, PolicyView>>);

impl Policies {
    pub(crate) fn load(store: &Store) -> Result<Self, CoreError> {
        let all = store.policies()?.into_iter().map(|view| (view.id.clone(), view));
        Ok(Self(Mutex::new(all.collect())))
    }

    pub(crate) fn all(&self) -> Vec<PolicyView> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn get(&self, id: &PolicyId) -> Result<PolicyView, CoreError> {
        self.lock().get(id).cloned().ok_or_else(|| unknown("policy", id))
    }

    /// The policy for the direction in which an item replicates, or would replicate next.
    pub(crate) fn in_force(&self, record: &Record) -> Result<PolicyView, CoreError> {
        let out = self.get(&record.policy)?;
        let target = record.replica.as_ref().map_or(record.protection.active.other(), |replica| replica.side);
        match (&out.counterpart, target) {
            (Some(back), Side::Primary) => self.get(back),
            _ => Ok(out),
        }
    }

    pub(crate) fn create(
        &self,
        store: &Store,
        id: &PolicyId,
        policy: &Policy,
        servers: Servers,
    ) -> Result<(), CoreError> {
        check(policy)?;
        let mut all = self.lock();
        let views = views(id, policy, servers);
        if let Some(taken) = views.iter().find(|view| all.contains_key(&view.id)) {
            let text = format!("there is already a policy {}; choose another name", taken.id);
            return Err(CoreError::new(ErrorCode::InUse, text));
        }
        store.put_policies(&views)?;
        all.extend(views.into_iter().map(|view| (view.id.clone(), view)));
        Ok(())
    }

    pub(crate) fn update(&self, store: &Store, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        let before = self.find_writable(id)?;
        check(policy)?;
        if before.policy.source != policy.source {
            let text = format!("policy {id} is for {:?} machines, which cannot change", before.policy.source);
            return Err(CoreError::new(ErrorCode::BadRequest, text));
        }
        let mut all = self.lock();
        let back = before.counterpart.and_then(|back| all.get(&back));
        let servers = back.map(|back| back.configuration_servers.clone()).unwrap_or_default();
        let views = views(id, policy, servers);
        store.put_policies(&views)?;
        all.extend(views.into_iter().map(|view| (view.id.clone(), view)));
        Ok(())
    }

    /// Whether a policy's failback policy knows a configuration server of the site. True if there
    /// is no failback policy.
    pub(crate) fn is_associated(&self, id: &PolicyId, site: &SiteId) -> bool {
        let all = self.lock();
        let back = all.get(id).and_then(|view| view.counterpart.as_ref()).and_then(|back| all.get(back));
        back.is_none_or(|back| back.configuration_servers.iter().any(|(at, _)| at == site))
    }

    /// Associates configuration servers with a policy's failback policy (PO-02).
    pub(crate) fn associate(&self, store: &Store, id: &PolicyId, servers: Servers) -> Result<(), CoreError> {
        let Some(back) = self.get(id)?.counterpart else { return Ok(()) };
        let mut view = self.get(&back)?;
        let known = view.configuration_servers.len();
        view.configuration_servers.extend(servers);
        view.configuration_servers.sort();
        view.configuration_servers.dedup();
        if view.configuration_servers.len() == known {
            return Ok(());
        }
        store.put_policies(std::slice::from_ref(&view))?;
        self.lock().insert(back, view);
        Ok(())
    }

    pub(crate) fn delete(&self, store: &Store, id: &PolicyId) -> Result<(), CoreError> {
        let view = self.find_writable(id)?;
        let gone: Vec<_> = [Some(view.id), view.counterpart].into_iter().flatten().collect();
        store.remove_policies(&gone)?;
        let mut all = self.lock();
        gone.iter().for_each(|id| drop(all.remove(id)));
        Ok(())
    }

    /// Finds a policy that may be changed and deleted.
    fn find_writable(&self, id: &PolicyId) -> Result<PolicyView, CoreError> {
        let view = self.get(id)?;
        if view.direction == Direction::RecoveryToPrimary {
            let text = format!(
                "{id} is a failback policy; it is created and deleted with its failover policy (PO-03)"
            );
            return Err(CoreError::new(ErrorCode::ReadOnly, text));
        }
        Ok(view)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PolicyId, PolicyView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A policy and its failback policy, if the source has one.
fn views(id: &PolicyId, policy: &Policy, servers: Servers) -> Vec<PolicyView> {
    let back_id = PolicyId(format!("{id}-failback"));
    let back = policy.failback();
    let out = PolicyView {
        id: id.clone(),
        policy: *policy,
        direction: Direction::PrimaryToRecovery,
        counterpart: back.map(|_| back_id.clone()),
        configuration_servers: Servers::new(),
    };
    let back = back.map(|policy| PolicyView {
        id: back_id,
        policy,
        direction: Direction::RecoveryToPrimary,
        counterpart: Some(id.clone()),
        configuration_servers: servers,
    });
    std::iter::once(out).chain(back).collect()
}

/// Refuses invalid values.
fn check(policy: &Policy) -> Result<(), CoreError> {
    let longest = Policy::longest_retention(policy.source);
    let complaints = [
        (policy.interval.0 == 0, "a policy needs an interval".to_owned()),
        (policy.retention.0 == 0, "a policy needs a retention time".to_owned()),
        (
            policy.retention > longest,
            format!(
                "points of {:?} machines are kept for {longest} at most, not {}",
                policy.source, policy.retention
            ),
        ),
        (
            policy.app_consistent_every.is_some_and(|every| every.0 == 0 || every >= policy.retention),
            "the interval of application-consistent points must be above zero and below the retention time (EX-R2)"
                .to_owned(),
        ),
        (policy.rpo_threshold.0 == 0, "a policy needs an RPO threshold".to_owned()),
        (policy.most_points == Some(0), "a policy keeps at least one point".to_owned()),
    ];
    match complaints.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(CoreError::new(ErrorCode::BadRequest, text)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Millis, PlatformKind};

    fn vmware() -> Policy {
        Policy::for_machines_of(PlatformKind::Vmware, Millis(60_000))
    }

    fn policies() -> (tempfile::TempDir, Store, Policies) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("core.db"), None).unwrap();
        (dir, store, Policies::default())
    }

    #[test]
    fn a_policy_creates_its_failback_policy_with_fixed_values() {
        let (_dir, store, policies) = policies();
        policies.create(&store, &"gold".into(), &vmware(), Servers::new()).unwrap();
        let back = policies.get(&"gold-failback".into()).unwrap();
        assert_eq!(back.direction, Direction::RecoveryToPrimary);
        let policy = back.policy;
        assert_eq!(policy.rpo_threshold, Millis(15 * 60_000));
        assert_eq!(policy.retention, Policy::DAY);
        assert_eq!(policy.app_consistent_every, Some(Millis(60 * 60_000)));
        // PO-06: the failover policy keeps its own retention time.
        assert_eq!(policies.get(&"gold".into()).unwrap().policy.retention, Millis(3 * Policy::DAY.0));
        assert_eq!(Policies::load(&store).unwrap().all(), policies.all());
    }

    #[test]
    fn a_failback_policy_is_read_only_and_deleted_with_its_failover_policy() {
        let (_dir, store, policies) = policies();
        policies.create(&store, &"gold".into(), &vmware(), Servers::new()).unwrap();
        let before = policies.all();
        let changed = Policy { rpo_threshold: Millis(1), ..vmware() };
        let refused = [
            policies.update(&store, &"gold-failback".into(), &changed),
            policies.delete(&store, &"gold-failback".into()),
        ];
        assert!(refused.iter().all(|r| r.as_ref().is_err_and(|e| e.code == ErrorCode::ReadOnly)));
        assert_eq!(policies.all(), before);
        policies.update(&store, &"gold".into(), &changed).unwrap();
        assert_eq!(policies.get(&"gold".into()).unwrap().policy, changed);
        policies.delete(&store, &"gold".into()).unwrap();
        assert!(policies.all().is_empty() && Policies::load(&store).unwrap().all().is_empty());
    }

    #[test]
    fn an_update_keeps_the_configuration_servers_of_the_failback_policy() {
        let (_dir, store, policies) = policies();
        let server = |site: &str| (SiteId::from(site), ComponentId::from("configuration-server"));
        policies.create(&store, &"gold".into(), &vmware(), vec![server("here")]).unwrap();
        let changed = Policy { rpo_threshold: Millis(1), ..vmware() };
        policies.update(&store, &"gold".into(), &changed).unwrap();
        policies.associate(&store, &"gold".into(), vec![server("there"), server("here")]).unwrap();
        let back = Policies::load(&store).unwrap().get(&"gold-failback".into()).unwrap();
        assert_eq!(back.configuration_servers, [server("here"), server("there")]);
        assert!(policies.get(&"gold".into()).unwrap().configuration_servers.is_empty());
    }

    #[test]
    fn hyperv_and_regions_have_no_failback_policy() {
        let (_dir, store, policies) = policies();
        for kind in [PlatformKind::HyperV, PlatformKind::Azure] {
            let id = PolicyId(format!("{kind:?}"));
            let policy = Policy::for_machines_of(kind, Millis(30_000));
            policies.create(&store, &id, &policy, Servers::new()).unwrap();
        }
        assert_eq!(policies.all().len(), 2);
    }

    #[test]
    fn an_invalid_policy_is_refused() {
        let (_dir, store, policies) = policies();
        let hyperv = Policy::for_machines_of(PlatformKind::HyperV, Millis(30_000));
        let wrong = [
            Policy { interval: Millis(0), ..vmware() },
            Policy { retention: Millis(0), ..vmware() },
            Policy { retention: Millis(3 * Policy::DAY.0 + 1), ..vmware() },
            Policy { retention: Millis(Policy::DAY.0 + 1), ..hyperv },
            Policy { app_consistent_every: Some(Millis(0)), ..vmware() },
            Policy { app_consistent_every: Some(hyperv.retention), ..hyperv },
            Policy { rpo_threshold: Millis(0), ..vmware() },
            Policy { most_points: Some(0), ..vmware() },
        ];
        for policy in wrong {
            let code =
                policies.create(&store, &"x".into(), &policy, Servers::new()).err().map(|error| error.code);
            assert_eq!(code, Some(ErrorCode::BadRequest), "{policy:?}");
        }
        assert!(policies.all().is_empty());
    }
}

//! Replication policies: kept in the store, in force for every item under them (PO-01 to PO-06).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use contract::{
    Component, ComponentId, CoreError, Direction, ErrorCode, PlatformKind, Policy, PolicyId, PolicyView,
    Side, SiteId,
};

use crate::core::{Inner, unknown};
use crate::item::Record;
use crate::store::Store;

/// Configuration servers with their sites.
pub(crate) type Servers = Vec<(SiteId, ComponentId)>;

/// The configuration servers of all sites whose machines are of this kind. A site that does not answer is left out, and
/// associated when a machine of it is protected.
pub(crate) async fn servers(core: &Inner, source: PlatformKind) -> Servers {
    let mut found = Servers::new();
    for (id, platform) in core.platforms() {
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

    /// The policy for the direction in which an item replicates, or would.
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
            let text = format!("there is a policy {} already; choose another name", taken.id);
            return Err(CoreError::new(ErrorCode::InUse, text));
        }
        store.put_policies(&views)?;
        all.extend(views.into_iter().map(|view| (view.id.clone(), view)));
        Ok(())
    }

    pub(crate) fn update(&self, store: &Store, id: &PolicyId, policy: &Policy) -> Result<(), CoreError> {
        let before = self.changeable(id)?;
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

    /// Whether a policy's failback policy leads back to a site, or there is none.
    pub(crate) fn leads_to(&self, id: &PolicyId, site: &SiteId) -> bool {
        let all = self.lock();
        let back = all.get(id).and_then(|view| view.counterpart.as_ref()).and_then(|back| all.get(back));
        back.is_none_or(|back| back.configuration_servers.iter().any(|(at, _)| at == site))
    }

    /// Associates servers with a policy's failback policy that are not yet (PO-02).
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
        let view = self.changeable(id)?;
        let gone: Vec<_> = [Some(view.id), view.counterpart].into_iter().flatten().collect();
        store.remove_policies(&gone)?;
        let mut all = self.lock();
        gone.iter().for_each(|id| drop(all.remove(id)));
        Ok(())
    }

    fn changeable(&self, id: &PolicyId) -> Result<PolicyView, CoreError> {
        let view = self.get(id)?;
        if view.direction == Direction::RecoveryToPrimary {
            let text =
                format!("{id} is a failback policy, which is made and goes with its other half (PO-03)");
            return Err(CoreError::new(ErrorCode::ReadOnly, text));
        }
        Ok(view)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PolicyId, PolicyView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A policy and, where the way back has one of its own, that.
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

/// What a policy must say to be one.
fn check(policy: &Policy) -> Result<(), CoreError> {
    let longest = Policy::longest_retention(policy.source);
    let complaints = [
        (policy.interval.0 == 0, "a policy needs an interval".to_owned()),
        (policy.retention.0 == 0, "a policy needs a retention time".to_owned()),
        (
            policy.retention > longest,
            format!(
                "points of {:?} machines are kept {longest} at most, not {}",
                policy.source, policy.retention
            ),
        ),
        (
            policy.app_consistent_every.is_some_and(|every| every.0 == 0 || every >= policy.retention),
            "application-consistent points come at a time above zero and below the retention time (EX-R2)"
                .to_owned(),
        ),
        (policy.rpo_threshold.0 == 0, "a policy needs an RPO threshold".to_owned()),
        (policy.most_points == Some(0), "a policy keeps one point at least".to_owned()),
    ];
    match complaints.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(CoreError::new(ErrorCode::BadRequest, text)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use contract::{Millis, PlatformKind};

    fn vmware() -> Policy {
        Policy::for_machines_of(PlatformKind::Vmware, Millis(60_000))
    }

    fn book() -> (tempfile::TempDir, Store, Policies) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("core.db"), None).unwrap();
        (dir, store, Policies::default())
    }

    #[test]
    fn a_policy_brings_its_failback_policy_with_the_fixed_values() {
        let (_dir, store, book) = book();
        book.create(&store, &"gold".into(), &vmware(), Servers::new()).unwrap();
        let back = book.get(&"gold-failback".into()).unwrap();
        assert_eq!(back.direction, Direction::RecoveryToPrimary);
        let policy = back.policy;
        assert_eq!(policy.rpo_threshold, Millis(15 * 60_000));
        assert_eq!(policy.retention, Policy::DAY);
        assert_eq!(policy.app_consistent_every, Some(Millis(60 * 60_000)));
        // PO-06: the way out keeps its own window.
        assert_eq!(book.get(&"gold".into()).unwrap().policy.retention, Millis(3 * Policy::DAY.0));
        assert_eq!(Policies::load(&store).unwrap().all(), book.all());
    }

    #[test]
    fn a_failback_policy_is_read_only_and_goes_with_its_other_half() {
        let (_dir, store, book) = book();
        book.create(&store, &"gold".into(), &vmware(), Servers::new()).unwrap();
        let before = book.all();
        let changed = Policy { rpo_threshold: Millis(1), ..vmware() };
        let refused = [
            book.update(&store, &"gold-failback".into(), &changed),
            book.delete(&store, &"gold-failback".into()),
        ];
        assert!(refused.iter().all(|r| r.as_ref().is_err_and(|e| e.code == ErrorCode::ReadOnly)));
        assert_eq!(book.all(), before);
        book.update(&store, &"gold".into(), &changed).unwrap();
        assert_eq!(book.get(&"gold".into()).unwrap().policy, changed);
        book.delete(&store, &"gold".into()).unwrap();
        assert!(book.all().is_empty() && Policies::load(&store).unwrap().all().is_empty());
    }

    #[test]
    fn a_failback_policy_keeps_the_configuration_servers_it_leads_to() {
        let (_dir, store, book) = book();
        let server = |site: &str| (SiteId::from(site), ComponentId::from("configuration-server"));
        book.create(&store, &"gold".into(), &vmware(), vec![server("here")]).unwrap();
        let changed = Policy { rpo_threshold: Millis(1), ..vmware() };
        book.update(&store, &"gold".into(), &changed).unwrap();
        book.associate(&store, &"gold".into(), vec![server("there"), server("here")]).unwrap();
        let back = Policies::load(&store).unwrap().get(&"gold-failback".into()).unwrap();
        assert_eq!(back.configuration_servers, [server("here"), server("there")]);
        assert!(book.get(&"gold".into()).unwrap().configuration_servers.is_empty());
    }

    #[test]
    fn hyperv_and_regions_have_no_failback_policy() {
        let (_dir, store, book) = book();
        for kind in [PlatformKind::HyperV, PlatformKind::Azure] {
            let id = PolicyId(format!("{kind:?}"));
            let policy = Policy::for_machines_of(kind, Millis(30_000));
            book.create(&store, &id, &policy, Servers::new()).unwrap();
        }
        assert_eq!(book.all().len(), 2);
    }

    #[test]
    fn a_policy_that_cannot_be_is_refused() {
        let (_dir, store, book) = book();
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
                book.create(&store, &"x".into(), &policy, Servers::new()).err().map(|error| error.code);
            assert_eq!(code, Some(ErrorCode::BadRequest), "{policy:?}");
        }
        assert!(book.all().is_empty());
    }
}

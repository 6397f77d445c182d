//! The change set: everything that changed since the last acknowledged snapshot.

use crate::changes::Chunks;

/// Changes of all disks, in the order of the disks.
pub(crate) type Changes = Vec<Chunks>;

/// Accumulates changes from one snapshot to the next.
#[derive(Debug, Default)]
pub(crate) struct ChangeSet {
    /// The snapshot that was acknowledged last.
    base: Option<String>,
    /// Changes since then. `None`: they are not completely known.
    since_base: Option<Changes>,
}

impl ChangeSet {
    /// Adds the changes from one snapshot to the next; `None` if they are not known.
    pub(crate) fn add(&mut self, more: Option<Changes>) {
        self.since_base = match (self.since_base.take(), more) {
            (Some(mut known), Some(more)) => {
                for (known, mut more) in known.iter_mut().zip(more) {
                    known.append(&mut more);
                }
                Some(known)
            }
            _ => None,
        };
    }

    /// The changes since a snapshot, if they are known.
    pub(crate) fn since(&self, change: Option<&str>) -> Option<&Changes> {
        let known = change.is_some() && change == self.base.as_deref();
        self.since_base.as_ref().filter(|_| known)
    }

    /// Starts to count changes from the snapshot `change`, whose content has reached its
    /// destination.
    pub(crate) fn acknowledge(&mut self, change: &str, disks: usize) {
        self.base = Some(change.to_owned());
        self.since_base = Some(vec![Chunks::new(); disks]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(chunks: &[u64]) -> Option<Changes> {
        Some(vec![chunks.iter().copied().collect(), Chunks::new()])
    }

    #[test]
    fn changes_accumulate_until_a_snapshot_is_acknowledged() {
        let mut set = ChangeSet::default();
        set.add(None);
        set.acknowledge("one", 2);
        set.add(changes(&[1, 2]));
        assert_eq!(set.since(Some("one")), changes(&[1, 2]).as_ref());
        set.add(changes(&[2, 3]));
        assert_eq!(set.since(Some("one")), changes(&[1, 2, 3]).as_ref());
        set.acknowledge("three", 2);
        set.add(changes(&[9]));
        assert_eq!(set.since(Some("one")), None);
        assert_eq!(set.since(Some("three")), changes(&[9]).as_ref());
        assert_eq!(set.since(None), None);
    }

    #[test]
    fn after_a_gap_no_changes_are_known_until_a_snapshot_is_acknowledged() {
        let mut set = ChangeSet::default();
        set.acknowledge("one", 2);
        set.add(None);
        set.add(changes(&[1]));
        assert_eq!(set.since(Some("one")), None);
        set.acknowledge("two", 2);
        set.add(changes(&[5]));
        assert_eq!(set.since(Some("two")), changes(&[5]).as_ref());
    }

    #[test]
    fn a_new_change_set_knows_no_changes() {
        assert_eq!(ChangeSet::default().since(Some("one")), None);
    }
}

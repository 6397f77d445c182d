//! The account of changes: what changed since the moment whose content last reached its destination.

use crate::changes::Chunks;

/// Changes of all disks, in their order.
pub(crate) type Changes = Vec<Chunks>;

/// What can be told of changes.
#[derive(Debug, Default)]
pub(crate) struct ChangeSet {
    /// The moment that was acknowledge last.
    base: Option<String>,
    /// What changed since. `None`: nobody noted it all.
    since_base: Option<Changes>,
}

impl ChangeSet {
    /// Notes what changed from one moment to the next; `None` if that is not known.
    pub(crate) fn note(&mut self, more: Option<Changes>) {
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

    /// What changed since `moment`, if that can be told.
    pub(crate) fn since(&self, moment: Option<&str>) -> Option<&Changes> {
        let known = moment.is_some() && moment == self.base.as_deref();
        self.since_base.as_ref().filter(|_| known)
    }

    /// The content of `moment` has reached its destination: changes count from there.
    pub(crate) fn acknowledge(&mut self, moment: &str, disks: usize) {
        self.base = Some(moment.to_owned());
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
    fn changes_add_up_until_they_are_consumed() {
        let mut account = ChangeSet::default();
        account.note(None);
        account.acknowledge("one", 2);
        account.note(changes(&[1, 2]));
        assert_eq!(account.since(Some("one")), changes(&[1, 2]).as_ref());
        account.note(changes(&[2, 3]));
        assert_eq!(account.since(Some("one")), changes(&[1, 2, 3]).as_ref());
        account.acknowledge("three", 2);
        account.note(changes(&[9]));
        assert_eq!(account.since(Some("one")), None);
        assert_eq!(account.since(Some("three")), changes(&[9]).as_ref());
        assert_eq!(account.since(None), None);
    }

    #[test]
    fn after_a_gap_nothing_is_told_until_something_is_consumed() {
        let mut account = ChangeSet::default();
        account.acknowledge("one", 2);
        account.note(None);
        account.note(changes(&[1]));
        assert_eq!(account.since(Some("one")), None);
        account.acknowledge("two", 2);
        account.note(changes(&[5]));
        assert_eq!(account.since(Some("two")), changes(&[5]).as_ref());
    }

    #[test]
    fn a_new_account_tells_nothing() {
        assert_eq!(ChangeSet::default().since(Some("one")), None);
    }
}

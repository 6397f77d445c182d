//! The write-back caches of the clients of a volume.

use std::sync::Arc;

use crate::content::Layer;

/// A change of a volume's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// These bytes are written.
    Data(&'a [u8]),
    /// So many bytes are made to read as zeroes.
    Zeroes(u64),
}

impl Change<'_> {
    /// Length in bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zeroes(length) => *length,
        }
    }
}

/// A change that its client has not flushed.
#[derive(Clone, Debug)]
pub(crate) enum Unflushed {
    Data(Vec<u8>),
    Zeroes(u64),
}

impl Unflushed {
    pub(crate) fn borrowed(&self) -> Change<'_> {
        match self {
            Self::Data(data) => Change::Data(data),
            Self::Zeroes(length) => Change::Zeroes(*length),
        }
    }
}

impl From<&Change<'_>> for Unflushed {
    fn from(change: &Change<'_>) -> Self {
        match change {
            Change::Data(data) => Self::Data(data.to_vec()),
            Change::Zeroes(length) => Self::Zeroes(*length),
        }
    }
}

/// What a volume holds durably, and what its clients have written since and not flushed.
#[derive(Debug)]
pub(crate) struct WriteCache {
    durable: Arc<Layer>,
    /// The clients' changes with their offsets, in the order in which they were made.
    unflushed: Vec<(u64, u64, Unflushed)>,
}

impl WriteCache {
    /// An empty cache over content that is durable.
    pub(crate) fn over(durable: &Arc<Layer>) -> Self {
        Self { durable: Arc::clone(durable), unflushed: Vec::new() }
    }

    pub(crate) fn add(&mut self, client: u64, offset: u64, change: &Change<'_>) {
        self.unflushed.push((client, offset, change.into()));
    }

    /// Takes out what a client has written: the offsets and the changes, in order.
    pub(crate) fn take(&mut self, client: u64) -> Vec<(u64, Unflushed)> {
        let of_client = self.unflushed.extract_if(.., |(of, ..)| *of == client);
        of_client.map(|(_, offset, change)| (offset, change)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unflushed.is_empty()
    }

    pub(crate) fn durable(&self) -> &Arc<Layer> {
        &self.durable
    }

    pub(crate) fn durable_mut(&mut self) -> &mut Arc<Layer> {
        &mut self.durable
    }

    pub(crate) fn into_durable(self) -> Arc<Layer> {
        self.durable
    }
}

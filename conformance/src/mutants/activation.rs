//! When a fault is at work.

use std::sync::atomic::{AtomicBool, Ordering};

/// When a fault is at work: from the start, or from the beginning of an edge on.
#[derive(Debug, Default)]
pub(super) struct Activation {
    edge: Option<String>,
    reached: AtomicBool,
    acted: AtomicBool,
}

impl Activation {
    /// Activates the fault when `edge` begins; without one it is active from the start.
    pub(super) fn at(edge: Option<String>) -> Self {
        Self { edge, reached: AtomicBool::new(false), acted: AtomicBool::new(false) }
    }

    /// The edge that the fault waits for.
    pub(super) fn edge(&self) -> Option<&str> {
        self.edge.as_deref()
    }

    pub(super) fn begin_edge(&self, edge: &str) {
        if self.edge.as_deref() == Some(edge) {
            self.reached.store(true, Ordering::SeqCst);
        }
    }

    /// Records that the fault altered something.
    pub(super) fn note_act(&self) {
        self.acted.store(true, Ordering::SeqCst);
    }

    /// Whether the fault has altered anything.
    pub(super) fn has_acted(&self) -> bool {
        self.acted.load(Ordering::SeqCst)
    }

    pub(super) fn is_active(&self) -> bool {
        self.edge.is_none() || self.reached.load(Ordering::SeqCst)
    }
}

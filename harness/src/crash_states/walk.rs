//! One image that goes through the states of a log.

use std::ops::Range;

use super::CrashState;
use super::image::StateImage;
use super::inspect::{Inspection, Inspector};
use crate::oracle::{Position, WriteLog};
use crate::recovered::CheckError;

/// The image at a boundary, and what is known of it.
pub(super) struct Walk<'a> {
    pub(super) log: &'a WriteLog,
    pub(super) image: StateImage,
    pub(super) inspector: Inspector<'a>,
    /// Transfers of the bank at this boundary.
    pub(super) transfers: Option<u64>,
}

impl Walk<'_> {
    /// Checks a state after this boundary, to which the image returns. `epoch` are the writes from
    /// here to the next one.
    pub(super) fn inspect(
        &mut self,
        epoch: &Range<u64>,
        state: &CrashState,
    ) -> Result<Inspection, CheckError> {
        self.apply(epoch, state)?;
        let inspection = self.inspector.inspect(self.image.path(), state, self.transfers)?;
        self.image.undo()?;
        Ok(inspection)
    }

    /// Goes to a state for good.
    pub(super) fn advance(&mut self, epoch: &Range<u64>, state: &CrashState) -> Result<(), CheckError> {
        self.apply(epoch, state)?;
        self.image.keep();
        Ok(())
    }

    fn apply(&mut self, epoch: &Range<u64>, state: &CrashState) -> Result<(), CheckError> {
        for position in (epoch.start..state.cut.0).map(|write| Position(write + 1)) {
            let kept = state.lost.binary_search(&position).is_err();
            if let Some(entry) = self.log.entry(position).filter(|_| kept) {
                self.image.apply(self.log, entry)?;
            }
        }
        Ok(())
    }
}

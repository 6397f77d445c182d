//! An original machine that somebody powers on again while its copy serves on the recovery site: a
//! reprotection has to switch it off, and it stays off until the failback (RE-02).

use std::sync::Arc;

use contract::{Platform, PowerState};

use crate::blame::{KeptByCore, ScenarioError};
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::recover::wait_for_hello;
use crate::real::machine::Running;
use crate::rules::ids::RE_02;

/// Name of the machine's boot in progress.
const LABEL: &str = "the original is powered on again";

/// An original machine that runs again.
pub(crate) struct RestartedOriginal(Running);

impl RestartedOriginal {
    /// Restores the original's site, powers the original on and waits until its guest is up. It
    /// gets no load.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) async fn power_on(
        context: &ScenarioContext,
        original: &Running,
    ) -> Result<Self, ScenarioError> {
        let site = &original.site;
        site.restore();
        let step = context.evidence.step(LABEL, "boot the original");
        site.start(&context.machine).await.kept_by_core("the original machine")?;
        let boot = site.boot_after(&context.machine, original.boot.number).await;
        wait_for_hello(context, &boot, BOOT_WITHIN).await?;
        step.done();
        context.trace(format!("{LABEL}: it runs on {}", site.label()));
        Ok(Self(Running { site: Arc::clone(site), boot, initial_record: original.last_record() }))
    }

    /// The machine in this boot.
    pub(crate) fn running(&self) -> &Running {
        &self.0
    }

    /// RE-02, when the reprotection has ended: the guest that ran before is gone.
    pub(crate) async fn check_switched_off(&self, context: &ScenarioContext, ended: &str) {
        let Self(Running { site, boot, .. }) = self;
        let gone = boot.guest.is_gone();
        let power = site.machine(&context.machine).await.map(|machine| machine.power);
        let off = gone && matches!(power, Ok(PowerState::Off));
        let found =
            format!("the original ran; the reprotection {ended}, and its guest is gone: {gone}, {power:?}");
        context.check(RE_02, off, found);
    }

    /// RE-02, before the failback: the machine was not started since.
    ///
    /// # Errors
    /// The site does not answer.
    pub(crate) async fn check_still_off(&self, context: &ScenarioContext) -> Result<(), ScenarioError> {
        let Self(Running { site, boot, .. }) = self;
        let power = site.machine(&context.machine).await.kept_by_core("the original machine")?.power;
        let boots_since = site.last_boot(&context.machine).await.map_or(0, |last| last.number - boot.number);
        let off = power == PowerState::Off && boots_since == 0;
        let found = format!("before the failback the original is {power:?}, {boots_since} boots since");
        context.check(RE_02, off, found);
        Ok(())
    }
}

//! How a guest ends: a shutdown, or a power cut.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;
use virt::sys;

use super::Guest;
use crate::host::blocking;
use crate::{Error, Result};

/// Time limit for a killed QEMU to end.
const GONE_WITHIN: Duration = Duration::from_secs(30);

impl Guest {
    /// Asks the guest to shut down and waits until QEMU is gone. Uses the guest agent, or the power
    /// button if the agent does not answer or was asked before.
    ///
    /// # Errors
    /// It is still running after `bound`.
    pub async fn shut_down(&self, bound: Duration) -> Result<()> {
        let domain = self.domain.clone();
        let by_button = self.agent_was_asked.swap(true, Ordering::Relaxed);
        let ask = blocking(format!("shut {} down", self.name), move || {
            let by = |way| domain.shutdown_flags(way);
            if by_button {
                return by(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN);
            }
            by(sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT).or_else(|_| by(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))
        });
        let mut not_quiesced = None;
        let asked = async {
            not_quiesced = Some(self.quiesce_lock.lock().await);
            let _unpaused = self.pause_lock.lock().await;
            ask.await
        };
        let is_off = self.shut_down_by(bound, asked).await;
        drop(not_quiesced);
        is_off
    }

    /// Waits until the guest is neither quiesced nor shutting down, and prevents both until the
    /// guard is dropped: a shutdown ends the guest agent, which alone can thaw the file systems,
    /// and then waits for them for ever.
    pub async fn quiesce_lock(&self) -> MutexGuard<'_, ()> {
        self.quiesce_lock.lock().await
    }

    /// Waits until the guest is neither paused nor being asked to shut down, and prevents both
    /// until the guard is dropped.
    pub async fn pause_lock(&self) -> MutexGuard<'_, ()> {
        self.pause_lock.lock().await
    }

    /// Like [`Guest::shut_down`], but `asked` does the asking.
    ///
    /// # Errors
    /// The error of `asked`, unless the guest is off by then; or it is still running after `bound`.
    pub async fn shut_down_by(&self, bound: Duration, asked: impl Future<Output = Result<()>>) -> Result<()> {
        let everything = async {
            if let Err(error) = asked.await
                && !self.is_gone()
            {
                return Err(error);
            }
            self.until_gone().await;
            Ok(())
        };
        let watched = self.watch();
        let waited = tokio::time::timeout(bound, everything).await;
        waited.map_err(|_| self.overdue(&watched, format!("{}: shutdown", self.name), bound))??;
        self.until_off().await
    }

    /// Cuts the power: kills QEMU with all requests in flight.
    ///
    /// # Errors
    /// The process is unknown or does not end.
    pub async fn power_cut(&self) -> Result<Instant> {
        let cut_at = Instant::now();
        self.monitor.kill().map_err(Error::file(format!("process of {}", self.name)))?;
        tokio::time::timeout(GONE_WITHIN, self.until_gone()).await.map_err(|_| Error::HostTimedOut {
            awaited: format!("{}: end of its killed QEMU", self.name),
            bound: GONE_WITHIN,
            seen: "the monitor is still open".to_owned(),
        })?;
        self.until_off().await?;
        Ok(cut_at)
    }

    /// Waits until libvirt has noticed as well, so that the machine can be started again.
    async fn until_off(&self) -> Result<()> {
        let domain = self.domain.clone();
        let name = self.name.clone();
        blocking(format!("wait for the end of {name}"), move || {
            // Destroying a domain that has ended fails; destroying one that is about to end waits
            // for it.
            if domain.is_active()? {
                let _ = domain.destroy();
            }
            Ok(())
        })
        .await
    }
}

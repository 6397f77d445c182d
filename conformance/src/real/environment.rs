//! What every scenario on guests needs from the test host.

use std::sync::Arc;

use contract::SiteId;
use harness::accel;
use harness::host::Host;
use harness::machine::Accelerator;
use harness::scratch::Scratch;
use images::shape::{ORDINARY, Shape};
use standins::{SiteConfig, StandInSite, profile};

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;

/// The guest image, libvirt, the accelerator and a scratch directory.
pub(crate) struct TestEnvironment {
    pub(crate) image: images::Image,
    pub(crate) host: Host,
    pub(crate) accelerator: Accelerator,
    /// `Err` says why the accelerator cannot offer Hyper-V enlightenments.
    pub(crate) enlightenments: Result<(), String>,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) evidence: Arc<Evidence>,
}

impl TestEnvironment {
    /// Finds the image, connects to libvirt and chooses the accelerator.
    ///
    /// # Errors
    /// One of them is missing on this host.
    pub(crate) async fn open(run: &RunContext, evidence: &Arc<Evidence>) -> Result<Self, ScenarioError> {
        let cache = images::cache_dir();
        let image = images::find(&cache).map_err(harness::Error::from)?;
        let image = image.ok_or_else(|| {
            ScenarioError::Inconclusive(
                "there is no guest image; `cargo xtask images build` builds it".to_owned(),
            )
        })?;
        let host = Host::connect(run.connect.as_deref()).await?;
        let probe = accel::choose(&host, &image, &cache).await?;
        let accelerator = probe.accelerator;
        let missing = probe.no_enlightenments;
        let enlightenments = if missing.is_empty() { Ok(()) } else { Err(missing) };
        let scratch = Arc::new(Scratch::new(&run.id)?);
        Ok(Self { image, host, accelerator, enlightenments, scratch, evidence: Arc::clone(evidence) })
    }

    /// Opens the stand-in called `name` as a site of the same name.
    pub(crate) async fn site(&self, name: &str) -> Result<Arc<StandInSite>, ScenarioError> {
        self.site_of_shape(name, &ORDINARY).await
    }

    /// Opens the stand-in called `name`, whose machines have disks of this shape.
    pub(crate) async fn site_of_shape(
        &self,
        name: &str,
        shape: &Shape,
    ) -> Result<Arc<StandInSite>, ScenarioError> {
        self.open_site((name, name), true, shape).await
    }

    /// Opens the stand-in called `name` as a site called `id` without write logs: disks of its
    /// guests cannot be judged.
    pub(crate) async fn site_without_log(
        &self,
        id: &str,
        name: &str,
    ) -> Result<Arc<StandInSite>, ScenarioError> {
        self.open_site((id, name), false, &ORDINARY).await
    }

    async fn open_site(
        &self,
        (id, name): (&str, &str),
        log_writes: bool,
        shape: &Shape,
    ) -> Result<Arc<StandInSite>, ScenarioError> {
        let mut profile = profile::by_name(name)
            .ok_or_else(|| ScenarioError::Inconclusive(format!("there is no stand-in called {name}")))?;
        profile.hardware.system_disk.sector = shape.system_sector;
        profile.hardware.other_disks.sector = shape.data_sector;
        let config = SiteConfig {
            id: SiteId::from(id),
            profile,
            log_writes,
            host: self.host.clone(),
            accelerator: self.accelerator,
            enlightenments: self.enlightenments.clone(),
            scratch: Arc::clone(&self.scratch),
            dir: self.evidence.dir().join("sites").join(id),
        };
        Ok(StandInSite::open(config).await?)
    }
}

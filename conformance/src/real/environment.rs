//! What every scenario on guests begins with, and what its test needs of it.

use std::sync::Arc;

use async_trait::async_trait;
use contract::SiteId;
use harness::accel;
use harness::host::Host;
use harness::machine::Accelerator;
use harness::scratch::Scratch;
use standins::{SiteConfig, StandInSite, profile};

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::ScenarioOutcome;

/// A scenario on guests: run, asked what it found, and taken down whatever happened.
#[async_trait]
pub trait ScenarioRun: Send + Sync {
    /// Runs the script.
    ///
    /// # Errors
    /// The first thing that kept it from going on.
    async fn run(&self) -> Result<(), ScenarioError>;

    /// Moves what was found into the outcome.
    async fn record(&self, outcome: &mut ScenarioOutcome);

    /// Takes everything down; with `--keep`, a failed scenario's guests may stay.
    ///
    /// # Errors
    /// A domain or daemon did not go.
    async fn close(&self, failed: bool) -> Result<(), ScenarioError>;
}

/// The guest image, libvirt, the accelerator and a place for sockets.
pub(crate) struct TestEnvironment {
    pub(crate) image: images::Image,
    pub(crate) host: Host,
    pub(crate) accelerator: Accelerator,
    /// Whether it has Hyper-V's enlightenments, or why not.
    pub(crate) enlightenments: Result<(), String>,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) evidence: Arc<Evidence>,
}

impl TestEnvironment {
    pub(crate) async fn open(context: &RunContext, evidence: &Arc<Evidence>) -> Result<Self, ScenarioError> {
        let cache = images::cache_dir();
        let image = images::find(&cache).map_err(harness::Error::from)?;
        let image = image.ok_or_else(|| {
            ScenarioError::Inconclusive(
                "there is no guest image; `cargo xtask images build` makes it".to_owned(),
            )
        })?;
        let host = Host::connect(context.connect.as_deref()).await?;
        let probe = accel::choose(&host, &image, &cache).await?;
        let accelerator = probe.accelerator;
        let why = probe.no_enlightenments;
        let enlightenments = if why.is_empty() { Ok(()) } else { Err(why) };
        let scratch = Arc::new(Scratch::new(&context.id)?);
        Ok(Self { image, host, accelerator, enlightenments, scratch, evidence: Arc::clone(evidence) })
    }

    /// Opens the stand-in called `name`.
    pub(crate) async fn site(&self, name: &str) -> Result<Arc<StandInSite>, ScenarioError> {
        self.open_site(name, name, true).await
    }

    /// Opens the stand-in called `name` as a site called `id`, whose guests' writes are not logged: no disk of theirs can be
    /// judged.
    pub(crate) async fn site_without_log(
        &self,
        id: &str,
        name: &str,
    ) -> Result<Arc<StandInSite>, ScenarioError> {
        self.open_site(id, name, false).await
    }

    async fn open_site(
        &self,
        id: &str,
        name: &str,
        log_writes: bool,
    ) -> Result<Arc<StandInSite>, ScenarioError> {
        let profile = profile::by_name(name)
            .ok_or_else(|| ScenarioError::Inconclusive(format!("there is no stand-in called {name}")))?;
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

//! What every scenario on guests begins with, and what its test needs of it.

use std::sync::Arc;

use async_trait::async_trait;
use contract::SiteId;
use harness::accel;
use harness::host::Host;
use harness::machine::Accelerator;
use harness::scratch::Scratch;
use standins::{SiteConfig, StandInSite, profile};

use super::{Halt, World, identity, speed};
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::ScenarioOutcome;
use crate::scenario::{Scenario, Script};

/// A scenario on guests: run, asked what it found, and taken down whatever happened.
#[async_trait]
pub trait Play: Send + Sync {
    /// Runs the script.
    ///
    /// # Errors
    /// The first thing that kept it from going on.
    async fn run(&self) -> Result<(), Halt>;

    /// Moves what was found into the outcome.
    async fn record(&self, outcome: &mut ScenarioOutcome);

    /// Takes everything down; with `--keep`, a failed scenario's guests may stay.
    ///
    /// # Errors
    /// A domain or daemon did not go.
    async fn close(&self, failed: bool) -> Result<(), Halt>;
}

/// Makes a scenario ready.
///
/// # Errors
/// Something is missing on this host, or the scenario's words are unknown.
pub async fn open(
    context: &RunContext,
    scenario: &Scenario,
    evidence: &Arc<Evidence>,
) -> Result<Arc<dyn Play>, Halt> {
    Ok(match scenario.script {
        Script::Identity => Arc::new(identity::Walk::open(context, evidence).await?),
        Script::Speed => Arc::new(speed::SpeedTest::open(context, evidence).await?),
        _ => Arc::new(World::open(context, scenario, evidence).await?),
    })
}

/// The guest image, libvirt, the accelerator and a place for sockets.
pub(crate) struct Stage {
    pub(crate) image: images::Image,
    pub(crate) host: Host,
    pub(crate) accelerator: Accelerator,
    /// Whether it has Hyper-V's enlightenments, or why not.
    pub(crate) enlightenments: Result<(), String>,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) evidence: Arc<Evidence>,
}

impl Stage {
    pub(crate) async fn open(context: &RunContext, evidence: &Arc<Evidence>) -> Result<Self, Halt> {
        let cache = images::cache_dir();
        let image = images::find(&cache).map_err(harness::Error::from)?;
        let image = image.ok_or_else(|| {
            Halt::Unknown("there is no guest image; `cargo xtask images build` makes it".to_owned())
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
    pub(crate) async fn site(&self, name: &str) -> Result<Arc<StandInSite>, Halt> {
        self.open_site(name, name, true).await
    }

    /// Opens the stand-in called `name` as a site called `id`, whose guests' writes are not logged: no disk of theirs can be
    /// judged.
    pub(crate) async fn site_without_log(&self, id: &str, name: &str) -> Result<Arc<StandInSite>, Halt> {
        self.open_site(id, name, false).await
    }

    async fn open_site(&self, id: &str, name: &str, log_writes: bool) -> Result<Arc<StandInSite>, Halt> {
        let profile = profile::by_name(name)
            .ok_or_else(|| Halt::Unknown(format!("there is no stand-in called {name}")))?;
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

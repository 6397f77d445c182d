//! A simulation: a seed, a clock and sites.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use contract::Millis;
use nbd::DiskServer;

use crate::{SimClock, SimConfig, SimSite};

/// A simulation.
pub struct SimWorld {
    seed: u64,
    clock: SimClock,
    sites: Mutex<Vec<Weak<SimSite>>>,
    /// Serves the disks of all sites, if clients in other processes read them.
    disk_server: Option<Arc<DiskServer>>,
}

impl SimWorld {
    /// Creates a simulation on the clock of the current runtime.
    ///
    /// # Panics
    /// There is no tokio runtime.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, clock: SimClock::start(), sites: Mutex::default(), disk_server: None }
    }

    /// Serves the disks of all sites that are opened from now on at a Unix socket, for a core that
    /// is another process. Otherwise only this process can read them.
    ///
    /// # Errors
    /// The host allows no socket or thread.
    pub fn serve_disks_at_socket(&mut self) -> io::Result<()> {
        self.disk_server = Some(Arc::new(DiskServer::start()?));
        Ok(())
    }

    /// The seed that reproduces this simulation.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Opens a site.
    pub fn site(&self, config: SimConfig) -> Arc<SimSite> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let ordinal = u32::try_from(sites.len()).unwrap_or(u32::MAX).saturating_add(1);
        let site = SimSite::open(config, ordinal, self.seed, self.clock.clone(), self.disk_server.clone());
        sites.push(Arc::downgrade(&site));
        site
    }

    /// Waits one millisecond, so that all work of the current instant is completed. Otherwise an
    /// action on one machine could happen before or after work on other machines in the same
    /// instant.
    pub async fn settle(&self) {
        self.clock.sleep(Millis(1)).await;
    }

    /// Ends every fault at every site. Machines that are off stay off.
    pub fn heal(&self) {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sites.iter().filter_map(Weak::upgrade).for_each(|site| site.heal());
    }
}

/// A core that is another process may hold sites for longer than a simulation lasts, but not its
/// socket.
impl Drop for SimWorld {
    fn drop(&mut self) {
        if let Some(server) = &self.disk_server {
            server.close();
        }
    }
}

impl fmt::Debug for SimWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWorld").field("seed", &self.seed).field("now", &self.clock.now()).finish()
    }
}

/// Runs `work` in a new simulation under virtual time; on a panic it prints the seed that
/// reproduces it.
///
/// There is one blocking thread, so that blocking work is done in the order in which it was
/// requested. A core whose blocking work waits for other blocking work needs another runtime.
///
/// # Panics
/// The runtime cannot be built, or `work` panics.
pub fn run<F: Future>(seed: u64, work: impl FnOnce(SimWorld) -> F) -> F::Output {
    let _seed = SeedOnPanic(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).max_blocking_threads(1).build();
    runtime.expect("a runtime").block_on(async { work(SimWorld::new(seed)).await })
}

struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation: seed {} reproduces this", self.0);
        }
    }
}

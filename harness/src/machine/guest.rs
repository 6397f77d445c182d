//! A defined machine, and the guest that runs in it.

mod power;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use virt::domain::Domain;
use virt::sys;
use witness::protocol::Hello;

use super::agent::GuestAgent;
use super::forwards::Forwards;
use super::serial::{SharedSerial, tail_of};
use super::starvation::Watched;
use super::xml::{self, Sockets};
use super::{Accelerator, DiskManager, GuestSpec, Serial, firmware_variables, managed_disks, nodes};
use crate::host::{self, Host, blocking};
use crate::qmp::{Monitor, lock};
use crate::scratch::{self, Scratch};
use crate::witness_link::WitnessLink;
use crate::{Ending, Error, Result};

/// Time limit from the start of QEMU to the connection of its monitor.
const MONITOR_WITHIN: Duration = Duration::from_secs(60);

/// A defined domain. It stays defined until [`Machine::remove`].
pub struct Machine {
    spec: GuestSpec,
    domain: Domain,
    host: Host,
    sockets: Sockets,
    /// The end of the QEMU that was started last.
    ending: std::sync::Mutex<Option<Arc<Ending>>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

/// Log files of a guest.
#[derive(Clone, Debug)]
pub struct GuestFiles {
    /// Output of the serial console.
    pub serial: Utf8PathBuf,
    /// Monitor commands, answers and events.
    pub qmp: Utf8PathBuf,
    /// QEMU's own log.
    pub qemu: Utf8PathBuf,
}

impl Machine {
    /// Defines the machine without starting it. Its sockets lie in `place`, its logs in
    /// `spec.dir`. If it is defined already (see [`Machine::replace`]), the definition changes and
    /// what libvirt knows of it otherwise, such as checkpoints, stays.
    ///
    /// # Errors
    /// libvirt does not accept the description, or the directory is not writable.
    pub async fn define(
        host: &Host,
        accelerator: Accelerator,
        place: &Scratch,
        spec: GuestSpec,
    ) -> Result<Self> {
        std::fs::create_dir_all(&spec.dir).map_err(Error::file(&spec.dir))?;
        let sockets_dir = place.path().join(&spec.name);
        std::fs::create_dir_all(&sockets_dir).map_err(Error::file(&sockets_dir))?;
        let sockets = Sockets::in_dir(&sockets_dir);
        let uuid = host.uuid_of(&spec.name).await?;
        let security = xml::security(host);
        let (owner, dir) = (place.owner(), place.path());
        let xml = xml::domain(&spec, &security, accelerator, owner, dir, &sockets, uuid.as_deref());
        let xml_path = spec.dir.join("domain.xml");
        std::fs::write(&xml_path, &xml).map_err(Error::file(&xml_path))?;
        for log in spec.disks.iter().filter_map(|disk| disk.write_log.as_ref()) {
            // The log's driver does not create the file.
            std::fs::File::create(log).map_err(Error::file(log))?;
        }
        firmware_variables::write(&spec)?;
        let domain = host.define(xml).await?;
        Ok(Self { spec, domain, host: host.clone(), sockets, ending: std::sync::Mutex::default() })
    }

    /// Its description.
    #[must_use]
    pub fn spec(&self) -> &GuestSpec {
        &self.spec
    }

    /// Powers the machine on. The clock of [`Guest::powered_on`] starts here.
    ///
    /// # Errors
    /// libvirt or QEMU refused; their message is in the error.
    pub async fn start(&self) -> Result<Arc<Guest>> {
        let powered_on = Instant::now();
        let monitor = listen(&self.sockets.monitor)?;
        let serial = listen(&self.sockets.serial)?;
        let witness = listen(&self.sockets.witness)?;
        let domain = self.domain.clone();
        let name = self.spec.name.clone();
        blocking(format!("start {name}"), move || domain.create()).await?;
        let files = self.files();
        let monitor = Monitor::greet(&name, self.accept(&monitor).await?, &files.qmp).await?;
        *lock(&self.ending) = Some(Arc::clone(monitor.ending()));
        // QEMU has made it before its monitor answers.
        scratch::only_for_this_user(self.sockets.agent.as_str().into())?;
        let agent = GuestAgent::follow(self.domain.clone(), &monitor);
        if self.spec.disk_manager == DiskManager::Libvirt {
            managed_disks::check(&monitor, &self.spec).await?;
        }
        let serial = Arc::new(Serial::follow(self.accept(&serial).await?, &files.serial)?);
        let witness = self.accept(&witness).await?;
        let witness = WitnessLink::new(&name, witness, &self.spec.dir, powered_on)?;
        let forwards = Forwards::of(&monitor).await?;
        let roles = self.spec.disks.iter().map(|disk| &disk.role);
        let format_nodes = roles.map(|role| (role.clone(), self.spec.format_node(role))).collect();
        Ok(Arc::new(Guest {
            name,
            spec: self.spec.clone(),
            format_nodes,
            domain: self.domain.clone(),
            monitor,
            serial,
            agent,
            witness,
            forwards,
            powered_on,
            pause_lock: Mutex::default(),
            quiesce_lock: Mutex::default(),
            agent_was_asked: AtomicBool::new(false),
        }))
    }

    async fn accept(&self, listener: &UnixListener) -> Result<UnixStream> {
        let waited = tokio::time::timeout(MONITOR_WITHIN, listener.accept()).await;
        let accepted = waited.map_err(|_| Error::HostTimedOut {
            awaited: format!("{}: QEMU's connection", self.spec.name),
            bound: MONITOR_WITHIN,
            seen: tail_of(&self.host.domain_log(&self.spec.name)),
        })?;
        Ok(accepted.map_err(Error::file(&self.spec.name))?.0)
    }

    /// Ends and undefines the machine, and moves libvirt's log of it into the evidence.
    ///
    /// # Errors
    /// libvirt refused.
    pub async fn remove(&self) -> Result<()> {
        if let Some(ending) = lock(&self.ending).as_ref() {
            ending.explain();
        }
        host::remove(self.domain.clone()).await?;
        self.keep_log()
    }

    /// Prepares for [`Machine::define`] of the same machine for its next boot. A machine whose
    /// disks libvirt manages stays defined, because its checkpoints belong to the definition.
    ///
    /// # Errors
    /// libvirt refused.
    pub async fn replace(&self) -> Result<()> {
        match self.spec.disk_manager {
            DiskManager::CommandLine => self.remove().await,
            DiskManager::Libvirt => self.keep_log(),
        }
    }

    /// Moves libvirt's log of it into the evidence. A full disk takes no log, and yet none is left
    /// behind.
    fn keep_log(&self) -> Result<()> {
        let log = self.host.domain_log(&self.spec.name);
        let Ok(text) = std::fs::read(&log) else { return Ok(()) };
        let path = self.files().qemu;
        let kept = std::fs::write(&path, text).map_err(Error::file(&path));
        // It may belong to another user's daemon; libvirt then rotates it.
        let _ = std::fs::remove_file(&log);
        kept
    }

    /// Whether libvirt reports it as running.
    ///
    /// # Errors
    /// libvirt refused.
    pub async fn is_active(&self) -> Result<bool> {
        let domain = self.domain.clone();
        blocking("ask for a domain's state", move || domain.is_active()).await
    }

    /// Paths of the guest's log files.
    #[must_use]
    pub fn files(&self) -> GuestFiles {
        let path = |name: &str| self.spec.dir.join(name);
        GuestFiles { serial: path("serial.log"), qmp: path("qmp.log"), qemu: path("qemu.log") }
    }
}

/// Listens at `path`, removing a socket left there by an earlier start of the same machine.
fn listen(path: &str) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::file(path)(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(Error::file(path))?;
    scratch::only_for_this_user(path.into())?;
    Ok(listener)
}

/// A running guest.
pub struct Guest {
    name: String,
    spec: GuestSpec,
    /// The node of each disk's format, by the disk's role.
    format_nodes: BTreeMap<String, String>,
    domain: Domain,
    monitor: Arc<Monitor>,
    serial: SharedSerial,
    agent: GuestAgent,
    witness: WitnessLink,
    forwards: Forwards,
    powered_on: Instant,
    /// Locked while the guest is paused or asked to shut down: libvirt refuses to shut down a
    /// paused guest.
    pause_lock: Mutex<()>,
    /// Held while its applications are quiesced, and while it shuts down.
    quiesce_lock: Mutex<()>,
    /// Whether its guest agent was ever asked to shut it down. While an agent does not obey,
    /// libvirt accepts no further agent command.
    agent_was_asked: AtomicBool,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Guest {
    /// Its domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the block node of a disk's format, below the write log; `None` if it has no such
    /// disk.
    #[must_use]
    pub fn format_node(&self, role: &str) -> Option<&str> {
        self.format_nodes.get(role).map(String::as_str)
    }

    /// Its monitor.
    #[must_use]
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// The protocol with its witness.
    #[must_use]
    pub fn witness(&self) -> &WitnessLink {
        &self.witness
    }

    /// When it was powered on.
    #[must_use]
    pub fn powered_on(&self) -> Instant {
        self.powered_on
    }

    /// The port of 127.0.0.1 that leads to `guest_port`, if one does.
    #[must_use]
    pub fn forward(&self, guest_port: u16) -> Option<u16> {
        self.forwards.port(Ipv4Addr::LOCALHOST, guest_port)
    }

    /// Its forwarded ports.
    #[must_use]
    pub fn forwards(&self) -> &Forwards {
        &self.forwards
    }

    /// Waits until its console shows the line that the guest prints when all boot services are
    /// started.
    ///
    /// # Errors
    /// The guest died, gave up, or did not print the line in time.
    pub async fn until_started(&self, bound: Duration) -> Result<()> {
        let said = async {
            self.serial.until_started().await;
            Ok(())
        };
        self.race("the end of its start", bound, said).await
    }

    /// Returns once QEMU is gone.
    pub async fn until_gone(&self) {
        self.monitor.until_gone().await;
    }

    /// Whether QEMU is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.monitor.is_gone()
    }

    /// When QEMU ended; `None` if it runs.
    #[must_use]
    pub fn gone_at(&self) -> Option<Instant> {
        self.monitor.gone_at()
    }

    /// Waits for `what`, and stops waiting when the guest dies, its console shows a fatal message,
    /// or `bound` has passed.
    ///
    /// # Errors
    /// Whichever of these comes first, or the error of `what` itself. If the host did not let the
    /// guest run, the passed bound is [`Error::Starved`].
    pub async fn race<T>(
        &self,
        awaited: &str,
        bound: Duration,
        what: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let awaited = format!("{}: {awaited}", self.name);
        let watched = self.watch();
        tokio::select! {
            biased;
            result = what => result,
            line = self.serial.until_gave_up() => {
                Err(Error::Died { who: self.name.clone(), awaited, last_words: line })
            }
            () = self.monitor.until_gone() => {
                Err(Error::Died { who: self.name.clone(), awaited, last_words: self.serial.tail() })
            }
            () = tokio::time::sleep(bound) => Err(self.overdue(&watched, awaited, bound)),
        }
    }

    /// Begins to watch whether the host lets the guest run.
    #[must_use]
    pub fn watch(&self) -> Watched<'_> {
        Watched::begin(&self.serial, &self.monitor)
    }

    /// The error of a wait that has reached its time limit.
    fn overdue(&self, watched: &Watched<'_>, awaited: String, bound: Duration) -> Error {
        match watched.starved() {
            Some(why) => Error::Starved { awaited, bound, why },
            None => Error::TimedOut { awaited, bound, seen: self.serial.tail() },
        }
    }

    /// Waits for the witness's hello.
    ///
    /// # Errors
    /// The guest died, gave up, or did not say hello in time; also if its kernel lets pages change
    /// while they are being written, because its write logs could then differ from its disks.
    pub async fn ready(&self, bound: Duration) -> Result<Hello> {
        let hello = self.race("the witness's hello", bound, self.witness.hello()).await?;
        match hello.disks.iter().find(|disk| !disk.stable_writes) {
            None => Ok(hello),
            Some(disk) => Err(Error::UnstablePages { machine: self.name.clone(), disk: disk.role.clone() }),
        }
    }

    /// Grows a disk while the guest runs, through whoever manages its disks. The guest's kernel
    /// sees the new size once it scans the disk again.
    ///
    /// # Errors
    /// There is no such disk, QEMU is busy with it, or its image cannot grow.
    pub async fn grow_disk(&self, role: &str, bytes: u64) -> Result<()> {
        let wrong = || Error::WrongDisk {
            machine: self.name.clone(),
            disk: role.to_owned(),
            what: "the machine has no such disk".to_owned(),
        };
        let disk = self.spec.disks.iter().find(|disk| disk.role == role).ok_or_else(wrong)?;
        if self.spec.disk_manager == DiskManager::Libvirt {
            let (domain, image) = (self.domain.clone(), disk.image.to_string());
            blocking(format!("grow disk {role} of {}", self.name), move || {
                domain.block_resize(&image, bytes, sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES).map(drop)
            })
            .await?;
        }
        // A node does not notice that the one below it has grown, and only the device's own node
        // tells the device. Once it has grown as well, the guest can see it.
        let logged = disk.write_log.as_ref().map(|_| nodes::logged_node(role));
        let top = logged.unwrap_or_else(|| self.spec.format_node(role));
        self.monitor.execute("block_resize", json!({"node-name": top, "size": bytes})).await.map(drop)
    }

    /// Saves the screen as a PNG.
    ///
    /// # Errors
    /// QEMU refused.
    pub async fn screenshot(&self, path: &Utf8Path) -> Result<()> {
        self.monitor.execute("screendump", json!({"filename": path, "format": "png"})).await.map(drop)
    }

    /// Runs a guest agent command and returns its answer as JSON text.
    ///
    /// # Errors
    /// The agent does not answer, or it refused.
    pub async fn agent(&self, command: &str) -> Result<String> {
        self.agent.ask(command).await
    }

    /// Waits until the guest agent has connected and answers.
    ///
    /// # Errors
    /// The guest died, or its agent did not answer in time.
    pub async fn until_agent_answers(&self, bound: Duration) -> Result<()> {
        self.race("an answer of its guest agent", bound, self.agent.until_it_answers()).await
    }
}

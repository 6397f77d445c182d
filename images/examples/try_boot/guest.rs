//! A QEMU process and the channels into its guest.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use images::{Image, Variant};
use witness::protocol::{CONTROL_PORT, FromGuest, SERVICE_PORT, ToGuest};

/// Result of an operation in a trial.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(90);

/// A private copy of the image's disks.
pub struct Disks(tempfile::TempDir);

impl Disks {
    /// Copies both disks, keeping holes, and customises the system disk if a variant is given.
    pub fn copy(image: &Image, variant: Option<&Variant>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        for (from, name) in [(&image.system, "system.raw"), (&image.data, "data.raw")] {
            let to = dir.path().join(name);
            let copied = Command::new("cp").args(["--sparse=always", from.as_str()]).arg(&to).status()?;
            if !copied.success() {
                return Err(format!("cp {from}: {copied}").into());
            }
            fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        }
        let disks = Self(dir);
        if let Some(variant) = variant {
            disks.customise(variant)?;
        }
        Ok(disks)
    }

    /// Writes a variant to the system disk.
    pub fn customise(&self, variant: &Variant) -> Result<()> {
        let system = camino::Utf8PathBuf::try_from(self.path("system.raw"))?;
        Ok(images::customise(&system, variant)?)
    }

    /// Copies the disks in their current state.
    pub fn copy_now(&self) -> Result<Self> {
        let file = |name: &str| camino::Utf8PathBuf::try_from(self.path(name));
        let (system, data, extras) = (file("system.raw")?, file("data.raw")?, file("extras")?);
        Self::copy(&Image { hash: String::new(), system, data, extras }, None)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A running guest. Dropping it kills its QEMU.
pub struct Guest {
    qemu: Child,
    control: Option<BufReader<UnixStream>>,
    folder: PathBuf,
    service: u16,
    started: Instant,
}

impl Guest {
    /// Powers on. `hardware` holds QEMU's arguments, with `{system}` and `{data}` for the files of
    /// the disks.
    pub fn power_on(disks: &Disks, hardware: &str, nic: &str) -> Result<Self> {
        let folder = disks.0.path().to_owned();
        let service = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(
            "-accel tcg,thread=multi -m 256 -smp 1 -display none -nodefaults -no-user-config -vga std"
                .split(' '),
        );
        for argument in hardware.split_whitespace() {
            let argument = argument.replace("{system}", &text(&disks.path("system.raw")));
            qemu.arg(
                argument
                    .replace("{data}", &text(&disks.path("data.raw")))
                    .replace("{folder}", &text(&folder)),
            );
        }
        qemu.args(["-serial", &format!("file:{}", text(&folder.join("serial")))]);
        qemu.args(["-monitor", &format!("unix:{},server=on,wait=off", text(&folder.join("monitor")))]);
        qemu.args(["-device", "virtio-serial-pci"]);
        for (name, port) in [("control", CONTROL_PORT), ("agent", "org.qemu.guest_agent.0")] {
            let path = folder.join(name);
            let _ = fs::remove_file(&path);
            qemu.args(["-chardev", &format!("socket,id={name},path={},server=on,wait=off", text(&path))]);
            qemu.args(["-device", &format!("virtserialport,chardev={name},name={port}")]);
        }
        let forward = format!("user,id=net,net=192.0.2.0/24,hostfwd=tcp:127.0.0.1:{service}-:{SERVICE_PORT}");
        qemu.args(["-netdev", &forward, "-device", &format!("{nic},netdev=net")]);
        qemu.stdin(Stdio::null()).stderr(File::create(folder.join("stderr"))?);
        let started = Instant::now();
        Ok(Self { qemu: qemu.spawn()?, control: None, folder, service, started })
    }

    /// Seconds since power-on.
    pub fn seconds(&self) -> f32 {
        self.started.elapsed().as_secs_f32()
    }

    /// Sends a command to the witness.
    pub fn ask(&mut self, command: &ToGuest) -> Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        Ok(self.control()?.get_mut().write_all(&line)?)
    }

    /// Waits for a message that `pick` accepts. An error reported by the guest is an error.
    pub fn wait_for<T>(&mut self, mut pick: impl FnMut(&FromGuest) -> Option<T>) -> Result<T> {
        loop {
            let mut line = String::new();
            if self.control()?.read_line(&mut line)? == 0 {
                return Err(format!("the guest ended: {}", self.serial()).into());
            }
            let message: FromGuest = serde_json::from_str(&line)?;
            if let Some(picked) = pick(&message) {
                return Ok(picked);
            }
            if let FromGuest::Trouble { what } = message {
                return Err(format!("the guest reported an error: {what}").into());
            }
        }
    }

    /// Sends a command and waits until it is done.
    pub fn execute(&mut self, command: &ToGuest) -> Result<()> {
        self.ask(command)?;
        self.wait_for(|message| matches!(message, FromGuest::Done { .. }).then_some(()))
    }

    /// Sends a request to the TCP service, retrying until the network is up.
    pub fn service(&self) -> Result<witness::protocol::ServiceAnswer> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.ask_service() {
                Ok(answer) => return Ok(answer),
                Err(problem) if Instant::now() > end => return Err(problem),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn ask_service(&self) -> Result<witness::protocol::ServiceAnswer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.service))?;
        // QEMU accepts the connection before the guest has an address, and then retries only every
        // few seconds: a new connection is faster.
        stream.set_read_timeout(Some(Duration::from_millis(400)))?;
        stream.write_all(b"status\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Runs a guest agent command and returns its answer.
    pub fn agent(&self, command: &str) -> Result<String> {
        let mut socket = connect(&self.folder.join("agent"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        writeln!(socket, "{{\"execute\":\"{command}\"}}")?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        Ok(line)
    }

    /// Shuts down through the guest agent, which does not answer this command.
    pub fn agent_shutdown(&self) -> Result<()> {
        let mut socket = connect(&self.folder.join("agent"))?;
        writeln!(socket, "{{\"execute\":\"guest-shutdown\"}}")?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// Presses the power button.
    pub fn press_power(&self) -> Result<()> {
        let mut monitor = connect(&self.folder.join("monitor"))?;
        writeln!(monitor, "system_powerdown")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    }

    /// Waits for QEMU to end.
    pub fn wait_off(mut self) -> Result<f32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.qemu.try_wait()? {
                let fine = status.success();
                return fine
                    .then(|| self.seconds())
                    .ok_or_else(|| format!("QEMU ended with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("still running: {}", self.serial()).into())
    }

    /// Waits for a line on the serial console that starts with `start`.
    pub fn wait_line(&self, start: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(line) = self.serial().lines().find(|line| line.starts_with(start)) {
                return Ok(line.to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("no line {start} in: {}", self.serial()).into())
    }

    fn serial(&self) -> String {
        let bytes = fs::read(self.folder.join("serial")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn control(&mut self) -> Result<&mut BufReader<UnixStream>> {
        if self.control.is_none() {
            let socket = connect(&self.folder.join("control"))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            self.control = Some(BufReader::new(socket));
        }
        self.control.as_mut().ok_or_else(|| "no control channel".into())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let mut errors = String::new();
        if File::open(self.folder.join("stderr")).and_then(|mut f| f.read_to_string(&mut errors)).is_ok() {
            eprint!("{errors}");
        }
    }
}

fn connect(path: &Path) -> Result<UnixStream> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(e) if Instant::now() > end => return Err(e.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

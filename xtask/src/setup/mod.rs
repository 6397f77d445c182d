//! The command `setup`: finds what is missing, says what it will do, asks, does it, and checks the
//! result.

pub mod daemon;
pub mod device;
pub mod needs;
pub mod plan;
pub mod release;
pub mod sources;

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::cargo::cargo;
use crate::error::infrastructure;
use crate::guest_images;
use crate::process::quietly;
use crate::setup::plan::{Step, Survey};
use crate::system::{LiveSystem, System};
use crate::terminal::{in_ci, on_terminal, say};

/// What set-up would change on this machine. Guest images are not part of it: they are a cache in
/// the user's home.
pub struct Changes {
    survey: Survey,
    steps: Vec<Step>,
    device: bool,
    daemon: bool,
    nextest: bool,
}

impl Changes {
    /// Examines the machine. Fails if set-up cannot help here.
    pub fn find(system: &dyn System, root: &Utf8Path) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            let found = std::env::consts::ARCH;
            return Err(infrastructure(format!(
                "This machine is {found}, and the guests are x86_64: use an x86_64 machine."
            )));
        }
        let survey = Survey::of(system);
        let mut steps = survey.plan(system)?;
        if steps.is_empty() && guest_images::needs_lists(system) {
            steps.push(plan::read_lists());
        }
        let device = device::is_needed(system);
        let daemon = daemon::is_needed(system);
        Ok(Self { steps, survey, device, daemon, nextest: !has_nextest(root) })
    }

    /// The changes that stay when a container image is built from this machine: no daemon runs in
    /// an image, and its devices are those of the host.
    fn in_an_image(self) -> Self {
        Self { device: false, daemon: false, ..self }
    }

    /// Whether the machine is ready.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.device && !self.daemon && !self.nextest
    }

    /// The changes, one line each.
    pub fn lines(&self) -> Vec<String> {
        let steps = self.steps.iter().map(|step| match step {
            Step::AddSource { path, .. } => {
                format!("add the backports suite beside the existing sources, as {path}")
            }
            Step::Run { argv, .. } => argv.join(" "),
        });
        let device = self.device.then(|| "give /dev/kvm to the group kvm, as udev does elsewhere".to_owned());
        let daemon = self.daemon.then(|| "start the libvirt daemon".to_owned());
        let nextest =
            self.nextest.then(|| "cargo install --locked cargo-nextest (takes a few minutes)".to_owned());
        steps.chain(device).chain(daemon).chain(nextest).collect()
    }

    /// Shows what is missing and what will be done.
    fn announce(&self) {
        let missing = self.survey.lines();
        if !missing.is_empty() {
            say(format!("On {} Roundtrip needs:", self.survey.release.pretty));
            missing.iter().for_each(|line| say(format!("  {line}")));
        }
        say("Set-up will:");
        self.lines().iter().for_each(|line| say(format!("  - {line}")));
    }

    fn perform(&self, system: &dyn System, root: &Utf8Path) -> Result<()> {
        let root_access = RootAccess::find(system, &self.steps)?;
        for (index, step) in self.steps.iter().enumerate() {
            let done = root_access.perform(step);
            if done.is_err() {
                // A source that apt cannot read would break every later use of apt.
                self.steps[..index].iter().for_each(|earlier| root_access.undo(earlier));
            }
            done?;
        }
        if self.device {
            device::open(system)?;
        }
        if self.daemon {
            daemon::start(system)?;
        }
        if self.nextest {
            quietly("install cargo-nextest", cargo(root).args(["install", "--locked", "cargo-nextest"]))?;
        }
        Ok(())
    }
}

/// Whether cargo-nextest, the test runner, is installed.
pub fn has_nextest(root: &Utf8Path) -> bool {
    let answer =
        cargo(root).args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    answer.is_ok_and(|status| status.success())
}

/// Makes the machine ready. Prints nothing if it is ready.
pub fn ensure(root: &Utf8Path, yes: bool) -> Result<()> {
    make(root, yes, || Changes::find(&LiveSystem, root)).map(|_| ())
}

/// Makes the changes that are found, and finds none afterwards. Returns whether there were any.
fn make(root: &Utf8Path, yes: bool, find: impl Fn() -> Result<Changes>) -> Result<bool> {
    let changes = find()?;
    if changes.is_empty() {
        return Ok(false);
    }
    changes.announce();
    consent(yes)?;
    changes.perform(&LiveSystem, root)?;
    let remaining = find()?;
    if !remaining.is_empty() {
        let lines = [remaining.survey.lines(), remaining.lines()].concat().join("; ");
        return Err(infrastructure(format!("Set-up ran, and this is still missing: {lines}")));
    }
    Ok(true)
}

/// The command `setup`; `image` if a container image is built from this machine.
pub fn command(root: &Utf8Path, yes: bool, image: bool) -> Result<()> {
    let find = || Changes::find(&LiveSystem, root);
    let changed = make(root, yes, || if image { find().map(Changes::in_an_image) } else { find() })?;
    let built = guest_images::ensure(root)?.is_new;
    if !changed && !built {
        println!("Nothing to do: this machine is ready. Next: cargo xtask conformance");
    } else {
        println!("This machine is ready. Next: cargo xtask conformance");
    }
    Ok(())
}

/// Runs a command as root, directly or with sudo.
pub fn run_as_root(what: &str, argv: &[&str]) -> Result<()> {
    let step = Step::Run { what: what.to_owned(), argv: argv.iter().map(ToString::to_string).collect() };
    RootAccess::find(&LiveSystem, std::slice::from_ref(&step))?.perform(&step)
}

/// Asks for consent, unless it was given beforehand.
pub fn consent(yes: bool) -> Result<()> {
    if yes || in_ci() {
        return Ok(());
    }
    if !on_terminal() {
        return Err(infrastructure(
            "There is no terminal to ask on: run `cargo xtask setup --yes`, or set CI=true, to let set-up do this.",
        ));
    }
    if ask("Go ahead?")? {
        return Ok(());
    }
    Err(infrastructure("Nothing was changed. `cargo xtask setup` asks again."))
}

/// Asks a question on the terminal. Every answer other than yes means no.
pub fn ask(question: &str) -> Result<bool> {
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("tried to read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// How this machine runs commands as root.
struct RootAccess {
    prefix: Vec<String>,
}

impl RootAccess {
    /// Runs commands directly as root, or with sudo. Without either it fails with the exact
    /// commands to run by hand.
    fn find(system: &dyn System, steps: &[Step]) -> Result<Self> {
        if steps.is_empty() || system.is_root() {
            return Ok(Self { prefix: Vec::new() });
        }
        if let Some(sudo) = system.program("sudo") {
            // sudo asks for the password here, before spinners cover its prompt. Without a terminal
            // it must need none.
            let arguments: &[&str] = if on_terminal() { &["-v"] } else { &["-n", "-v"] };
            if Command::new(&sudo).args(arguments).status().is_ok_and(|status| status.success()) {
                return Ok(Self { prefix: vec![sudo] });
            }
        }
        let script: Vec<String> = steps.iter().map(as_shell).collect();
        Err(infrastructure(format!(
            "Set-up needs root for this, and sudo does not work here. Run these as root, then `cargo xtask setup` again:\n\n{}",
            script.join("\n")
        )))
    }

    fn command(&self, argv: &[&str]) -> Command {
        let full: Vec<&str> = self.prefix.iter().map(String::as_str).chain(argv.iter().copied()).collect();
        let mut command = Command::new(full[0]);
        command.args(&full[1..]);
        command
    }

    fn perform(&self, step: &Step) -> Result<()> {
        match step {
            Step::AddSource { path, text } => self.write(path, text),
            Step::Run { what, argv } => {
                let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"];
                let all: Vec<&str> = environment.into_iter().chain(argv.iter().map(String::as_str)).collect();
                quietly(what, &mut self.command(&all))
            }
        }
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let mut child = self.command(&["tee", path]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("tee has no input")?.write_all(text.as_bytes())?;
        let status = child.wait()?;
        if !status.success() {
            return Err(infrastructure(format!("Tried to write {path} and could not ({status}).")));
        }
        say(format!("  add {path} … done"));
        Ok(())
    }

    fn undo(&self, step: &Step) {
        if let Step::AddSource { path, .. } = step {
            let _ = self.command(&["rm", "-f", path]).status();
            say(format!("  removed {path} again"));
        }
    }
}

/// A step as a person would type it.
fn as_shell(step: &Step) -> String {
    match step {
        Step::AddSource { path, text } => format!("cat > {path} <<'END'\n{text}END"),
        Step::Run { argv, .. } => argv.join(" "),
    }
}

//! Set-up: looks, says what it will do, asks, does it, looks again.

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

use crate::error::infrastructure;
use crate::host::{Host, Live};
use crate::images_cmd;
use crate::run::{cargo, in_ci, on_terminal, quietly, say};
use crate::setup::plan::{Step, Survey};

/// What set-up would change on this machine. Images are not in it: they are a cache of the user's own.
pub struct Work {
    survey: Survey,
    steps: Vec<Step>,
    device: bool,
    daemon: bool,
    nextest: bool,
}

impl Work {
    /// Looks at the machine. An error means that set-up cannot help here.
    pub fn find(host: &dyn Host, root: &Utf8Path) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            let found = std::env::consts::ARCH;
            return Err(infrastructure(format!(
                "This machine is {found}, and the guests are x86_64: use an x86_64 machine."
            )));
        }
        let survey = Survey::of(host);
        let mut steps = survey.plan(host)?;
        if steps.is_empty() && images_cmd::needs_lists(host) {
            steps.push(plan::read_lists());
        }
        let (device, daemon) = (device::is_needed(host), daemon::is_needed(host));
        Ok(Self { steps, survey, device, daemon, nextest: !has_nextest(root) })
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && !self.device && !self.daemon && !self.nextest
    }

    /// What will be done, a line each.
    pub fn lines(&self) -> Vec<String> {
        let steps = self.steps.iter().map(|step| match step {
            Step::AddSource { path, .. } => {
                format!("add the backports suite beside the existing sources, as {path}")
            }
            Step::Run { argv, .. } => argv.join(" "),
        });
        let device = self.device.then(|| "open /dev/kvm to the group kvm, as udev would".to_owned());
        let daemon = self.daemon.then(|| "start the libvirt daemon".to_owned());
        let nextest =
            self.nextest.then(|| "cargo install --locked cargo-nextest (takes a few minutes)".to_owned());
        steps.chain(device).chain(daemon).chain(nextest).collect()
    }

    /// Shows what is lacking and what will be done.
    fn tell(&self) {
        let lacking = self.survey.lines();
        if !lacking.is_empty() {
            say(format!("On {} Roundtrip lacks:", self.survey.release.pretty));
            lacking.iter().for_each(|line| say(format!("  {line}")));
        }
        say("Set-up will:");
        self.lines().iter().for_each(|line| say(format!("  - {line}")));
    }

    fn perform(&self, host: &dyn Host, root: &Utf8Path) -> Result<()> {
        let root_access = Root::find(host, &self.steps)?;
        for (index, step) in self.steps.iter().enumerate() {
            let done = root_access.take(step);
            if done.is_err() {
                // A source that apt cannot read would spoil every later use of apt.
                self.steps[..index].iter().for_each(|earlier| root_access.undo(earlier));
            }
            done?;
        }
        device::open(host)?;
        daemon::start(host)?;
        if self.nextest {
            quietly("install cargo-nextest", cargo(root).args(["install", "--locked", "cargo-nextest"]))?;
        }
        Ok(())
    }
}

/// Whether the test runner is there.
pub fn has_nextest(root: &Utf8Path) -> bool {
    let asked =
        cargo(root).args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Makes the machine ready. Says nothing if it is.
pub fn ensure(root: &Utf8Path, yes: bool) -> Result<()> {
    let host = Live;
    let work = Work::find(&host, root)?;
    if work.is_empty() {
        return Ok(());
    }
    work.tell();
    consent(yes)?;
    work.perform(&host, root)?;
    let left = Work::find(&host, root)?;
    if !left.is_empty() {
        let lines = [left.survey.lines(), left.lines()].concat().join("; ");
        return Err(infrastructure(format!("Set-up ran, and this is still lacking: {lines}")));
    }
    Ok(())
}

/// The command `setup`.
pub fn command(root: &Utf8Path, yes: bool) -> Result<()> {
    let ready = Work::find(&Live, root)?.is_empty();
    ensure(root, yes)?;
    let built = images_cmd::ensure(root)?;
    if ready && !built {
        println!("Nothing to do: this machine is ready. Next: cargo xtask conformance");
    } else {
        println!("This machine is ready. Next: cargo xtask conformance");
    }
    Ok(())
}

/// Asks, unless the answer is known.
fn consent(yes: bool) -> Result<()> {
    if yes || in_ci() {
        return Ok(());
    }
    if !on_terminal() {
        return Err(infrastructure(
            "Nobody is here to be asked: run `cargo xtask setup --yes`, or set CI=true, to let set-up do this.",
        ));
    }
    if ask("Go ahead?")? {
        return Ok(());
    }
    Err(infrastructure("Nothing was changed. `cargo xtask setup` asks again."))
}

/// A question that is answered no unless somebody types yes.
pub fn ask(question: &str) -> Result<bool> {
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("tried to read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// How commands are run as root here.
struct Root {
    prefix: Vec<String>,
}

impl Root {
    /// Root itself or sudo. Where there is neither, the person gets the exact commands.
    fn find(host: &dyn Host, steps: &[Step]) -> Result<Self> {
        if steps.is_empty() || host.is_root() {
            return Ok(Self { prefix: Vec::new() });
        }
        if let Some(sudo) = host.program("sudo") {
            // Asked once, before spinners cover its prompt. Without a terminal it must work without a password.
            let arguments: &[&str] = if on_terminal() { &["-v"] } else { &["-n", "-v"] };
            if Command::new(&sudo).args(arguments).status().is_ok_and(|status| status.success()) {
                return Ok(Self { prefix: vec![sudo] });
            }
        }
        let script: Vec<String> = steps.iter().map(as_shell).collect();
        Err(infrastructure(format!(
            "Set-up needs root for this and has no way to become it. Run these as root, then `cargo xtask setup` again:\n\n{}",
            script.join("\n")
        )))
    }

    fn command(&self, argv: &[&str]) -> Command {
        let full: Vec<&str> = self.prefix.iter().map(String::as_str).chain(argv.iter().copied()).collect();
        let mut command = Command::new(full[0]);
        command.args(&full[1..]);
        command
    }

    fn take(&self, step: &Step) -> Result<()> {
        match step {
            Step::AddSource { path, text } => self.write(path, text),
            Step::Run { what, argv } => {
                let words = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"];
                let all: Vec<&str> = words.into_iter().chain(argv.iter().map(String::as_str)).collect();
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
            say(format!("  took {path} away again"));
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

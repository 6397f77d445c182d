//! The command `images verify`: whether two builds of the guest image are the same, byte for byte.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use crate::checks::tools::{FAKETIME, require};
use crate::guest_images;
use crate::terminal::say;

/// What differs between the builds beside their directories: the date, the time zone, the language
/// and the permissions of new files.
struct Surroundings {
    date: Option<&'static str>,
    zone: &'static str,
    language: &'static str,
    mask: &'static str,
    folder: &'static str,
}

const BUILDS: [Surroundings; 2] = [
    Surroundings { date: None, zone: "UTC", language: "C", mask: "022", folder: "one" },
    Surroundings {
        date: Some("2031-12-24 23:58:30"),
        zone: "Asia/Kathmandu",
        language: "C.UTF-8",
        mask: "077",
        folder: "another, with a longer name",
    },
];

/// One build: its hash, its disks, and what only some shapes need.
struct Built {
    hash: String,
    files: Vec<Utf8PathBuf>,
}

/// Builds the image in both surroundings and compares the files. Returns 1 if they differ.
pub fn verify(root: &Utf8Path, yes: bool) -> Result<u8> {
    require(&FAKETIME, root, yes)?;
    let programs = guest_images::programs(root)?;
    guest_images::ensure(root)?;
    let dir = root.join("target/images-verify");
    let _ = std::fs::remove_dir_all(&dir);
    let verdict = build_and_compare(root, &dir, &programs);
    std::fs::remove_dir_all(&dir).with_context(|| format!("remove {dir}"))?;
    verdict
}

fn build_and_compare(root: &Utf8Path, dir: &Utf8Path, programs: &[Utf8PathBuf; 2]) -> Result<u8> {
    let mut built = Vec::new();
    for surroundings in &BUILDS {
        say(format!("  building in {:?}, {}", surroundings.folder, surroundings.date.unwrap_or("today")));
        built.push(build(root, &dir.join(surroundings.folder), programs, surroundings)?);
    }
    let [one, other] = &built[..] else { unreachable!("there are two builds") };
    ensure!(one.hash == other.hash, "the builds have different recipes");
    let mut differ = 0;
    ensure!(one.files.len() == other.files.len(), "the builds have different files");
    for (one, other) in one.files.iter().zip(&other.files) {
        let first = first_difference(one, other)?;
        let name = one.file_name().unwrap_or_default();
        differ += u8::from(first.is_some());
        match first {
            None => println!("{name}: the same, byte for byte"),
            Some(at) => println!("{name}: the builds differ, first at byte {at}"),
        }
    }
    Ok(differ.min(1))
}

fn build(
    root: &Utf8Path,
    cache: &Utf8Path,
    [witness, agent]: &[Utf8PathBuf; 2],
    surroundings: &Surroundings,
) -> Result<Built> {
    let packages = cache.join("debs");
    std::fs::create_dir_all(&packages).with_context(|| format!("make {packages}"))?;
    let from = guest_images::cache_dir().join("debs");
    for entry in from.read_dir_utf8().with_context(|| format!("read {from}"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), packages.join(entry.file_name()))?;
    }
    let program = std::env::current_exe().context("find this program")?;
    // The shell sets the permissions of new files before it becomes the build.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {}; exec \"$@\"", surroundings.mask), "sh"]);
    if let Some(date) = surroundings.date {
        command.arg(FAKETIME.command(root).get_program()).arg(date);
    }
    command.arg(program).args(["images", "make", cache.as_str(), witness.as_str(), agent.as_str()]);
    command.env("TZ", surroundings.zone).env("LC_ALL", surroundings.language).current_dir(root);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start the build")?;
    ensure!(output.status.success(), "the build failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("read what the build says")?;
    let mut lines = text.lines();
    let hash = lines.next().context("the build says too little")?.to_owned();
    let files: Vec<_> = lines.map(Utf8PathBuf::from).collect();
    ensure!(files.len() > 2, "the build says too little");
    Ok(Built { hash, files })
}

/// The first byte in which two files differ.
fn first_difference(one: &Utf8Path, other: &Utf8Path) -> Result<Option<u64>> {
    use std::io::Read as _;
    const CHUNK: u64 = 1 << 20;
    let open = |path: &Utf8Path| std::fs::File::open(path).with_context(|| format!("read {path}"));
    let (mut one, mut other) = (open(one)?, open(other)?);
    let mut at = 0;
    loop {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        (&mut one).take(CHUNK).read_to_end(&mut left)?;
        (&mut other).take(CHUNK).read_to_end(&mut right)?;
        if left != right {
            let same = left.iter().zip(&right).take_while(|(left, right)| left == right).count();
            return Ok(Some(at + same as u64));
        }
        if left.is_empty() {
            return Ok(None);
        }
        at += left.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_also_at_the_end() {
        let keep = tempfile::tempdir().expect("a directory");
        let path = |name: &str| Utf8Path::from_path(keep.path()).expect("UTF-8").join(name);
        let mut content = vec![7; (1 << 20) + 10];
        std::fs::write(path("one"), &content).expect("written");
        std::fs::write(path("same"), &content).expect("written");
        content.push(0);
        std::fs::write(path("longer"), &content).expect("written");
        content[1 << 20] = 8;
        std::fs::write(path("other"), &content).expect("written");
        let difference = |name| first_difference(&path("one"), &path(name)).expect("readable");
        assert_eq!(difference("same"), None);
        assert_eq!(difference("longer"), Some((1 << 20) + 10));
        assert_eq!(difference("other"), Some(1 << 20));
    }
}

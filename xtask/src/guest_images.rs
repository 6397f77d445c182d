//! Guest images: the only file of this program that uses the crate `images`.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::error::infrastructure;
use crate::setup::plan::lacks_lists;
use crate::system::System;
use crate::terminal::{bytes, say, spinner};

/// The folder of built images.
pub fn cache_dir() -> Utf8PathBuf {
    images::cache_dir()
}

/// Whether an image must be built and apt has no package list to find its packages in.
pub fn needs_lists(system: &dyn System) -> bool {
    let built = images::find(&cache_dir()).is_ok_and(|image| image.is_some());
    !built && images::PACKAGES.first().is_some_and(|package| lacks_lists(system, package))
}

/// An image in the cache.
pub struct Ensured {
    /// Its hash.
    pub hash: String,
    /// Whether it was built, or another one was current.
    pub is_new: bool,
}

/// Builds the image unless the cache holds it.
pub fn ensure(root: &Utf8Path) -> Result<Ensured> {
    let cache = cache_dir();
    let before = images::find(&cache).unwrap_or_default();
    let bar = spinner("guest image");
    // The first step only checks whether the guest's programs are up to date, which is not worth a
    // line unless there is no image at all.
    let mut worth_a_line = before.is_none();
    let mut show = |line: &str| {
        bar.set_message(line.to_owned());
        if worth_a_line && bar.is_hidden() {
            say(format!("  guest image: {line}"));
        }
        worth_a_line = true;
    };
    let made = images::build_programs(root, &mut show)
        .and_then(|programs| images::ensure(&cache, &programs, &mut show));
    bar.finish_and_clear();
    let image = made.map_err(|error| infrastructure(format!("Tried to build the guest image: {error}")))?;
    Ok(Ensured { is_new: before.is_none_or(|old| old.hash != image.hash), hash: image.hash })
}

/// The command `images build`.
pub fn build(root: &Utf8Path) -> Result<()> {
    let built = ensure(root)?.is_new;
    println!("{}", if built { "Built." } else { "Nothing to do: the image is up to date." });
    list()
}

/// The command `images list`.
pub fn list() -> Result<()> {
    let cache = cache_dir();
    let stored = images::list(&cache)?;
    if stored.is_empty() {
        println!("No image is built yet: `cargo xtask images build` builds it.");
    }
    for image in stored {
        let mark = if image.current { "current" } else { "" };
        let built = jiff::Timestamp::try_from(image.built)?.strftime("%Y-%m-%d %H:%M UTC");
        println!("{}  {:>10}  {built}  {mark}", &image.image.hash[..12], bytes(image.bytes));
    }
    Ok(())
}

/// Builds an image of the given programs in a cache, as a part of `images verify`.
pub fn make(cache: &Utf8Path, witness: &Utf8Path, agent: &Utf8Path) -> Result<()> {
    let programs = images::Programs { witness: witness.to_owned(), agent: agent.to_owned() };
    let image = images::ensure(cache, &programs, &mut |_| {})?;
    let mut extras: Vec<_> = image.extras.read_dir_utf8()?.collect::<Result<_, _>>()?;
    extras.sort_by(|one, other| one.file_name().cmp(other.file_name()));
    println!("{}\n{}\n{}", image.hash, image.system, image.data);
    extras.iter().for_each(|extra| println!("{}", extra.path()));
    Ok(())
}

/// Builds the guest's programs; returns the witness and the agent.
pub fn programs(root: &Utf8Path) -> Result<[Utf8PathBuf; 2]> {
    let programs = images::build_programs(root, &mut |line| say(format!("  {line}")))?;
    Ok([programs.witness, programs.agent])
}

//! Guest images: the only place that knows the crate `images`.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::error::infrastructure;
use crate::host::Host;
use crate::run::{bytes, say, spinner};
use crate::setup::plan::lacks_lists;

/// Where built images are kept.
pub fn cache_dir() -> Utf8PathBuf {
    images::cache_dir()
}

/// Whether an image has to be built from packages that apt has not heard of yet.
pub fn needs_lists(host: &dyn Host) -> bool {
    let built = images::find(&cache_dir()).is_ok_and(|image| image.is_some());
    !built && images::PACKAGES.first().is_some_and(|package| lacks_lists(host, package))
}

/// Builds what is not built. Says whether anything had to be.
pub fn ensure(root: &Utf8Path) -> Result<bool> {
    let cache = cache_dir();
    let before = images::find(&cache).unwrap_or_default();
    let bar = spinner("guest image");
    // Looking whether the programs are fresh is not worth a line; compiling them is.
    let mut seen = before.is_none();
    let mut tell = |line: &str| {
        bar.set_message(line.to_owned());
        if seen && bar.is_hidden() {
            say(format!("  guest image: {line}"));
        }
        seen = true;
    };
    let made = images::build_programs(root, &mut tell)
        .and_then(|programs| images::ensure(&cache, &programs, &mut tell));
    bar.finish_and_clear();
    let image = made.map_err(|error| infrastructure(format!("Tried to build the guest image: {error}")))?;
    Ok(before.is_none_or(|old| old.hash != image.hash))
}

/// Builds the image unless it is built, and names it.
pub fn build(root: &Utf8Path) -> Result<()> {
    let built = ensure(root)?;
    println!("{}", if built { "Built." } else { "Nothing to do: the image is built." });
    list()
}

/// Prints the images that are built.
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

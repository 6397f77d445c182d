//! The cache of finished images by hash; an unfinished image is never visible.

use std::fs::{self, File};
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::FlockOperation;

use crate::error::{AtPath, ImageError};
use crate::program::Programs;
use crate::recipe::Recipe;
use crate::rootfs::Parts;
use crate::{build, extras, packages, tools};

/// Names the image of a run by its hash.
pub const IMAGE_VARIABLE: &str = "ROUNDTRIP_IMAGE";

const CURRENT: &str = "current";
const SYSTEM: &str = "system.raw";
const DATA: &str = "data.raw";
const EXTRAS: &str = "extras";
const RECIPE: &str = "recipe.json";

/// A finished image: two raw, read-only, sparse disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// BLAKE3 of the recipe, in hex.
    pub hash: String,
    /// The system disk, [`crate::layout::SYSTEM_BYTES`] long.
    pub system: Utf8PathBuf,
    /// The data disk, [`crate::layout::DATA_BYTES`] long.
    pub data: Utf8PathBuf,
    /// Directory of what only some shapes need: RAM disks of tools, and boot code.
    pub extras: Utf8PathBuf,
}

/// An image in the cache, with the data for a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// The image.
    pub image: Image,
    /// Whether [`find`] returns this image.
    pub current: bool,
    /// When it was built.
    pub built: SystemTime,
    /// Bytes allocated for it in the cache, not counting holes.
    pub bytes: u64,
}

/// The cache directory of this user: `$ROUNDTRIP_CACHE`, else `$XDG_CACHE_HOME/roundtrip`, else
/// `~/.cache/roundtrip`.
#[must_use]
pub fn cache_dir() -> Utf8PathBuf {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Utf8PathBuf::from);
    set("ROUNDTRIP_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("roundtrip")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/roundtrip")))
        .unwrap_or_else(|| Utf8PathBuf::from(".roundtrip-cache"))
}

/// Returns the image for the given guest programs and builds it if it is missing. Waits while
/// another process builds in the same cache. `say` receives one short line per step.
///
/// # Errors
/// A tool or package is missing, a tool fails, or the cache cannot be written.
pub fn ensure(cache: &Utf8Path, programs: &Programs, say: &mut dyn FnMut(&str)) -> Result<Image, ImageError> {
    tools::require()?;
    let images = cache.join("images");
    fs::create_dir_all(&images).at("cannot create", &images)?;
    let _lock = lock(cache, say)?;
    let packages = packages::obtain(cache, say)?;
    let recipe = Recipe::new(packages, programs)?;
    let hash = recipe.hash();
    let image = image(cache, &hash);
    if !complete(cache, &hash) {
        sweep(&images)?;
        say(&format!("building image {}", &hash[..12]));
        build_into(cache, &recipe, programs, &images, say)?;
    }
    write_current(cache, &hash)?;
    Ok(image)
}

/// The image that `$ROUNDTRIP_IMAGE` names by its hash, or else the one that the last [`ensure`]
/// in this cache returned; builds nothing. `None` if there is none. Another checkout may have built
/// its own image since this run began, so a run names its image.
///
/// # Errors
/// The cache cannot be read.
pub fn find(cache: &Utf8Path) -> Result<Option<Image>, ImageError> {
    let named = std::env::var(IMAGE_VARIABLE).ok().filter(|hash| !hash.is_empty());
    let Some(hash) = named.map_or_else(|| read_current(cache), |hash| Ok(Some(hash)))? else {
        return Ok(None);
    };
    Ok(complete(cache, &hash).then(|| image(cache, &hash)))
}

/// All finished images in the cache, newest first.
///
/// # Errors
/// The cache cannot be read.
pub fn list(cache: &Utf8Path) -> Result<Vec<StoredImage>, ImageError> {
    let images = cache.join("images");
    if !images.is_dir() {
        return Ok(Vec::new());
    }
    let current = read_current(cache)?;
    let mut stored = Vec::new();
    for entry in images.read_dir_utf8().at("cannot list", &images)? {
        let hash = entry.at("cannot list", &images)?.file_name().to_owned();
        if complete(cache, &hash) {
            stored.push(describe(cache, &hash, current.as_deref() == Some(&hash))?);
        }
    }
    stored.sort_by_key(|image| std::cmp::Reverse(image.built));
    Ok(stored)
}

fn image(cache: &Utf8Path, hash: &str) -> Image {
    let folder = cache.join("images").join(hash);
    Image {
        hash: hash.to_owned(),
        system: folder.join(SYSTEM),
        data: folder.join(DATA),
        extras: folder.join(EXTRAS),
    }
}

// A finished directory was renamed into place as a whole; the recipe is the last file written to
// it.
fn complete(cache: &Utf8Path, hash: &str) -> bool {
    let folder = cache.join("images").join(hash);
    !hash.starts_with('.') && [RECIPE, SYSTEM, DATA].iter().all(|file| folder.join(file).is_file())
}

fn describe(cache: &Utf8Path, hash: &str, current: bool) -> Result<StoredImage, ImageError> {
    let image = image(cache, hash);
    let recipe = cache.join("images").join(hash).join(RECIPE);
    let built = fs::metadata(&recipe).and_then(|m| m.modified()).at("cannot read", &recipe)?;
    let bytes = allocated(&image.system)? + allocated(&image.data)?;
    Ok(StoredImage { image, current, built, bytes })
}

fn allocated(path: &Utf8Path) -> Result<u64, ImageError> {
    use std::os::unix::fs::MetadataExt;
    const BLOCK: u64 = 512;
    Ok(fs::metadata(path).at("cannot read", path)?.blocks() * BLOCK)
}

fn build_into(
    cache: &Utf8Path,
    recipe: &Recipe,
    programs: &Programs,
    images: &Utf8Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), ImageError> {
    let draft = images.join(format!(".building-{}", std::process::id()));
    let work = draft.join("work");
    fs::create_dir_all(&work).at("cannot create", &work)?;
    say("unpacking packages");
    let unpacked = work.join("unpacked");
    packages::unpack(cache, &recipe.packages, &unpacked)?;
    let (system, data) = (draft.join(SYSTEM), draft.join(DATA));
    let parts = Parts::open(&unpacked)?;
    build::disks(&parts, programs, &work, &system, &data, say)?;
    extras::write(&parts, &draft.join(EXTRAS))?;
    fs::remove_dir_all(&work).at("cannot remove", &work)?;
    for disk in [&system, &data] {
        read_only(disk)?;
    }
    let description = draft.join(RECIPE);
    fs::write(&description, recipe.json()).at("cannot write", &description)?;
    fs::rename(&draft, images.join(recipe.hash())).at("cannot move", &draft)
}

fn read_only(path: &Utf8Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    let file = File::open(path).at("cannot open", path)?;
    file.set_permissions(fs::Permissions::from_mode(0o444)).at("cannot protect", path)?;
    file.sync_all().at("cannot sync", path)
}

/// Removes directories left by builds that were interrupted. Must be called with the lock held.
fn sweep(images: &Utf8Path) -> Result<(), ImageError> {
    for entry in images.read_dir_utf8().at("cannot list", images)? {
        let entry = entry.at("cannot list", images)?;
        if entry.file_name().starts_with(".building-") {
            fs::remove_dir_all(entry.path()).at("cannot remove", entry.path())?;
        }
    }
    Ok(())
}

/// Takes the lock of the cache until the file is dropped; the kernel releases it if the process
/// dies.
fn lock(cache: &Utf8Path, say: &mut dyn FnMut(&str)) -> Result<File, ImageError> {
    let path = cache.join("lock");
    let file = File::options().create(true).append(true).open(&path).at("cannot open", &path)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("waiting for another build to finish");
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(std::io::Error::from)
            .at("cannot lock", &path)?;
    }
    Ok(file)
}

fn read_current(cache: &Utf8Path) -> Result<Option<String>, ImageError> {
    let path = cache.join(CURRENT);
    match fs::read_to_string(&path) {
        Ok(hash) => {
            Ok(Some(hash.trim().to_owned()).filter(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("cannot read", &path),
    }
}

fn write_current(cache: &Utf8Path, hash: &str) -> Result<(), ImageError> {
    let (draft, path) = (cache.join("current.new"), cache.join(CURRENT));
    fs::write(&draft, hash).at("cannot write", &draft)?;
    fs::rename(&draft, &path).at("cannot write", &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = Utf8Path::from_path(dir.path()).expect("a UTF-8 path").to_owned();
        (dir, path)
    }

    #[test]
    fn an_empty_cache_has_nothing() {
        let (_dir, cache) = scratch();
        assert_eq!(find(&cache).expect("readable"), None);
        assert_eq!(list(&cache).expect("readable"), []);
    }

    #[test]
    fn an_unfinished_image_is_never_found() {
        let (_dir, cache) = scratch();
        let folder = cache.join("images/abc");
        fs::create_dir_all(&folder).expect("created");
        write_current(&cache, "abc").expect("written");
        fs::write(folder.join(SYSTEM), "x").expect("written");
        assert_eq!(find(&cache).expect("readable"), None);
        fs::write(folder.join(DATA), "x").expect("written");
        fs::write(folder.join(RECIPE), "{}").expect("written");
        assert_eq!(find(&cache).expect("readable").map(|image| image.hash), Some("abc".to_owned()));
        assert_eq!(list(&cache).expect("readable").len(), 1);
    }

    #[test]
    fn a_pointer_that_leads_outside_the_cache_is_ignored() {
        let (_dir, cache) = scratch();
        write_current(&cache, "../../etc").expect("written");
        assert_eq!(find(&cache).expect("readable"), None);
    }
}

//! Debian packages: resolved once, kept in the cache, and unpacked without being installed.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::error::{AtPath, ImageError};
use crate::tools;

/// Debian packages whose content makes up the image; their dependencies are followed.
pub const PACKAGES: &[&str] = &[
    "btrfs-progs",
    "busybox-static",
    "dropbear-bin",
    "linux-image-amd64",
    "lvm2",
    "nftables",
    "qemu-guest-agent",
    "syslinux-common",
    "systemd-boot-efi",
    "xfsprogs",
];

/// Prefixes of the dependencies to follow: libraries, and the kernel behind its meta package.
const FOLLOWED: &[&str] = &["lib", "zlib", "linux-image-"];

const KERNEL: &str = "linux-image-amd64";

const LOCK_FILE: &str = "packages.json";

/// One downloaded package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) file: String,
    pub(crate) blake3: String,
}

/// Removes the list of package versions, so that the next build asks apt again.
///
/// # Errors
/// The list exists and cannot be removed.
pub fn refresh_packages(cache: &Utf8Path) -> Result<(), ImageError> {
    let path = folder(cache).join(LOCK_FILE);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("cannot remove", &path),
        _ => Ok(()),
    }
}

/// The packages of the image: those of an earlier build if all are still intact, otherwise the
/// versions that apt offers.
pub(crate) fn obtain(cache: &Utf8Path, say: &mut dyn FnMut(&str)) -> Result<Vec<Package>, ImageError> {
    let folder = folder(cache);
    if let Some(packages) = stored_list(&folder) {
        return Ok(packages);
    }
    std::fs::create_dir_all(&folder).at("cannot create", &folder)?;
    let packages = download(&folder, say)?;
    let json = serde_json::to_string_pretty(&packages).unwrap_or_default();
    let (draft, lock) = (folder.join("packages.json.new"), folder.join(LOCK_FILE));
    std::fs::write(&draft, json).at("cannot write", &draft)?;
    std::fs::rename(&draft, &lock).at("cannot write", &lock)?;
    Ok(packages)
}

/// Unpacks all packages into `target`.
pub(crate) fn unpack(cache: &Utf8Path, packages: &[Package], target: &Utf8Path) -> Result<(), ImageError> {
    for package in packages {
        let deb = folder(cache).join(&package.file);
        tools::run(tools::command("dpkg-deb").arg("-x").arg(&deb).arg(target))?;
    }
    Ok(())
}

fn folder(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("debs")
}

fn stored_list(folder: &Utf8Path) -> Option<Vec<Package>> {
    let json = std::fs::read_to_string(folder.join(LOCK_FILE)).ok()?;
    let packages: Vec<Package> = serde_json::from_str(&json).ok()?;
    let intact =
        |package: &Package| hash_file(&folder.join(&package.file)).ok().as_ref() == Some(&package.blake3);
    let complete = PACKAGES.iter().all(|name| packages.iter().any(|package| package.name == *name));
    (complete && packages.iter().all(intact)).then_some(packages)
}

fn download(folder: &Utf8Path, say: &mut dyn FnMut(&str)) -> Result<Vec<Package>, ImageError> {
    let mut seen: BTreeSet<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    let mut wanted: Vec<String> = seen.iter().cloned().collect();
    let mut packages = Vec::new();
    while !wanted.is_empty() {
        say(&format!("downloading {}", wanted.join(", ")));
        let mut next = Vec::new();
        for deb in fetch(folder, &wanted)? {
            let (package, depends) = describe(folder, &deb)?;
            packages.push(package);
            next.extend(followed(&depends).filter(|name| seen.insert(name.clone())));
        }
        wanted = next;
    }
    packages.sort();
    Ok(packages)
}

/// Downloads packages into `folder` and returns their file names; falls back to an earlier download
/// if apt fails.
fn fetch(folder: &Utf8Path, names: &[String]) -> Result<Vec<String>, ImageError> {
    let incoming = folder.join("incoming");
    let _ = std::fs::remove_dir_all(&incoming);
    std::fs::create_dir_all(&incoming).at("cannot create", &incoming)?;
    let mut apt = tools::command("apt-get");
    let wanted = names.iter().map(|name| newest_kernel(name));
    apt.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(wanted).current_dir(&incoming);
    let failure = tools::run(&mut apt).err();
    let mut arrived = debs(&incoming)?;
    for file in &arrived {
        std::fs::rename(incoming.join(file), folder.join(file)).at("cannot move", &incoming.join(file))?;
    }
    std::fs::remove_dir_all(&incoming).at("cannot remove", &incoming)?;
    if let Some(failure) = failure {
        arrived = earlier(folder, names, &failure)?;
    }
    Ok(arrived)
}

/// Requests the newest kernel that apt knows, including backports: since 6.12 Debian compresses it
/// with zstd instead of xz, which saves an emulated guest seconds at each boot. Other packages are
/// left to apt.
fn newest_kernel(name: &str) -> String {
    if name != KERNEL {
        return name.to_owned();
    }
    let known = tools::run(tools::command("apt-cache").args(["madison", name])).unwrap_or_default();
    let versions = known.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    versions
        .max_by_key(|version| release(version))
        .map_or(name.to_owned(), |version| format!("{name}={version}"))
}

/// The numbers at the start of a kernel version.
fn release(version: &str) -> Vec<u32> {
    version.split(['.', '-', '~', '+']).map_while(|part| part.parse().ok()).collect()
}

fn earlier(folder: &Utf8Path, names: &[String], failure: &ImageError) -> Result<Vec<String>, ImageError> {
    let present = debs(folder)?;
    let newest = |name: &String| {
        let of_package = present.iter().filter(|file| file.split('_').next() == Some(name.as_str()));
        of_package
            .max()
            .cloned()
            .ok_or_else(|| ImageError::Package { package: name.clone(), reason: failure.to_string() })
    };
    names.iter().map(newest).collect()
}

fn debs(folder: &Utf8Path) -> Result<Vec<String>, ImageError> {
    let entries = folder.read_dir_utf8().at("cannot list", folder)?.filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_owned());
    Ok(names.filter(|name| name.ends_with(".deb")).collect())
}

fn describe(folder: &Utf8Path, deb: &str) -> Result<(Package, String), ImageError> {
    let path = folder.join(deb);
    let field = |name: &str| -> Result<String, ImageError> {
        let value = tools::run(tools::command("dpkg-deb").args(["-f", path.as_str(), name]))?;
        Ok(value.trim().to_owned())
    };
    let package = Package {
        name: field("Package")?,
        version: field("Version")?,
        file: deb.to_owned(),
        blake3: hash_file(&path).at("cannot read", &path)?,
    };
    Ok((package, field("Depends")?))
}

/// The package names in a `Depends` field that are followed; of alternatives, the first.
fn followed(depends: &str) -> impl Iterator<Item = String> + '_ {
    let first_name =
        |clause: &str| clause.split(['|', '(', ':']).next().unwrap_or_default().trim().to_owned();
    depends.split(',').map(first_name).filter(|name| FOLLOWED.iter().any(|prefix| name.starts_with(prefix)))
}

/// BLAKE3 of a file's contents, in hex.
pub(crate) fn hash_file(path: &Utf8Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_kernel_are_followed_and_nothing_else() {
        let depends = "libc6 (>= 2.34), init-system-helpers, libglib2.0-0t64 | libglib2.0-0, linux-image-6.1.0-1-amd64 (= 6.1), zlib1g:any";
        let names: Vec<String> = followed(depends).collect();
        assert_eq!(names, ["libc6", "libglib2.0-0t64", "linux-image-6.1.0-1-amd64", "zlib1g"]);
    }

    #[test]
    fn kernels_compare_by_number() {
        assert!(release("6.12.95-1~bpo12+1") > release("6.1.192-2"));
        assert!(release("6.1.192-2") > release("6.1.176-1"));
    }

    #[test]
    fn a_damaged_download_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
        assert!(stored_list(folder).is_none());
        let package = |name: &&str| Package {
            name: (*name).into(),
            version: "1".into(),
            file: format!("{name}.deb"),
            blake3: blake3::hash(name.as_bytes()).to_hex().to_string(),
        };
        let packages: Vec<Package> = PACKAGES.iter().map(package).collect();
        for package in &packages {
            std::fs::write(folder.join(&package.file), &package.name).expect("written");
        }
        std::fs::write(folder.join(LOCK_FILE), serde_json::to_string(&packages).expect("JSON"))
            .expect("written");
        assert_eq!(stored_list(folder), Some(packages.clone()));
        std::fs::write(folder.join(&packages[0].file), "other").expect("written");
        assert!(stored_list(folder).is_none());
    }
}

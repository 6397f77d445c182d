//! Kernel modules: their dependencies and load order, and the tables that modprobe reads.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use crate::elf;
use crate::error::{AtPath, ImageError};
use crate::tools;

/// All modules of one kernel, by name with `-` replaced by `_`.
pub(crate) struct Modules {
    /// Kernel release, which is the name of its directory.
    pub(crate) release: String,
    files: BTreeMap<String, Utf8PathBuf>,
    /// Modules that are built into this kernel and have no file.
    built_in: BTreeSet<String>,
}

/// A module with its metadata.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    depends: Vec<String>,
    aliases: Vec<String>,
}

impl Modules {
    /// Finds the modules of the only kernel in `folder` (a `lib/modules`).
    pub(crate) fn open(folder: &Utf8Path) -> Result<Self, ImageError> {
        let mut releases = folder.read_dir_utf8().at("cannot list", folder)?.filter_map(Result::ok);
        let release = releases
            .next()
            .ok_or_else(|| ImageError::Incomplete { what: "kernel modules".into() })?
            .file_name()
            .to_owned();
        let mut files = BTreeMap::new();
        collect(&folder.join(&release), &mut files)?;
        let list = folder.join(&release).join("modules.builtin");
        let built_in = std::fs::read_to_string(&list).at("cannot read", &list)?;
        let built_in = built_in.lines().filter_map(|line| module_name(line.rsplit('/').next()?));
        Ok(Self { release, files, built_in: built_in.map(|name| name.replace('-', "_")).collect() })
    }

    /// The named modules and all their dependencies, in load order.
    pub(crate) fn closure<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<Module>, ImageError> {
        let mut loaded = Vec::new();
        for name in names {
            self.add(name.as_ref(), &mut loaded)?;
        }
        Ok(loaded)
    }

    fn add(&self, name: &str, loaded: &mut Vec<Module>) -> Result<(), ImageError> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || loaded.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let module = self.read(&name)?;
        for needed in &module.depends {
            self.add(needed, loaded)?;
        }
        loaded.push(module);
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Module, ImageError> {
        let path = self
            .files
            .get(name)
            .ok_or_else(|| ImageError::Incomplete { what: format!("kernel module {name}") })?;
        let bytes = contents(path)?;
        let info = elf::module_info(&bytes)
            .ok_or_else(|| ImageError::Damaged { path: path.clone(), reason: "no kernel module".into() })?;
        let values = |wanted: &str| -> Vec<&str> {
            info.iter().filter(|(key, _)| key == wanted).map(|(_, value)| value.as_str()).collect()
        };
        let depends = values("depends").join(",");
        Ok(Module {
            name: name.to_owned(),
            depends: depends.split(',').filter(|d| !d.is_empty()).map(|d| d.replace('-', "_")).collect(),
            aliases: values("alias").into_iter().map(str::to_owned).collect(),
            bytes: without_signature(bytes),
        })
    }
}

/// Module names in load order, one per line.
pub(crate) fn listing(modules: &[Module]) -> String {
    modules.iter().map(|module| format!("{}\n", module.name)).collect()
}

/// The content of `modules.dep`, in which the dependency to load first comes last.
pub(crate) fn dependency_table(modules: &[Module]) -> String {
    let line = |module: &Module| {
        let mut needed = Vec::new();
        transitive(module, modules, &mut needed);
        let files: String = needed.iter().rev().map(|name| format!(" {name}.ko")).collect();
        format!("{}.ko:{files}\n", module.name)
    };
    modules.iter().map(line).collect()
}

/// The content of `modules.alias`.
pub(crate) fn alias_table(modules: &[Module]) -> String {
    let lines = |module: &Module| -> String {
        module.aliases.iter().map(|alias| format!("alias {alias} {}\n", module.name)).collect()
    };
    modules.iter().map(lines).collect()
}

fn transitive(module: &Module, all: &[Module], found: &mut Vec<String>) {
    for name in &module.depends {
        if let Some(needed) = all.iter().find(|other| &other.name == name) {
            transitive(needed, all, found);
            if !found.contains(name) {
                found.push(name.clone());
            }
        }
    }
}

fn collect(folder: &Utf8Path, files: &mut BTreeMap<String, Utf8PathBuf>) -> Result<(), ImageError> {
    for entry in folder.read_dir_utf8().at("cannot list", folder)? {
        let entry = entry.at("cannot list", folder)?;
        if entry.file_type().at("cannot read", entry.path())?.is_dir() {
            collect(entry.path(), files)?;
        } else if let Some(name) = module_name(entry.file_name()) {
            files.insert(name.replace('-', "_"), entry.path().to_owned());
        }
    }
    Ok(())
}

/// The module name in a file name, compressed or not.
fn module_name(file: &str) -> Option<&str> {
    file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))
}

/// The content of a module. Debian compresses modules since release 13; the guest's tools need them
/// uncompressed.
fn contents(path: &Utf8Path) -> Result<Vec<u8>, ImageError> {
    if path.extension() != Some("xz") {
        return std::fs::read(path).at("cannot read", path);
    }
    let mut unpack = tools::command("xz");
    let output =
        unpack.args(["--decompress", "--stdout", path.as_str()]).output().at("cannot run xz on", path)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ImageError::Damaged { path: path.to_owned(), reason })
}

/// Removes a module's signature: checking it takes an emulated guest tens of milliseconds per
/// module, and no guest here enforces it.
fn without_signature(mut bytes: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = b"~Module signature appended~\n";
    const INFO_BYTES: usize = 12;
    let Some(signed) = bytes.strip_suffix(MARK) else { return bytes };
    let Some(info) = signed.len().checked_sub(INFO_BYTES) else { return bytes };
    let length = signed[info + 8..info + 12].try_into().map(u32::from_be_bytes).unwrap_or_default();
    if let Some(end) = info.checked_sub(length as usize) {
        bytes.truncate(end);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, depends: &[&str]) -> Module {
        Module {
            name: name.into(),
            bytes: Vec::new(),
            depends: depends.iter().map(|d| (*d).into()).collect(),
            aliases: vec![format!("pci:{name}*")],
        }
    }

    #[test]
    fn tables_have_the_format_that_modprobe_reads() {
        let modules = [module("scsi_mod", &[]), module("libata", &["scsi_mod"]), module("ahci", &["libata"])];
        assert_eq!(
            dependency_table(&modules),
            "scsi_mod.ko:\nlibata.ko: scsi_mod.ko\nahci.ko: libata.ko scsi_mod.ko\n"
        );
        assert!(alias_table(&modules).contains("alias pci:ahci* ahci\n"));
    }

    #[test]
    fn modules_are_found_compressed_or_not() {
        assert_eq!(module_name("ext4.ko"), Some("ext4"));
        assert_eq!(module_name("ext4.ko.xz"), Some("ext4"));
        assert_eq!(module_name("modules.builtin"), None);
    }

    #[test]
    fn a_signature_is_removed_and_a_damaged_one_is_left_alone() {
        let mut signed = b"module".to_vec();
        signed.extend_from_slice(b"sign");
        signed.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0]);
        signed.extend_from_slice(&4u32.to_be_bytes());
        signed.extend_from_slice(b"~Module signature appended~\n");
        assert_eq!(without_signature(signed), b"module");
        let short = b"~Module signature appended~\n".to_vec();
        assert_eq!(without_signature(short.clone()), short);
        assert_eq!(without_signature(b"plain".to_vec()), b"plain");
    }
}

//! The command `sbom`: every crate that the suite is made of, as a software bill of materials in
//! the format CycloneDX 1.5, from what cargo resolved.
//!
//! Each crate has its licence, the digest that `Cargo.lock` demands, where it comes from, what it
//! depends on, and in how many places its source says `unsafe`.

mod model;
mod unsafe_code;

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::cargo::cargo;
use model::{Bom, Component, Dependency, Hash, License, Metadata, Property};

/// What `cargo metadata` prints.
#[derive(Deserialize)]
struct Resolved {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: Utf8PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// `Cargo.lock`, of which only digests are read.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Writes the list to a file, or else to standard output.
pub fn command(root: &Utf8Path, out: Option<&Utf8Path>) -> Result<()> {
    let text = serde_json::to_string_pretty(&bill(root)?)? + "\n";
    match out {
        Some(path) => std::fs::write(path, text).with_context(|| format!("write {path}")),
        None => std::io::stdout().write_all(text.as_bytes()).context("print the list"),
    }
}

/// Prints which crates say `unsafe`, and in how many places.
pub fn print_unsafe(root: &Utf8Path) -> Result<()> {
    let resolved = resolved(root)?;
    let mut rows = Vec::new();
    for package in &resolved.packages {
        let places = unsafe_code::places(folder(package)?)?;
        if places > 0 {
            let ours = package.source.is_none();
            rows.push((!ours, &package.name, &package.version, places));
        }
    }
    rows.sort();
    for (foreign, name, version, places) in &rows {
        println!("{places:>6}  {name} {version}{}", if *foreign { "" } else { "  (of this repository)" });
    }
    println!("{} of {} crates", rows.len(), resolved.packages.len());
    Ok(())
}

fn resolved(root: &Utf8Path) -> Result<Resolved> {
    let mut command = cargo(root);
    command.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = command.output().context("tried to start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed: {}", said.trim());
    serde_json::from_slice(&output.stdout).context("understand what cargo metadata prints")
}

fn folder(package: &Package) -> Result<&Utf8Path> {
    package.manifest_path.parent().context("a crate has a folder")
}

/// The bill of the workspace in `root`. The same sources give the same bill.
fn bill(root: &Utf8Path) -> Result<Bom> {
    let resolved = resolved(root)?;
    let lock = root.join("Cargo.lock");
    let text = std::fs::read_to_string(&lock).with_context(|| format!("read {lock}"))?;
    let lock: Lock = toml::from_str(&text).with_context(|| format!("understand {lock}"))?;
    let digests: BTreeMap<(String, String), String> = lock
        .package
        .into_iter()
        .filter_map(|locked| Some(((locked.name, locked.version), locked.checksum?)))
        .collect();
    let references: BTreeMap<&str, String> =
        resolved.packages.iter().map(|package| (package.id.as_str(), reference(package))).collect();
    let mut components = Vec::new();
    for package in &resolved.packages {
        let digest = digests.get(&(package.name.clone(), package.version.clone()));
        components.push(component(package, digest)?);
    }
    components.sort_by(|one, other| one.bom_ref.cmp(&other.bom_ref));
    let referred = |id: &String| references.get(id.as_str()).cloned();
    let mut dependencies: Vec<Dependency> = resolved
        .resolve
        .nodes
        .iter()
        .filter_map(|node| {
            let mut depends_on: Vec<_> = node.dependencies.iter().filter_map(referred).collect();
            depends_on.sort();
            Some(Dependency { reference: referred(&node.id)?, depends_on })
        })
        .collect();
    let members = resolved.workspace_members.iter().filter_map(referred).collect();
    dependencies.push(Dependency { reference: ROOT.to_owned(), depends_on: members });
    dependencies.sort_by(|one, other| one.reference.cmp(&other.reference));
    let version = env!("CARGO_PKG_VERSION");
    Ok(Bom::new(Metadata::of_application(ROOT, "roundtrip", version), components, dependencies))
}

/// The name of the suite as a whole among the references.
const ROOT: &str = "roundtrip";

/// The name by which other parts of the bill refer to a crate: its package URL.
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn component(package: &Package, digest: Option<&String>) -> Result<Component> {
    let places = unsafe_code::places(folder(package)?)?;
    Ok(Component {
        kind: "library",
        bom_ref: reference(package),
        name: package.name.clone(),
        version: package.version.clone(),
        description: package.description.clone(),
        hashes: digest.into_iter().map(|digest| Hash::sha_256(digest)).collect(),
        // Some crates still write a slash for "or".
        licenses: package
            .license
            .iter()
            .map(|text| License { expression: text.replace('/', " OR ") })
            .collect(),
        purl: package.source.is_some().then(|| reference(package)),
        external_references: package.repository.iter().map(|url| model::vcs(url)).collect(),
        properties: vec![Property { name: "roundtrip:unsafe", value: places.to_string() }],
    })
}

#[cfg(test)]
#[path = "sbom/tests.rs"]
mod tests;

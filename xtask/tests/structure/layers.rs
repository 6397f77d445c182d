//! What may depend on what: between crates by `cargo tree`, between the files of a crate by their
//! imports.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::cycles::{describe, graph};
use crate::modules::Crate;
use crate::tokens::product_code;
use crate::tree;

/// The only file of the suite that knows which core it tests.
const CORE_UNDER_TEST: &str = "conformance/src/core_under_test.rs";

#[test]
fn one_file_of_the_suite_names_the_built_in_core() {
    let names_core = |path: &std::path::PathBuf| {
        let code = product_code(&tree::text(path));
        code.windows(3).any(|three| !three[0].is("::") && three[1].is("replication") && three[2].is("::"))
    };
    let found: Vec<String> = tree::files("conformance/src", &[".rs"])
        .iter()
        .filter(|path| names_core(path))
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(found, [CORE_UNDER_TEST], "another core must fit in by a change to one file");
}

/// The packages of this repository and of others that one needs, its tests included.
fn dependencies(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--package", package, "--edges", "normal,build,dev"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(String::from).collect()
}

#[test]
fn what_runs_in_memory_needs_neither_libvirt_nor_guests() {
    for package in ["simulator", "inventory", "replication", "wire"] {
        let needed = dependencies(package);
        assert!(needed.contains("roundtrip-contract"), "{package} needs {needed:?}");
        for foreign in ["virt", "virt-sys", "harness", "images", "standins", "conformance"] {
            assert!(!needed.contains(foreign), "{package} must not need {foreign}");
        }
    }
}

#[test]
fn the_command_line_builds_without_libvirt_and_libnbd() {
    let needed = dependencies("xtask");
    for foreign in ["virt", "virt-sys", "nbd", "harness"] {
        assert!(!needed.contains(foreign), "xtask must not need {foreign}");
    }
}

/// Fails with every circle of imports among the files of a crate.
fn has_no_import_cycles(sources: &str) {
    let folder = Path::new(sources);
    let read = |path: &Path| std::fs::read_to_string(tree::root().join(folder).join(path)).ok();
    let mut found = String::new();
    let mut seen = 0;
    for root in ["lib.rs", "main.rs"] {
        let modules = Crate::load(Path::new(root), &read);
        seen += modules.modules.len();
        found += &describe(&graph(&modules));
    }
    assert!(seen > 1, "{sources} has modules");
    assert!(found.is_empty(), "{sources}:\n{found}");
}

macro_rules! no_import_cycles {
    ($($test:ident: $sources:literal,)*) => {
        $(
            #[test]
            fn $test() {
                has_no_import_cycles($sources);
            }
        )*
    };
}

no_import_cycles! {
    agent_has_no_import_cycles: "images/agent/src",
    broken_source_has_no_import_cycles: "xtask/broken-source/src",
    conformance_has_no_import_cycles: "conformance/src",
    contract_has_no_import_cycles: "adapters/contract/src",
    harness_has_no_import_cycles: "harness/src",
    images_has_no_import_cycles: "images/src",
    fatdiff_has_no_import_cycles: "adapters/fatdiff/src",
    inventory_has_no_import_cycles: "adapters/inventory/src",
    lifetime_has_no_import_cycles: "adapters/lifetime/src",
    nbd_has_no_import_cycles: "adapters/nbd/src",
    nbd_server_has_no_import_cycles: "adapters/nbd-server/src",
    core_program_has_no_import_cycles: "replication/program/src",
    replication_has_no_import_cycles: "replication/src",
    simulator_has_no_import_cycles: "adapters/simulator/src",
    statistics_has_no_import_cycles: "conformance/statistics/src",
    standins_has_no_import_cycles: "adapters/standins/src",
    tempdirs_has_no_import_cycles: "adapters/tempdirs/src",
    windows_volume_has_no_import_cycles: "adapters/windows-volume/src",
    witness_has_no_import_cycles: "images/witness/src",
    wire_has_no_import_cycles: "adapters/wire/src",
    xtask_has_no_import_cycles: "xtask/src",
}

#[test]
fn every_crate_is_checked_for_import_cycles() {
    let this = tree::text(Path::new("xtask/tests/structure/layers.rs"));
    for manifest in tree::files("", &["Cargo.toml"]) {
        let Some(folder) = manifest.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            continue;
        };
        // Fuzz targets are functions of bytes that use nothing of each other.
        if folder.ends_with("fuzz") {
            continue;
        }
        let sources = format!("\"{}/src\"", folder.display());
        assert!(this.contains(&sources), "{sources} is missing from the list of crates");
    }
}

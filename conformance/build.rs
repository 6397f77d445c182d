//! Makes a typed constant of every rule in `rules.toml`, so that an unknown rule does not compile.

use std::fmt::Write as _;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=rules.toml");
    let catalogue = std::fs::read_to_string("rules.toml").expect("conformance/rules.toml is readable");
    let ids = catalogue.lines().filter_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"'));
    let mut source = String::new();
    for id in ids {
        let name = id.replace('-', "_");
        let _ = writeln!(source, "/// Rule {id}.\npub const {name}: RuleId = RuleId(\"{id}\");");
    }
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join("rule_ids.rs"), source).expect("OUT_DIR can be written");
}

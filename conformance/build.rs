//! Turns two tables into code, so that a name that does not exist does not compile: every rule of
//! `rules.toml` becomes a constant, and every script that `scenarios.toml` names an entry of a list.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

fn main() {
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let write = |name: &str, source: String| {
        std::fs::write(Path::new(&out).join(name), source).expect("OUT_DIR can be written");
    };
    write("rule_ids.rs", rule_ids(&read("rules.toml")));
    write("scripts.rs", scripts(&read("scenarios.toml")));
}

fn read(table: &str) -> String {
    println!("cargo::rerun-if-changed={table}");
    std::fs::read_to_string(table).expect("the tables of the suite are readable")
}

/// A constant for each rule.
fn rule_ids(rules: &str) -> String {
    let mut source = String::new();
    for id in rules.lines().filter_map(|line| value_of("id", line)) {
        let name = id.replace('-', "_");
        let _ = writeln!(source, "/// Rule {id}.\npub const {name}: RuleId = RuleId(\"{id}\");");
    }
    source
}

/// The scripts that scenarios of the real tier name; a script is a file of `src/real/scenarios`.
fn scripts(scenarios: &str) -> String {
    let rows = scenarios.split("[[scenario]]").skip(1);
    let real = rows.filter(|row| row.lines().any(|line| value_of("tier", line) == Some("real")));
    let named: BTreeSet<_> =
        real.filter_map(|row| row.lines().find_map(|line| value_of("script", line))).collect();
    let mut source = String::from(
        "/// Every script of the real tier, with the name that `scenarios.toml` uses.\n\
         pub(crate) const SCRIPTS: &[(&str, &Script)] = &[\n",
    );
    for name in named {
        let _ = writeln!(source, "    (\"{name}\", &{}::SCRIPT),", name.replace('-', "_"));
    }
    source.push_str("];\n");
    source
}

/// The text of a line `key = "text"`.
fn value_of<'a>(key: &str, line: &'a str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

//! Generates typed code from data: a constant for every rule of `rules.toml`, an accessor for every
//! value of `profiles.toml`, and a list of the scripts that `scenarios.toml` names, so that an
//! unknown name does not compile.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    generate("rules.toml", "rule_ids.rs", rule_ids);
    generate("profiles.toml", "profile_values.rs", profile_values);
    generate("scenarios.toml", "scripts.rs", scripts);
}

fn generate(data: &str, code: &str, make: fn(&str) -> String) {
    println!("cargo::rerun-if-changed={data}");
    let text = std::fs::read_to_string(data).expect("the data beside build.rs is readable");
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join(code), make(&text)).expect("OUT_DIR can be written");
}

/// A constant for each rule.
fn rule_ids(catalogue: &str) -> String {
    let ids = catalogue.lines().filter_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"'));
    let mut code = String::new();
    for id in ids {
        let name = id.replace('-', "_");
        let _ = writeln!(code, "/// Rule {id}.\npub const {name}: RuleId = RuleId(\"{id}\");");
    }
    code
}

/// An accessor for each value of the first profile; a test compares the profiles' keys and types.
fn profile_values(profiles: &str) -> String {
    let mut code = String::from("impl Profile {\n");
    let mut comment: Vec<&str> = Vec::new();
    let in_first = profiles.lines().skip_while(|line| !line.starts_with('[')).skip(1);
    for line in in_first.take_while(|line| !line.starts_with('[')) {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if let Some((key, value)) = line.split_once(" = ") {
            let (kind, read) = accessor(value);
            let text = comment.join(" ");
            let _ = writeln!(code, "/// {text}\n#[must_use]\npub fn {key}(&self) -> {kind} {{");
            let _ = writeln!(code, "self.{read}(\"{key}\")\n}}");
            comment.clear();
        } else {
            comment.clear();
        }
    }
    code.push_str("}\n");
    code
}

/// The type of a value, and the method of a profile that reads it.
fn accessor(value: &str) -> (&'static str, &'static str) {
    match value.trim_start_matches('[').chars().next() {
        _ if value.starts_with("[[") => ("Vec<Vec<u64>>", "table"),
        Some('"') if value.starts_with('[') => ("Vec<&str>", "texts"),
        Some('"') => ("&str", "text"),
        Some('t' | 'f') => ("bool", "flag"),
        _ if value.starts_with('[') => ("Vec<u64>", "numbers"),
        _ => ("u64", "number"),
    }
}

/// The scripts that scenarios of the real tier name; a script is a file of `src/real/scenarios`.
fn scripts(scenarios: &str) -> String {
    let rows = scenarios.split("[[scenario]]").skip(1);
    let real = rows.filter(|row| row.lines().any(|line| line == "tier = \"real\""));
    let script_of = |row: &'_ str| {
        let name = row.lines().find_map(|line| line.strip_prefix("script = \"")?.strip_suffix('"'));
        name.map(str::to_owned)
    };
    let named: BTreeSet<String> = real.filter_map(script_of).collect();
    let mut code = String::from(
        "/// Every script of the real tier, with the name that `scenarios.toml` uses.\n\
         pub(crate) const SCRIPTS: &[(&str, &Script)] = &[\n",
    );
    for name in named {
        let _ = writeln!(code, "(\"{name}\", &{}::SCRIPT),", name.replace('-', "_"));
    }
    code.push_str("];\n");
    code
}

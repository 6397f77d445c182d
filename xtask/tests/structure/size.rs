//! How long files and lines may be.

use std::path::Path;

use crate::tree;

/// The most lines of a source file.
const LINES: usize = 500;
/// The most columns of prose.
const COLUMNS: usize = 100;

/// The folders whose comments wrap.
const WRAPPED: &[&str] = &["adapters", "conformance", "harness", "images", "replication", "xtask"];

/// Longer source files, each with the reason why it is not split.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn no_source_file_is_too_long() {
    let mut found = Vec::new();
    for path in tree::files("", &[".rs"]) {
        let lines = tree::text(&path).lines().count();
        let allowed = LONG_FILES.iter().any(|(listed, _)| Path::new(listed) == path);
        if lines > LINES && !allowed {
            found.push(format!("{} has {lines} lines", path.display()));
        }
        assert!(!allowed || lines > LINES, "{} is listed as long and is not", path.display());
    }
    assert!(found.is_empty(), "more than {LINES} lines: {found:#?}");
}

#[test]
fn prose_wraps() {
    let mut found = Vec::new();
    for path in tree::files("", &[".md"]) {
        found.extend(too_wide(&tree::text(&path)).map(|line| format!("{}:{line}", path.display())));
    }
    assert!(found.is_empty(), "{} lines of prose wider than {COLUMNS} columns: {found:#?}", found.len());
}

#[test]
fn comments_wrap() {
    let mut found = Vec::new();
    for folder in WRAPPED {
        for path in tree::files(folder, &[".rs"]) {
            let text = tree::text(&path);
            let wide = text.lines().enumerate().filter(|(_, line)| is_wide_comment(line));
            found.extend(wide.map(|(index, _)| format!("{}:{}", path.display(), index + 1)));
        }
    }
    assert!(found.is_empty(), "comments wider than {COLUMNS} columns: {found:#?}");
}

fn is_wide_comment(line: &str) -> bool {
    let bare = line.trim_start();
    let exempt = bare.contains("://") || bare.starts_with("/// |") || bare.starts_with("//! |");
    bare.starts_with("//") && line.chars().count() > COLUMNS && !exempt
}

/// The numbers of lines of Markdown prose that are too wide. Tables, code and lines that an address
/// makes long may be.
fn too_wide(text: &str) -> impl Iterator<Item = usize> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let bare = line.trim_start();
        let fence = bare.starts_with("```") || bare.starts_with("~~~");
        in_code ^= fence;
        let exempt = in_code || fence || bare.starts_with('|') || bare.contains("://");
        (line.chars().count() > COLUMNS && !exempt).then_some(index + 1)
    })
}

#[test]
fn tables_code_and_addresses_may_be_wide() {
    let wide = "x".repeat(COLUMNS + 1);
    let text = format!("{wide}\n| {wide} |\n```text\n{wide}\n```\n<https://{wide}>\nshort\n- {wide}\n");
    assert_eq!(too_wide(&text).collect::<Vec<_>>(), [1, 8]);
}

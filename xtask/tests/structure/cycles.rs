//! Which file of a crate imports which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::modules::{Crate, Module, ModulePath};

/// How many re-exports are followed from one name to its definition.
const DEPTH: u32 = 8;

/// An import of one file by another, with the first place that causes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub line: usize,
    pub path: String,
}

/// The imports between the files of a crate: importer, imported, why.
pub type Graph = BTreeMap<PathBuf, BTreeMap<PathBuf, Import>>;

/// Draws the graph. A file that only declares modules and re-exports their items has no edges of its own: whoever
/// uses one of its re-exports depends on the file that defines the item.
pub fn graph(sources: &Crate) -> Graph {
    let mut graph = Graph::new();
    for module in sources.modules.values() {
        let edges = graph.entry(module.file.clone()).or_default();
        if module.only_declares {
            continue;
        }
        for mention in &module.mentions {
            let Some(target) = sources.definition(&mention.segments, DEPTH) else { continue };
            if target.file != module.file {
                let import = Import { line: mention.line, path: mention.segments.join("::") };
                edges.entry(target.file.clone()).or_insert(import);
            }
        }
    }
    graph
}

impl Crate {
    /// The module that defines what a path names.
    fn definition(&self, path: &[String], depth: u32) -> Option<&Module> {
        let mut at = ModulePath::new();
        let mut rest = path;
        while let Some((first, others)) = rest.split_first() {
            if !self.modules.get(&at)?.children.contains(first) {
                break;
            }
            at.push(first.clone());
            rest = others;
        }
        // A child behind `#[cfg]` of another target has no file here.
        let module = self.modules.get(&at)?;
        let Some(item) = rest.first().filter(|item| *item != "*") else { return Some(module) };
        if depth == 0 || module.items.contains(item) {
            return Some(module);
        }
        self.re_exported(module, item, rest, depth).or(Some(module))
    }

    fn re_exported(&self, module: &Module, item: &str, rest: &[String], depth: u32) -> Option<&Module> {
        let offers = module.mentions.iter().filter(|mention| mention.offered_as.is_some());
        for offer in offers {
            let name = offer.offered_as.as_deref()?;
            if name == item {
                let full: Vec<String> = offer.segments.iter().chain(&rest[1..]).cloned().collect();
                return self.definition(&full, depth - 1);
            }
            if name == "*" {
                let (_, source) = offer.segments.split_last()?;
                let full: Vec<String> = source.iter().chain(rest).cloned().collect();
                let found = self.definition(&full, depth - 1);
                if found.is_some_and(|module| module.items.contains(item)) {
                    return found;
                }
            }
        }
        None
    }
}

/// The groups of files that import each other in a circle, each with at least two.
pub fn cycles(graph: &Graph) -> Vec<BTreeSet<PathBuf>> {
    let reach: BTreeMap<&Path, BTreeSet<&Path>> =
        graph.keys().map(|file| (file.as_path(), reachable(graph, file))).collect();
    let mut found: Vec<BTreeSet<PathBuf>> = Vec::new();
    for file in graph.keys().filter(|file| reach[file.as_path()].contains(file.as_path())) {
        if found.iter().any(|cycle| cycle.contains(file)) {
            continue;
        }
        let back = |other: &&&Path| reach.get(**other).is_some_and(|seen| seen.contains(file.as_path()));
        found.push(reach[file.as_path()].iter().filter(back).map(|path| path.to_path_buf()).collect());
    }
    found
}

/// The files that can be reached from one over at least one import.
fn reachable<'a>(graph: &'a Graph, from: &Path) -> BTreeSet<&'a Path> {
    let mut seen = BTreeSet::new();
    let mut due = vec![from];
    while let Some(file) = due.pop() {
        for next in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(next.as_path()) {
                due.push(next);
            }
        }
    }
    seen
}

/// Each cycle with the imports that close it.
pub fn describe(graph: &Graph) -> String {
    let mut text = String::new();
    for cycle in cycles(graph) {
        let _ = writeln!(text, "{} files import each other in a circle:", cycle.len());
        for file in &cycle {
            for (target, import) in graph[file].iter().filter(|(target, _)| cycle.contains(*target)) {
                let Import { line, path } = import;
                let _ = writeln!(text, "  {}:{line} uses {path} of {}", file.display(), target.display());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cycles of a crate made of (file, text).
    fn described(files: &[(&str, &str)]) -> String {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        describe(&graph(&Crate::load(Path::new("lib.rs"), &read)))
    }

    #[test]
    fn two_files_that_use_each_other_are_a_cycle() {
        let found = described(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::b::B;\npub struct A;"),
            ("b.rs", "pub struct B;\nfn f() -> super::a::A { todo!() }"),
        ]);
        assert_eq!(
            found,
            "2 files import each other in a circle:\n  a.rs:1 uses b::B of b.rs\n  b.rs:2 uses a::A of a.rs\n"
        );
    }

    #[test]
    fn a_file_that_uses_its_parent_is_a_cycle_only_if_the_parent_uses_it() {
        let child = ("a/b.rs", "use super::A;\npub fn f(_: A) {}");
        let parent = "mod b;\npub struct A;";
        assert_eq!(described(&[("lib.rs", "mod a;"), ("a/mod.rs", parent), child]), "");
        let using = "mod b;\npub struct A;\nfn g() { b::f(A) }";
        assert!(described(&[("lib.rs", "mod a;"), ("a/mod.rs", using), child]).contains("2 files"));
        assert!(described(&[("lib.rs", "mod a;"), ("a.rs", using), child]).contains("2 files"));
    }

    #[test]
    fn a_re_export_stands_for_the_file_that_defines_the_item() {
        let declares = "//! Docs.\nmod x;\nmod y;\npub use x::{X, Other as Renamed};\npub(crate) use y::*;";
        let clean = [
            ("lib.rs", "pub mod a;"),
            ("a/mod.rs", declares),
            ("a/x.rs", "pub struct X; pub struct Other;"),
            ("a/y.rs", "use super::X; use crate::a::Renamed; pub struct Y;"),
        ];
        assert_eq!(described(&clean), "");
        let mut closed = clean;
        closed[2].1 = "pub struct X; pub struct Other; fn f(_: super::Y) {}";
        assert!(described(&closed).contains("a/x.rs:1 uses a::Y of a/y.rs"), "{}", described(&closed));
    }

    #[test]
    fn tests_comments_and_strings_import_nothing() {
        let found = described(&[
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "use crate::b::B;\npub struct A;"),
            (
                "b.rs",
                "pub struct B; // crate::a::A\nconst S: &str = \"crate::a::A\";\n\
                 #[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(test)]\n#[path = \"t.rs\"]\nmod more;",
            ),
            ("t.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found, "");
    }

    #[test]
    fn use_trees_block_modules_and_moved_files_are_read() {
        let found = described(&[
            ("lib.rs", "mod a;\n#[path = \"elsewhere.rs\"]\nmod b;\nmod c;"),
            ("a.rs", "use crate::{b::{self, C as D}, c};\nmod inner { use super::super::c::E; }"),
            ("elsewhere.rs", "pub struct C; mod deep { fn f() { crate::c::g() } }"),
            ("c.rs", "use crate::a;\npub struct E; pub fn g() {}"),
        ]);
        assert!(found.starts_with("3 files"), "{found}");
        for line in
            ["a.rs:1 uses b of elsewhere.rs", "a.rs:1 uses c of c.rs", "elsewhere.rs:1 uses c::g of c.rs"]
        {
            assert!(found.contains(line), "{line} in {found}");
        }
    }

    #[test]
    fn a_line_of_imports_is_no_cycle() {
        let found = described(&[
            ("lib.rs", "mod a;\nmod b;\nmod c;"),
            ("a.rs", "use crate::b::B; use crate::c::C;"),
            ("b.rs", "use crate::c::C; pub struct B;"),
            ("c.rs", "use std::path::Path; pub struct C;"),
        ]);
        assert_eq!(found, "");
    }
}

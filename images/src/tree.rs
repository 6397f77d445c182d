//! A file tree in memory, in sorted order, from which archives and file systems are written.

use std::collections::BTreeMap;

/// A file system object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Dir { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// Objects by path. Paths have no leading slash; parents always exist and sort before their
/// children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

impl Tree {
    /// Adds a directory and its parents.
    pub(crate) fn dir(&mut self, path: &str) {
        self.dir_mode(path, 0o755);
    }

    /// Adds a directory with permission bits `mode`.
    pub(crate) fn dir_mode(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::Dir { mode });
    }

    /// Adds a file that everyone may read.
    pub(crate) fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.file_mode(path, 0o644, bytes);
    }

    /// Adds an executable file.
    pub(crate) fn program(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.file_mode(path, 0o755, bytes);
    }

    /// Adds a symbolic link unless there is something at the path.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.0.entry(path.to_owned()).or_insert_with(|| Node::Link { target: target.to_owned() });
    }

    /// All objects, parents first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    fn file_mode(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::File { mode, bytes: bytes.into() });
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Node::Dir { mode: 0o755 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_links_never_replace_files() {
        let mut tree = Tree::default();
        tree.program("usr/bin/busybox", "x");
        tree.link("usr/bin/busybox", "nowhere");
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/busybox"]);
        assert!(tree.iter().all(|(_, node)| !matches!(node, Node::Link { .. })));
    }
}

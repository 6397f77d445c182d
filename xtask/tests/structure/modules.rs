//! The modules of a crate, and the paths by which each of its files names others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::tokens::{Token, group_length, product_code};

/// A module's place in its crate: `["setup", "plan"]`; empty for the root.
pub type ModulePath = Vec<String>;

/// A path that stands in a file, resolved to the crate's root as far as syntax allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Where it stands.
    pub line: usize,
    /// Its segments from the crate's root on. The last may be `*`.
    pub segments: Vec<String>,
    /// The name by which a `pub use` offers it to others.
    pub offered_as: Option<String>,
}

/// One module: a file of its own, or a block within the file of its parent.
#[derive(Debug, Default)]
pub struct Module {
    /// The file that holds it, relative to the crate's sources.
    pub file: PathBuf,
    /// Names of its items other than modules.
    pub items: BTreeSet<String>,
    /// Names of its child modules.
    pub children: BTreeSet<String>,
    /// Paths into the same crate.
    pub mentions: Vec<Mention>,
    /// Whether it holds nothing but module declarations and `use`.
    pub only_declares: bool,
}

/// All modules that are reached from one root file.
#[derive(Debug, Default)]
pub struct Crate {
    pub modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    /// Reads the modules below a root file such as `src/lib.rs`. `read` gives the text of a file, or nothing.
    pub fn load(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut all = Self::default();
        let mut due = vec![(ModulePath::new(), root.to_owned())];
        while let Some((path, file)) = due.pop() {
            let Some(text) = read(&file) else { continue };
            let mut reader = Reader { file: &file, all: &mut all, files: Vec::new() };
            reader.module(&path, &product_code(&text));
            due.extend(reader.files);
        }
        all
    }
}

/// Reads one file.
struct Reader<'a> {
    file: &'a Path,
    all: &'a mut Crate,
    /// Modules that are declared here and lie in files of their own: candidates, of which one exists.
    files: Vec<(ModulePath, PathBuf)>,
}

impl Reader<'_> {
    fn module(&mut self, path: &[String], code: &[Token]) {
        let mut module = Module { file: self.file.to_owned(), only_declares: true, ..Module::default() };
        let rest = self.declarations(path, code, &mut module);
        module.only_declares &= rest.is_empty();
        self.all.modules.insert(path.to_vec(), module);
        let mentions = mentions(path, code, &self.all.modules[path]);
        if let Some(module) = self.all.modules.get_mut(path) {
            module.mentions = mentions;
        }
    }

    /// Takes modules and items out of the code. Returns what is neither a declaration nor a `use`.
    fn declarations<'t>(
        &mut self,
        path: &[String],
        code: &'t [Token],
        module: &mut Module,
    ) -> Vec<&'t Token> {
        let mut rest = Vec::new();
        let mut at = 0;
        let mut moved_to = None;
        while at < code.len() {
            let token = &code[at];
            let next = code.get(at + 1);
            if token.is("#") {
                let open = at + 1 + usize::from(next.is_some_and(|token| token.is("!")));
                let length = group_length(&code[open.min(code.len())..]);
                moved_to = path_attribute(&code[open..open + length]).or(moved_to);
                at = open + length;
            } else if token.is("mod") && next.is_some_and(Token::is_word) {
                at = self.child(path, code, at, moved_to.take(), module);
            } else if token.is("use") {
                at += use_length(&code[at..]);
            } else if token.is("pub") {
                let visibility = next.filter(|token| token.is("("));
                at += 1 + visibility.map_or(0, |_| group_length(&code[at + 1..]));
            } else {
                if is_item_keyword(token)
                    && let Some(name) = next.filter(|token| token.is_word())
                {
                    module.items.insert(name.text.clone());
                }
                rest.push(token);
                at += 1;
            }
        }
        rest
    }

    fn child(
        &mut self,
        path: &[String],
        code: &[Token],
        at: usize,
        moved_to: Option<String>,
        module: &mut Module,
    ) -> usize {
        let name = code[at + 1].text.clone();
        let child: ModulePath = path.iter().cloned().chain([name.clone()]).collect();
        module.children.insert(name.clone());
        if code.get(at + 2).is_some_and(|token| token.is("{")) {
            let length = group_length(&code[at + 2..]);
            self.module(&child, &code[at + 3..at + 1 + length]);
            return at + 2 + length;
        }
        let folder = self.file.parent().unwrap_or(Path::new("")).to_owned();
        match moved_to {
            Some(file) => self.files.push((child, folder.join(file))),
            None => {
                let stem = self.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                let beside = path.is_empty() || stem == "mod";
                let folder = if beside { folder } else { folder.join(stem) };
                self.files.push((child.clone(), folder.join(format!("{name}.rs"))));
                self.files.push((child, folder.join(name).join("mod.rs")));
            }
        }
        at + 3
    }
}

/// `#[path = "file"]`
fn path_attribute(attribute: &[Token]) -> Option<String> {
    let is_path = attribute.get(1)?.is("path") && attribute.get(2)?.is("=");
    is_path.then(|| attribute.get(3).map(|file| file.text.trim_matches('"').to_owned()))?
}

fn is_item_keyword(token: &Token) -> bool {
    let keywords = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    keywords.contains(&token.text.as_str())
}

fn use_length(code: &[Token]) -> usize {
    code.iter().position(|token| token.is(";")).map_or(code.len(), |at| at + 1)
}

/// Every path of a module that leads into the same crate.
fn mentions(path: &[String], code: &[Token], module: &Module) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut offered = false;
    let mut at = 0;
    while at < code.len() {
        let token = &code[at];
        if token.is("mod") && code.get(at + 2).is_some_and(|token| token.is("{")) {
            // A block module has mentions of its own.
            at += 2 + group_length(&code[at + 2..]);
        } else if token.is("use") {
            let length = use_length(&code[at..]);
            let tree = &code[at + 1..at + length];
            expand(tree, &[], &mut |segments, name, line| {
                let offered_as = offered.then(|| name.to_owned());
                found.extend(resolve_start(path, segments, module).map(|segments| Mention {
                    line,
                    segments,
                    offered_as,
                }));
            });
            at += length;
        } else if begins_path(code, at) {
            let length = path_length(&code[at..]);
            let segments: Vec<String> =
                code[at..at + length].iter().step_by(2).map(|token| token.text.clone()).collect();
            let resolved = resolve_start(path, &segments, module);
            found.extend(resolved.map(|segments| Mention { line: token.line, segments, offered_as: None }));
            at += length;
        } else {
            // `pub use`, `pub(crate) use`.
            offered = token.is("pub") || (offered && !token.is(";") && !token.is("}") && !token.is("{"));
            at += 1;
            continue;
        }
        offered = false;
    }
    found
}

fn begins_path(code: &[Token], at: usize) -> bool {
    let goes_on = code.get(at + 1).is_some_and(|token| token.is("::"));
    let is_first = at == 0 || !(code[at - 1].is("::") || code[at - 1].is("in"));
    code[at].is_word() && goes_on && is_first
}

/// The number of tokens of `a::b::c`.
fn path_length(code: &[Token]) -> usize {
    let mut length = 1;
    while code.get(length).is_some_and(|token| token.is("::"))
        && code.get(length + 1).is_some_and(Token::is_word)
    {
        length += 2;
    }
    length
}

/// Calls `leaf` with each path of a use tree and the name that it brings into scope.
fn expand(tree: &[Token], before: &[String], leaf: &mut dyn FnMut(&[String], &str, usize)) {
    for branch in branches(tree) {
        let mut segments = before.to_vec();
        let mut at = 0;
        while let Some(token) = branch.get(at) {
            if token.is("{") {
                expand(&branch[at + 1..branch.len() - 1], &segments, leaf);
                break;
            }
            if token.is_word() || token.is("*") {
                if !(token.is("self") && !segments.is_empty()) {
                    segments.push(token.text.clone());
                }
                if !branch.get(at + 1).is_some_and(|token| token.is("::")) {
                    let renamed = branch.get(at + 1).filter(|token| token.is("as"));
                    let name = renamed.and(branch.get(at + 2)).map(|token| token.text.clone());
                    let name = name.or(segments.last().cloned()).unwrap_or_default();
                    leaf(&segments, &name, token.line);
                    break;
                }
            }
            at += 1;
        }
    }
}

/// Splits at the commas outside of braces, without the final semicolon.
fn branches(tree: &[Token]) -> Vec<&[Token]> {
    let tree = match tree.split_last() {
        Some((last, rest)) if last.is(";") => rest,
        _ => tree,
    };
    let mut all = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    while at < tree.len() {
        if tree[at].is("{") {
            at += group_length(&tree[at..]);
        } else if tree[at].is(",") {
            all.push(&tree[begin..at]);
            at += 1;
            begin = at;
        } else {
            at += 1;
        }
    }
    all.push(&tree[begin..]);
    all.retain(|branch| !branch.is_empty());
    all
}

/// Turns `crate::…`, `self::…`, `super::…` and `child::…` into a path from the root; none for other crates.
fn resolve_start(here: &[String], segments: &[String], module: &Module) -> Option<Vec<String>> {
    let mut base = here.to_vec();
    let mut rest = segments;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        first if module.children.contains(first) => {}
        _ => return None,
    }
    base.extend_from_slice(rest);
    Some(base)
}

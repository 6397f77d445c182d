//! Compiles a source file once more with some of its code replaced. A test that runs on such a copy
//! shows that it fails if the code is broken, and keeps showing it: a copy whose code no longer
//! has what is to be replaced does not compile.

mod replace;

use std::path::Path;

use proc_macro::{Delimiter, TokenStream, TokenTree};

use crate::replace::{Change, replace};

/// The items of a file of the crate that calls it, with changes. The path is relative to the folder
/// of the manifest; each change is two groups of tokens, what is there and what takes its place.
///
/// It does not compile if the file cannot be read, or if it does not have what is to be replaced
/// exactly once.
///
/// ```
/// mod broken {
///     broken_source::source!("tests/example/sum.rs", { [first, second] }, { [first] });
/// }
/// ```
///
/// ```compile_fail
/// mod not_there {
///     broken_source::source!("tests/example/sum.rs", { [second, first] }, { [first] });
/// }
/// ```
///
/// ```compile_fail
/// mod there_twice {
///     broken_source::source!("tests/example/sum.rs", { u32 }, { u32 });
/// }
/// ```
#[proc_macro]
pub fn source(input: TokenStream) -> TokenStream {
    changed(input).unwrap_or_else(|problem| {
        format!("::core::compile_error! {{ {problem:?} }}").parse().unwrap_or_default()
    })
}

fn changed(input: TokenStream) -> Result<TokenStream, String> {
    let (path, changes) = arguments(input)?;
    let folder = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| format!("run by cargo? {error}"))?;
    let path = Path::new(&folder).join(path);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let items = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    let mut items = without_inner_attributes(items);
    for change in &changes {
        let mut times = 0;
        items = replace(items, change, &mut times);
        if times != 1 {
            return Err(format!("{} has {} {times} times, and not once", path.display(), change.from));
        }
    }
    // Makes the compiler start again when the file changes.
    let read: TokenStream = format!("const _: &str = include_str!({:?});", path.display().to_string())
        .parse()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    items.extend(read);
    Ok(items)
}

/// The path and the changes.
fn arguments(input: TokenStream) -> Result<(String, Vec<Change>), String> {
    let mut rest = input.into_iter();
    let path = match rest.next() {
        Some(TokenTree::Literal(path)) => path.to_string().trim_matches('"').to_owned(),
        other => return Err(format!("a path in quotes is expected, not {other:?}")),
    };
    let mut groups = Vec::new();
    for tree in rest {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => groups.push(group.stream()),
            TokenTree::Punct(_) => {}
            other => return Err(format!("a group in braces is expected, not {other}")),
        }
    }
    let (pairs, []) = groups.as_chunks::<2>() else {
        return Err("each change is two groups in braces".to_owned());
    };
    let change = |[from, to]: &[TokenStream; 2]| Change::new(from.clone(), to.clone());
    Ok((path, pairs.iter().map(change).collect()))
}

/// A file begins with its documentation, which has no place among items.
fn without_inner_attributes(items: TokenStream) -> TokenStream {
    let mut trees: Vec<TokenTree> = items.into_iter().collect();
    let is = |tree: &TokenTree, sign| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == sign);
    while matches!(trees.as_slice(), [hash, bang, _, ..] if is(hash, '#') && is(bang, '!')) {
        trees.drain(..3);
    }
    trees.into_iter().collect()
}

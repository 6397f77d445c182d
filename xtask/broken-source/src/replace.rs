//! Replaces a sequence of tokens.

use proc_macro::{Group, Span, TokenStream, TokenTree};

/// What is there, and what takes its place.
pub(crate) struct Change {
    pub(crate) from: TokenStream,
    to: TokenStream,
}

impl Change {
    /// The code that takes the place of other code sees the variables around it.
    pub(crate) fn new(from: TokenStream, to: TokenStream) -> Self {
        Self { from, to: at_the_call(to) }
    }
}

/// The same tokens, with names that mean what they mean where the macro is called.
fn at_the_call(stream: TokenStream) -> TokenStream {
    let tree = |tree| {
        let mut tree = match tree {
            TokenTree::Group(group) => Group::new(group.delimiter(), at_the_call(group.stream())).into(),
            other => other,
        };
        tree.set_span(Span::call_site());
        tree
    };
    stream.into_iter().map(tree).collect()
}

/// Makes a change wherever the sequence stands, and counts how often.
pub(crate) fn replace(stream: TokenStream, change: &Change, times: &mut usize) -> TokenStream {
    let from: Vec<TokenTree> = change.from.clone().into_iter().collect();
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let mut result = TokenStream::new();
    let mut rest = trees.as_slice();
    while let [tree, others @ ..] = rest {
        if !from.is_empty() && rest.len() >= from.len() && all_same(&rest[..from.len()], &from) {
            *times += 1;
            result.extend(change.to.clone());
            rest = &rest[from.len()..];
            continue;
        }
        result.extend([match tree {
            TokenTree::Group(group) => {
                let mut changed = Group::new(group.delimiter(), replace(group.stream(), change, times));
                changed.set_span(group.span());
                TokenTree::Group(changed)
            }
            other => other.clone(),
        }]);
        rest = others;
    }
    result
}

fn all_same(one: &[TokenTree], other: &[TokenTree]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
}

/// Whether two trees are the same, however they are formatted.
fn same(one: &TokenTree, other: &TokenTree) -> bool {
    match (one, other) {
        (TokenTree::Group(one), TokenTree::Group(other)) => {
            let trees = |group: &Group| group.stream().into_iter().collect::<Vec<_>>();
            one.delimiter() == other.delimiter() && all_same(&trees(one), &trees(other))
        }
        (TokenTree::Punct(one), TokenTree::Punct(other)) => one.as_char() == other.as_char(),
        _ => one.to_string() == other.to_string(),
    }
}

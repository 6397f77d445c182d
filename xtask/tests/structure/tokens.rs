//! Splits Rust source into tokens: enough to find paths, without comments, strings and test-only items.

/// One token with the line it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }

    /// Whether this is an identifier or a keyword.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The tokens of a source file, without items under `#[cfg(test)]`.
pub fn product_code(source: &str) -> Vec<Token> {
    without_test_items(&tokens(source))
}

/// All tokens of a source file. A string becomes one token that begins with a quote.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: source, line: 1, found: Vec::new() };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.found
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    found: Vec<Token>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let Some(first) = rest.chars().next() else { return };
        let length = if first.is_whitespace() {
            return self.skip(first.len_utf8());
        } else if rest.starts_with("//") {
            return self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            return self.skip(block_comment(rest));
        } else if let Some(length) = string(rest) {
            return self.keep(length);
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        self.keep(length);
    }

    fn keep(&mut self, length: usize) {
        self.found.push(Token { line: self.line, text: self.rest[..length].to_owned() });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string, byte string, raw string, character or lifetime that a text begins with.
fn string(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - body.len();
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = prefix + 1 + hashes + 1;
            return Some(text[open..].find(&end).map_or(text.len(), |at| open + at + end.len()));
        }
    }
    if body.starts_with('"') {
        return Some(prefix + quoted(body, '"'));
    }
    body.starts_with('\'').then(|| prefix + character_or_lifetime(body))
}

/// The length of a quoted text with escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn character_or_lifetime(text: &str) -> usize {
    let mut following = text.chars().skip(1);
    let is_character = match (following.next(), following.next()) {
        (Some('\\'), _) | (_, Some('\'')) => true,
        _ => false,
    };
    if is_character {
        return quoted(text, '\'');
    }
    text[1..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(text.len(), |at| at + 1)
}

/// Drops each item that carries an attribute `cfg(test)` or `cfg(all(test, …))`.
fn without_test_items(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match attribute(&tokens[at..]) {
            Some(length) if is_for_tests(&tokens[at..at + length]) => at = item_end(tokens, at + length),
            Some(length) => {
                kept.extend_from_slice(&tokens[at..at + length]);
                at += length;
            }
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// The number of tokens of the outer attribute at the beginning of a slice.
fn attribute(tokens: &[Token]) -> Option<usize> {
    let begins = tokens.first()?.is("#") && tokens.get(1)?.is("[");
    begins.then(|| 1 + group_length(&tokens[1..]))
}

/// The number of tokens of a group, brackets included.
pub fn group_length(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.is(word));
    attribute.get(2).is_some_and(|token| token.is("cfg")) && has("test") && !has("not")
}

/// The index behind the item that begins at `at`: its `;`, or its block.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at + 1,
            "{" => return at + group_length(&tokens[at..]),
            "(" | "[" => at += group_length(&tokens[at..]),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[Token]) -> Vec<&str> {
        tokens.iter().map(|token| token.text.as_str()).collect()
    }

    #[test]
    fn comments_are_dropped_and_strings_are_one_token() {
        let source = "a // b::c\n/* d /* e */ f */ \"g::h\\\"\" r#\"i\"j\"# b'k' 'l' &'m n::o";
        assert_eq!(
            texts(&tokens(source)),
            ["a", "\"g::h\\\"\"", "r#\"i\"j\"#", "b'k'", "'l'", "&", "'m", "n", "::", "o"]
        );
        assert_eq!(tokens(source).last().map(|token| token.line), Some(2));
    }

    #[test]
    fn items_of_tests_are_dropped() {
        let source = "use a; #[cfg(test)] mod tests { use b; } #[cfg(all(test, unix))] use c; \
                      #[cfg(not(test))] use d; #[derive(E)] struct F;";
        let code = product_code(source);
        let words = texts(&code);
        assert!(!words.contains(&"b") && !words.contains(&"c"), "{words:?}");
        assert!(["a", "d", "E", "F"].iter().all(|word| words.contains(word)), "{words:?}");
    }

    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        assert_eq!(texts(&tokens("'\\'' '\"' 'static")), ["'\\''", "'\"'", "'static"]);
    }
}

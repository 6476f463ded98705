//! Rust sources as the architecture test sees them: words and signs with their lines, without comments, texts and what
//! stands under `#[cfg(test)]`.

#![expect(clippy::unwrap_used, reason = "a test ends when its sources cannot be read")]

use std::path::Path;

/// A source file.
pub(crate) struct Source {
    /// From the root of the repository, for example `src/plan/mod.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    /// A word, `::`, or one sign.
    text: String,
}

/// All `.rs` files below `folder`, in order of their paths; none when it does not exist.
pub(crate) fn sources(folder: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
                found.push(Source::new(path.to_str().unwrap(), text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        // A module of tests in a file of its own is a test as a whole.
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let tokens = if is_test { Vec::new() } else { without_tests(&tokens(&text)) };
        Self { path: path.to_owned(), text, tokens }
    }

    /// The module at the top that the file belongs to: `plan` for `src/plan/instance/mod.rs`.
    pub(crate) fn module(&self) -> &str {
        self.below_src()[0]
    }

    /// `plan/instance/mod.rs` in parts, without `.rs`.
    fn below_src(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        path.strip_suffix(".rs").unwrap_or(path).split('/').collect()
    }

    /// The words, keywords included.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let word = |token: &&Token| token.text.starts_with(is_word);
        self.tokens.iter().filter(word).map(|token| (token.line, token.text.as_str()))
    }

    /// The paths with `::` in them, groups of `use` taken apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
    pub(crate) fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if self.tokens[at].text.starts_with(is_word) {
                at = self.path_at(at, &[], &mut found);
            } else {
                at += 1;
            }
        }
        found.retain(|(_, path)| path.len() > 1);
        found
    }

    /// Reads the path that begins at `at`; where it ends.
    fn path_at(
        &self,
        mut at: usize,
        before: &[String],
        found: &mut Vec<(usize, Vec<String>)>,
    ) -> usize {
        let text = |at: usize| self.tokens.get(at).map_or("", |token| token.text.as_str());
        let line = self.tokens[at].line;
        let mut path = before.to_vec();
        loop {
            path.push(text(at).to_owned());
            at += 1;
            if text(at) != "::" {
                break;
            }
            at += 1;
            if text(at) == "{" {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = if text(at).starts_with(is_word) || text(at) == "*" {
                        self.path_at(at, &path, found)
                    } else {
                        at + 1
                    };
                }
                return at + 1;
            }
            // `Vec::<T>::new`, `a::*`: the path as far as it names modules is known.
            if !text(at).starts_with(is_word) {
                break;
            }
        }
        found.push((line, path));
        at
    }

    /// The modules at the top (as `is_module` knows them) that the file names, by `crate::`, `coracle::` or `super::`.
    pub(crate) fn uses(&self, is_module: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
        let mut here: Vec<&str> = self.below_src();
        if matches!(here.last(), Some(&("mod" | "lib" | "main"))) {
            here.pop();
        }
        let mut found = Vec::new();
        for (line, path) in self.paths() {
            let up = path.iter().take_while(|part| *part == "super").count();
            let target = match path[0].as_str() {
                "crate" | "coracle" => path.get(1),
                // From `a::b::c`, three times up is the root. Within an inline module it is one less, which errs
                // towards a module of our own.
                "super" if up >= here.len() => path.get(up),
                _ => None,
            };
            found.extend(target.filter(|name| is_module(name)).map(|name| (line, name.clone())));
        }
        found
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Leaves out every item that stands under `#[cfg(test)]`: up to its `;` or the end of its braces.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let marked = tokens[at..].iter().map(|token| token.text.as_str()).take(MARK.len()).eq(MARK);
        if !marked {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

/// Takes a source apart. Texts, characters, lifetimes and comments leave nothing.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or_else(|| {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let length = match first {
                _ if word > 0 => word,
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push(Token { line, text: rest[..length].to_owned() });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// How long the comment, text, character or lifetime is that `rest` begins with.
fn skipped(rest: &str) -> Option<usize> {
    let to = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    for prefix in ["\"", "b\"", "c\""] {
        if rest.starts_with(prefix) {
            return Some(quoted(rest, prefix.len()));
        }
    }
    for prefix in ["r", "br", "cr"] {
        let Some(after) = rest.strip_prefix(prefix) else { continue };
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return Some(to(&end, prefix.len() + hashes + 1));
        }
    }
    let quote = rest.strip_prefix('b').unwrap_or(rest);
    let inner = quote.strip_prefix('\'')?;
    let start = rest.len() - inner.len();
    if let Some(escape) = inner.strip_prefix('\\') {
        // The escaped sign may itself be a quote.
        let sign = escape.chars().next().map_or(0, char::len_utf8);
        return Some(to("'", start + 1 + sign));
    }
    let mut signs = inner.chars();
    let sign = signs.next()?;
    if signs.next() == Some('\'') {
        return Some(start + sign.len_utf8() + 1);
    }
    // A lifetime.
    (start == 1).then(|| start + inner.find(|c| !is_word(c)).unwrap_or(inner.len()))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn quoted(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn texts_comments_and_tests_are_not_seen() {
    let text = r##"
        use crate::{model::{Task, ids}, plan};
        // crate::comment
        /* crate::block /* nested */ crate::still */
        fn f<'a>(c: char) { super::super::up(); let _ = ("crate::text \" crate::x", r#"crate::raw" "#, '"', '\'', b'"'); }
        #[cfg(test)]
        mod tests { use crate::api; fn g() {} }
        fn h() { crate::store::open::<u8>() }
    "##;
    let source = Source::new("src/engine/mod.rs", text.to_owned());
    let uses: Vec<String> = source.uses(|_| true).into_iter().map(|(_, name)| name).collect();
    assert_eq!(uses, ["model", "model", "plan", "up", "store"]);
    assert_eq!(source.uses(|name| name == "store")[0].0, 8);
    let nested = Source::new(
        "src/engine/a/b.rs",
        "use super::super::{c, d}; use super::super::super::api::X;".into(),
    );
    let uses: Vec<String> = nested.uses(|_| true).into_iter().map(|(_, name)| name).collect();
    assert_eq!(uses, ["api"]);
}

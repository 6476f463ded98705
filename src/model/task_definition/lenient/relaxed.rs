//! JSON with comments (`//`, `/* */`) and trailing commas.

/// `text` as strict JSON; `None` when it has neither comments nor trailing commas.
///
/// What is taken out becomes spaces, so that lines and columns of later errors are those of `text`.
pub(super) fn to_strict(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let mut changed = false;
    // Where a comma stands after which nothing but blanks and comments came.
    let mut comma = None;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                comma = None;
                at = string_end(&bytes, at);
            }
            b'/' if matches!(bytes.get(at + 1), Some(b'/' | b'*')) => {
                let end = comment_end(&bytes, at);
                for blank in bytes.iter_mut().take(end).skip(at).filter(|b| **b != b'\n') {
                    *blank = b' ';
                }
                changed = true;
                at = end;
            }
            b',' => {
                comma = Some(at);
                at += 1;
            }
            b'}' | b']' => {
                if let Some(comma) = comma.take() {
                    bytes[comma] = b' ';
                    changed = true;
                }
                at += 1;
            }
            _ => {
                if !byte.is_ascii_whitespace() {
                    comma = None;
                }
                at += 1;
            }
        }
    }
    // Whole comments and single ASCII bytes were replaced, so this stays UTF-8.
    if changed { String::from_utf8(bytes).ok() } else { None }
}

/// The index after the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The index after the comment that starts at `start`.
fn comment_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    let length = if rest[1] == b'/' {
        rest.iter().position(|b| *b == b'\n')
    } else {
        rest.get(2..).and_then(|rest| rest.windows(2).position(|w| w == b"*/")).map(|at| at + 4)
    };
    length.map_or(bytes.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::to_strict;
    use serde_json::{Value, json};

    #[test]
    fn comments_and_trailing_commas_go_strings_stay() {
        let text = "{ // start\n \"a\": [1, 2, /* é */ ],\n \"url\": \"http://x/*y*/,}\", \"q\": \"\\\",]\",\n}";
        let strict = to_strict(text).unwrap();
        assert_eq!(strict.lines().count(), text.lines().count());
        let value: Value = serde_json::from_str(&strict).unwrap();
        assert_eq!(value, json!({"a": [1, 2], "url": "http://x/*y*/,}", "q": "\",]"}));
    }

    #[test]
    fn what_is_strict_or_broken_is_left_alone() {
        for text in ["", "{}", "[1]", "\"", "{\"a\": \"//\"}", "/", "\"\\"] {
            assert_eq!(to_strict(text), None, "{text}");
        }
        assert_eq!(to_strict("/*").as_deref(), Some("  "));
        assert_eq!(to_strict("[,]").as_deref(), Some("[ ]"));
    }
}

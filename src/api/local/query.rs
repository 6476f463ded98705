//! The query of an address.

use super::{LocalError, shorten};
use std::fmt::Write;

/// Decoded parameters, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, LocalError> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(LocalError::bad(format!(
                    "the parameter {} is there twice",
                    shorten(&name)
                )));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same with another value of a parameter.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As it stands in an address.
    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            encode(name, &mut text);
            text.push('=');
            encode(value, &mut text);
        }
        text
    }

    /// Refuses parameters that nobody would read.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), LocalError> {
        match self.0.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) if name == "instance" => Err(LocalError::bad(
                "only a hub is asked for an instance, and this is not one: leave --instance out",
            )),
            Some((name, _)) => {
                Err(LocalError::bad(format!("the parameter {} is not known here", shorten(name))))
            }
        }
    }
}

/// Writes `text` with everything as `%XX` that could mean something.
fn encode(text: &str, to: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

/// Resolves `%XX`.
pub(super) fn decode(text: &str) -> Result<String, LocalError> {
    let broken = || LocalError::bad(format!("{} is not percent-encoded text", shorten(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(broken)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(broken());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| broken())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded_as_it_is_decoded() {
        let query =
            Query::parse("family=web:3&since=2026-01-31T12%3A00%3A00Z&x=%26%3D%20").unwrap();
        let query = query.with("x", "&= é").with("task", "abc");
        assert_eq!(Query::parse(&query.encode()), Ok(query));
    }

    #[test]
    fn parameters_are_decoded_and_unknown_ones_refused() {
        let query = Query::parse("task=a%2Fb&follow=true&tail=&x").unwrap();
        assert_eq!(query.get("task"), Some("a/b"));
        assert_eq!(query.get("tail"), Some(""));
        assert_eq!(query.get("no"), None);
        assert!(query.only(&["task", "follow", "tail", "x"]).is_ok());
        assert!(query.only(&["task", "follow", "tail"]).is_err());
        for bad in ["a=1&a=2", "a=%2", "a=%zz", "a=%ff", "%=1", "a=%+1"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}

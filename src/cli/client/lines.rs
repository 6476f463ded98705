//! A streamed answer: one JSON value per line, for as long as the agent sends.

use super::Error;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The lines of a streamed answer. Dropping it ends the request.
#[derive(Debug)]
pub(in crate::cli) struct Lines {
    body: Incoming,
    /// What has come and not been given out.
    buffer: Vec<u8>,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
    limit: usize,
}

impl Lines {
    pub(super) fn new(body: Incoming, limit: usize) -> Self {
        Self { body, buffer: Vec::new(), searched: 0, limit }
    }

    /// The next value, or `None` after the last. Safe to drop while it waits: nothing is lost.
    pub(in crate::cli) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return read(&line).map(Some);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.limit {
                return Err(Error::Protocol(format!("a line of more than {} bytes", self.limit)));
            }
            match self.body.frame().await {
                Some(frame) => {
                    // Trailers hold nothing for us.
                    if let Ok(data) = frame.map_err(Error::Http)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Error::Protocol("the stream ends within a line".to_owned())),
            }
        }
    }
}

/// A line; one that holds an error and nothing else is that error.
fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Failure {
        error: String,
    }
    match serde_json::from_slice::<Failure>(line) {
        Ok(Failure { error }) => Err(Error::Told(error)),
        Err(_) => serde_json::from_slice(line).map_err(Error::Shape),
    }
}

//! Images as archives, to the agent and from it.

use super::{Client, Error, escaped, local};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Pieces on their way to the agent.
const AHEAD: usize = 4;
const PIECE: usize = 128 << 10;

/// What the agent says of an archive.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Loaded {
    pub(in crate::cli) images: Vec<String>,
    /// The agent does not see the file that we mean.
    #[serde(default)]
    pub(in crate::cli) elsewhere: bool,
}

impl Client {
    /// Has the agent load an archive that lies in its file system; `is` tells device and inode of the one we mean.
    pub(in crate::cli) async fn load_image(
        &self,
        path: &Path,
        is: Option<(u64, u64)>,
    ) -> Result<Loaded, Error> {
        let mut body = json!({ "path": path });
        if let Some((device, inode)) = is {
            body["device"] = device.into();
            body["inode"] = inode.into();
        }
        let request = local(Method::POST, "/coracle/v1/images/load");
        loaded(self.whole(self.send(request, body.to_string()).await?).await?)
    }

    /// Sends the agent an archive. `name` stands for images in it that have none.
    pub(in crate::cli) async fn send_image(
        &self,
        name: &str,
        archive: impl Read + Send + 'static,
    ) -> Result<Loaded, Error> {
        let (sender, pieces) = mpsc::channel(AHEAD);
        // Reading may block, from a pipe for ever: nobody waits for this thread.
        std::thread::spawn(move || feed(archive, &sender));
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/coracle/v1/images/load?name={}", escaped(name)))
            .header(header::CONTENT_TYPE, "application/x-tar");
        let response = self.send_body(request, Pieces(pieces).boxed_unsync()).await?;
        loaded(self.whole(response).await?)
    }

    /// The archive of these images.
    pub(in crate::cli) async fn save_images(&self, names: &[String]) -> Result<Incoming, Error> {
        let body = json!({ "images": names }).to_string();
        let request = local(Method::POST, "/coracle/v1/images/save");
        let response = self.send(request, body).await?;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        match self.whole(response).await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::Protocol("it answered without an archive".to_owned())),
        }
    }
}

fn loaded(answer: Value) -> Result<Loaded, Error> {
    serde_json::from_value(answer).map_err(Error::Shape)
}

fn feed(mut archive: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; PIECE];
    loop {
        let piece = match archive.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = piece.is_err();
        // When the agent has heard enough, so have we.
        if sender.blocking_send(piece).is_err() || last {
            return;
        }
    }
}

/// A body that comes piece by piece.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

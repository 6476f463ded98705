//! An MQTT connection of a moment: in as some client, which takes that client's session over and cuts the connection it
//! has, then out again. The broker's answer also tells that it has done all that it was asked before.

use super::{BrokerError, Door};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A broker that reloads many rules answers late.
const PATIENCE: Duration = Duration::from_mins(1);
/// User name, password, clean session.
const FLAGS: u8 = 0b1100_0010;
const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Connects as `client` and leaves.
pub(super) async fn visit(door: &Door, client: &str) -> Result<(), BrokerError> {
    match tokio::time::timeout(PATIENCE, exchange(door, client)).await {
        Err(_) => Err(BrokerError::Late("answer")),
        Ok(Err(error)) => Err(BrokerError::Door(error.to_string())),
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(BrokerError::Door(format!("return code {code}"))),
    }
}

async fn exchange(door: &Door, client: &str) -> io::Result<u8> {
    let mut stream = UnixStream::connect(&door.socket).await?;
    stream.write_all(&connect(client, door.user, &door.password)?).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    let [0x20, 2, _, code] = answer else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no CONNACK"));
    };
    stream.write_all(&DISCONNECT).await?;
    // It closes when it has read this.
    let _ = stream.read(&mut answer).await?;
    Ok(code)
}

/// CONNECT of MQTT 3.1.1.
fn connect(client: &str, user: &str, password: &str) -> io::Result<Vec<u8>> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, FLAGS, 0, 30];
    for text in [client, user, password] {
        let length = u16::try_from(text.len()).map_err(io::Error::other)?;
        body.extend(length.to_be_bytes());
        body.extend(text.as_bytes());
    }
    // Less than 128 bytes of length need one byte; names here are short.
    let length = u8::try_from(body.len()).ok().filter(|length| *length < 0x80);
    let (low, high) = (body.len() % 0x80, body.len() / 0x80);
    let mut packet = vec![0x10];
    match length {
        Some(length) => packet.push(length),
        None => {
            for (part, more) in [(low, 0x80), (high, 0)] {
                let part = u8::try_from(part).map_err(io::Error::other)?;
                packet.push(part | more);
            }
        }
    }
    packet.extend(body);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_as_the_standard_has_it() {
        let packet = connect("c", "u", "p").unwrap();
        assert_eq!(packet[..2], [0x10, 19]);
        assert_eq!(packet[12..], [0, 1, b'c', 0, 1, b'u', 0, 1, b'p']);
        let packet = connect(&"c".repeat(200), "u", "p").unwrap();
        assert_eq!(packet[..3], [0x10, 218 - 128 + 0x80, 1]);
        assert_eq!(packet.len(), 3 + 218);
    }
}

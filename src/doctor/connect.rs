//! Whether a host can be reached over TCP.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Addresses of one name that are tried.
const MOST: usize = 4;

/// Connects to `host` at `port`, and says why that does not work.
pub(super) fn tcp(host: &str, port: u16, patience: Duration) -> Result<SocketAddr, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the name {host} cannot be resolved: {error}"))?;
    let mut why = format!("the name {host} has no address");
    for address in addresses.take(MOST) {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(_) => return Ok(address),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_nobody_listens_on_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let second = Duration::from_secs(5);
        assert_eq!(tcp("127.0.0.1", address.port(), second), Ok(address));
        // A program that another test starts may hold a copy until it is executed.
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        assert!(tcp("127.0.0.1", address.port(), second).unwrap_err().contains("refused"));
    }
}

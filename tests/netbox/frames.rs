//! Frames as they go over a wire: put there by hand, and heard at the bridge.

use super::inside;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv,
    send, socket_with,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

pub(crate) type Mac = [u8; 6];

const EVERYONE: Mac = [0xff; 6];
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// For experiments.
const OTHER: u16 = 0x88b5;
/// Ends what is listened for.
const MARK: &[u8] = b"the mark";

/// Everything that an interface sends and receives.
#[allow(unsafe_code, reason = "no crate binds a packet socket without")]
fn wire(namespace: &OwnedFd, interface: &str) -> OwnedFd {
    inside(namespace, || {
        let all = u16::to_be(0x0003);
        let protocol = rustix::net::Protocol::from_raw(u32::from(all).try_into().unwrap());
        let flags = SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol)).unwrap();
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET.try_into().unwrap(),
            sll_protocol: all,
            sll_ifindex: name_to_index(&socket, interface).unwrap().try_into().unwrap(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address lives longer than the call, and its size is told.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of::<libc::sockaddr_ll>().try_into().unwrap(),
            )
        };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        socket
    })
}

pub(crate) fn send_frame(namespace: &OwnedFd, interface: &str, frame: &[u8]) {
    send(wire(namespace, interface), frame, SendFlags::empty()).unwrap();
}

/// What comes by an interface.
pub(crate) struct Heard(OwnedFd);

impl Heard {
    pub(crate) fn new(namespace: &OwnedFd, interface: &str) -> Self {
        Self(wire(namespace, interface))
    }

    /// Waits for the mark, and says whether `frame` came before.
    pub(crate) fn until_mark(&self, frame: &[u8]) -> bool {
        let mut heard = false;
        let mut buffer = [0; 2048];
        loop {
            let (length, _) = recv(&self.0, &mut buffer, RecvFlags::empty()).unwrap();
            heard |= buffer[..length] == *frame;
            if buffer[..length].ends_with(MARK) {
                return heard;
            }
        }
    }
}

fn ethernet(from: Mac, protocol: u16, payload: &[u8]) -> Vec<u8> {
    [&EVERYONE[..], &from[..], &protocol.to_be_bytes(), payload].concat()
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn ipv4(from: Mac, sender: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    // Protocol 253: for experiments.
    let mut header =
        [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 253, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    header[12..16].copy_from_slice(&sender.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    ethernet(from, IPV4, &[&header[..], payload].concat())
}

/// A packet of `sender`.
pub(crate) fn frame_ipv4(from: Mac, sender: Ipv4Addr) -> Vec<u8> {
    ipv4(from, sender, b"a packet")
}

/// The packet that ends what is listened for.
pub(crate) fn frame_ipv4_marked(from: Mac, sender: Ipv4Addr) -> Vec<u8> {
    ipv4(from, sender, MARK)
}

/// "`sender` is at `from`".
pub(crate) fn frame_arp(from: Mac, sender: Ipv4Addr) -> Vec<u8> {
    let address = sender.octets();
    let head = [0, 1, 8, 0, 6, 4, 0, 2];
    ethernet(from, ARP, &[&head[..], &from, &address, &EVERYONE, &address].concat())
}

fn icmpv6(from: Mac, sender: IpAddr, message: &[u8]) -> Vec<u8> {
    let IpAddr::V6(sender) = sender else { panic!("{sender} is not IPv6") };
    let everyone = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let addresses = [sender.octets(), everyone].concat();
    let sum = checksum(&[&addresses, &[0, 0], &length, &[0, 0, 0, 58], message]);
    let mut message = message.to_vec();
    message[2..4].copy_from_slice(&sum);
    let head = [0x60, 0, 0, 0, length[0], length[1], 58, 255];
    ethernet(from, IPV6, &[&head[..], &addresses, &message].concat())
}

/// "`owner` is at `from`", said by `sender`.
pub(crate) fn frame_neighbour(from: Mac, sender: IpAddr, owner: IpAddr) -> Vec<u8> {
    let IpAddr::V6(owner) = owner else { panic!("{owner} is not IPv6") };
    let head = [136, 0, 0, 0, 0x20, 0, 0, 0];
    icmpv6(from, sender, &[&head[..], &owner.octets(), &[2, 1], &from].concat())
}

/// "I am the way to everywhere."
pub(crate) fn frame_router(from: Mac, sender: IpAddr) -> Vec<u8> {
    icmpv6(from, sender, &[134, 0, 0, 0, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Neither IP nor ARP.
pub(crate) fn frame_other(from: Mac) -> Vec<u8> {
    ethernet(from, OTHER, b"something else entirely, and long enough")
}

//! Datagrams in batches: [`Inbox`] receives up to 64 with one system call, [`Outbox`] sends the replies with one per
//! address they leave from.
//!
//! Apart from the threads that use it (and from the door, which sends too) because here live the habits of
//! `recvmmsg`, `sendmmsg` and packet information (RFC 3542 section 6), none of which the rest should have to know.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg,
    sendmmsg, setsockopt, sockopt,
};

use crate::wire::query::MAX_UDP;

/// Datagrams per system call: enough to spread its cost, few enough to stay in the processor's second cache.
pub const BATCH: usize = 64;
/// Octets of a datagram that are received. No query that is served comes near. Not a whole page: what begins a page
/// apart has the same few places of the processor's first cache, and 64 datagrams would push out each other.
const MAX_DATAGRAM: usize = 4096 + 64;
/// Batches that are sent without waiting for room in the send buffer after that was in vain: what fills it for so long waits for
/// neighbours that are not there, and the kernel gives those up only after three seconds.
const HURRIED: u8 = 64;

/// The address of this host that a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The address, ...
    pub address: IpAddr,
    /// ... and, if it means something on one link only, the interface; else 0, so that routing decides.
    interface: u32,
}

impl Asked {
    /// As said by the kernel for an IPv4 datagram: the address to answer from, which for one that was broadcast is
    /// another than the destination. The kernel does not know it for what came before it was asked to tell.
    fn v4(info: &in_pktinfo) -> Option<Self> {
        let [source, destination] =
            [info.ipi_spec_dst, info.ipi_addr].map(|ip| Ipv4Addr::from(u32::from_be(ip.s_addr)));
        let address = if source.is_unspecified() { destination } else { source };
        let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
        usable.then_some(Self { address: address.into(), interface: 0 })
    }

    /// As said by the kernel for an IPv6 datagram. Nobody may answer from a multicast address.
    fn v6(info: &in6_pktinfo) -> Option<Self> {
        let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
        let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
        (!address.is_multicast()).then_some(Self { address: address.into(), interface })
    }
}

/// What came with a datagram beside its octets.
#[derive(Debug)]
pub struct Arrival {
    buffer: usize,
    length: usize,
    /// Who sent it.
    pub client: SocketAddr,
    /// The address it was sent to, if the socket is bound to none and the kernel said.
    pub asked: Option<Asked>,
    /// Whether its octets are all there.
    pub whole: bool,
}

/// Makes `socket` a blocking one that wakes up at least every `wake`, and that tells which address was asked if it is
/// bound to none.
///
/// # Errors
/// If the socket refuses an option.
pub fn prepare(socket: &UdpSocket, wake: Duration) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(wake))?;
    match socket.local_addr()? {
        SocketAddr::V4(local) if local.ip().is_unspecified() => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(local) if local.ip().is_unspecified() => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => {}
    }
    Ok(())
}

/// Receives datagrams from one socket. Stays on the thread that made it: header sets hold pointers.
#[derive(Debug)]
pub struct Inbox {
    buffers: Box<[[u8; MAX_DATAGRAM]; BATCH]>,
    headers: Incoming,
    arrivals: Vec<Arrival>,
    /// The socket is bound to no address, so the kernel tells which was asked.
    wildcard: bool,
}

/// A header set to receive into, for addresses of the socket's family.
#[derive(Debug)]
enum Incoming {
    V4(MultiHeaders<SockaddrIn>),
    V6(MultiHeaders<SockaddrIn6>),
}

impl Incoming {
    /// A set for a socket bound to `local`, with room for packet information if that is no address.
    fn new(local: SocketAddr) -> Self {
        let wildcard = local.ip().is_unspecified();
        match local {
            SocketAddr::V4(_) => Self::V4(MultiHeaders::preallocate(BATCH, wildcard.then(|| cmsg_space!(in_pktinfo)))),
            SocketAddr::V6(_) => Self::V6(MultiHeaders::preallocate(BATCH, wildcard.then(|| cmsg_space!(in6_pktinfo)))),
        }
    }
}

impl Inbox {
    /// Room for the datagrams of `socket`.
    ///
    /// # Errors
    /// If the kernel does not say where the socket is bound.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let buffers = vec![[0; MAX_DATAGRAM]; BATCH].into_boxed_slice().try_into().expect("made with BATCH buffers");
        let (headers, arrivals) = (Incoming::new(local), Vec::with_capacity(BATCH));
        Ok(Self { buffers, headers, arrivals, wildcard: local.ip().is_unspecified() })
    }

    /// Waits for datagrams and takes those that are there, up to [`BATCH`].
    ///
    /// # Errors
    /// What the kernel says, as it says it: `WouldBlock` when none came in time.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.receive_as(MsgFlags::MSG_WAITFORONE, socket)
    }

    /// The same without waiting for any.
    ///
    /// # Errors
    /// As [`Inbox::receive`].
    pub fn receive_waiting(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.receive_as(MsgFlags::MSG_DONTWAIT, socket)
    }

    fn receive_as(&mut self, how: MsgFlags, socket: &UdpSocket) -> io::Result<()> {
        let Self { buffers, headers, arrivals, wildcard } = self;
        arrivals.clear();
        match headers {
            Incoming::V4(headers) => {
                take(socket, how, headers, buffers, (arrivals, *wildcard), |v4| SocketAddr::V4(v4.into()))?;
            }
            Incoming::V6(headers) => {
                take(socket, how, headers, buffers, (arrivals, *wildcard), |v6| SocketAddr::V6(v6.into()))?;
            }
        }
        if *wildcard && arrivals.iter().any(|arrival| arrival.asked.is_none()) {
            // A header that came back with less control data than it has room for offers only that much room from
            // then on, so the next datagram in its place would lose the address it asked.
            *headers = Incoming::new(socket.local_addr()?);
        }
        Ok(())
    }

    /// The datagrams of the last [`Inbox::receive`]: their octets, and what came with them.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], &Arrival)> {
        self.arrivals.iter().filter_map(|arrival| {
            let bytes = self.buffers.get(arrival.buffer)?.get(..arrival.length)?;
            Some((bytes, arrival))
        })
    }
}

/// Receives into `buffers`, and notes what came in `arrivals`.
fn take<S: SockaddrLike + Copy>(
    socket: &UdpSocket,
    how: MsgFlags,
    headers: &mut MultiHeaders<S>,
    buffers: &mut [[u8; MAX_DATAGRAM]; BATCH],
    (arrivals, wildcard): (&mut Vec<Arrival>, bool),
    to_std: impl Fn(S) -> SocketAddr,
) -> io::Result<()> {
    let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let received = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), how, None)?;
    for (buffer, message) in received.enumerate() {
        let Some(client) = message.address.map(&to_std) else { continue };
        let told = if wildcard { message.cmsgs().ok() } else { None };
        let asked = told.and_then(|mut told| told.find_map(|message| asked(&message)));
        let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
        arrivals.push(Arrival { buffer, length: message.bytes, client, asked, whole });
    }
    Ok(())
}

/// The address asked, if that is what `message` tells.
fn asked(message: &ControlMessageOwned) -> Option<Asked> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Asked::v4(info),
        ControlMessageOwned::Ipv6PacketInfo(info) => Asked::v6(info),
        _ => None,
    }
}

/// A reply that is ready to leave.
#[derive(Debug, Clone, Copy)]
struct Reply {
    buffer: usize,
    length: usize,
    to: SocketAddr,
    asked: Option<Asked>,
}

/// Collects the replies of one socket, to send them together.
#[derive(Debug)]
pub struct Outbox {
    buffers: Box<[[u8; MAX_UDP]; BATCH]>,
    replies: Vec<Reply>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        let buffers = vec![[0; MAX_UDP]; BATCH].into_boxed_slice().try_into().expect("made with BATCH buffers");
        Self { buffers, replies: Vec::with_capacity(BATCH) }
    }

    /// Where the next reply is written, before it is kept; empty if the outbox is full.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffers.get_mut(self.replies.len()).map_or(&mut [], |buffer| buffer)
    }

    /// Keeps the reply of `length` octets that was written to [`Outbox::space`]. One of none is forgotten.
    pub fn keep(&mut self, length: usize, to: SocketAddr, asked: Option<Asked>) {
        if length > 0 && !self.is_full() {
            self.replies.push(Reply { buffer: self.replies.len(), length, to, asked });
        }
    }

    /// How many replies are kept.
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Whether it must be sent before another reply can be kept.
    pub fn is_full(&self) -> bool {
        self.replies.len() == BATCH
    }

    /// Sends what is kept; returns how many replies the kernel refused.
    pub fn send(&mut self, socket: &UdpSocket, envelopes: &mut Envelopes) -> u64 {
        let Self { buffers, replies } = self;
        // `sendmmsg` takes one list of control messages for all its datagrams: one call for each address asked.
        if replies.iter().any(|reply| reply.asked.is_some()) {
            replies.sort_unstable_by_key(|reply| (reply.to.is_ipv6(), reply.asked));
        }
        let (mut refused, mut flags) = (0, envelopes.begin());
        for run in replies.chunk_by(|a, b| a.asked == b.asked && a.to.is_ipv6() == b.to.is_ipv6()) {
            let mut slices = [[IoSlice::new(&[])]; BATCH];
            for (slice, reply) in slices.iter_mut().zip(run) {
                *slice = [IoSlice::new(&buffers[reply.buffer][..reply.length])];
            }
            refused += envelopes.send(socket.as_raw_fd(), &slices, run, &mut flags);
        }
        envelopes.end(flags);
        replies.clear();
        refused
    }
}

/// What `sendmmsg` needs around the replies. Stays on the thread that made it: header sets hold pointers.
#[derive(Debug)]
pub struct Envelopes {
    v4: Headers<SockaddrIn>,
    v6: Headers<SockaddrIn6>,
    flags: MsgFlags,
    /// Batches for which no room is waited for, because that was in vain.
    hurried: u8,
}

impl Envelopes {
    /// For a thread that may wait until the socket's send buffer has room, as long as the socket lets it; once that was in
    /// vain, not again for a while.
    pub fn patient() -> Self {
        Self { v4: Headers::default(), v6: Headers::default(), flags: MsgFlags::empty(), hurried: 0 }
    }

    /// For a thread that must not wait: what finds no room is lost, as datagrams may be.
    pub fn hurried() -> Self {
        Self { flags: MsgFlags::MSG_DONTWAIT, ..Self::patient() }
    }

    /// How the replies of one batch are sent.
    fn begin(&mut self) -> MsgFlags {
        let hurry = if self.hurried > 0 { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        self.flags | hurry
    }

    /// How the last of them were.
    fn end(&mut self, flags: MsgFlags) {
        let in_vain = self.hurried == 0 && flags != self.flags;
        self.hurried = if in_vain { HURRIED } else { self.hurried.saturating_sub(1) };
    }

    /// Sends the replies of one family and source, whose octets are `slices`; returns how many the kernel refused.
    fn send(&mut self, socket: RawFd, slices: &[[IoSlice<'_>; 1]], run: &[Reply], flags: &mut MsgFlags) -> u64 {
        let Some(&Reply { to, asked, .. }) = run.first() else { return 0 };
        let addresses = run.iter().map(|reply| reply.to);
        match to {
            SocketAddr::V4(_) => {
                let v4 = |to| if let SocketAddr::V4(to) = to { Some(to.into()) } else { None };
                self.v4.send(socket, slices, addresses.filter_map(v4), asked, flags)
            }
            SocketAddr::V6(_) => {
                let v6 = |to| if let SocketAddr::V6(to) = to { Some(to.into()) } else { None };
                self.v6.send(socket, slices, addresses.filter_map(v6), asked, flags)
            }
        }
    }
}

/// Header sets for sending to addresses of one family, made when first needed. A set must have exactly the room for
/// control messages that is used (the kernel refuses unused room), so each kind of reply has its own.
#[derive(Debug)]
struct Headers<S> {
    plain: Option<MultiHeaders<S>>,
    from_v4: Option<MultiHeaders<S>>,
    from_v6: Option<MultiHeaders<S>>,
    to: Vec<Option<S>>,
}

impl<S> Default for Headers<S> {
    fn default() -> Self {
        Self { plain: None, from_v4: None, from_v6: None, to: Vec::with_capacity(BATCH) }
    }
}

impl<S: SockaddrLike + Copy> Headers<S> {
    /// Sends one slice to each address, from the address asked; returns how many the kernel refused.
    fn send(
        &mut self,
        socket: RawFd,
        slices: &[[IoSlice<'_>; 1]],
        addresses: impl Iterator<Item = S>,
        asked: Option<Asked>,
        flags: &mut MsgFlags,
    ) -> u64 {
        let Self { plain, from_v4, from_v6, to } = self;
        to.clear();
        to.extend(addresses.map(Some));
        match asked {
            None => {
                let headers = plain.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, None));
                send_run(socket, headers, slices, to, &[], flags)
            }
            Some(Asked { address: IpAddr::V4(address), .. }) => {
                let headers =
                    from_v4.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in_pktinfo))));
                let source = in_addr { s_addr: u32::from(address).to_be() };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: in_addr { s_addr: 0 } };
                send_run(socket, headers, slices, to, &[ControlMessage::Ipv4PacketInfo(&info)], flags)
            }
            Some(Asked { address: IpAddr::V6(address), interface }) => {
                let headers =
                    from_v6.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in6_pktinfo))));
                let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: interface };
                send_run(socket, headers, slices, to, &[ControlMessage::Ipv6PacketInfo(&info)], flags)
            }
        }
    }
}

/// Sends one slice to each address of `to`. The kernel stops at a datagram it cannot send (port 0, a host that cannot
/// be reached), so the call is made again past it: one bad peer costs the others nothing.
fn send_run<S: SockaddrLike + Copy>(
    socket: RawFd,
    headers: &mut MultiHeaders<S>,
    slices: &[[IoSlice<'_>; 1]],
    to: &[Option<S>],
    control: &[ControlMessage<'_>],
    flags: &mut MsgFlags,
) -> u64 {
    let (mut done, mut refused) = (0, 0);
    // Where the buffer stays full, somebody has it filled with what cannot leave: replies to neighbours that are not there
    // wait for seconds. A try costs little, and what finds room is sent.
    while let (Some(slices), Some(to @ [_, ..])) = (slices.get(done..), to.get(done..)) {
        match sendmmsg(socket, headers, slices, to, control, *flags) {
            Ok(sent) => done += sent.count().max(1),
            Err(Errno::EINTR) => {}
            Err(error) => {
                if error == Errno::EAGAIN {
                    flags.insert(MsgFlags::MSG_DONTWAIT);
                }
                done += 1;
                refused += 1;
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Puts `text` into the outbox, to be sent to `to`.
    fn put(outbox: &mut Outbox, text: &[u8], to: SocketAddr, asked: Option<Asked>) {
        outbox.space()[..text.len()].copy_from_slice(text);
        outbox.keep(text.len(), to, asked);
    }

    fn received(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut text = [0; 2048];
        let (length, from) = socket.recv_from(&mut text).unwrap();
        (text[..length].to_vec(), from)
    }

    #[test]
    fn replies_that_cannot_be_sent_cost_the_others_nothing() {
        let server = bound("0.0.0.0:0");
        let clients = [bound("127.0.0.1:0"), bound("127.0.0.1:0")];
        let address = |nth: usize| clients[nth].local_addr().unwrap();
        let asked = |ip: &str| Some(Asked { address: ip.parse().unwrap(), interface: 0 });
        let port_0: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut outbox = Outbox::new();
        let mut envelopes = Envelopes::patient();
        // Twice: a set of headers must be as good the second time.
        for _ in 0..2 {
            put(&mut outbox, b"bad first", port_0, asked("127.0.0.1"));
            put(&mut outbox, b"one", address(0), asked("127.0.0.1"));
            put(&mut outbox, b"bad", port_0, asked("127.0.0.1"));
            put(&mut outbox, b"bad again", port_0, asked("127.0.0.1"));
            put(&mut outbox, b"two", address(1), asked("127.0.0.2"));
            put(&mut outbox, b"an address that is not ours", address(1), asked("192.0.2.1"));
            put(&mut outbox, b"three", address(1), None);
            put(&mut outbox, b"bad last", port_0, None);
            assert_eq!(outbox.send(&server, &mut envelopes), 5);
            assert_eq!(outbox.send(&server, &mut envelopes), 0, "sent twice");
            let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), server.local_addr().unwrap().port());
            assert_eq!(received(&clients[0]), (b"one".to_vec(), at("127.0.0.1")));
            let mut both = [received(&clients[1]), received(&clients[1])];
            both.sort_unstable();
            assert_eq!(both, [(b"three".to_vec(), at("127.0.0.1")), (b"two".to_vec(), at("127.0.0.2"))]);
        }
    }

    #[test]
    fn an_outbox_takes_a_batch_and_forgets_empty_replies() {
        let (server, client) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
        let to = client.local_addr().unwrap();
        let mut outbox = Outbox::new();
        outbox.keep(0, to, None);
        for nth in 0..BATCH {
            assert!(!outbox.is_full());
            put(&mut outbox, &[nth as u8; MAX_UDP], to, None);
        }
        assert!(outbox.is_full() && outbox.space().is_empty());
        outbox.keep(1, to, None);
        assert_eq!(outbox.send(&server, &mut Envelopes::hurried()), 0);
        let sent = (0..BATCH).map(|_| received(&client).0);
        assert!(sent.eq((0..BATCH).map(|nth| vec![nth as u8; MAX_UDP])));
    }

    #[test]
    fn a_datagram_without_its_address_does_not_cost_the_next_one_theirs() {
        // Not prepared yet: the kernel does not tell.
        let (server, client) = (bound("0.0.0.0:0"), bound("127.0.0.1:0"));
        let port = server.local_addr().unwrap().port();
        let mut inbox = Inbox::new(&server).unwrap();
        let mut asked_of = |address: &str| {
            client.send_to(b"query", (address, port)).unwrap();
            inbox.receive(&server).unwrap();
            inbox.datagrams().map(|(_, arrival)| arrival.asked.map(|asked| asked.address)).collect::<Vec<_>>()
        };
        assert_eq!(asked_of("127.0.0.3"), [None]);
        prepare(&server, Duration::from_secs(5)).unwrap();
        for address in ["127.0.0.4", "127.0.0.5"] {
            assert_eq!(asked_of(address), [Some(address.parse().unwrap())]);
        }
    }

    #[test]
    fn what_is_cut_short_says_so() {
        let (server, client) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
        let mut inbox = Inbox::new(&server).unwrap();
        for (sent, whole) in [(MAX_DATAGRAM, true), (MAX_DATAGRAM + 1, false), (0, true)] {
            client.send_to(&vec![7; sent], server.local_addr().unwrap()).unwrap();
            inbox.receive(&server).unwrap();
            let (bytes, arrival) = inbox.datagrams().next().unwrap();
            assert_eq!((bytes.len(), arrival.whole), (sent.min(MAX_DATAGRAM), whole));
            assert_eq!((arrival.client, arrival.asked), (client.local_addr().unwrap(), None));
        }
    }
}

//! The floor: what the kernel alone costs for a datagram in and a datagram out.
//!
//! It does with a socket what phzd's door does: opened by phzd's own code, one thread that blocks in `recvmmsg` and wakes
//! up now and then, buffers of the same size, one `sendmmsg` for the whole batch, one specific address. Only the work
//! between the two is missing. [`serve`] takes that work as a function, so the local resolver for misses stands on the
//! same loop.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams taken with one system call.
const BATCH: usize = 64;

/// Octets of one receive buffer; as with phzd not a whole page, or 64 of them would have the same few places of the
/// processor's first cache.
const BUFFER: usize = 4096 + 64;
/// How long phzd sleeps before it looks whether to stop.
const WAKE: Duration = Duration::from_millis(250);

/// Octets asked for as the socket's receive buffer, as phzd asks by default.
const RECEIVE_BUFFER: usize = 4096 * 1024;

/// Turns a query into its own reply: the same octets, QR set (RFC 1035 section 4.1.1).
pub fn echo(packet: &mut [u8], length: usize) -> Option<usize> {
    *packet.get_mut(2)? |= 0x80;
    Some(length)
}

/// Sockets of phzd's door for one thread, bound to `address`: for UDP, and for TCP who serves it.
pub fn door(address: SocketAddr) -> io::Result<(UdpSocket, Option<TcpListener>)> {
    let opened = phzd::server::sockets::open(address, 1, RECEIVE_BUFFER).map_err(io::Error::other)?;
    let udp = opened.listener.udp.into_iter().next().ok_or(ErrorKind::NotFound)?;
    udp.set_read_timeout(Some(WAKE))?;
    Ok((udp, opened.listener.tcp))
}

/// Answers. `answer` rewrites a packet in place (it is given the whole buffer and the length received) and says
/// how long the reply is, or `None` to drop it. Returns when the socket fails, or nothing came for so long as it waits
/// (`EAGAIN`).
pub fn serve(socket: &UdpSocket, answer: impl Fn(&mut [u8], usize) -> Option<usize>) -> Errno {
    let mut buffers = vec![[0u8; BUFFER]; BATCH];
    let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    loop {
        let mut lengths = [0usize; BATCH];
        let mut clients = [None; BATCH];
        match receive(socket, &mut incoming, &mut buffers, &mut lengths, &mut clients) {
            Ok(received) => {
                for (buffer, length) in buffers.iter_mut().zip(&mut lengths).take(received) {
                    *length = answer(buffer, *length).unwrap_or(0);
                }
                send(socket, &mut outgoing, &buffers, &lengths, &clients);
            }
            Err(Errno::EINTR) => {}
            Err(error) => return error,
        }
    }
}

/// Waits for at least one datagram and takes what else is there. Returns how many.
fn receive(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffers: &mut [[u8; BUFFER]],
    lengths: &mut [usize; BATCH],
    clients: &mut [Option<SockaddrIn>; BATCH],
) -> nix::Result<usize> {
    let mut buffers = buffers.iter_mut();
    let mut slices: [_; BATCH] =
        std::array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer[..]))]);
    let messages = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
    let mut received = 0;
    for ((message, length), client) in messages.zip(lengths).zip(clients) {
        (*length, *client) = (message.bytes, message.address);
        received += 1;
    }
    Ok(received)
}

/// Sends every buffer that has a length. A datagram the kernel refuses is passed over: it must not cost the others.
fn send(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn>,
    buffers: &[[u8; BUFFER]],
    lengths: &[usize; BATCH],
    clients: &[Option<SockaddrIn>; BATCH],
) {
    let mut slices = [[IoSlice::new(&[])]; BATCH];
    let mut to = [None; BATCH];
    let mut count = 0;
    for ((buffer, &length), client) in buffers.iter().zip(lengths).zip(clients) {
        if length > 0 {
            slices[count] = [IoSlice::new(&buffer[..length])];
            to[count] = *client;
            count += 1;
        }
    }
    let mut sent = 0;
    while sent < count {
        let rest = slices[sent..count].iter();
        match sendmmsg(socket.as_raw_fd(), headers, rest, &to[sent..count], [], MsgFlags::empty()) {
            Ok(results) => sent += results.count().max(1),
            Err(Errno::EINTR) => {}
            Err(_) => sent += 1,
        }
    }
}

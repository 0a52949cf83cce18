//! Those who take connections: as many as they can get, to do nothing with them, or to send a query octet by octet.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::asked::{Asked, What};
use crate::lab::{SERVED_AT, Who};
use crate::names::Name;
use crate::namespace::Outcome;
use crate::visitors::framed;

/// How often each connection is looked at.
const ROUND: Duration = Duration::from_secs(1);

/// Connections between two rests, so that others on the core get their turn.
const BETWEEN_RESTS: usize = 50;
const REST: Duration = Duration::from_millis(2);

/// How many there are to be.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// That send nothing.
    pub idle: usize,
    /// That send an octet in each round.
    pub slow: usize,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Held {
    /// Open in the last round.
    pub open: AtomicU64,
    /// Opened so far.
    pub opened: AtomicU64,
    /// Closed by the other side so far.
    pub closed: AtomicU64,
}

/// Lets this process have so many files open.
pub fn allow_files(count: u64) -> Outcome<()> {
    Ok(setrlimit(Resource::RLIMIT_NOFILE, count, count)?)
}

/// Keeps as many open as there are to be, until the `end`. To be called on the clients' host.
pub fn hold(many: Many, held: &Held, end: &AtomicBool) -> io::Result<()> {
    let addresses = Who::Crowding.addresses();
    let what = What::Question(Name::Always(1), hickory_proto::rr::RecordType::A, None);
    let query = framed(&Asked::new(Who::Crowding, what, 1, false, Instant::now()).packet);
    let mut places: Vec<Option<(TcpStream, usize)>> = Vec::new();
    places.resize_with(many.idle + many.slow, || None);
    while !end.load(Ordering::Relaxed) {
        let begin = Instant::now();
        for (number, place) in places.iter_mut().enumerate() {
            if number.is_multiple_of(BETWEEN_RESTS) {
                thread::sleep(REST);
                if end.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            let is_slow = number >= many.idle;
            if let Some((stream, sent)) = place
                && !goes_on(stream, if is_slow { query.get(*sent..=*sent) } else { None }, sent)?
            {
                held.closed.fetch_add(1, Ordering::Relaxed);
                *place = None;
            }
            if place.is_none()
                && let Some(stream) = open(addresses[number % addresses.len()], SERVED_AT)?
            {
                held.opened.fetch_add(1, Ordering::Relaxed);
                *place = Some((stream, 0));
            }
        }
        held.open.store(places.iter().flatten().count() as u64, Ordering::Relaxed);
        thread::sleep(ROUND.saturating_sub(begin.elapsed()));
    }
    Ok(())
}

/// A connection that is under way, without waiting for it; none if there is no room for it now.
fn open(from: Ipv4Addr, to: SocketAddr) -> io::Result<Option<TcpStream>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A port is taken for each pair of addresses, when it is connected.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    match socket.connect(&to.into()) {
        Ok(()) => Ok(Some(socket.into())),
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(Some(socket.into())),
        Err(error) if [ErrorKind::AddrNotAvailable, ErrorKind::WouldBlock].contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends what is next, and takes what came. Whether the connection still stands.
fn goes_on(stream: &mut TcpStream, octet: Option<&[u8]>, sent: &mut usize) -> io::Result<bool> {
    if let Some(octet) = octet {
        match stream.write(octet) {
            Ok(count) => *sent += count,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) => {}
            Err(_) => return Ok(false),
        }
    }
    match stream.read(&mut [0; 512]) {
        Ok(0) => Ok(false),
        Ok(_) => {
            *sent = 0;
            Ok(true)
        }
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) => Ok(true),
        Err(_) => Ok(false),
    }
}

//! Those who take connections: as many as they can get, to do nothing with them, or to send a query octet by octet.
//!
//! Each kind is a process of its own, which is this program once more: no process may have as many files open as all of
//! them need.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
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

/// Connections opened between two rests, at the most: some 1,600 a second of each kind, as places are taken and held, and
/// none in a burst.
const MOST: u64 = 8;

/// What they do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Habit {
    /// Nothing.
    Idle,
    /// They send an octet of a query in each round.
    Slow,
}

/// What has become of connections so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Open in the last round.
    pub open: u64,
    /// Opened so far.
    pub opened: u64,
    /// Closed by the other side so far.
    pub closed: u64,
}

/// A process that holds connections, ended when this is dropped.
pub struct Holder {
    child: Child,
    held: Arc<Mutex<Held>>,
}

impl Holder {
    /// Starts one that keeps so many. To be called on the clients' host.
    pub fn start(habit: Habit, count: usize) -> Outcome<Holder> {
        let mut command = Command::new(std::env::current_exe()?);
        let name = if habit == Habit::Idle { "idle" } else { "slow" };
        command.args(["--hold", name, "--count", &count.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("a child without output")?).lines();
        let held = Arc::new(Mutex::new(Held::default()));
        let told = Arc::clone(&held);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
                if let [open, opened, closed] = numbers[..] {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Held { open, opened, closed };
                }
            }
        });
        Ok(Holder { child, held })
    }

    /// What has become of them.
    pub fn held(&self) -> Held {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: keeps so many connections open until its parent ends, and tells in each round what has become of them.
pub fn hold(habit: Habit, count: usize) -> Outcome<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let addresses = Who::Crowding.addresses();
    let what = What::Question(Name::Always(1), hickory_proto::rr::RecordType::A, None);
    let query = framed(&Asked::new(Who::Crowding, what, 1, false, Instant::now()).packet);
    let (mut places, mut held): (Vec<Option<Place>>, _) = (Vec::new(), Held::default());
    places.resize_with(count, || None);
    loop {
        let (begin, mut most) = (Instant::now(), held.opened + MOST);
        for (number, place) in places.iter_mut().enumerate() {
            if number.is_multiple_of(BETWEEN_RESTS) {
                thread::sleep(REST);
                most = held.opened + MOST;
            }
            if let Some(held_place) = place
                && !held_place.goes_on((habit == Habit::Slow).then_some(&query))
            {
                held.closed += 1;
                *place = None;
            }
            if place.is_none()
                && held.opened < most
                && let Some(stream) = open(addresses[number % addresses.len()], SERVED_AT)?
            {
                held.opened += 1;
                *place = Some(Place { stream, sent: 0 });
            }
        }
        held.open = places.iter().flatten().count() as u64;
        println!("{} {} {}", held.open, held.opened, held.closed);
        thread::sleep(ROUND.saturating_sub(begin.elapsed()));
    }
}

/// A connection, and how much of the query it has sent.
struct Place {
    stream: TcpStream,
    sent: usize,
}

impl Place {
    /// Sends the next octet of `query`, and takes what came. Whether the connection still stands.
    fn goes_on(&mut self, query: Option<&Vec<u8>>) -> bool {
        let passes = |error: &io::Error| [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind());
        if let Some(octet) = query.and_then(|query| query.get(self.sent..=self.sent)) {
            match self.stream.write(octet) {
                Ok(count) => self.sent += count,
                Err(error) if passes(&error) => {}
                Err(_) => return false,
            }
        }
        match self.stream.read(&mut [0; 512]) {
            Ok(0) => return false,
            Ok(_) => self.sent = 0,
            Err(error) => return passes(&error),
        }
        true
    }
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

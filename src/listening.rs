//! The listen addresses of the daemon: opened at the start or inherited, others after a reload, kept over a restart.
//!
//! Apart from the daemon's list of steps, and from the server, which serves whatever it is given: here is why a socket is
//! there, and how long.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use crate::daemon::CannotServe;
use crate::systemd;
use crate::systemd::inherited::{Found, Inherited, NotServed};
use phzd::config::{self, Config, Server as Settings};
use phzd::limits::Prefixes;
use phzd::resolver::Resolver;
use phzd::server::drops::Drops;
use phzd::server::sockets::{self, CannotListen};
use phzd::server::{Limits, Listener, Server};

/// Open files beside clients' connections and listening sockets. Towards resolvers, 3,000 new names a second that
/// nobody answers were seen to hold 755 sockets; at most 256 more are TCP.
const OTHER_DESCRIPTORS: usize = 2048;

/// A setting: its key, and what gives the first the value of the second, and says whether that is another.
type Setting = (&'static str, fn(&mut Settings, &Settings) -> bool);

/// The settings that are as they were at the start, whatever is read later.
const UNTIL_A_RESTART: [Setting; 6] = [
    ("udp-threads", |to, from| put(&mut to.udp_threads, &from.udp_threads)),
    ("pin-threads", |to, from| put(&mut to.pin_threads, &from.pin_threads)),
    ("busy-poll-us", |to, from| put(&mut to.busy_poll, &from.busy_poll)),
    ("receive-buffer-kb", |to, from| put(&mut to.receive_buffer, &from.receive_buffer)),
    ("control", |to, from| put(&mut to.control, &from.control)),
    ("http", |to, from| put(&mut to.http, &from.http)),
];

/// What the daemon listens on, and the server behind it.
#[derive(Debug)]
pub struct Listening {
    server: Server,
    now: Mutex<Now>,
}

/// What is in force.
#[derive(Debug)]
struct Now {
    addresses: Vec<Address>,
    drops: Drops,
    settings: Settings,
}

/// A listen address.
#[derive(Debug, Clone, Copy)]
struct Address {
    /// As `server.listen` has it, ...
    stated: SocketAddr,
    /// ... and where its sockets are: a port of 0 is another there.
    served: SocketAddr,
    /// Which of its sockets the service manager was asked to keep over a restart.
    keep: Keep,
}

/// Sockets that are kept over a restart because phzd asks for it: not those of a socket unit, which are anyway.
#[derive(Debug, Clone, Copy)]
struct Keep {
    udp: bool,
    tcp: bool,
}

/// Sockets for a listen address that nobody serves yet.
#[derive(Debug)]
pub struct Ready {
    stated: SocketAddr,
    listener: Listener,
    keep: Keep,
}

/// Sockets for all that `settings` say, of `inherited` where there are some at an address.
///
/// # Errors
/// A listen address that is not to be had, a socket that was given for another.
pub fn open(settings: &Settings, mut inherited: Inherited) -> Result<Vec<Ready>, CannotServe> {
    let unwanted = inherited.unwanted(&settings.listen)?;
    let mut all = Vec::with_capacity(settings.listen.len());
    for &stated in &settings.listen {
        let found = inherited.at(stated);
        all.push(if found.listener.udp.is_empty() && found.listener.tcp.is_none() {
            Ready::new(stated, unwanted.share(stated)?, settings)?
        } else {
            Ready::inherited(stated, found, settings)?
        });
    }
    // Only now, so that nobody else has taken their port meanwhile.
    unwanted.forget();
    Ok(all)
}

impl Listening {
    /// Serves `opened` as `resolver` answers. Needs the runtime around it that shall serve TCP.
    ///
    /// # Errors
    /// A system out of threads.
    pub fn start(resolver: Resolver, config: &Config, opened: Vec<Ready>) -> io::Result<Self> {
        let settings = within_descriptors(&config.server);
        let server = Server::start(resolver, Vec::new(), limits(&settings, &config.limits))?;
        let listening =
            Self { server, now: Mutex::new(Now { addresses: Vec::new(), drops: Drops::default(), settings }) };
        opened.into_iter().try_for_each(|ready| listening.serve(ready))?;
        Ok(listening)
    }

    /// Listens on what `config` says, with what it says of TCP clients. New addresses are served before `swap` is called,
    /// which has queries answered by the new policy, and old ones given up after it; sockets at an address that stays are not
    /// touched. Waits for what has come to the old ones.
    ///
    /// # Errors
    /// An address that is not to be had, or one that goes while a socket unit has it; then all is as before, and `swap` was not
    /// called.
    pub fn change(&self, config: &Config, swap: impl FnOnce()) -> Result<(), CannotServe> {
        let settings = &config.server;
        let before = self.now().addresses.clone();
        let goes = |address: &&Address| !settings.listen.contains(&address.stated);
        // The unit's socket would stay, and swallow queries; made to take none, it would take none after a restart either.
        if let Some(address) = before.iter().filter(goes).find(|address| !(address.keep.udp && address.keep.tcp)) {
            return Err(NotServed::at(address.served).into());
        }
        let added = settings.listen.iter().filter(|stated| before.iter().all(|address| address.stated != **stated));
        let added: Vec<_> = added.map(|stated| self.open(*stated, settings)).collect::<Result<_, _>>()?;
        let (mut served, mut failed) = (Vec::new(), None);
        for ready in added {
            served.push(ready.stated);
            failed = failed.or(self.serve(ready).err());
        }
        if let Some(error) = failed {
            served.into_iter().for_each(|stated| self.give_up(stated));
            return Err(error.into());
        }
        swap();
        before.iter().filter(goes).for_each(|address| {
            self.give_up(address.stated);
            info!(address = %address.served, "no longer listening on {}", address.served);
        });
        served.iter().for_each(|address| info!(%address, "listening on {address}"));
        let within = within_descriptors(settings);
        self.server.limit(limits(&within, &config.limits));
        let (mut now, mut in_force) = (self.now(), within);
        UNTIL_A_RESTART.iter().for_each(|(_, put)| _ = put(&mut in_force, &now.settings));
        now.settings = in_force;
        Ok(())
    }

    /// Sockets for an address that joins others.
    fn open(&self, stated: SocketAddr, settings: &Settings) -> Result<Ready, CannotServe> {
        // 127.0.0.1 and 0.0.0.0 are in each other's way, and one may be about to go for the other.
        Ok(Ready::new(stated, self.server.share(stated)?, settings)?)
    }

    /// Begins to serve an address.
    fn serve(&self, Ready { stated, listener, keep }: Ready) -> io::Result<()> {
        let served = listener.local_addr()?;
        let mut now = self.now();
        now.drops.add(&listener);
        if keep.udp {
            listener.udp.iter().for_each(|socket| systemd::keep(served, socket.as_fd()));
        }
        if keep.tcp {
            listener.tcp.iter().for_each(|socket| systemd::keep(served, socket.as_fd()));
        }
        if let Err(error) = self.server.open(listener) {
            // A socket that is kept and not read would swallow queries.
            systemd::forget(served);
            now.drops.close(served);
            return Err(error);
        }
        now.addresses.push(Address { stated, served, keep });
        Ok(())
    }

    /// Serves an address no longer. What has come there is answered first.
    fn give_up(&self, stated: SocketAddr) {
        let gone = {
            let mut now = self.now();
            let nth = now.addresses.iter().position(|address| address.stated == stated);
            nth.map(|nth| now.addresses.remove(nth))
        };
        let Some(Address { served, .. }) = gone else { return };
        systemd::forget(served);
        self.now().drops.close(served);
        self.server.close(served);
    }

    /// Where sockets are, in the order in which they came.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.now().addresses.iter().map(|address| address.served).collect()
    }

    /// Datagrams that the kernel dropped, by address.
    pub fn drops(&self) -> BTreeMap<SocketAddr, u64> {
        let drops = self.now().drops.clone();
        drops.count()
    }

    /// The settings that are in force: some of those that were read last may have to wait for a restart.
    pub fn settings(&self) -> Settings {
        self.now().settings.clone()
    }

    /// The keys of `settings` whose values are in force only when phzd is started again.
    pub fn not_in_force(&self, settings: &Settings) -> Vec<&'static str> {
        let mut in_force = self.settings();
        UNTIL_A_RESTART.iter().filter(|(_, put)| put(&mut in_force, settings)).map(|(key, _)| *key).collect()
    }

    /// Takes no more queries, and lets what is under way finish, for at most 1.5 s.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready {
    /// New sockets; beside others that are in their way and share the port with them.
    fn new(stated: SocketAddr, beside: bool, settings: &Settings) -> Result<Self, CannotListen> {
        let open = if beside { sockets::open_beside } else { sockets::open };
        let opened = open(stated, settings.udp_threads, settings.receive_buffer)?;
        warn_of_buffer(stated, opened.receive_buffer, settings, "raise net.core.rmem_max");
        Ok(Self { stated, listener: opened.listener, keep: Keep { udp: true, tcp: true } })
    }

    /// What was inherited at an address, with what is missing. Where there is a UDP socket no other is opened beside it: the
    /// kernel would give each a part of the queries, and it is read by as many threads as are wanted.
    fn inherited(stated: SocketAddr, found: Found, settings: &Settings) -> Result<Self, CannotListen> {
        let Found { listener, udp_of_unit, tcp_of_unit } = found;
        let wanted = (settings.udp_threads, settings.receive_buffer);
        let opened = sockets::complete(stated, listener, wanted, udp_of_unit)?;
        let raise = if udp_of_unit { "raise ReceiveBuffer= of the socket unit" } else { "raise net.core.rmem_max" };
        warn_of_buffer(stated, opened.receive_buffer, settings, raise);
        Ok(Self { stated, listener: opened.listener, keep: Keep { udp: !udp_of_unit, tcp: !tcp_of_unit } })
    }
}

fn put<T: Clone + PartialEq>(to: &mut T, from: &T) -> bool {
    let other = to != from;
    to.clone_from(from);
    other
}

fn warn_of_buffer(address: SocketAddr, given: usize, settings: &Settings, raise: &str) {
    let (given, wanted) = (given / 1024, settings.receive_buffer / 1024);
    if given < wanted {
        warn!(
            %address,
            given_kb = given,
            wanted_kb = wanted,
            "a smaller receive buffer at {address}, {given} kB of {wanted}: {raise}, or lower server.receive-buffer-kb"
        );
    }
}

/// What of the configuration is the server's.
pub fn limits(settings: &Settings, of_client: &config::Limits) -> Limits {
    Limits {
        udp_threads: settings.udp_threads,
        pin_threads: settings.pin_threads,
        busy_poll: settings.busy_poll,
        tcp_connections: settings.tcp_connections,
        tcp_connections_per_client: settings.tcp_connections_per_client,
        tcp_idle: settings.tcp_idle,
        prefixes: Prefixes::from(of_client),
    }
}

/// Raises the limit of open files to what `settings` may need; where it stays lower, there are fewer TCP connections.
fn within_descriptors(settings: &Settings) -> Settings {
    let sockets = settings.listen.len() * (settings.udp_threads + 1) * 2;
    let needed = settings.tcp_connections + sockets + OTHER_DESCRIPTORS;
    let Err(error) = sockets::raise_descriptor_limit(needed as u64) else { return settings.clone() };
    let room = connections_within(usize::try_from(error.limit).unwrap_or(usize::MAX), sockets);
    let tcp_connections = room.min(settings.tcp_connections);
    warn!("{error}; until then at most {tcp_connections} TCP connections are taken");
    Settings { tcp_connections, ..settings.clone() }
}

/// The TCP connections that a limit of open files leaves room for. Without the sockets towards resolvers nothing could
/// be forwarded, so a half is theirs where there are too few for all.
fn connections_within(limit: usize, listening: usize) -> usize {
    limit.saturating_sub(listening + OTHER_DESCRIPTORS.min(limit / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_what_is_forwarded() {
        for (limit, listening, connections) in [(64, 3, 29), (1024, 3, 509), (8192, 12, 6132), (8, 12, 0)] {
            assert_eq!(connections_within(limit, listening), connections, "{limit}");
        }
    }
}

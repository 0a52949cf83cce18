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
use crate::systemd::inherited::Inherited;
use phzd::config::{self, Config, Server as Settings};
use phzd::limits::Prefixes;
use phzd::resolver::Resolver;
use phzd::server::drops::Drops;
use phzd::server::sockets::{self, Opened};
use phzd::server::{Limits, Listener, Server};

/// Open files beside clients' connections and listening sockets. Towards resolvers, 3,000 new names a second that
/// nobody answers were seen to hold 755 sockets; at most 256 more are TCP.
const OTHER_DESCRIPTORS: usize = 2048;

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
    /// The service manager was asked to keep its sockets over a restart.
    kept: bool,
}

/// Sockets for a listen address that nobody serves yet.
#[derive(Debug)]
pub struct Ready {
    stated: SocketAddr,
    listener: Listener,
    kept: bool,
}

/// Sockets for all that `settings` say, of `inherited` where there are some at an address.
///
/// # Errors
/// A listen address that is not to be had, a socket that was given for another.
pub fn open(settings: &Settings, mut inherited: Inherited) -> Result<Vec<Ready>, CannotServe> {
    let mut all = Vec::with_capacity(settings.listen.len());
    for &stated in &settings.listen {
        let (listener, kept_anyway) = inherited.at(stated);
        all.push(Ready::inherited(stated, listener, kept_anyway, settings)?);
    }
    inherited.none_left()?;
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
    /// An address that is not to be had; then all is as before, and `swap` was not called.
    pub fn change(&self, config: &Config, swap: impl FnOnce()) -> Result<(), CannotServe> {
        let settings = &config.server;
        let before = self.now().addresses.clone();
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
        before.iter().filter(|address| !settings.listen.contains(&address.stated)).for_each(|address| {
            self.give_up(address.stated);
            info!(address = %address.served, "no longer listening");
        });
        served.iter().for_each(|address| info!(%address, "listening"));
        let within = within_descriptors(settings);
        self.server.limit(limits(&within, &config.limits));
        let mut now = self.now();
        let Settings { udp_threads, pin_threads, busy_poll, receive_buffer, .. } = now.settings;
        let (control, http) = (now.settings.control.clone(), now.settings.http);
        now.settings = Settings { udp_threads, pin_threads, busy_poll, receive_buffer, control, http, ..within };
        Ok(())
    }

    /// Sockets for an address that joins others.
    fn open(&self, stated: SocketAddr, settings: &Settings) -> Result<Ready, CannotServe> {
        // 127.0.0.1 and 0.0.0.0 are in each other's way, and one may be about to go for the other.
        let open = if self.server.share(stated)? { sockets::open_beside } else { sockets::open };
        Ok(Ready::opened(stated, open(stated, settings.udp_threads, settings.receive_buffer)?, settings))
    }

    /// Begins to serve an address.
    fn serve(&self, Ready { stated, listener, kept }: Ready) -> io::Result<()> {
        let served = listener.local_addr()?;
        let mut now = self.now();
        now.drops.add(&listener);
        if kept {
            listener.udp.iter().for_each(|socket| systemd::keep(served, socket.as_fd()));
            listener.tcp.iter().for_each(|socket| systemd::keep(served, socket.as_fd()));
        }
        self.server.open(listener)?;
        now.addresses.push(Address { stated, served, kept });
        Ok(())
    }

    /// Serves an address no longer. What has come there is answered first.
    fn give_up(&self, stated: SocketAddr) {
        let gone = {
            let mut now = self.now();
            let nth = now.addresses.iter().position(|address| address.stated == stated);
            nth.map(|nth| now.addresses.remove(nth))
        };
        let Some(Address { served, kept, .. }) = gone else { return };
        if kept {
            systemd::forget(served);
        }
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
        let now = self.now();
        let same = [
            ("udp-threads", now.settings.udp_threads == settings.udp_threads),
            ("pin-threads", now.settings.pin_threads == settings.pin_threads),
            ("busy-poll-us", now.settings.busy_poll == settings.busy_poll),
            ("receive-buffer-kb", now.settings.receive_buffer == settings.receive_buffer),
            ("control", now.settings.control == settings.control),
            ("http", now.settings.http == settings.http),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
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
    /// What was inherited at an address, with what is missing. Where there is a UDP socket no other is opened beside it: the
    /// kernel would give each a part of the queries, and it is read by as many threads as are wanted.
    fn inherited(
        stated: SocketAddr,
        listener: Listener,
        kept_anyway: bool,
        settings: &Settings,
    ) -> Result<Self, CannotServe> {
        if listener.udp.is_empty() && listener.tcp.is_none() {
            return Ok(Self::opened(
                stated,
                sockets::open(stated, settings.udp_threads, settings.receive_buffer)?,
                settings,
            ));
        }
        let given = listener.udp.iter().filter_map(|socket| sockets::receive_buffer(socket).ok()).min();
        let listener = sockets::complete(stated, listener, settings.udp_threads, settings.receive_buffer)?;
        warn_of_buffer(stated, given.unwrap_or(settings.receive_buffer), settings.receive_buffer);
        Ok(Self { stated, listener, kept: !kept_anyway })
    }

    fn opened(stated: SocketAddr, opened: Opened, settings: &Settings) -> Self {
        warn_of_buffer(stated, opened.receive_buffer, settings.receive_buffer);
        Self { stated, listener: opened.listener, kept: true }
    }
}

fn warn_of_buffer(address: SocketAddr, given: usize, wanted: usize) {
    if given < wanted {
        warn!(
            %address,
            given_kb = given / 1024,
            wanted_kb = wanted / 1024,
            "the kernel gave a smaller receive buffer: raise net.core.rmem_max, or lower server.receive-buffer-kb"
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

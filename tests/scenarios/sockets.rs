//! The stage of real sockets: the `phzd run` process in a network namespace, clients and resolvers at the addresses
//! that the scenario names, and real time.
//!
//! What has not happened is known without waiting for it. After each thing done, a question of the stage's own goes the
//! whole way: a name that no scenario has, by a rule of its own, to a resolver of its own. It passes the same threads in
//! the same order, so when its answer is back, all that was to come of what was done before has come.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, mem, os, thread};

use socket2::Type;

use crate::cli::phzd;
use crate::daemon::{Daemon, configured};

use super::echo::Query;
use super::file::Step;
use super::network::{ANY, Datagram, Everywhere, bind, bind_udp, forge, say_unreachable};
use super::notation::{Asking, Told, Written, question};
use super::stage::{Asked, By, Comes, Event, Stage};

/// Where phzd listens.
const DOORS: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1053), SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 1053)];
/// What is added to a scenario's configuration: one thread for each door, so that what comes is taken in its order, and
/// the way of the stage's own questions.
const DROP_IN: &str = r#"
[server]
listen = ["127.0.0.1:1053", "[::1]:1053"]
udp-threads = 1

[[rule]]
domain = "stage.example"
targets = ["127.0.0.99"]
"#;
/// The resolver that is asked them.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99));
/// How long what must happen may take.
const SOON: Duration = Duration::from_secs(2);

/// phzd, and the sockets of all around it.
pub struct Sockets {
    phzd: Daemon,
    reloads: usize,
    /// The clients' sockets.
    clients: HashMap<SocketAddr, UdpSocket>,
    connections: HashMap<SocketAddr, Framed>,
    /// Queries without a reply so far.
    waiting: Vec<Query>,
    /// Where resolvers are asked: datagrams, ...
    resolvers: Vec<Everywhere>,
    /// ... connections that will be taken, ...
    listeners: Vec<TcpListener>,
    /// ... and those that were.
    streams: Vec<Option<Framed>>,
    /// phzd's sockets towards resolvers, and whom each asked last.
    asking: HashMap<SocketAddr, SocketAddr>,
    /// For the stage's own questions, by the door; and how many there were.
    own: [UdpSocket; 2],
    questions: u32,
    /// The door of the last query.
    door: usize,
    /// What happened and was not told yet.
    events: Vec<Event>,
    /// When that was told last, how much of the time since then was meant to pass, and what was the most beyond that.
    told: Instant,
    meant: Duration,
    latest: Duration,
}

impl Sockets {
    /// Starts phzd with this configuration, in this thread's network. Resolvers listen on these ports.
    pub fn new(config: &str, ports: &[u16]) -> Told<Self> {
        Self::start(config, ports).map_err(|error| error.to_string())
    }

    fn start(config: &str, ports: &[u16]) -> io::Result<Self> {
        let (mut resolvers, mut listeners) = (Vec::new(), Vec::new());
        for (any, port) in ANY.into_iter().flat_map(|any| ports.iter().map(move |port| (any, *port))) {
            resolvers.push(Everywhere::bind(any, port)?);
            let listener = bind(SocketAddr::new(any, port), Type::STREAM)?;
            listener.listen(64)?;
            listener.set_nonblocking(true)?;
            listeners.push(listener.into());
        }
        let folder = configured(config);
        fs::create_dir(folder.path().join("phzd.d"))?;
        fs::write(folder.path().join("phzd.d/stage.toml"), DROP_IN)?;
        // Files that a scenario names are named from where the tests run.
        os::unix::fs::symlink(Path::new("tests").canonicalize()?, folder.path().join("tests"))?;
        let mut command = phzd();
        command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
        let own = [bind_udp(SocketAddr::new(DOORS[0].ip(), 0))?, bind_udp(SocketAddr::new(DOORS[1].ip(), 0))?];
        for own in &own {
            own.set_read_timeout(Some(SOON))?;
        }
        Ok(Self {
            phzd: Daemon::spawn(command, folder),
            reloads: 0,
            clients: HashMap::new(),
            connections: HashMap::new(),
            waiting: Vec::new(),
            resolvers,
            listeners,
            streams: Vec::new(),
            asking: HashMap::new(),
            own,
            questions: 0,
            door: 0,
            events: Vec::new(),
            told: Instant::now(),
            meant: Duration::ZERO,
            latest: Duration::ZERO,
        })
    }

    /// The most that anything done took beyond the time that was to pass.
    pub fn latest(&self) -> Duration {
        self.latest
    }

    /// Returns when all has happened that what was done so far leads to at once.
    fn settle(&mut self) -> io::Result<()> {
        self.questions += 1;
        let name = format!("n{}.stage.example A", self.questions);
        let asking: Asking = name.parse().map_err(io::Error::other)?;
        self.own[self.door].send_to(&asking.packet(self.questions as u16), DOORS[self.door])?;
        let asked = loop {
            let Some(datagram) = self.resolvers[0].receive(Some(SOON))? else {
                return Err(io::Error::other(format!("phzd hangs:\n{}", self.phzd.log())));
            };
            // An earlier one may be repeated.
            if datagram.to.ip() == OWN && question(&datagram.message, false).is_ok_and(|(asked, _)| asked == name) {
                break datagram;
            }
            self.is_asked(datagram);
        };
        let nothing: Written = "NXDOMAIN qr rd ra".parse().map_err(io::Error::other)?;
        let message = nothing.reply_to(&asked.message).map_err(io::Error::other)?;
        self.resolvers[0].send(&Datagram { from: asked.to, to: asked.from, message })?;
        self.own[self.door].recv(&mut [0; 512])?;
        self.look()
    }

    /// A resolver was asked by a datagram. What the stage's own is asked beside, the scenario does not know.
    fn is_asked(&mut self, Datagram { from, to, message }: Datagram) {
        if to.ip() == OWN {
            return;
        }
        self.asking.insert(from, to);
        self.events.push(Event::Asked(Asked { resolver: to, message, by: By::Udp(from) }));
    }

    /// Takes in what is there on all sockets.
    fn look(&mut self) -> io::Result<()> {
        for nth in 0..self.resolvers.len() {
            while let Some(datagram) = self.resolvers[nth].receive(None)? {
                self.is_asked(datagram);
            }
        }
        for listener in &self.listeners {
            while let Some((stream, _)) = unless_empty(listener.accept())? {
                self.streams.push(Some(Framed::new(stream)?));
            }
        }
        for (number, stream) in self.streams.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            while let Some(message) = stream.next()? {
                let (resolver, by) = (stream.socket.local_addr()?, By::Tcp(number));
                self.events.push(Event::Asked(Asked { resolver, message, by }));
            }
        }
        let mut replies = Vec::new();
        let mut buffer = vec![0; 65_535];
        for (client, socket) in &self.clients {
            while let Some(length) = unless_empty(socket.recv(&mut buffer))? {
                replies.push((*client, false, buffer[..length].to_vec()));
            }
        }
        for (client, connection) in &mut self.connections {
            while let Some(message) = connection.next()? {
                replies.push((*client, true, message));
            }
        }
        for (client, tcp, reply) in replies {
            let query = self.answered_by(client, tcp, &reply);
            let query = query.ok_or_else(|| io::Error::other(format!("{client} got a reply that waits for none")))?;
            self.events.push(Event::Replied(query, Some(reply)));
        }
        Ok(())
    }

    /// The waiting query of this client that has the reply's id, or else its first.
    fn answered_by(&mut self, client: SocketAddr, tcp: bool, reply: &[u8]) -> Option<Query> {
        let from = |query: &Query| query.client == client && query.is_tcp() == tcp;
        let same = self.waiting.iter().position(|query| from(query) && query.packet.get(..2) == reply.get(..2));
        let place = same.or_else(|| self.waiting.iter().position(from))?;
        Some(self.waiting.remove(place))
    }

    fn send_query(&mut self, query: &Query) -> io::Result<()> {
        let client = query.client;
        self.door = usize::from(client.is_ipv6());
        self.waiting.push(query.clone());
        if query.is_tcp() {
            if !self.connections.contains_key(&client) {
                let socket = bind(client, Type::STREAM)?;
                socket.set_linger(Some(Duration::ZERO))?;
                socket.connect(&DOORS[self.door].into())?;
                self.connections.insert(client, Framed::new(socket.into())?);
            }
            self.connections.get_mut(&client).map_or(Ok(()), |connection| connection.send(&query.packet))
        } else if client.port() == 0 || self.asking.contains_key(&client) {
            forge(client, DOORS[self.door], &query.packet)
        } else {
            if !self.clients.contains_key(&client) {
                let socket = bind_udp(client)?;
                // A reply from elsewhere is none.
                socket.connect(DOORS[self.door])?;
                socket.set_nonblocking(true)?;
                self.clients.insert(client, socket);
            }
            self.clients[&client].send(&query.packet).map(drop)
        }
    }

    fn send_back(&mut self, &Asked { resolver, by, .. }: &Asked, what: &Comes<'_>) -> io::Result<()> {
        match (by, what) {
            (By::Udp(to), Comes::Message(message)) => {
                let socket = self.resolvers.iter().find(|socket| socket.is_for(resolver)).ok_or(ErrorKind::NotFound)?;
                socket.send(&Datagram { from: resolver, to, message: message.to_vec() })
            }
            (By::Udp(to), Comes::Unreachable) => say_unreachable(resolver, to),
            (By::Tcp(number), Comes::Message(message)) => match &mut self.streams[number] {
                Some(stream) => stream.send(message),
                None => Ok(()),
            },
            (By::Tcp(number), Comes::Closed) => {
                self.streams[number] = None;
                Ok(())
            }
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }
}

impl Stage for Sockets {
    fn ask(&mut self, query: &Query) -> Told<()> {
        self.send_query(query).map_err(|error| format!("{} cannot ask: {error}", query.client))
    }

    fn comes_back(&mut self, asked: &Asked, what: Comes<'_>) -> Told<()> {
        self.send_back(asked, &what).map_err(|error| format!("nothing can come back: {error}"))
    }

    fn wait(&mut self, time: Duration) -> Told<()> {
        self.meant += time;
        thread::sleep(time);
        Ok(())
    }

    fn reload(&mut self, config: &str) -> Told<()> {
        self.reloads += 1;
        self.phzd.reload(config);
        self.phzd.await_logs("reloaded", self.reloads);
        Ok(())
    }

    /// phzd has done so.
    fn look_around(&mut self) -> Told<()> {
        Ok(())
    }

    fn events(&mut self, patiently: bool) -> Told<Vec<Event>> {
        let told = |error: io::Error| error.to_string();
        let began = Instant::now();
        if !patiently {
            self.settle().map_err(told)?;
        }
        while patiently && self.events.is_empty() {
            if began.elapsed() > SOON {
                return Ok(Vec::new());
            }
            thread::sleep(Duration::from_micros(500));
            self.look().map_err(told)?;
        }
        self.latest = self.latest.max(self.told.elapsed().saturating_sub(self.meant));
        (self.told, self.meant) = (Instant::now(), Duration::ZERO);
        Ok(mem::take(&mut self.events))
    }

    fn own_socket(&self, towards: SocketAddr) -> Option<SocketAddr> {
        self.asking.iter().find(|(_, resolver)| **resolver == towards).map(|(own, _)| *own)
    }

    fn is_dropped(&mut self, client: SocketAddr) -> Told<()> {
        self.waiting.retain(|query| query.client != client);
        Ok(())
    }

    fn within(&mut self, _: &Step) -> Told<()> {
        Err("what happens within phzd is not seen from outside".into())
    }

    fn nothing_within(&self) -> Told<()> {
        Ok(())
    }
}

/// A TCP connection with messages, each after its length (RFC 1035 section 4.2.2).
struct Framed {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Framed {
    fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, received: Vec::new() })
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        let framed = [&(message.len() as u16).to_be_bytes()[..], message].concat();
        self.socket.write_all(&framed)?;
        self.socket.set_nonblocking(true)
    }

    /// The next message, if it is there.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 65_535];
        while let Some(length) = unless_empty(self.socket.read(&mut buffer))?.filter(|length| *length > 0) {
            self.received.extend(&buffer[..length]);
        }
        let Some(length) = self.received.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) else {
            return Ok(None);
        };
        if self.received.len() < 2 + length {
            return Ok(None);
        }
        let rest = self.received.split_off(2 + length);
        Ok(Some(mem::replace(&mut self.received, rest).split_off(2)))
    }
}

/// What a socket that does not block has, if it has anything.
fn unless_empty<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

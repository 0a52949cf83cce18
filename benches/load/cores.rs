//! What a second core is worth: phzd with one thread on one core, and with two threads on two.
//!
//! Queries are put into the server's sockets while it is stopped. Then it goes on, and until the last reply nobody else has
//! anything to do: no generator takes a core, so two cores are enough for two threads. Each socket is given equally many,
//! which the kernel, who deals clients out by their ports, would do only roughly. Of all rounds,
//! and of those apart in which nobody else had a core.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::programs::Program;
use crate::questions::{Client, Expected, Query, Questions};
use crate::report::{figure, spread, thousands};
use crate::rows::Plan;
use crate::server::{Cores, Server, stay_on};
use crate::statistics::{BUSY, median, quartiles};
use crate::table::Table;
use crate::window::Round;

/// Queries for each thread in a round: what phzd's receive buffer holds, at a kilobyte each, and a little less.
const QUEUED: usize = 6000;
/// Rounds for each that is asked for: they are short.
const MORE: usize = 3;
/// Clients for each socket of the server's, beside the one whose reply is the last.
const CLIENTS: usize = 16;
/// Clients tried until each of the server's sockets has its own.
const MOST_CLIENTS: usize = 400;
/// Room for replies at each client, in octets: more than its share of them takes.
const ROOM: usize = 4 << 20;
/// How long a reply, or the server's being stopped, may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Measures.
pub fn measure(cores: &Cores, resolver: SocketAddr, plan: &Plan) -> Result<Table, Box<dyn Error>> {
    let both = [cores.server, cores.load];
    let one = Program::Phzd.start(&both[..1], resolver)?;
    let two = Program::Phzd.start(&both, resolver)?;
    stay_on(&[cores.load])?;
    let mut queues = [Queues::find(&one, 1)?, Queues::find(&two, 2)?];
    let mut rounds: Vec<[Round; 2]> = Vec::new();
    while rounds.len() < MORE * plan.rounds {
        let mut pair = [Round::default(); 2];
        let order = if rounds.len().is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for index in order {
            pair[index] = queues[index].round([&one, &two][index])?;
        }
        rounds.push(pair);
    }
    Ok(table(&rounds))
}

/// Whether both servers had all of their cores.
fn is_busy(pair: &[Round; 2]) -> bool {
    pair.iter().zip([1.0, 2.0]).all(|(round, threads)| busy(round) >= BUSY * threads)
}

/// How many cores the server had.
fn busy(round: &Round) -> f64 {
    round.core.busy.map_or(f64::NAN, |busy| busy.as_secs_f64() / round.wall.as_secs_f64())
}

/// Clients by the socket of the server's that has their queries.
struct Queues(Vec<Vec<Asker>>);

/// A client that asks one name.
struct Asker {
    socket: UdpSocket,
    query: Query,
}

impl Queues {
    /// Finds clients for each of so many sockets: while the server is stopped, a query shows which one it waits in.
    fn find(server: &Server, sockets: usize) -> Result<Self, Box<dyn Error>> {
        let mut found: BTreeMap<u64, Vec<Asker>> = BTreeMap::new();
        let is_enough = |found: &BTreeMap<u64, Vec<Asker>>| {
            found.len() == sockets && found.values().all(|askers| askers.len() == CLIENTS + 1)
        };
        stop(server)?;
        let mut questions = Questions::buckets();
        for _ in 0..MOST_CLIENTS {
            let mut asker = Asker::new(server.address, questions.next())?;
            let before = waiting(server.address)?;
            asker.ask(0)?;
            let after = waiting(server.address)?;
            let grown = after.iter().find(|(socket, octets)| before.get(socket) != Some(octets));
            let (&socket, _) = grown.ok_or("a query waits in no socket")?;
            let askers = found.entry(socket).or_default();
            if askers.len() <= CLIENTS {
                askers.push(asker);
            }
            if is_enough(&found) {
                break;
            }
        }
        server.signal(Signal::SIGCONT)?;
        if !is_enough(&found) {
            return Err(format!("{sockets} sockets were looked for, and {} found", found.len()).into());
        }
        let queues = Self(found.into_values().collect());
        queues.0.iter().flatten().try_for_each(Asker::wait)?;
        Ok(queues)
    }

    /// Fills the sockets of the stopped server, and takes the time until it has answered all.
    fn round(&mut self, server: &Server) -> Result<Round, Box<dyn Error>> {
        stop(server)?;
        for askers in &mut self.0 {
            for nth in 0..QUEUED - 1 {
                askers[1 + nth % CLIENTS].ask(nth as u16)?;
            }
            // The first client's is the last.
            askers[0].ask(0)?;
        }
        let (before, begin) = (server.core(), Instant::now());
        server.signal(Signal::SIGCONT)?;
        self.0.iter().try_for_each(|askers| askers[0].wait())?;
        let (wall, core) = (begin.elapsed(), server.core().since(before));
        let mut round = Round { wall, core, ..Round::default() };
        for asker in self.0.iter().flat_map(|askers| &askers[1..]) {
            asker.count(&mut round)?;
        }
        round.replies += self.0.len() as u64;
        round.lost = (QUEUED * self.0.len()) as u64 - round.replies - round.wrong;
        Ok(round)
    }
}

impl Asker {
    fn new(target: SocketAddr, query: Query) -> Result<Self, Box<dyn Error>> {
        let socket = UdpSocket::bind(Client::Private.address(1))?;
        if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &ROOM)?;
        }
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(target)?;
        Ok(Self { socket, query })
    }

    fn ask(&mut self, id: u16) -> std::io::Result<()> {
        self.query.set_id(id);
        self.socket.send(self.query.octets()).map(drop)
    }

    /// Waits for one right reply.
    fn wait(&self) -> Result<(), Box<dyn Error>> {
        let mut reply = [0; 512];
        let length = self.socket.recv(&mut reply)?;
        if Expected::PRIVATE.met_by(&self.query, &reply[..length]) { Ok(()) } else { Err("a wrong reply".into()) }
    }

    /// Counts the replies that have come.
    fn count(&self, round: &mut Round) -> std::io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let mut reply = [0; 512];
        loop {
            match self.socket.recv(&mut reply) {
                Ok(length) if Expected::PRIVATE.met_by(&self.query, &reply[..length]) => round.replies += 1,
                Ok(_) => round.wrong += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.socket.set_nonblocking(false)
    }
}

/// Stops the server, and waits until it stands still.
fn stop(server: &Server) -> Result<(), Box<dyn Error>> {
    server.signal(Signal::SIGSTOP)?;
    let begin = Instant::now();
    while !server.is_stopped()? {
        if begin.elapsed() > PATIENCE {
            return Err("the server does not stop".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What waits in each UDP socket bound to `address`, in octets, by the socket's inode.
fn waiting(address: SocketAddr) -> Result<BTreeMap<u64, u64>, Box<dyn Error>> {
    let SocketAddr::V4(address) = address else { return Err("an IPv4 address is wanted".into()) };
    // As the kernel writes it: the address as a number of this machine's.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/udp")?;
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, received) = fields.get(4)?.split_once(':')?;
        let is_ours = fields.get(1) == Some(&local.as_str());
        is_ours.then_some((fields.get(9)?.parse().ok()?, u64::from_str_radix(received, 16).ok()?))
    });
    Ok(sockets.collect())
}

fn table(rounds: &[[Round; 2]]) -> Table {
    let line = |index: usize| {
        let all: Vec<&Round> = rounds.iter().map(|pair| &pair[index]).collect();
        let ratio = |pair: &[Round; 2]| pair[index].rate() / pair[0].rate();
        let own: Vec<f64> = rounds.iter().filter(|pair| is_busy(pair)).map(ratio).collect();
        vec![
            (index + 1).to_string(),
            thousands(median(rounds.iter().map(|pair| pair[index].rate())), ""),
            spread(quartiles(rounds.iter().map(ratio))),
            format!("{}, {} rounds", spread(quartiles(own.iter().copied())), own.len()),
            figure(median(rounds.iter().filter_map(|pair| pair[index].cost())), 2),
            figure(median(rounds.iter().map(|pair| busy(&pair[index]))), 2),
            rounds.len().to_string(),
            all.iter().map(|round| round.lost).sum::<u64>().to_string(),
            all.iter().map(|round| round.wrong).sum::<u64>().to_string(),
        ]
    };
    let head = [
        "threads",
        "q/s",
        "of one thread's (quartiles)",
        "where all cores were its own",
        "CPU µs/query",
        "cores busy",
        "rounds",
        "lost",
        "wrong",
    ];
    Table {
        title: format!(
            "cores: phzd, buckets, one thread on one core and two on two, {QUEUED} queries waiting for each"
        ),
        head: head.map(str::to_owned).to_vec(),
        lines: vec![line(0), line(1)],
        notes: Vec::new(),
    }
}

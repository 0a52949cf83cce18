//! Processes under load, each with a core of its own: a program, the echo, the resolver for misses.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tempfile::TempDir;

use crate::window::Core;
use crate::{echo, tcp_echo, upstream};

/// How long a program may take to end.
const END: Duration = Duration::from_secs(3);

/// The cores of a run.
#[derive(Clone, Copy)]
pub struct Cores {
    /// The measured server's.
    pub server: usize,
    /// The generator's, and the resolver's beside it.
    pub load: usize,
}

impl Cores {
    /// The first cores this process may use, if it may use two: those that are no second thread of another's first,
    /// where there are enough.
    pub fn available() -> nix::Result<Option<Cores>> {
        let allowed = sched_getaffinity(Pid::this())?;
        let cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let (whole, second): (Vec<_>, Vec<_>) = cores.partition(|&core| first_thread_beside(core) == core);
        let mut cores = whole.into_iter().chain(second);
        Ok(cores.next().zip(cores.next()).map(|(server, load)| Cores { server, load }))
    }

    /// Whether server and load are two threads of one core, and so in each other's way.
    pub fn share_a_core(self) -> bool {
        first_thread_beside(self.server) == first_thread_beside(self.load)
    }
}

/// The first of the threads that share a core with this one; itself where the kernel does not tell.
fn first_thread_beside(core: usize) -> usize {
    let list = fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"));
    let first = list.ok().and_then(|list| list.trim().split([',', '-']).next()?.parse().ok());
    first.unwrap_or(core)
}

/// Keeps the calling thread, and every child it starts from now on, on these cores.
pub fn stay_on(cores: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().try_for_each(|&core| set.set(core))?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// A program that answers, ended when this is dropped.
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    process: Option<Pid>,
    core: Option<usize>,
    child: Option<Child>,
    /// Its configuration, kept while it runs.
    _folder: Option<TempDir>,
}

impl Server {
    /// The echo, UDP and TCP, on `core`.
    pub fn echo(core: usize) -> Result<Server, Box<dyn Error>> {
        Server::own(Role::Echo, core, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The resolver for misses, on `core`, bound to `address` (port 0: any).
    pub fn resolver(core: usize, address: SocketAddr) -> Result<Server, Box<dyn Error>> {
        Server::own(Role::Resolver, core, address)
    }

    /// This program once more, in another role. It prints its address when it is ready.
    fn own(role: Role, core: usize, address: SocketAddr) -> Result<Server, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", role.name(), "--at", &address.to_string()]).stdout(Stdio::piped());
        stay_on(&[core])?;
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("a child without output")?).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("the {} did not start", role.name()))?;
        Ok(Server::child(address, core, child, None))
    }

    /// A server that runs already. Without `process` its CPU time stays unknown.
    pub fn running(address: SocketAddr, process: Option<i32>) -> Server {
        Server { address, process: process.map(Pid::from_raw), core: None, child: None, _folder: None }
    }

    /// A process started for the occasion on `core`, its configuration in `folder`.
    pub fn child(address: SocketAddr, core: usize, child: Child, folder: Option<TempDir>) -> Server {
        let process = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Server { address, process, core: Some(core), child: Some(child), _folder: folder }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    /// What it has had of its core so far.
    pub fn core(&self) -> Core {
        Core { busy: self.busy(), idle: self.core.and_then(idle) }
    }

    /// CPU time of all its threads, to the nanosecond: /proc counts in hundredths of a second, too coarse here.
    fn busy(&self) -> Option<Duration> {
        let clock = ClockId::pid_cpu_clock_id(self.process?).ok()?;
        clock_gettime(clock).ok().map(Duration::from)
    }

    /// Sends it a signal, if it is a process known here.
    pub fn signal(&self, signal: Signal) -> Result<(), Box<dyn Error>> {
        Ok(kill(self.process.ok_or("its process is not known")?, signal)?)
    }

    /// Whether all of it stands still.
    pub fn is_stopped(&self) -> Result<bool, Box<dyn Error>> {
        let process = self.process.ok_or("its process is not known")?;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            if !status.lines().any(|line| line.starts_with("State:\tT")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Its resident memory in octets.
    pub fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; then there is nothing to end. One that is asked to end may write what it has
            // counted, as a build for profiling does.
            let asked = self.process.is_some_and(|process| kill(process, Signal::SIGTERM).is_ok());
            let begin = Instant::now();
            while asked && begin.elapsed() < END && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a child of this program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    Echo,
    Resolver,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Echo => "echo",
            Role::Resolver => "resolver",
        }
    }

    /// Serves on `address` until its parent ends.
    pub fn serve(self, address: SocketAddr) -> Result<(), Box<dyn Error>> {
        set_pdeathsig(Signal::SIGKILL)?;
        let (socket, listener) = echo::door(address)?;
        println!("{}", socket.local_addr()?);
        std::io::stdout().flush()?;
        if self == Role::Echo {
            let listener = listener.ok_or("no listener for TCP")?;
            std::thread::spawn(move || tcp_echo::serve(&listener));
        }
        loop {
            let error = match self {
                Role::Echo => echo::serve(&socket, echo::echo),
                Role::Resolver => echo::serve(&socket, upstream::answer),
            };
            match error {
                Errno::EAGAIN => {}
                error => return Err(error.into()),
            }
        }
    }
}

/// How long a core has had nothing to do, in ticks of the kernel's: good for a sum over rounds.
fn idle(core: usize) -> Option<Duration> {
    let ticks = u32::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
    // Behind the times of users, nice ones and the system.
    let idle: u32 = line.split(' ').nth(3)?.parse().ok()?;
    Some(Duration::from_secs(1) * idle / ticks)
}

/// A port of 127.0.0.1 that is free for UDP and TCP at this moment.
pub fn free_port() -> Result<SocketAddr, Box<dyn Error>> {
    for _ in 0..100 {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no port of 127.0.0.1 is free for both UDP and TCP".into())
}

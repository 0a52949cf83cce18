//! The programs that are tried: phzd, and what else a user would install, as far as it is found here.
//!
//! Each has one thread for its clients, a cache, and answers past their TTL where it knows them; its own file says the
//! rest. Each runs on a core of its own, beside all that asks and answers it.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::client::ask_once;
use crate::cores::{Cores, stay_on};
use crate::lab::{Host, Lab, Outcome};

/// How long one may take from its start to its first answer.
const START: Duration = Duration::from_secs(15);

/// A program by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    Phzd,
    Unbound,
    Dnsdist,
    Dnsmasq,
    Named,
}

/// What a row wants of the program.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where it forwards to.
    pub resolvers: Vec<Ipv4Addr>,
    /// Seconds for which answers serve at the least.
    pub min_ttl: u32,
    /// Whether phzd sends no more packets a second than it does by default. Others know no such limit.
    pub budget: bool,
}

impl Wish {
    /// Forward to these.
    pub fn to(resolvers: &[Ipv4Addr]) -> Wish {
        Wish { resolvers: resolvers.to_vec(), min_ttl: 0, budget: true }
    }
}

/// A program that runs, ended when this is dropped.
pub struct Running {
    child: Child,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Program::Phzd => "phzd",
            Program::Unbound => "unbound",
            Program::Dnsdist => "dnsdist",
            Program::Dnsmasq => "dnsmasq",
            Program::Named => "named",
        }
    }

    /// Where it is installed, if it is.
    pub fn file(self) -> Option<PathBuf> {
        if self == Program::Phzd {
            return Some(env!("CARGO_BIN_EXE_phzd").into());
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).map(|folder| folder.join(self.name())).find(|file| file.is_file())
    }

    /// Whether it can be told to keep answers longer than their TTL says.
    pub fn has_min_ttl(self) -> bool {
        self != Program::Dnsdist
    }

    /// Starts it in `lab`, and waits until it answers.
    pub fn start(self, lab: &Lab, wish: &Wish) -> Outcome<Running> {
        let configuration = lab.folder().join(self.name()).with_extension("conf");
        let text = self.configuration(wish).replace("{FOLDER}", &lab.folder().to_string_lossy());
        fs::write(&configuration, text)?;
        let log_file = lab.folder().join("log");
        let log = File::create(&log_file)?;
        let mut command = Command::new(self.file().ok_or("it is not installed")?);
        match self {
            Program::Phzd => command.args(["run", "--state-dir"]).arg(lab.folder()).arg("--config"),
            Program::Unbound => command.args(["-d", "-c"]),
            Program::Dnsdist => command.args(["--supervised", "--disable-syslog", "-C"]),
            Program::Dnsmasq => command.arg("--keep-in-foreground").arg("-C"),
            Program::Named => command.args(["-g", "-n", "1", "-c"]),
        };
        command.arg(&configuration).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let core = Cores::of_this_run()?.program;
        let child = lab.inside(Host::Forwarder, || {
            stay_on(core)?;
            command.spawn()
        })??;
        let mut running = Running { child };
        let begin = Instant::now();
        let mut number = 0;
        while !ask_once(lab, &format!("start-{number}.service.example.com"), Duration::from_millis(500))? {
            number += 1;
            let ended = running.child.try_wait()?;
            if ended.is_some() || begin.elapsed() > START {
                let log = fs::read_to_string(&log_file)?;
                let why = ended.map_or("no answer".to_owned(), |status| status.to_string());
                return Err(format!("{} did not start ({why}): {}", self.name(), last_lines(&log)).into());
            }
        }
        Ok(running)
    }

    fn configuration(self, wish: &Wish) -> String {
        let resolvers = |before: &str, after: &str| {
            wish.resolvers.iter().map(|address| format!("{before}{address}{after}")).collect::<String>()
        };
        let (text, resolvers) = match self {
            Program::Phzd => (include_str!("phzd.toml"), resolvers("\"", "\", ")),
            Program::Unbound => (include_str!("peers/unbound.conf"), resolvers("    forward-addr: ", "\n")),
            Program::Dnsdist => {
                (include_str!("peers/dnsdist.lua"), resolvers("newServer({mustResolve = true, address = \"", "\"})\n"))
            }
            Program::Dnsmasq => (include_str!("peers/dnsmasq.conf"), resolvers("server=", "\n")),
            Program::Named => (include_str!("peers/named.conf"), resolvers("", "; ")),
        };
        let mut text = text.replace("{RESOLVERS}", &resolvers).replace("{MIN-TTL}", &wish.min_ttl.to_string());
        if self == Program::Phzd && wish.min_ttl > 0 {
            text += &format!("\n[cache]\nmin-ttl = {}\n", wish.min_ttl);
        }
        if self == Program::Phzd && !wish.budget {
            text += "\n[upstream]\npackets-per-second = 0\n";
        }
        text
    }
}

impl Running {
    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Option<Duration> {
        let process = Pid::from_raw(i32::try_from(self.child.id()).ok()?);
        clock_gettime(ClockId::pid_cpu_clock_id(process).ok()?).ok().map(Duration::from)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

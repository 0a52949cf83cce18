//! The programs that are compared: phzd, and what else a user would install, as far as it is found here.
//!
//! Each has one thread for its clients, the same thousand private names for clients in 127.0.1.0/24, the public answer
//! for the rest of 127.0.0.0/8, REFUSED for all others, a cache, and one resolver to forward to; as far as it can do
//! that. `benches/peers` has a file for each.

use std::error::Error;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::latency::Single;
use crate::questions::{Client, ENDPOINT, Expected, NAMES, Questions, Work, bucket, private_name};
use crate::rows::Row;
use crate::server::{Server, free_port, stay_on};

/// How long one may take from its start to its first right answer.
const START: Duration = Duration::from_secs(20);

/// The zone that serves for every private name, where each is a zone of its own.
const ZONE: (&str, &str) = ("private.zone", include_str!("../peers/private.zone"));

/// A program by the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    Phzd,
    Unbound,
    Dnsdist,
    Knotd,
    Dnsmasq,
    Named,
    #[value(name = "pdns_recursor")]
    Recursor,
    Kresd,
    HickoryDns,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Program::Phzd => "phzd",
            Program::Unbound => "unbound",
            Program::Dnsdist => "dnsdist",
            Program::Knotd => "knotd",
            Program::Dnsmasq => "dnsmasq",
            Program::Named => "named",
            Program::Recursor => "pdns_recursor",
            Program::Kresd => "kresd",
            Program::HickoryDns => "hickory-dns",
        }
    }

    /// Where it is installed, if it is. Debian keeps servers where not every shell looks.
    pub fn file(self) -> Option<PathBuf> {
        if self == Program::Phzd {
            return Some(env!("CARGO_BIN_EXE_phzd").into());
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&paths).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        folders.map(|folder| folder.join(self.name())).find(|file| file.is_file())
    }

    /// What it calls its version.
    pub fn version(self) -> Option<String> {
        if self == Program::Phzd {
            let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
            let commit = git.ok().filter(|git| git.status.success()).map(|git| git.stdout).unwrap_or_default();
            let commit = String::from_utf8_lossy(&commit).trim().to_owned();
            return Some(format!("{} {commit}", env!("CARGO_PKG_VERSION")).trim_end().to_owned());
        }
        let flag = if self == Program::Unbound {
            "-V"
        } else if self == Program::Named {
            "-v"
        } else {
            "--version"
        };
        let said = Command::new(self.file()?).arg(flag).stdin(Stdio::null()).output().ok()?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
        said.split_whitespace().find(is_version).map(str::to_owned)
    }

    /// Why it has no place in `row`, if it has none.
    pub fn lacks(self, row: Row) -> Option<&'static str> {
        match (self, row) {
            (Program::Knotd, Row::Public | Row::Refused | Row::Hit | Row::Miss) => Some("it is authoritative only"),
            (Program::Dnsmasq | Program::HickoryDns, Row::Public) => Some("its answers are the same for all clients"),
            (Program::Dnsmasq, Row::Refused) => Some("it serves whoever asks"),
            (Program::Recursor, Row::Refused) => Some("it drops what it does not serve"),
            (Program::Dnsmasq, Row::Tcp | Row::TcpVisit) => {
                Some("it forks for each connection, and its children's CPU time is not seen")
            }
            _ => None,
        }
    }

    /// What is to be known of its place in `row`.
    pub fn remark(self, row: Row) -> Option<&'static str> {
        let is_blind = matches!(self, Program::Knotd | Program::Dnsmasq | Program::HickoryDns);
        (is_blind && row.is_private()).then_some("gives its private answers to all clients")
    }

    /// Starts it on `cores`, phzd with a thread for each, forwarding to `resolver`. Returns once it gives the right
    /// private answer.
    pub fn start(self, cores: &[usize], resolver: SocketAddr) -> Result<Server, Box<dyn Error>> {
        self.start_with(NAMES, "", cores, resolver)
    }

    /// The same with so many private names, and a `setting` more at the end of its configuration.
    pub fn start_with(
        self,
        names: usize,
        setting: &str,
        cores: &[usize],
        resolver: SocketAddr,
    ) -> Result<Server, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let address = free_port()?;
        let places = [
            ("{ADDRESS}", address.ip().to_string()),
            ("{PORT}", address.port().to_string()),
            ("{RESOLVER}", resolver.ip().to_string()),
            ("{RESOLVER-PORT}", resolver.port().to_string()),
            ("{ENDPOINT}", ENDPOINT.to_string()),
            ("{THREADS}", cores.len().to_string()),
            ("{SETTING}", setting.to_owned()),
            ("{FOLDER}", folder.path().to_string_lossy().into_owned()),
        ];
        for (name, template) in self.files() {
            fs::write(folder.path().join(name), filled(template, names, &places))?;
        }
        let log_file = folder.path().join("log");
        let log = File::create(&log_file)?;
        let mut command = self.command(folder.path())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        stay_on(cores)?;
        let child = command.spawn()?;
        let mut server = Server::child(address, cores[0], child, Some(folder));
        let begin = Instant::now();
        let work = || Work { client: Client::Private, questions: Questions::any(1), expected: Expected::PRIVATE };
        while Single::new(address, work())?.ask().is_none() {
            let ended = server.ended()?;
            if ended.is_some() || begin.elapsed() > START {
                let why = ended.map_or("no right answer".to_owned(), |status| status.to_string());
                let log = fs::read_to_string(&log_file)?;
                return Err(format!("{why}: {}", last_lines(&log)).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Its files, the configuration first.
    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Program::Phzd => vec![("phzd.toml", include_str!("phzd.toml")), ("buckets.txt", "{BUCKET}")],
            Program::Unbound => vec![("unbound.conf", include_str!("../peers/unbound.conf"))],
            Program::Dnsdist => vec![("dnsdist.lua", include_str!("../peers/dnsdist.lua"))],
            Program::Knotd => vec![("knotd.conf", include_str!("../peers/knotd.conf")), ZONE],
            Program::Dnsmasq => vec![("dnsmasq.conf", include_str!("../peers/dnsmasq.conf"))],
            Program::Named => vec![("named.conf", include_str!("../peers/named.conf")), ZONE],
            Program::Recursor => vec![
                ("recursor.conf", include_str!("../peers/recursor.conf")),
                ("recursor.lua", include_str!("../peers/recursor.lua")),
            ],
            Program::Kresd => vec![("kresd.lua", include_str!("../peers/kresd.lua"))],
            Program::HickoryDns => vec![("hickory-dns.toml", include_str!("../peers/hickory-dns.toml")), ZONE],
        }
    }

    /// How it is started in the foreground with the files in `folder`.
    fn command(self, folder: &Path) -> Result<Command, Box<dyn Error>> {
        let mut command = Command::new(self.file().ok_or("it is not installed")?);
        let configuration = self.files().first().map(|(name, _)| folder.join(name)).unwrap_or_default();
        match self {
            Program::Phzd => command.args(["run", "--config"]).arg(configuration),
            Program::Unbound => command.args(["-d", "-c"]).arg(configuration),
            Program::Dnsdist => command.args(["--supervised", "--disable-syslog", "-C"]).arg(configuration),
            Program::Knotd => command.arg("-c").arg(configuration),
            Program::Dnsmasq => command.args(["--keep-in-foreground", "-C"]).arg(configuration),
            Program::Named => command.args(["-g", "-n", "1", "-c"]).arg(configuration),
            Program::Recursor => command.arg(format!("--config-dir={}", folder.display())),
            Program::Kresd => command.args(["--noninteractive", "-c"]).arg(configuration).arg(folder),
            Program::HickoryDns => command.args(["--quiet", "--workers", "1", "-c"]).arg(configuration),
        };
        Ok(command)
    }
}

/// The template with its places filled. A line for one private name stands there for each of them.
fn filled(template: &str, names: usize, places: &[(&str, String)]) -> String {
    let mut text = String::new();
    for line in template.lines() {
        let times = if line.contains("{NAME}") || line.contains("{BUCKET}") { names } else { 1 };
        for index in 0..times {
            text += &line.replace("{NAME}", &private_name(index)).replace("{BUCKET}", &bucket(index));
            text += "\n";
        }
    }
    places.iter().fold(text, |text, (place, value)| text.replace(place, value))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

//! The real program as a process: its configurations, what it counts, what it takes of the machine.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::asked::{Asked, What};
use crate::cores::stay_on;
use crate::lab::{ENDPOINT, FLAPPING, Lab, RESOLVER, SECOND, SERVED_AT, Who};
use crate::names::{MANY, Name};
use crate::namespace::Outcome;

/// How long it may take until it serves, and to reload.
const START: Duration = Duration::from_secs(15);

/// Where it says how it is, on its own host.
const HTTP: &str = "127.0.0.1:9253";

/// What of its configuration changes.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The buckets of every second configuration.
    pub sometimes: bool,
    /// The second listen address.
    pub second: bool,
    pub udp_threads: u8,
    /// Of the cache.
    pub megabytes: u32,
    /// Lines of `[server]`.
    pub server: String,
    /// Lines at the end.
    pub more: String,
}

impl Default for Wish {
    fn default() -> Self {
        Wish {
            sometimes: true,
            second: false,
            udp_threads: 1,
            megabytes: 4,
            server: String::new(),
            more: String::new(),
        }
    }
}

impl Wish {
    /// The configuration.
    pub fn text(&self) -> String {
        let names = |kind: fn(u32) -> Name| {
            let bucket = |number| {
                let text = kind(number).text();
                format!("\"{}\", ", text.split('.').next().unwrap_or_default())
            };
            (0..MANY).map(bucket).collect::<String>()
        };
        let bucket = |kind: fn(u32) -> Name, endpoint: &str, others: &str| {
            format!(
                "[[bucket]]\nnames = [{}]\nendpoint = \"{endpoint}\"\nallow = [\"allowed\"]\nothers = \"{others}\"\n\n",
                names(kind)
            )
        };
        let listen = if self.second { format!("\"{SERVED_AT}\", \"{SECOND}\"") } else { format!("\"{SERVED_AT}\"") };
        let [one, two] = ENDPOINT;
        let mut text = format!(
            "[server]\nlisten = [{listen}]\nhttp = \"{HTTP}\"\ncontrol = \"./control.sock\"\nudp-threads = {}\n{}\n\
             [vpc]\nregion = \"ap-northeast-1\"\ncidrs = [\"172.31.0.0/16\"]\nself = \"172.31.0.10\"\n\
             resolvers = [\"{RESOLVER}\"]\n\n\
             [cache]\nsize-mb = {}\n\n\
             [[subnet]]\nname = \"allowed\"\ncidr = \"172.31.1.0/24\"\n\n\
             [[subnet]]\nname = \"public\"\ncidr = \"172.31.0.0/24\"\n\n\
             [[endpoint]]\nname = \"s3\"\naddresses = [\"{one}\", \"{two}\"]\n\n\
             [[endpoint]]\nname = \"flapping\"\naddresses = [\"{FLAPPING}\"]\nhealth-check = \"tcp:{}\"\n\
             interval-seconds = 1\nfailures = 2\nsuccesses = 1\nwhen-down = \"forward\"\n\n",
            self.udp_threads,
            self.server,
            self.megabytes,
            crate::lab::CHECKED,
        );
        text += &bucket(Name::Always, "s3", "forward");
        text += &bucket(Name::Hidden, "s3", "nxdomain");
        text += &bucket(Name::Mute, "s3", "drop");
        text += &bucket(Name::Flapping, "flapping", "forward");
        if self.sometimes {
            text += &bucket(Name::Sometimes, "s3", "forward");
        }
        text + &self.more
    }
}

/// A phzd that runs, ended when this is dropped.
pub struct Phzd<'a> {
    lab: &'a Lab,
    child: Child,
    log: PathBuf,
}

impl<'a> Phzd<'a> {
    /// Starts it on `core`, or on any, and waits until it answers.
    pub fn start(lab: &'a Lab, wish: &Wish, core: Option<usize>) -> Outcome<Phzd<'a>> {
        let folder = lab.folder.path();
        fs::write(folder.join("phzd.toml"), wish.text())?;
        let log = folder.join("log");
        let file = File::create(&log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_phzd"));
        command.arg("run").arg("--state-dir").arg(folder).arg("--config").arg(folder.join("phzd.toml"));
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = lab.phzd.inside(|| {
            core.map_or(Ok(()), stay_on)?;
            command.spawn()
        })??;
        let mut phzd = Phzd { lab, child, log };
        let begin = Instant::now();
        while !answers(lab, SERVED_AT)? {
            let ended = phzd.child.try_wait()?;
            if ended.is_some() || begin.elapsed() > START {
                return Err(format!("phzd did not start: {}", phzd.last_lines(5)).into());
            }
        }
        Ok(phzd)
    }

    /// Writes another configuration.
    pub fn write(&self, text: &str) -> Outcome<()> {
        Ok(fs::write(self.folder().join("phzd.toml"), text)?)
    }

    /// `phzd ctl reload`. Whether the new configuration serves.
    pub fn reload(&self) -> Outcome<bool> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phzd"));
        command.args(["ctl", "reload", "--socket"]).arg(self.folder().join("control.sock"));
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
    }

    /// For how many seconds `phzd ctl cache` says that the addresses of `name` are cached.
    pub fn age_in_cache(&self, name: Name) -> Outcome<Option<u64>> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phzd"));
        command.args(["ctl", "cache", &name.text(), "--json", "--socket"]).arg(self.folder().join("control.sock"));
        let answers: serde_json::Value = serde_json::from_slice(&command.output()?.stdout)?;
        Ok(answers.as_array().and_then(|answers| answers.iter().find_map(|answer| answer["age"].as_u64())))
    }

    /// SIGHUP, and waits until the configuration has been read. Whether the new one serves.
    pub fn hang_up(&self) -> Outcome<bool> {
        let reloads = |metrics: &Metrics| {
            ["success", "failure"].map(|result| metrics.sum("phzd_config_reloads_total", &format!("\"{result}\"")))
        };
        let [good, bad] = reloads(&self.metrics()?);
        kill(self.process(), Signal::SIGHUP)?;
        let begin = Instant::now();
        loop {
            let now = reloads(&self.metrics()?);
            match now {
                _ if now[0] > good => return Ok(true),
                _ if now[1] > bad => return Ok(false),
                _ if begin.elapsed() > START => return Err("SIGHUP had no effect".into()),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// What it counts.
    pub fn metrics(&self) -> Outcome<Metrics> {
        let page = self.lab.phzd.inside(|| {
            let mut stream = TcpStream::connect(HTTP)?;
            stream.set_read_timeout(Some(START))?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: phzd\r\nConnection: close\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page).map(|_| page)
        })??;
        Ok(Metrics(page))
    }

    /// Resident memory in megabytes.
    pub fn resident(&self) -> Outcome<f64> {
        let status = fs::read_to_string(self.proc().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().next().ok_or("no VmRSS")?.parse::<f64>()? / 1024.0)
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> Outcome<f64> {
        Ok(fs::read_dir(self.proc().join("fd"))?.count() as f64)
    }

    pub fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The end of what it said.
    pub fn last_lines(&self, count: usize) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(count)..].join(" | ")
    }

    fn folder(&self) -> &Path {
        self.lab.folder.path()
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }
}

impl Drop for Phzd<'_> {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether phzd answers at `target`.
pub fn answers(lab: &Lab, target: SocketAddr) -> Outcome<bool> {
    let what = What::Question(Name::Always(1), RecordType::A, None);
    let asked = Asked::new(Who::Allowed, what, 1, false, Instant::now());
    let answered = lab.clients.inside(|| {
        let socket = UdpSocket::bind((Who::Allowed.addresses()[0], 0))?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.send(&asked.packet)?;
        socket.recv(&mut [0; 512])
    })?;
    if answered.is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(answered.is_ok())
}

/// A page of metrics.
pub struct Metrics(String);

impl Metrics {
    /// The sum of the samples of this name whose labels have these words.
    pub fn sum(&self, name: &str, words: &str) -> f64 {
        let samples = self.0.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let wanted =
            samples.filter(|(labels, _)| (labels.is_empty() || labels.starts_with('{')) && labels.contains(words));
        wanted.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }
}

//! What the doctor looks at of the host, in one value, and how it asks other programs of it.

use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// How long another program may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where programs of the system are that a user's PATH may lack.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The host, as far as checks depend on it.
#[derive(Debug)]
pub struct Host {
    /// Where the C library reads which name servers there are.
    pub name_servers: PathBuf,
    /// Where systemd-resolved writes which ones it knows itself.
    pub resolved: PathBuf,
    /// Each network interface with each of its addresses.
    pub interfaces: Vec<(String, IpAddr)>,
    /// The environment of this process.
    pub environment: Vec<(String, String)>,
}

impl Host {
    /// The host this program runs on. What the system does not tell is not there.
    pub fn here() -> Self {
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))?;
            Some((interface.interface_name, ip))
        });
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            name_servers: super::name_servers::PATH.into(),
            resolved: super::name_servers::RESOLVED.into(),
            interfaces: interfaces.collect(),
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        }
    }

    /// The interface that has `address`.
    pub fn interface(&self, address: IpAddr) -> Option<&str> {
        self.interfaces.iter().find(|(_, ip)| *ip == address).map(|(name, _)| &**name)
    }
}

/// What `program` prints on standard output.
///
/// # Errors
/// In words: it is not there, fails, or takes too long.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let start = |program: &Path| {
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    };
    let absent = |child: &io::Result<_>| child.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let mut child = start(Path::new(program));
    for folder in SYSTEM {
        if absent(&child) {
            child = start(&Path::new(folder).join(program));
        }
    }
    let mut child = child.map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{program} is not installed"),
        _ => format!("{program}: {error}"),
    })?;
    let (sender, read) = channel();
    if let Some(mut out) = child.stdout.take() {
        thread::spawn(move || {
            let mut octets = Vec::new();
            let result = out.read_to_end(&mut octets).map(|_| String::from_utf8_lossy(&octets).into_owned());
            // Nobody waits any more for who was too slow.
            let _ = sender.send(result);
        });
    }
    let text = read.recv_timeout(PATIENCE);
    if text.is_err() {
        // It may have ended by now.
        let _ = child.kill();
    }
    let status = child.wait();
    match (text, status) {
        (Err(_), _) => Err(format!("{program} says nothing")),
        (Ok(Ok(text)), Ok(status)) if status.success() => Ok(text),
        (Ok(Err(error)), _) | (Ok(Ok(_)), Err(error)) => Err(format!("{program}: {error}")),
        (Ok(Ok(_)), Ok(_)) => Err(format!("{program} {} fails", arguments.join(" "))),
    }
}

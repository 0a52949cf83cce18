//! The command as a person meets it: what it prints, where, and how it ends.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::Uid;
use tempfile::TempDir;

use crate::daemon::{bucket, config, configured, free_address};

/// A resolver that nothing is sent to.
const RESOLVER: &str = "127.0.0.1:5399";
/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// The program.
pub fn phzd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phzd"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The program, run by a user who may do nothing special.
pub struct Unprivileged {
    program: PathBuf,
    _folder: Option<TempDir>,
}

/// The program as [`Unprivileged`] runs it: by this user, or by nobody if this is root.
pub fn unprivileged() -> Unprivileged {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_phzd"));
    if !Uid::effective().is_root() {
        return Unprivileged { program, _folder: None };
    }
    // Nobody may be kept out of the folder of the build.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("phzd");
    // Not by this process: a file that any of its children has open for writing cannot be executed.
    assert!(Command::new("cp").arg(program).arg(&copy).status().unwrap().success());
    Unprivileged { program: copy, _folder: Some(folder) }
}

impl Unprivileged {
    /// A command of that user.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        if self._folder.is_some() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

/// What a command that ended left behind.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: Option<i32>,
    out: String,
    error: String,
}

fn run(command: &mut Command) -> Told {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

fn resolver() -> SocketAddr {
    RESOLVER.parse().unwrap()
}

/// A configuration that listens on `address`.
fn listening(address: &str) -> TempDir {
    configured(&config(resolver(), &bucket("xxxxx-bucket")).replace("127.0.0.1:0", address))
}

/// What `phzd run` says that cannot serve.
fn run_in(folder: &TempDir) -> Told {
    run(phzd().arg("run").arg("--config").arg(folder.path().join("phzd.toml")))
}

#[test]
fn the_version_is_one_line() {
    let told = run(phzd().arg("--version"));
    let line = format!("phzd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(told, Told { code: Some(0), out: line, error: String::new() });
}

#[test]
fn help_names_every_command() {
    let told = run(phzd().arg("--help"));
    assert_eq!((told.code, &*told.error), (Some(0), ""));
    // A file for each, as the folder has it.
    for entry in fs::read_dir("src/cli").unwrap() {
        let path = entry.unwrap().path();
        let command = path.file_stem().unwrap().to_str().unwrap().replace('_', "-");
        if command == "mod" {
            continue;
        }
        assert!(told.out.lines().any(|line| line.trim_start().starts_with(&command)), "{command} in {}", told.out);
        let own = run(phzd().arg(&command).arg("--help"));
        assert_eq!(own.code, Some(0), "{own:?}");
        assert!(own.out.contains(&format!("Usage: phzd {command}")), "{}", own.out);
    }
    assert!(told.out.lines().all(|line| line.len() <= 100), "{}", told.out);
}

#[test]
fn without_a_command_it_helps_and_fails() {
    let told = run(&mut phzd());
    assert_eq!((told.code, &*told.out), (Some(2), ""));
    assert!(told.error.contains("Usage: phzd <COMMAND>"), "{}", told.error);
    let unknown = run(phzd().arg("serve"));
    assert_eq!((unknown.code, &*unknown.out), (Some(2), ""));
    assert!(unknown.error.contains("'serve'"), "{}", unknown.error);
}

#[test]
fn check_says_what_it_read() {
    let folder = listening("127.0.0.1:5300");
    let path = folder.path().join("phzd.toml");
    let told = run(phzd().arg("check").arg(&path));
    let line = format!("{}: good: 1 bucket, 0 other zones, 1 endpoint, 1 subnet, 0 rules\n", path.display());
    assert_eq!(told, Told { code: Some(0), out: line, error: String::new() });
    // A warning is no mistake.
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("xxxxx-bucket", "xxxxx.bucket")).unwrap();
    let told = run(phzd().arg("check").arg(&path));
    assert_eq!(told.code, Some(0));
    assert!(told.out.ends_with("; 1 warning\n") && told.error.contains(":18:10: warning: "), "{told:?}");
}

/// A configuration with five mistakes, and what must be said of each.
fn five_mistakes() -> (String, [&'static str; 5]) {
    let text = config(resolver(), &(bucket("xxxxx_bucket") + "others = \"nxdomian\"\n"))
        .replace("udp-threads = 1", "udp-thread = 1")
        .replace("172.31.0.0/16", "172.31.0.0/33")
        .replace("allow = [\"private-a\"]", "allow = [\"private-b\"]");
    let places = [
        "phzd.toml:3:1: error: [server] has no key \"udp-thread\"",
        "phzd.toml:8:10: error: \"172.31.0.0/33\" is not a CIDR block",
        "phzd.toml:18:10: error: \"xxxxx_bucket\" has an underscore",
        "phzd.toml:20:10: error: no subnet is named \"private-b\"",
        "phzd.toml:21:10: error: others cannot be \"nxdomian\"",
    ];
    (text, places)
}

#[test]
fn check_names_all_mistakes_at_once() {
    let (text, places) = five_mistakes();
    let folder = configured(&text);
    let told = run(phzd().arg("check").arg(folder.path().join("phzd.toml")));
    assert_eq!((told.code, &*told.out), (Some(1), ""));
    for place in places {
        assert!(told.error.contains(&folder.path().join(place).display().to_string()), "{place} in {}", told.error);
    }
    assert_eq!(told.error.matches(": error: ").count(), places.len(), "{}", told.error);
}

#[test]
fn an_output_that_nobody_reads_is_no_reason_to_panic() {
    let (good, bad) = (listening("127.0.0.1:5300"), configured(&five_mistakes().0));
    let check = |folder: &TempDir| {
        let mut command = phzd();
        command.arg("check").arg(folder.path().join("phzd.toml"));
        command
    };
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let told = run(check(&good).stdout(full()));
    assert_eq!((told.code, &*told.error), (Some(0), ""));
    assert_eq!(run(check(&bad).stderr(full())).code, Some(1));
}

#[test]
fn run_says_the_same_mistakes_and_opens_no_socket() {
    // With the address taken, opening a socket would be a mistake more.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (text, _) = five_mistakes();
    let folder = configured(&text.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string()));
    let checked = run(phzd().arg("check").arg(folder.path().join("phzd.toml")));
    assert_eq!(run_in(&folder), checked);
    assert_eq!(checked.code, Some(1));
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phzd.toml");
    let both = |words: &str| {
        let check = run(phzd().arg("check").arg(&path));
        assert_eq!((check.code, &*check.out), (Some(1), ""), "{check:?}");
        let first = format!("{}: error: cannot be read: {words}", path.display());
        assert_eq!(check.error.lines().next(), Some(&*first));
        assert_eq!(check.error.lines().count(), 2, "{}", check.error);
        assert_eq!(run_in(&folder), check);
    };
    both("there is no such file");
    fs::create_dir(&path).unwrap();
    both("it is a folder");
}

#[test]
fn a_file_of_another_user_is_said_to_be_so() {
    let folder = listening("127.0.0.1:0");
    let path = folder.path().join("phzd.toml");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let told = run(unprivileged().command().arg("check").arg(&path));
    assert_eq!((told.code, &*told.out), (Some(1), ""));
    let first = format!("{}: error: cannot be read: this user may not read it", path.display());
    assert_eq!(told.error.lines().next(), Some(&*first));
}

#[test]
fn an_address_in_use_is_one_line_that_names_who_has_it() {
    let me = format!("(pid {}) has it", std::process::id());
    let assert_told = |address: SocketAddr, protocol: &str| {
        let told = run_in(&listening(&address.to_string()));
        assert_eq!((told.code, &*told.out), (Some(1), ""), "{told:?}");
        let line = told.error.lines().last().unwrap();
        assert!(line.starts_with(&format!("phzd: cannot listen on {address} ({protocol}): ")), "{line}");
        assert!(line.contains(&me) && line.contains("server.listen"), "{line} has no {me}");
        assert_eq!(told.error.matches("cannot listen").count(), 1, "{}", told.error);
    };
    let address = free_address();
    let udp = UdpSocket::bind(address).unwrap();
    assert_told(address, "UDP");
    drop(udp);
    let _tcp = TcpListener::bind(address).unwrap();
    assert_told(address, "TCP");
}

#[test]
fn a_privileged_port_is_one_line_that_says_what_to_do() {
    let lowest = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if lowest.trim().parse::<u16>().unwrap() <= 53 {
        eprintln!("skipped: every user of this machine may have port 53");
        return;
    }
    let folder = listening("127.0.0.77:53");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let told = run(unprivileged().command().arg("run").arg("--config").arg(folder.path().join("phzd.toml")));
    assert_eq!((told.code, &*told.out), (Some(1), ""), "{told:?}");
    let line = told.error.lines().last().unwrap();
    assert!(line.starts_with("phzd: cannot listen on 127.0.0.77:53 ("), "{line}");
    assert!(line.contains("not permitted; start as root or with CAP_NET_BIND_SERVICE"), "{line}");
}

#[test]
fn the_doctor_says_mistakes_as_check_does_and_prints_nothing_else() {
    let missing = "/nonexistent/phzd.toml";
    let checked = run(phzd().args(["check", missing]));
    for arguments in [&["doctor", "--config", missing][..], &["doctor", "--json", "--config", missing]] {
        assert_eq!(run(phzd().args(arguments)), checked);
    }
    assert_eq!((checked.code, &*checked.out), (Some(1), ""));
    assert_eq!(run(phzd().args(["doctor", "phzd.toml"])).code, Some(2), "the file is an option, as for run");
}

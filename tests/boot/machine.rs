//! A machine with a real systemd: a fresh Debian in a container, with phzd's package in it and a VPC around it.
//!
//! Each [`Machine`] is an overlay over the root that `make boot` keeps, so that it begins as fresh as the one before. It
//! has a network of its own without a way out: behind its interface ens5 is one more network namespace, with DHCP and an
//! Unbound that plays the `.2` (`guest/`). All of it carries the name `phzd-boot-<process id>-<number>` and goes with the
//! value, also by a panic; what a killed run left behind is removed by the next one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::questions;

/// What all is named with.
const PREFIX: &str = "phzd-boot-";

/// Where this machine's control groups are: those of version 2, or both where the two are in use.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/// How long anything here may take that is said to happen.
pub const SOON: Duration = Duration::from_secs(30);

/// The bucket of the case, and what its hosts must get.
pub const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
pub const PRIVATE: &str = "172.31.1.152";
/// What the `.2` says of any bucket.
pub const PUBLIC: &str = "203.0.113.10";

/// What a command printed (both streams) and its exit code (-1: killed by a signal).
pub struct Said {
    pub text: String,
    pub code: i32,
}

/// A machine, off or on.
pub struct Machine {
    name: String,
    folder: PathBuf,
    /// systemd-nspawn, and the machine's first process.
    on: Option<(Child, u32)>,
}

impl Machine {
    /// A machine as it leaves the factory: without phzd, and off.
    pub fn new() -> Machine {
        static LEFTOVERS: Once = Once::new();
        LEFTOVERS.call_once(remove_leftovers);
        assert!(
            nix::unistd::geteuid().is_root(),
            "a machine is made of namespaces, which takes root: run `make boot` as root"
        );
        let base = target().join("tools/machine");
        assert!(base.exists(), "{} is not there: `make boot` makes it, with debootstrap", base.display());

        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let machine = Machine { name, folder, on: None };
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            base.display(),
            machine.folder.join("upper").display(),
            machine.folder.join("work").display()
        );
        quiet(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(machine.root()));
        machine.furnish();
        machine
    }

    /// A machine that has phzd's package, the configuration of the case, and the service enabled; off.
    pub fn with_phzd() -> Machine {
        let machine = Machine::new();
        machine.install();
        machine.configure("");
        machine.prepare("systemctl enable --quiet phzd.service");
        machine
    }

    /// The same, on, and phzd answers.
    pub fn serving() -> Machine {
        let mut machine = Machine::with_phzd();
        machine.boot();
        machine.wait_until_private("127.0.0.1");
        machine
    }

    /// What the machine has beside Debian: a VPC, and nobody who logs in.
    fn furnish(&self) {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/guest");
        for (file, to) in [
            ("vpc.service", "etc/systemd/system"),
            ("vpc-resolver.service", "etc/systemd/system"),
            ("vpc-dhcp.service", "etc/systemd/system"),
            ("unbound.conf", "etc/vpc"),
        ] {
            self.write(&format!("{to}/{file}"), &fs::read_to_string(guest.join(file)).unwrap());
        }
        // As Amazon Linux 2023 has it: a file for all interfaces, and a link for this one, whose name drop-ins go by.
        self.write("usr/lib/systemd/network/80-ec2.network", &fs::read_to_string(guest.join("ec2.network")).unwrap());
        fs::create_dir_all(self.root().join("etc/systemd/network")).unwrap();
        std::os::unix::fs::symlink(
            "/usr/lib/systemd/network/80-ec2.network",
            self.root().join("etc/systemd/network/70-ens5.network"),
        )
        .unwrap();
        self.prepare(
            "systemctl --quiet mask unbound.service unbound-resolvconf.service console-getty.service && \
             systemctl --quiet enable vpc-resolver.service vpc-dhcp.service systemd-networkd.service",
        );
    }

    /// Installs the package while the machine is off.
    pub fn install(&self) {
        fs::copy(deb(), self.root().join("root/phzd.deb")).unwrap();
        self.prepare("dpkg --install /root/phzd.deb");
    }

    /// Writes the configuration of the case, with `more` behind it.
    pub fn configure(&self, more: &str) {
        self.write("etc/phzd/phzd.toml", &(configuration() + more));
        let buckets: String = (0..questions::NAMES).map(|index| questions::bucket(index) + "\n").collect();
        self.write("etc/phzd/buckets.txt", &buckets);
    }

    /// Switches it on, and waits until it has booted.
    pub fn boot(&mut self) {
        println!("# the machine is switched on");
        // Two containers of one control group would be in each other's way.
        let groups: String = self
            .groups()
            .iter()
            .map(|group| format!("mkdir -p {0} && echo $$ >{0}/cgroup.procs; ", group.display()))
            .collect();
        let keep = if groups.is_empty() { "" } else { "--keep-unit" };
        let console = File::create(self.folder.join("console.log")).unwrap();
        let nspawn = Command::new("sh")
            .args([
                "-ec",
                &format!("{groups} exec systemd-nspawn --boot --quiet --private-network --register=no {keep} \"$@\""),
            ])
            .args(["sh", "--machine", &self.name, "--directory"])
            .arg(self.root())
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .expect("systemd-nspawn starts");
        let nspawn = self.on.insert((nspawn, 0)).0.id();
        let console = || fs::read_to_string(self.folder.join("console.log")).unwrap_or_default();
        let init =
            wait(|| child_that_is_init(nspawn)).unwrap_or_else(|| panic!("the machine does not start:\n{}", console()));
        self.on.as_mut().expect("it was just put there").1 = init;
        let booted = wait(|| {
            let state = self.run_unseen("systemctl is-system-running");
            ["running", "degraded"].contains(&state.text.trim()).then_some(())
        });
        assert!(booted.is_some(), "the machine does not boot:\n{}", console());
    }

    /// Switches it off, as one that is asked to, and on again.
    pub fn reboot(&mut self) {
        self.run("systemctl poweroff");
        let (mut nspawn, _) = self.on.take().expect("the machine is on");
        wait(|| nspawn.try_wait().unwrap()).expect("it switches itself off");
        self.boot();
    }

    /// Waits until the bucket of the case has its private address for the machine's own programs.
    pub fn wait_until_private(&self, server: &str) {
        self.wait_until(&format!("dig @{server} +short +tries=1 +timeout=1 {BUCKET}"), PRIVATE);
    }

    /// Waits until `command` prints `text` and nothing else.
    pub fn wait_until(&self, command: &str, text: &str) {
        let mut last = String::new();
        let got = wait(|| {
            last = self.run_unseen(command).text;
            (last.trim() == text).then_some(())
        });
        assert!(got.is_some(), "{command}: never {text:?}, last {last:?}");
    }

    /// Runs a shell command on the machine, shows both it and what it says, as a transcript.
    pub fn run(&self, command: &str) -> Said {
        let said = self.run_unseen(command);
        println!("machine# {command}\n{}", indented(&said.text));
        said
    }

    /// The same; it has to succeed.
    pub fn run_well(&self, command: &str) -> String {
        let said = self.run(command);
        assert_eq!(said.code, 0, "{command}");
        said.text
    }

    /// Runs a shell command on the machine. `dig` is this machine's own, in the other's network.
    pub fn run_unseen(&self, command: &str) -> Said {
        let init = self.init().to_string();
        let spaces: &[&str] = if command.starts_with("dig ") { &["--net"] } else { &["--all"] };
        let output = Command::new("nsenter")
            .args(["--target", &init])
            .args(spaces)
            .args(["sh", "-c", command])
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter starts");
        Said::of(&output)
    }

    /// Runs a shell command on the machine while it is off; it has to succeed.
    pub fn prepare(&self, command: &str) {
        quiet(
            Command::new("chroot")
                .arg(self.root())
                .args(["sh", "-ec", command])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        );
    }

    /// Writes a file of the machine.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A file of the machine, as it is reached from here.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.on {
            // What is mounted there is seen by its own processes alone.
            Some((_, init)) if *init != 0 => Path::new("/proc").join(init.to_string()).join("root").join(path),
            _ => self.root().join(path),
        }
    }

    /// Does `work` on a thread that is in the machine's network.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.init())).expect("the machine is on");
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The main process of phzd's service, as the machine numbers it.
    pub fn main_pid(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    /// A property of phzd's service.
    pub fn property(&self, name: &str) -> String {
        self.run_unseen(&format!("systemctl show --property {name} --value phzd.service")).text.trim().to_owned()
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn init(&self) -> u32 {
        self.on.as_ref().expect("the machine is on").1
    }

    /// The control groups that the container gets. None where systemd runs, which gives it one.
    fn groups(&self) -> Vec<PathBuf> {
        if Path::new("/run/systemd/system").exists() { Vec::new() } else { groups_of(&self.name) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.on.as_ref().is_some_and(|(_, init)| *init != 0) {
            println!("-- phzd's journal:\n{}", indented(&self.run_unseen("journalctl --no-pager -n 40 -u phzd").text));
        }
        if let Some((nspawn, init)) = &mut self.on {
            // As a plug is pulled. With its first process all others end.
            let end = if *init == 0 { nspawn.id() } else { *init };
            let _ = Command::new("kill").args(["-KILL", &end.to_string()]).status();
            let _ = nspawn.wait();
        }
        remove(&self.name);
    }
}

impl Said {
    fn of(output: &std::process::Output) -> Said {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Said { text, code: output.status.code().unwrap_or(-1) }
    }
}

/// The configuration of the case.
pub fn configuration() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/guest/phzd.toml")).unwrap()
}

/// The folder of all that is built.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in target").to_owned()
}

/// The package that ends so.
pub fn package(end: &str) -> PathBuf {
    let folder = target().join("packages");
    let found = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = found.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{} must have one *{end}: `make package` makes it", folder.display());
    found.remove(0)
}

/// The package for Debian.
pub fn deb() -> PathBuf {
    package(".deb")
}

/// Waits until `done` says what it found.
pub fn wait<T>(mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        match done() {
            Some(found) => return Some(found),
            None if begin.elapsed() > SOON => return None,
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Lines a little to the right.
pub fn indented(text: &str) -> String {
    text.lines().filter(|line| !line.is_empty()).map(|line| format!("    {line}\n")).collect()
}

/// The child of `nspawn` that is the first process of its own numbering.
fn child_that_is_init(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
        let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().count() > 1 && numbers.ends_with("\t1")
    })
}

fn groups_of(name: &str) -> Vec<PathBuf> {
    let both: Vec<PathBuf> = HIERARCHIES.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    let all = if both.is_empty() { vec![PathBuf::from("/sys/fs/cgroup")] } else { both };
    all.into_iter().map(|hierarchy| hierarchy.join(name)).collect()
}

/// Removes what carries `name`; part of it may be gone already.
fn remove(name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for group in groups_of(name) {
        let _ = Command::new("find").arg(&group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).output();
    }
    let _ = Command::new("umount").args(["--lazy"]).arg(folder.join("root")).output();
    let _ = fs::remove_dir_all(folder);
}

/// Removes what runs left behind that were killed: their machines, too.
fn remove_leftovers() {
    let files = fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten();
    for name in files.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        let Some(run) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if Path::new("/proc").join(run).exists() {
            continue;
        }
        for group in groups_of(&name) {
            let _ = Command::new("sh")
                .args(["-c", "find \"$1\" -name cgroup.procs -exec cat {} + | xargs -r kill -KILL", "sh"])
                .arg(&group)
                .output();
        }
        thread::sleep(Duration::from_millis(200));
        remove(&name);
    }
}

/// Runs what has to succeed and has nothing to say.
fn quiet(command: &mut Command) {
    let described = format!("{command:?}");
    let output: io::Result<_> = command.stdin(Stdio::null()).output();
    let said = Said::of(&output.unwrap_or_else(|error| panic!("{described}: {error}")));
    assert_eq!(said.code, 0, "{described}:\n{}", said.text);
}

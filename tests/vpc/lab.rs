//! The VPC itself: network namespaces for its hosts, a router between its subnets, and the processes that run on them.
//!
//! Everything a [`Lab`] makes carries its name, `phzd-lab-<process id>-<number>`: namespaces, their `/etc/netns`
//! folders and the folder of its files. All of it goes when the value is dropped, also by a panic; what a killed run
//! left behind is removed by the next one. Nothing leaves the namespaces: none has a way to the machine's own network.

use std::fmt;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A host of the lab, each a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// 172.31.1.5: may reach the endpoint.
    Private,
    /// 172.31.0.5: may not.
    Public,
    /// 172.31.1.10: runs phzd. It has a second address, 172.31.1.11.
    Phzd,
    /// 172.31.0.2: the VPC resolver.
    Resolver,
    /// 172.31.1.152: the interface endpoint, behind its security group.
    Endpoint,
    /// 203.0.113.10 to .13: S3 as the public sees it.
    S3,
    /// 192.0.2.7: somebody outside the VPC.
    Outsider,
}

/// Networks: name, and the router's addresses in it.
const NETWORKS: [(&str, &[&str]); 4] = [
    ("public", &["172.31.0.1/24", "2001:db8:31:0::1/64"]),
    ("private", &["172.31.1.1/24", "2001:db8:31:1::1/64"]),
    ("aws", &["203.0.113.1/24"]),
    ("outside", &["192.0.2.1/24", "2001:db8:ffff::1/64"]),
];

/// Hosts: which, the name of its namespace and in the transcript, its network, its addresses.
const HOSTS: [(Host, &str, &str, &[&str]); 7] = [
    (Host::Private, "private", "private", &["172.31.1.5/24", "2001:db8:31:1::5/64"]),
    (Host::Public, "public", "public", &["172.31.0.5/24", "2001:db8:31:0::5/64"]),
    (
        Host::Phzd,
        "phzd",
        "private",
        &["172.31.1.10/24", "172.31.1.11/24", "2001:db8:31:1::10/64", "2001:db8:31:1::11/64"],
    ),
    (Host::Resolver, "resolver", "public", &["172.31.0.2/24"]),
    (Host::Endpoint, "endpoint", "private", &["172.31.1.152/24"]),
    (Host::S3, "s3", "aws", &["203.0.113.10/24", "203.0.113.11/24", "203.0.113.12/24", "203.0.113.13/24"]),
    (Host::Outsider, "outsider", "outside", &["192.0.2.7/24", "2001:db8:ffff::7/64"]),
];

/// The security group on the endpoint: the private host may connect; whoever else tries hears nothing at all.
const SECURITY_GROUP: &str = "
table inet security-group {
    chain input {
        type filter hook input priority 0; policy drop;
        iif lo accept
        ct state established accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        ip saddr 172.31.1.5 tcp dport 443 accept
    }
}";

/// Programs the lab is made of and asks with.
const TOOLS: [&str; 7] = ["ip", "nft", "unbound", "dig", "nslookup", "openssl", "curl"];

/// How long a process may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running VPC: its `.2`, its endpoint with a real TLS server, S3's public side. phzd is started by the tests.
pub struct Lab {
    name: String,
    folder: PathBuf,
    processes: Vec<Process>,
}

/// What a command printed (both streams) and its exit code (-1: killed by a signal).
pub struct Said {
    pub text: String,
    pub code: i32,
}

struct Process {
    name: &'static str,
    child: Child,
}

impl Lab {
    /// Builds the VPC and starts its servers. `None`, after one line that says why, where that is not possible here.
    ///
    /// Panics instead of skipping when `PHZD_LAB=required` is set.
    pub fn start() -> Option<Lab> {
        static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
        if let Some(obstacle) = OBSTACLE.get_or_init(obstacle) {
            skip("lab", obstacle);
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("phzd-lab-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir_all(&folder).expect("a folder for the lab's files");
        let mut lab = Lab { name, folder, processes: Vec::new() };
        lab.build_network();
        lab.start_servers();
        Some(lab)
    }

    /// All the lab has made: its folder, its namespaces with their folders in /etc, its processes.
    pub fn traces(&self) -> Vec<PathBuf> {
        let namespaces = HOSTS.iter().map(|(_, host, ..)| *host).chain(["router"]).map(|host| self.namespace(host));
        let mut traces = vec![self.folder.clone()];
        for namespace in namespaces {
            traces.extend([Path::new("/run/netns").join(&namespace), Path::new("/etc/netns").join(&namespace)]);
        }
        traces.extend(self.processes.iter().map(|process| PathBuf::from(format!("/proc/{}", process.child.id()))));
        traces
    }

    /// Runs `command` on `host`, shows both it and what it says, as a transcript.
    pub fn run(&self, host: Host, command: &str) -> Said {
        let said = self.run_unseen(host, command);
        println!("{host} host$ {command}\n{}", indented(&said.text));
        said
    }

    /// Runs `command` on `host`.
    pub fn run_unseen(&self, host: Host, command: &str) -> Said {
        let mut words = command.split_whitespace();
        let output = self
            .command_on(host, words.next().expect("a command"))
            .args(words)
            .current_dir(&self.folder)
            .output()
            .expect("ip netns exec starts");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Said { text, code: output.status.code().unwrap_or(-1) }
    }

    /// Starts phzd on its host with a configuration of this folder, and waits until it answers at `address`.
    pub fn start_phzd(&mut self, configuration: &str, address: IpAddr) {
        println!("phzd host$ phzd run --config tests/vpc/{configuration} &");
        let mut phzd = self.command_on(Host::Phzd, env!("CARGO_BIN_EXE_phzd"));
        phzd.args(["run", "--config"]).arg(data(configuration)).arg("--state-dir").arg(self.state_folder());
        self.start_process("phzd", phzd);
        self.wait_for_dns(Host::Phzd, address);
    }

    /// Ends the process called `name`, as a crash would.
    pub fn stop(&mut self, name: &str) {
        println!("# {name} ends");
        let index = self.processes.iter().position(|process| process.name == name).expect("a process of that name");
        let mut process = self.processes.remove(index);
        process.child.kill().expect("it runs");
        process.child.wait().expect("it ends");
    }

    /// Starts the endpoint's server again.
    pub fn start_endpoint(&mut self) {
        println!("# the endpoint serves again");
        self.start_https("endpoint", Host::Endpoint);
    }

    /// Starts the endpoint's server with the certificate `NAME.pem` of [`Self::certify`].
    pub fn start_endpoint_as(&mut self, certificate: &str) {
        println!("# the endpoint serves, with the certificate {certificate}.pem");
        self.start_https_as("endpoint", Host::Endpoint, certificate);
        self.wait_for(Host::Endpoint, "curl -sk --max-time 1 -o /dev/null https://172.31.1.152/path");
    }

    /// The security group admits phzd's host too, and counts its connections.
    pub fn admit_phzd(&self) {
        self.nft(
            Host::Endpoint,
            "add rule inet security-group input ip saddr 172.31.1.10 tcp dport 443 counter accept",
        );
    }

    /// Tells the packet filter of `host` something.
    pub fn nft(&self, host: Host, rules: &str) {
        println!("{host} host$ nft '{rules}'");
        run_with_input(self.command_on(host, "nft").args(["-f", "-"]), rules);
    }

    /// What programs on `host` read instead of the file of this name in /etc.
    pub fn write_etc(&self, host: Host, file: &str, text: &str) {
        println!("# {host} host: another /etc/{file}");
        fs::write(Path::new("/etc/netns").join(self.namespace(host.name())).join(file), text)
            .expect("a file in /etc/netns");
    }

    /// The folder of the lab's files, in which commands run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the `.2` again, with another configuration.
    pub fn restart_resolver(&mut self, change: impl Fn(&str) -> String) {
        self.stop("unbound");
        let usual = fs::read_to_string(data("unbound.conf")).expect("the configuration of the .2");
        let configuration = self.folder.join("unbound.conf");
        fs::write(&configuration, change(&usual)).expect("a configuration for the .2");
        let mut unbound = self.command_on(Host::Resolver, "unbound");
        unbound.arg("-d").arg("-c").arg(configuration).current_dir(data(""));
        self.start_process("unbound", unbound);
        self.wait_for_dns(Host::Resolver, IpAddr::from([172, 31, 0, 2]));
    }

    /// Starts a program on `host` that goes on running, and waits until `command` succeeds there. Its process id.
    pub fn start_program(&mut self, name: &'static str, host: Host, program: &[&str], command: &str) -> u32 {
        println!("{host} host$ {} &", program.join(" "));
        let mut started = self.command_on(host, program[0]);
        started.args(&program[1..]).current_dir(&self.folder);
        self.start_process(name, started);
        let pid = self.processes.last().expect("it was just started").child.id();
        self.wait_for(host, command);
        pid
    }

    /// How many connections of phzd's host the security group has admitted.
    pub fn connections_of_phzd(&self) -> u32 {
        let said = self.run_unseen(Host::Endpoint, "nft list chain inet security-group input");
        let counter = said.text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        counter.and_then(|packets| packets.parse().ok()).unwrap_or(0)
    }

    /// What the process called `name` has logged so far.
    pub fn log(&self, process: &str) -> String {
        fs::read_to_string(self.log_path(process)).unwrap_or_default()
    }

    /// The questions about `name` or a name below it that the `.2` has been asked so far, as `client name type class`.
    pub fn questions_to_resolver(&self, name: &str) -> Vec<String> {
        let suffix = format!("{}.", name.to_ascii_lowercase());
        self.log("unbound")
            .lines()
            .filter_map(|line| line.split_once(" info: "))
            .map(|(_, question)| question.to_ascii_lowercase())
            .filter(|question| question.split(' ').nth(1).is_some_and(|asked| asked.ends_with(&suffix)))
            .collect()
    }

    fn build_network(&self) {
        let mut machine = format!("netns add {}\n", self.namespace("router"));
        let mut router = String::from("link set lo up\n");
        for (network, addresses) in NETWORKS {
            // Without snooping, neighbour discovery works at once.
            router += &format!("link add {network} type bridge mcast_snooping 0\nlink set {network} up\n");
            for address in addresses {
                router += &format!("address add {address} dev {network}\n");
            }
        }
        for (_, host, network, _) in HOSTS {
            let namespace = self.namespace(host);
            machine += &format!("netns add {namespace}\n");
            router += &format!("link add to-{host} type veth peer name eth0 netns {namespace}\n");
            router += &format!("link set to-{host} master {network} up\n");
        }
        run_with_input(Command::new("ip").args(["-batch", "-"]), &machine);
        for namespace in HOSTS.iter().map(|(_, host, ..)| *host).chain(["router"]) {
            self.set_kernel_options(namespace);
        }
        run_with_input(Command::new("ip").args(["-n", &self.namespace("router"), "-batch", "-"]), &router);
        for (_, host, network, addresses) in HOSTS {
            let mut lines = String::from("link set lo up\nlink set eth0 up\n");
            for address in addresses {
                lines += &format!("address add {address} dev eth0\n");
            }
            let (_, gateways) = NETWORKS.iter().find(|(name, _)| *name == network).expect("a network of the table");
            for gateway in gateways.iter().filter_map(|gateway| gateway.split('/').next()) {
                // A host without an IPv6 address gets no route it could not use.
                if addresses.iter().any(|address| address.contains(':') == gateway.contains(':')) {
                    lines += &format!("route add default via {gateway}\n");
                }
            }
            run_with_input(Command::new("ip").args(["-n", &self.namespace(host), "-batch", "-"]), &lines);
            // ip netns exec lays this over the host's resolv.conf: programs on it ask phzd without being told.
            let etc = Path::new("/etc/netns").join(self.namespace(host));
            fs::create_dir_all(&etc).expect("a folder in /etc/netns");
            fs::write(etc.join("resolv.conf"), "nameserver 172.31.1.10\noptions timeout:2 attempts:1\n")
                .expect("a resolv.conf");
        }
        run_with_input(self.command_on(Host::Endpoint, "nft").args(["-f", "-"]), SECURITY_GROUP);
    }

    fn set_kernel_options(&self, host: &str) {
        // Nobody else has these addresses: without the search for duplicates they work at once.
        let mut options = vec![("ipv6/conf/all/accept_dad", 0), ("ipv6/conf/default/accept_dad", 0)];
        if host == "router" {
            options.extend([("ipv4/ip_forward", 1), ("ipv6/conf/all/forwarding", 1)]);
        }
        let lines: String =
            options.iter().map(|(path, value)| format!("echo {value} > /proc/sys/net/{path}\n")).collect();
        run_with_input(command_in(&self.namespace(host), "sh").arg("-e"), &lines);
    }

    fn start_servers(&mut self) {
        let mut unbound = self.command_on(Host::Resolver, "unbound");
        unbound.args(["-d", "-c", "unbound.conf"]).current_dir(data(""));
        self.start_process("unbound", unbound);

        // The names S3's real certificate bears, and no others.
        self.certify("certificate", "s3.ap-northeast-1.amazonaws.com");
        self.start_https("endpoint", Host::Endpoint);
        self.start_https("s3", Host::S3);

        self.wait_for_dns(Host::Resolver, IpAddr::from([172, 31, 0, 2]));
        self.wait_for_https(Host::Endpoint, "172.31.1.152");
        self.wait_for_https(Host::S3, "203.0.113.10");
    }

    /// Makes a certificate for `host` and names one label below it, `NAME.pem`, which is its own authority.
    pub fn certify(&self, name: &str, host: &str) {
        let request = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -keyout {name}-key.pem \
             -out {name}.pem -subj /CN={host} -addext subjectAltName=DNS:{host},DNS:*.{host} \
             -addext basicConstraints=critical,CA:FALSE"
        );
        run_with_input(Command::new("openssl").args(request.split_whitespace()).current_dir(&self.folder), "");
    }

    fn start_https(&mut self, name: &'static str, host: Host) {
        self.start_https_as(name, host, "certificate");
    }

    /// A TLS server whose file `/path` tells by which path it was reached.
    fn start_https_as(&mut self, name: &'static str, host: Host, certificate: &str) {
        let root = self.folder.join(name);
        fs::create_dir_all(&root).expect("a folder for the server's files");
        fs::write(root.join("path"), format!("this is {name}\n")).expect("a file to serve");
        let mut server = self.command_on(host, "openssl");
        let [certificate, key] = [format!("../{certificate}.pem"), format!("../{certificate}-key.pem")];
        server.args(["s_server", "-quiet", "-WWW", "-cert", &certificate, "-key", &key]);
        server.args(["-accept", "443"]).current_dir(root);
        self.start_process(name, server);
    }

    fn start_process(&mut self, name: &'static str, mut command: Command) {
        let log = File::create(self.log_path(name)).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .expect("ip netns exec starts");
        self.processes.push(Process { name, child });
    }

    fn wait_for_dns(&mut self, host: Host, address: IpAddr) {
        self.wait_for(host, &format!("dig @{address} +norecurse +tries=1 +time=1 +noall localhost"));
    }

    fn wait_for_https(&mut self, host: Host, address: &str) {
        self.wait_for(host, &format!("curl -sk --max-time 1 -o /dev/null https://{address}/path"));
    }

    /// Repeats `command` until it succeeds; panics with their logs when a process ends or takes too long.
    fn wait_for(&mut self, host: Host, command: &str) {
        let start = Instant::now();
        while self.run_unseen(host, command).code != 0 {
            for process in &mut self.processes {
                if let Some(status) = process.child.try_wait().expect("a child can be asked for its state") {
                    panic!("{} ended ({status}) instead of serving", process.name);
                }
            }
            assert!(start.elapsed() < START_LIMIT, "on the {host} host, this never succeeded: {command}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A command on `host`, not started.
    pub fn command_on(&self, host: Host, program: &str) -> Command {
        command_in(&self.namespace(host.name()), program)
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// Where phzd keeps what it has learned.
    fn state_folder(&self) -> PathBuf {
        let folder = self.folder.join("state");
        fs::create_dir_all(&folder).expect("a folder for phzd's state");
        folder
    }

    fn log_path(&self, process: &str) -> PathBuf {
        self.folder.join(format!("{process}.log"))
    }
}

/// Says that `what` cannot run here, and why; where it has to, that is a failure.
pub fn skip(what: &str, obstacle: &str) {
    let required = std::env::var("PHZD_LAB").is_ok_and(|value| value == "required");
    assert!(!required, "PHZD_LAB=required, but the {what} cannot run: {obstacle}");
    println!("{what} skipped: {obstacle}");
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Already ended is as good.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if thread::panicking() {
            for process in &self.processes {
                let log = self.log(process.name);
                let tail = log.lines().count().saturating_sub(30);
                let tail = log.lines().skip(tail).collect::<Vec<_>>().join("\n");
                println!("-- the last lines of {}:\n{}", process.name, indented(&tail));
            }
        }
        for namespace in HOSTS.iter().map(|(_, name, ..)| *name).chain(["router"]) {
            remove_namespace(&self.namespace(namespace));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Host {
    fn name(self) -> &'static str {
        HOSTS.iter().find(|(host, ..)| *host == self).expect("every host is in the table").1
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the lab cannot run here, if it cannot. Removes what dead runs left on the way.
fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let missing = |tool: &&str| !std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file());
    let missing: Vec<&str> = TOOLS.into_iter().filter(missing).collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}", missing.join(", ")));
    }
    remove_leftovers();
    let probe = format!("phzd-lab-{}-probe", std::process::id());
    let tried = tried(Command::new("ip").args(["netns", "add", &probe]), "")
        .and_then(|()| tried(Command::new("ip").args(["-n", &probe, "link", "add", "type", "veth"]), ""))
        .and_then(|()| tried(Command::new("ip").args(["-n", &probe, "link", "add", "type", "bridge"]), ""))
        .and_then(|()| tried(command_in(&probe, "nft").args(["-f", "-"]), SECURITY_GROUP));
    remove_namespace(&probe);
    tried.err().map(|reason| format!("this machine does not permit it: {reason}"))
}

/// Removes the namespaces, processes and files of runs that ended without doing so themselves.
fn remove_leftovers() {
    for namespace in entries("/run/netns").into_iter().chain(entries("/etc/netns")).filter(|name| is_of_dead_run(name))
    {
        remove_namespace(&namespace);
    }
    let files = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for folder in entries(files).into_iter().filter(|name| is_of_dead_run(name)) {
        let _ = fs::remove_dir_all(files.join(folder));
    }
}

/// Whether `name` is a lab's, and the process in it is gone. A number that some other program has since got counts as
/// gone too.
fn is_of_dead_run(name: &str) -> bool {
    let Some(process) = name.strip_prefix("phzd-lab-").and_then(|rest| rest.split('-').next()) else { return false };
    let own = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let other = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let program = |comm: &str| comm.split('-').next().unwrap_or_default().to_owned();
    program(&other) != program(&own)
}

/// Ends what runs in `namespace`, and removes it and its folder in `/etc/netns`. It may be gone already.
fn remove_namespace(namespace: &str) {
    if let Ok(inside) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        for process in String::from_utf8_lossy(&inside.stdout).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", process]).output();
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
    let _ = fs::remove_dir_all(Path::new("/etc/netns").join(namespace));
}

fn command_in(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    // Only what the transcript shows decides: no proxy, and no .digrc or .curlrc of whoever runs the lab.
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.env("HOME", "/nonexistent");
    command
}

fn run_with_input(command: &mut Command, input: &str) {
    if let Err(reason) = tried(command, input) {
        panic!("the lab could not be built: {reason}");
    }
}

/// Runs `command` with `input`; the error is the command and what it printed.
fn tried(command: &mut Command, input: &str) -> Result<(), String> {
    let described = format!("{command:?}");
    let failed = |why: &str| format!("{described}: {}", why.trim());
    let (reader, mut writer) = std::io::pipe().map_err(|error| failed(&error.to_string()))?;
    // A few lines, far below what a pipe holds: writing them first cannot block.
    std::io::Write::write_all(&mut writer, input.as_bytes()).map_err(|error| failed(&error.to_string()))?;
    drop(writer);
    let output = command.stdin(reader).output().map_err(|error| failed(&error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(failed(&String::from_utf8_lossy(&output.stderr))) }
}

/// The path of a file beside this one.
fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vpc").join(file)
}

fn entries(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn indented(text: &str) -> String {
    text.lines().filter(|line| !line.is_empty()).map(|line| format!("    {line}\n")).collect()
}

//! How a start grows with the number of buckets: from the program's start to its first right answer, and what it holds
//! in memory then, its cache empty; and that an endpoint's coming and going does not grow with them.
//!
//! Each run is a real process with a names-file. What counts is the first reply for a bucket; then the first, the middle
//! and the last bucket must each have the endpoint, and a name beside them must not.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use phzd::config::{Addresses, Config};
use phzd::endpoint::Standing;
use phzd::policy::Policy;

/// How many buckets.
const SIZES: [usize; 6] = [10, 100, 1000, 10_000, 100_000, 1_000_000];
/// Runs of each size, of which the median is told.
const RUNS: usize = 5;
/// What every bucket is an alias to.
const ENDPOINT: &str = "172.31.1.152";
/// How often is asked until there is an answer.
const ASK_AGAIN: Duration = Duration::from_micros(500);
/// How long a start may take.
const START: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> Result<(), Box<dyn Error>> {
    println!("medians of {RUNS} starts: until the first answer, and resident memory then (cache empty)\n");
    println!("   buckets   first answer   resident   octets a bucket   endpoint down and up");
    let mut few = None;
    for buckets in SIZES {
        let mut runs = (0..RUNS).map(|_| run(buckets)).collect::<Result<Vec<_>, _>>()?;
        runs.sort_by_key(|run| run.first_answer);
        let first_answer = runs.get(RUNS / 2).map_or(Duration::ZERO, |run| run.first_answer);
        runs.sort_by_key(|run| run.resident);
        let resident = runs.get(RUNS / 2).map_or(0, |run| run.resident);
        let base = *few.get_or_insert(resident);
        let each = resident.saturating_sub(base) as f64 / buckets as f64;
        println!(
            "{buckets:>10} {:>11.1} ms {:>7.1} MB {each:>17.0} {:>20.1} µs",
            first_answer.as_secs_f64() * 1e3,
            resident as f64 / 1e6,
            flap(buckets)?.as_secs_f64() * 1e6
        );
    }
    Ok(())
}

/// How long the tables take when the endpoint of so many buckets goes down and comes back; the least of many times.
fn flap(buckets: usize) -> Result<Duration, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("names.txt"), names(buckets)?)?;
    let path = folder.path().join("phzd.toml");
    fs::write(&path, configuration(SocketAddr::from((Ipv4Addr::LOCALHOST, 53))))?;
    let (config, _) = Config::load(&path)?;
    let policy = Policy::new(&config);
    let Addresses::Stated(addresses) = &config.endpoints.first().ok_or("no endpoint")?.addresses else {
        return Err("the endpoint's addresses are stated".into());
    };
    let once = || {
        let begin = Instant::now();
        policy.endpoints().publish(0, Standing::Away);
        policy.endpoints().publish(0, Standing::stated(addresses));
        begin.elapsed()
    };
    (0..1000).map(|_| once()).min().ok_or_else(|| "never".into())
}

/// A names-file of so many buckets.
fn names(buckets: usize) -> Result<String, std::fmt::Error> {
    let mut names = String::new();
    (0..buckets).try_for_each(|number| writeln!(names, "{}", bucket(number)))?;
    Ok(names)
}

/// phzd's configuration, with its names-file beside it. Nobody is at the resolver: what is not a bucket's must not be
/// asked for here.
fn configuration(listen: SocketAddr) -> String {
    format!(
        "[server]\nlisten = [\"{listen}\"]\nudp-threads = 1\ncontrol = \"\"\nhttp = \"\"\n[vpc]\nregion = \"ap-northeast-1\"\n\
         cidrs = [\"172.31.0.0/16\"]\nself = \"172.31.1.10\"\nresolvers = [\"127.0.0.1:9\"]\n\
         [[endpoint]]\nname = \"s3\"\naddresses = [\"{ENDPOINT}\"]\n\
         [[bucket]]\nnames-file = \"names.txt\"\nendpoint = \"s3\"\n"
    )
}

/// What one start took.
struct Run {
    first_answer: Duration,
    /// Octets.
    resident: u64,
}

fn run(buckets: usize) -> Result<Run, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let address = free_port()?;
    fs::write(folder.path().join("names.txt"), names(buckets)?)?;
    let path = folder.path().join("phzd.toml");
    fs::write(&path, configuration(address))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_phzd"));
    command.arg("run").arg("--config").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let phzd = Running(command.spawn()?);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(ASK_AGAIN))?;
    while !is_private(&socket, &bucket(0)) {
        if begin.elapsed() > START {
            return Err(format!("no answer within {START:?} with {buckets} buckets").into());
        }
        std::thread::sleep(ASK_AGAIN);
    }
    let first_answer = begin.elapsed();
    let resident = phzd.resident()?;
    socket.set_read_timeout(Some(START))?;
    for number in [0, buckets / 2, buckets - 1] {
        if !is_private(&socket, &bucket(number)) {
            return Err(format!("{} has not the endpoint", bucket(number)).into());
        }
    }
    if is_private(&socket, "nobodys-bucket") {
        return Err("a name that is no bucket has the endpoint".into());
    }
    Ok(Run { first_answer, resident })
}

fn bucket(number: usize) -> String {
    format!("team-data-{number:07}")
}

/// Whether a bucket's host has the endpoint's address. Asked without recursion, so that nothing is forwarded.
fn is_private(socket: &UdpSocket, bucket: &str) -> bool {
    let answer = || {
        let mut query = Message::query();
        let name = Name::from_ascii(format!("{bucket}.s3.ap-northeast-1.amazonaws.com.")).ok()?;
        query.add_query(Query::query(name, RecordType::A));
        socket.send(&query.to_vec().ok()?).ok()?;
        let mut reply = [0; 512];
        // Replies to what was asked before may still come.
        loop {
            let length = socket.recv(&mut reply).ok()?;
            let message = Message::from_vec(reply.get(..length)?).ok()?;
            if message.metadata.id == query.metadata.id {
                return Some(message);
            }
        }
    };
    answer().is_some_and(|reply| {
        let addresses: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
        reply.metadata.response_code == ResponseCode::NoError && addresses == [ENDPOINT]
    })
}

/// A port that is free for UDP and TCP.
fn free_port() -> Result<SocketAddr, Box<dyn Error>> {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = tcp.local_addr()?;
    drop(UdpSocket::bind(address)?);
    Ok(address)
}

/// phzd, ended with this value.
struct Running(Child);

impl Running {
    /// Resident octets now.
    fn resident(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

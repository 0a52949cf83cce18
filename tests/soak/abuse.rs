//! The rows of abuse: what others notice of a client that asks for thousands of new names a second, or takes thousands of
//! connections, and how much of a reply an address gets that has not shown that it is there.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use crate::Arguments;
use crate::account::Account;
use crate::asked::{Asked, What};
use crate::connections::{Habit, Held, Holder};
use crate::cores::{Cores, stay_on};
use crate::crowd::{Crowd, Load};
use crate::daemon::{Phzd, Wish};
use crate::dice::Mix;
use crate::lab::{Lab, SERVED_AT, Who};
use crate::names::{MANY, Name};
use crate::namespace::Outcome;
use crate::resolver::Resolver;
use crate::sky::Sky;
use crate::table::{Measure, Must};
use crate::tally::{Tally, Wait};
use crate::visitors::visit;
use crate::weather::resolver_of;

/// Questions a second of those who mean no harm.
const RATE: u32 = 2000;

/// Questions a second of the one who does.
const FLOOD: u32 = 20_000;

/// How much longer others may wait, ...
const TIMES: f64 = 2.0;

/// ... where that is more than this, in milliseconds: on a machine with two cores, whoever crowds shares one with the others,
/// and phzd's own is somebody else's now and then.
const FLOOR: f64 = 20.0;

/// The same over TCP, where new connections stand in one line with those of the crowd.
const TCP_FLOOR: f64 = 150.0;

/// Connections of each kind.
const CONNECTIONS: usize = 10_000;

/// phzd alone on its core, with a resolver, known to it by the names that all ask for.
struct Scene {
    lab: Lab,
    sky: Sky,
    time: Duration,
    _resolver: Resolver,
}

impl Scene {
    fn new(time: Duration) -> Outcome<Scene> {
        stay_on(Cores::of_this_run()?.load)?;
        let lab = Lab::new()?;
        let resolver = resolver_of(&lab)?;
        Ok(Scene { lab, sky: Sky::clear(), time, _resolver: resolver })
    }

    fn start(&self, wish: &Wish) -> Outcome<Phzd<'_>> {
        Phzd::start(&self.lab, wish, Some(Cores::of_this_run()?.program))
    }

    /// Has `mix` asked for as long as `work` takes, and questions over TCP beside.
    fn ask<T>(&self, mix: Mix, rate: u32, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Tally, Tally, T)> {
        let end = AtomicBool::new(false);
        let load = Load { target: SERVED_AT, mix, rate };
        let joined = "a thread of clients panicked";
        thread::scope(|scope| {
            let (tell, told) = channel();
            // Whoever forges its address does not come over TCP.
            let tell = (mix != Mix::Loud).then_some(tell);
            let (lab, sky, end) = (&self.lab, &self.sky, &end);
            let udp = scope.spawn(move || lab.clients.inside(move || Crowd::new(load, sky, tell)?.run(end)));
            let tcp = scope.spawn(move || lab.clients.inside(move || visit(mix, &told, sky, end)));
            let done = work();
            end.store(true, Ordering::Relaxed);
            Ok((udp.join().map_err(|_| joined)???, tcp.join().map_err(|_| joined)??, done?))
        })
    }

    /// The same with nothing else.
    fn quiet(&self, mix: Mix, rate: u32) -> Outcome<(Tally, Tally)> {
        let (udp, tcp, ()) = self.ask(mix, rate, || {
            thread::sleep(self.time);
            Ok(())
        })?;
        Ok((udp, tcp))
    }
}

/// What others wait, and waited while it was quiet.
fn of_others(quiet: &Tally, now: &Tally, waits: &[(&'static str, &'static str, Wait)]) -> Vec<Measure> {
    let each = |(before, meanwhile, wait): &(&'static str, &'static str, Wait)| {
        let [before_p99, p99] = [quiet, now].map(|tally| tally.per_mille(*wait, 990));
        let floor = if meanwhile.contains("TCP") { TCP_FLOOR } else { FLOOR };
        let most = Must::AtMost((TIMES * before_p99).max(floor));
        [Measure::new(before, before_p99, Must::Nothing), Measure::new(meanwhile, p99, most)]
    };
    waits.iter().flat_map(each).collect()
}

const OVER_UDP: [(&str, &str, Wait); 3] = [
    ("ms, p99, zones, quiet", "ms, p99, zones, meanwhile", Wait::Nobody),
    ("ms, p99, known names, quiet", "ms, p99, known names, meanwhile", Wait::Cache),
    ("ms, p99, new names, quiet", "ms, p99, new names, meanwhile", Wait::Resolver),
];

const OVER_TCP: [(&str, &str, Wait); 1] =
    [("ms, p99, zones over TCP, quiet", "ms, p99, zones over TCP, meanwhile", Wait::Nobody)];

/// New names by the thousand from one client.
pub fn flood(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    let scene = Scene::new(arguments.time(20))?;
    // A cache that the flood could fill many times over.
    let phzd = scene.start(&Wish { megabytes: 1, ..Wish::default() })?;
    let (quiet, _) = scene.quiet(Mix::Ordinary, RATE)?;
    let account = Account::open(&scene.lab, &phzd)?;
    let begin = Instant::now();
    let (others, mut tcp, (flood, flood_tcp)) = scene.ask(Mix::Ordinary, RATE, || scene.quiet(Mix::Flood, FLOOD))?;
    let lasted = begin.elapsed().as_secs();
    // Those that were there before, and are there still.
    let mut kept = 0;
    for number in 0..MANY {
        kept += u32::from(phzd.age_in_cache(Name::Known(number))?.is_some_and(|age| age >= lasted));
    }
    let evicted = phzd.metrics()?.sum("phzd_cache_evictions_total", "");
    let mut udp = Tally::default();
    let (lost, failed) = (others.lost, others.excused);
    let mut measures = vec![
        Measure::new("queries of the flood a second", flood.sent as f64 / scene.time.as_secs_f64(), Must::Nothing),
        Measure::new("of these answered", flood.right as f64, Must::Nothing),
        Measure::new("told SERVFAIL", flood.excused as f64, Must::Nothing),
        Measure::new("told to come over TCP", flood.truncated as f64, Must::Nothing),
        Measure::new("told nothing", flood.silent as f64, Must::Nothing),
        Measure::new("answers that left the cache", evicted, Must::Nothing),
        Measure::new("known names no longer cached", (MANY - kept).into(), Must::AtMost(0.0)),
        Measure::new("others' queries", others.sent as f64, Must::AtLeast(1.0)),
        Measure::new("others' without a reply", lost as f64, Must::Nothing),
        Measure::new("others told SERVFAIL", failed as f64, Must::AtMost(0.0)),
    ];
    measures.extend(of_others(&quiet, &others, &OVER_UDP));
    udp.add(others);
    udp.add(flood);
    tcp.add(flood_tcp);
    measures.extend(account.close(&scene.lab, &phzd, &udp, &tcp)?);
    Ok(measures)
}

/// How many connections phzd takes, and how many it could.
enum Room {
    /// As many as it takes by default: the limits are met.
    Default,
    /// All.
    All,
    /// More than it has files for.
    Files,
}

pub fn connections(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    crowded(arguments, &Room::Default)
}

pub fn all_connections(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    crowded(arguments, &Room::All)
}

pub fn no_files(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    crowded(arguments, &Room::Files)
}

/// Twenty thousand connections that do nothing, or next to nothing.
fn crowded(arguments: &Arguments, room: &Room) -> Outcome<Vec<Measure>> {
    let scene = Scene::new(arguments.time(20))?;
    let server = match room {
        Room::Default => String::new(),
        _ => format!("tcp-connections = {}\ntcp-connections-per-client = 1000\n", 3 * CONNECTIONS),
    };
    let phzd = scene.start(&Wish { server, ..Wish::default() })?;
    let (quiet, quiet_tcp) = scene.quiet(Mix::Ordinary, RATE)?;
    if let Room::Files = room {
        // What it has open, and some: taken away while it runs, since at its start it would see to it.
        let files = phzd.descriptors()? as u64 + 300;
        let mut command = Command::new("prlimit");
        command.args(["--pid", &phzd.process().to_string(), &format!("--nofile={files}:{files}")]);
        if !command.status()?.success() {
            return Err("prlimit cannot set how many files phzd may open".into());
        }
    }
    let account = Account::open(&scene.lab, &phzd)?;
    let holder = |habit| scene.lab.clients.inside(|| Holder::start(habit, CONNECTIONS));
    let holders = [holder(Habit::Idle)??, holder(Habit::Slow)??];
    // Until all have been tried, and the first closed for having been silent for too long.
    thread::sleep(Duration::from_secs(12));
    let (udp, tcp) = scene.quiet(Mix::Ordinary, RATE)?;
    let (descriptors, metrics) = (phzd.descriptors()?, phzd.metrics()?);
    let sum = |of: fn(Held) -> u64| holders.iter().map(|holder| of(holder.held())).sum::<u64>() as f64;
    let mut measures = vec![
        Measure::new("connections opened", sum(|held| held.opened), Must::AtLeast(2.0 * CONNECTIONS as f64)),
        Measure::new("of these closed by phzd", sum(|held| held.closed), Must::Nothing),
        Measure::new("open at the end, as clients see it", sum(|held| held.open), Must::Nothing),
        Measure::new("open at the end, as phzd sees it", metrics.sum("phzd_tcp_connections", ""), Must::Nothing),
        Measure::new("its descriptors", descriptors, Must::Nothing),
        Measure::new("turned away", metrics.sum("phzd_tcp_refused_connections_total", ""), Must::Nothing),
        Measure::new("honest queries over TCP", tcp.sent as f64, Must::AtLeast(1.0)),
    ];
    measures.extend(of_others(&quiet, &udp, &OVER_UDP));
    measures.extend(of_others(&quiet_tcp, &tcp, &OVER_TCP));
    measures.extend(account.close(&scene.lab, &phzd, &udp, &tcp)?);
    Ok(measures)
}

/// `limits.amplification-kb-per-second`, in octets: what a client may be sent beyond three times what it sends.
const BEYOND: f64 = 1024.0 * 1024.0;
/// Questions a second of the one whose address may be forged: with replies of 1180 octets many times that.
const LOUD: u32 = 8000;

/// Names with many addresses, asked over UDP with whatever size a client may state; and by one client again and again.
pub fn amplification(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    let scene = Scene::new(arguments.time(10))?;
    let phzd = scene.start(&Wish::default())?;
    let account = Account::open(&scene.lab, &phzd)?;
    let (mut udp, mut tcp) = scene.quiet(Mix::Big, RATE)?;
    let (loud, loud_tcp) = scene.quiet(Mix::Loud, LOUD)?;
    let [asked, told] = loud.octets.map(|octets| octets as f64);
    let what = What::Question(Name::Middle(0), RecordType::A, Some(1232));
    let query = Asked::new(Who::Public, what, 1, false, Instant::now()).packet.len();
    let mut measures = vec![
        Measure::new("octets of a query", query as f64, Must::Nothing),
        Measure::new("octets for each of a query, at most", udp.most_for_one, Must::AtMost(1232.0 / query as f64)),
        Measure::new("told to come over TCP", udp.truncated as f64, Must::AtLeast(1.0)),
        Measure::new("one client: queries", loud.sent as f64, Must::AtLeast(1.0)),
        Measure::new("one client: told to come over TCP", loud.truncated as f64, Must::AtLeast(1.0)),
        Measure::new("one client: octets for each of a query", told / asked, Must::Nothing),
        Measure::new(
            "one client: of what it may have",
            // A second's worth may come at once.
            (told - 3.0 * asked) / (BEYOND * (scene.time.as_secs_f64() + 2.0)),
            Must::AtMost(1.0),
        ),
        Measure::new("octets of the largest TCP reply", tcp.largest as f64, Must::AtLeast(1233.0)),
    ];
    udp.add(loud);
    tcp.add(loud_tcp);
    measures.extend(account.close(&scene.lab, &phzd, &udp, &tcp)?);
    Ok(measures)
}

//! The row of the soak: every kind of question for a long time, while resolver, endpoint and configuration come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::account::Account;
use crate::crowd::{Crowd, Load};
use crate::daemon::{Phzd, Wish};
use crate::dice::Mix;
use crate::lab::{Lab, SERVED_AT};
use crate::namespace::Outcome;
use crate::sky::Sky;
use crate::table::{Measure, Must};
use crate::tally::{Tally, Wait};
use crate::visitors::{pipeline, visit};
use crate::weather::{Weather, resolver_of};

/// Connections on which many questions go.
const PIPELINES: u64 = 3;

/// What memory may differ by between the second quarter of the run and the last, in megabytes.
const MEMORY: f64 = 4.0;

/// The same of open descriptors: those to resolvers come and go.
const DESCRIPTORS: f64 = 24.0;

/// How long the cache is filled.
const WARM: Duration = Duration::from_secs(10);

pub fn row(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    let resolver = resolver_of(&lab)?;
    let wish = Wish { udp_threads: 2, ..Wish::default() };
    let phzd = Phzd::start(&lab, &wish, None)?;
    let (sky, end) = (Sky::clear(), AtomicBool::new(false));
    warm(&lab, &sky, arguments.rate / 5)?;
    let account = Account::open(&lab, &phzd)?;
    let weather = Weather { lab: &lab, phzd: &phzd, sky: &sky, wish, end: &end };
    let load = Load { target: SERVED_AT, mix: Mix::All, rate: arguments.rate };
    let time = Duration::from_secs(arguments.seconds);
    let joined = "a thread of the soak panicked";

    let done = thread::scope(|scope| -> Outcome<_> {
        let (tell, told) = channel();
        let udp = scope.spawn(|| lab.clients.inside(|| Crowd::new(load, &sky, Some(tell))?.run(&end)));
        let visits = {
            let (lab, sky, end) = (&lab, &sky, &end);
            scope.spawn(move || lab.clients.inside(move || visit(Mix::All, &told, sky, end)))
        };
        let pipelines: Vec<_> = (1..=PIPELINES)
            .map(|seed| {
                let (lab, sky, end) = (&lab, &sky, &end);
                scope.spawn(move || lab.clients.inside(|| pipeline(Mix::All, seed, sky, end)))
            })
            .collect();
        let of_the_resolver = scope.spawn(|| weather.of_the_resolver(resolver));
        let of_the_configuration = scope.spawn(|| weather.of_the_configuration());
        let of_the_endpoint = scope.spawn(|| weather.of_the_endpoint());
        let samples = sample(&phzd, time);
        end.store(true, Ordering::Relaxed);
        let samples = samples?;

        let udp = udp.join().map_err(|_| joined)???;
        let mut tcp: Tally = visits.join().map_err(|_| joined)??;
        for pipeline in pipelines {
            tcp.add(pipeline.join().map_err(|_| joined)??);
        }
        let measures = account.close(&lab, &phzd, &udp, &tcp)?;
        let outages = of_the_resolver.join().map_err(|_| joined)??;
        let [good, bad] = of_the_configuration.join().map_err(|_| joined)??;
        let flaps = of_the_endpoint.join().map_err(|_| joined)??;
        Ok((udp, tcp, measures, samples, [outages, good, bad, flaps]))
    });
    let (udp, tcp, mut measures, samples, [outages, good, bad, flaps]) = done?;
    let quarter = |which: usize, of: fn(&Sample) -> f64| -> Vec<f64> {
        samples.chunks(samples.len().div_ceil(4).max(1)).nth(which).into_iter().flatten().map(of).collect()
    };
    let mean = |part: Vec<f64>| part.iter().sum::<f64>() / part.len() as f64;
    let [memory_then, memory] = [1, 3].map(|which| mean(quarter(which, |sample| sample.megabytes)));
    // In an outage each question holds sockets that its answer may still come by, and how many are asked then depends on what
    // has just run out in the cache. What is left behind shows between outages: in the least.
    let least = |part: Vec<f64>| part.into_iter().fold(f64::INFINITY, f64::min);
    let most = |part: Vec<f64>| part.into_iter().fold(0.0, f64::max);
    let [files_then, files] = [1, 3].map(|which| least(quarter(which, |sample| sample.descriptors)));
    let [most_then, most] = [1, 3].map(|which| most(quarter(which, |sample| sample.descriptors)));
    measures.extend([
        Measure::new("times the resolver was away", outages.into(), Must::AtLeast(1.0)),
        Measure::new("reloads", good.into(), Must::AtLeast(1.0)),
        Measure::new("reloads of a broken configuration", bad.into(), Must::AtLeast(1.0)),
        Measure::new("times the endpoint was away", flaps.into(), Must::AtLeast(1.0)),
        Measure::new("MB resident, mean of the second quarter", memory_then, Must::Nothing),
        Measure::new("MB resident, mean of the last", memory, Must::AtMost((memory_then + MEMORY).ceil())),
        Measure::new("descriptors, most in the second quarter", most_then, Must::Nothing),
        Measure::new("descriptors, most in the last", most, Must::Nothing),
        Measure::new("descriptors, least in the second quarter", files_then, Must::Nothing),
        Measure::new("descriptors, least in the last", files, Must::AtMost((files_then + DESCRIPTORS).ceil())),
        Measure::new("ms, p50 of UDP that waits for nobody", udp.per_mille(Wait::Nobody, 500), Must::Nothing),
        Measure::new("ms, p99 of UDP that waits for nobody", udp.per_mille(Wait::Nobody, 990), Must::Nothing),
        Measure::new("ms, p99 of UDP the cache may have", udp.per_mille(Wait::Cache, 990), Must::Nothing),
        Measure::new("ms, p99 of UDP that is forwarded", udp.per_mille(Wait::Resolver, 990), Must::Nothing),
        Measure::new("ms, p99 of TCP that waits for nobody", tcp.per_mille(Wait::Nobody, 990), Must::Nothing),
    ]);
    Ok(measures)
}

/// Fills the cache: at first all names are new, and to ask for all of them at once is more than may be sent to resolvers.
fn warm(lab: &Lab, sky: &Sky, rate: u32) -> Outcome<()> {
    let (load, end) = (Load { target: SERVED_AT, mix: Mix::All, rate }, AtomicBool::new(false));
    thread::scope(|scope| {
        let crowd = scope.spawn(|| lab.clients.inside(|| Crowd::new(load, sky, None)?.run(&end)));
        thread::sleep(WARM);
        end.store(true, Ordering::Relaxed);
        crowd.join().map_err(|_| "the first clients panicked")???;
        Ok(())
    })
}

/// What phzd takes of the machine.
struct Sample {
    megabytes: f64,
    descriptors: f64,
}

/// Looks once a second.
fn sample(phzd: &Phzd<'_>, time: Duration) -> Outcome<Vec<Sample>> {
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        thread::sleep(Duration::from_secs(1));
        let sample = || {
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Sample {
                megabytes: phzd.resident()?,
                descriptors: phzd.descriptors()?,
            })
        };
        samples.push(sample().map_err(|error| format!("phzd is gone ({error}): {}", phzd.last_lines(5)))?);
    }
    Ok(samples)
}

//! The row of reloads: another configuration ten times a second, under as much load as there is room for beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::account::Account;
use crate::cores::{Cores, stay_on};
use crate::crowd::{Crowd, Load};
use crate::daemon::{Phzd, Wish, answers};
use crate::dice::Mix;
use crate::lab::{Lab, SECOND, SERVED_AT};
use crate::namespace::Outcome;
use crate::sky::Sky;
use crate::table::{Measure, Must};
use crate::tally::{Tally, Wait};
use crate::weather::resolver_of;

/// Questions a second.
const RATE: u32 = 50_000;

/// Of these at least so many must have been asked, or the load was not what it is said to be.
const ENOUGH: f64 = 0.8;

/// From one reload to the next.
const PERIOD: Duration = Duration::from_millis(100);

/// What memory may grow by, in megabytes: what the allocator keeps for the next policy.
const MEMORY: f64 = 4.0;

pub fn row(arguments: &Arguments) -> Outcome<Vec<Measure>> {
    let cores = Cores::of_this_run()?;
    stay_on(cores.load)?;
    let lab = Lab::new()?;
    let _resolver = resolver_of(&lab)?;
    let (wish, sky, time) = (Wish::default(), Sky::clear(), arguments.time(60));
    let phzd = Phzd::start(&lab, &wish, Some(cores.program))?;

    let calmly = |time| {
        move || {
            thread::sleep(time);
            Ok(())
        }
    };
    // All that can be cached is, before so many ask for it at once.
    load(&lab, &sky, RATE / 10, calmly(Duration::from_secs(5)))?;
    let account = Account::open(&lab, &phzd)?;
    let (calm, ()) = load(&lab, &sky, RATE, calmly(time))?;
    let calm_measures = account.close(&lab, &phzd, &calm, &Tally::default())?;
    let before = phzd.resident()?;

    let account = Account::open(&lab, &phzd)?;
    let (mut udp, reloads) = load(&lab, &sky, RATE, || reload_until(&lab, &phzd, &sky, &wish, Instant::now() + time))?;
    let lasted = reloads.lasted;
    udp.sent += reloads.served;
    udp.right += reloads.served;
    let mut measures = account.close(&lab, &phzd, &udp, &Tally::default())?;
    // The policy that was replaced last goes when nobody reads it any more.
    thread::sleep(Duration::from_secs(1));
    let after = phzd.resident()?;

    let asked = f64::from(RATE) * lasted.as_secs_f64();
    let dropped = |measures: &[Measure]| {
        measures
            .iter()
            .find(|measure| measure.what.starts_with("dropped by the kernel"))
            .map_or(f64::NAN, |it| it.value)
    };
    let mut times = reloads.times;
    times.sort_unstable();
    let took = |share: usize| times.get(times.len() * share / 1000).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
    measures.extend([
        Measure::new("of the queries that were to be asked", udp.sent as f64 / asked, Must::AtLeast(ENOUGH)),
        Measure::new("reloads", times.len() as f64, Must::AtLeast(time.as_secs_f64() * 5.0)),
        Measure::new("reloads that failed", reloads.failed.into(), Must::AtMost(0.0)),
        Measure::new("addresses not served at once", reloads.unserved.into(), Must::AtMost(0.0)),
        Measure::new("ms, p50 of a reload", took(500), Must::Nothing),
        Measure::new("ms, p99 of a reload", took(990), Must::Nothing),
        Measure::new("MB resident before", before, Must::Nothing),
        Measure::new("MB resident after", after, Must::AtMost((before + MEMORY).ceil())),
        Measure::new("ms, p99, waits for nobody", udp.per_mille(Wait::Nobody, 990), Must::Nothing),
        Measure::new("ms, p99.9, waits for nobody", udp.per_mille(Wait::Nobody, 999), Must::Nothing),
        Measure::new("without reloads: queries", calm.sent as f64, Must::Nothing),
        Measure::new("without reloads: wrong", calm.wrong as f64, Must::AtMost(0.0)),
        Measure::new("without reloads: kernel drops", dropped(&calm_measures), Must::Nothing),
        Measure::new("without reloads: ms, p99", calm.per_mille(Wait::Nobody, 990), Must::Nothing),
        Measure::new("without reloads: ms, p99.9", calm.per_mille(Wait::Nobody, 999), Must::Nothing),
    ]);
    Ok(measures)
}

/// Puts the load on phzd while `work` is done.
fn load<T>(lab: &Lab, sky: &Sky, rate: u32, work: impl FnOnce() -> Outcome<T>) -> Outcome<(Tally, T)> {
    let end = AtomicBool::new(false);
    let load = Load { target: SERVED_AT, mix: Mix::Quick, rate };
    thread::scope(|scope| {
        let udp = scope.spawn(|| lab.clients.inside(|| Crowd::new(load, sky, None)?.run(&end)));
        let done = work();
        end.store(true, Ordering::Relaxed);
        let udp = udp.join().map_err(|_| "the load panicked")???;
        Ok((udp, done?))
    })
}

/// What came of reloads.
#[derive(Default)]
struct Reloads {
    times: Vec<Duration>,
    failed: u32,
    /// How often a listen address did not answer once the reload that added it was done, or still did after the one
    /// that removed it.
    unserved: u32,
    /// Questions asked to find out, and answered.
    served: u64,
    lasted: Duration,
}

/// Four configurations in turn: the buckets and the listen address of every second one come and go.
fn reload_until(lab: &Lab, phzd: &Phzd<'_>, sky: &Sky, wish: &Wish, until: Instant) -> Outcome<Reloads> {
    let begun = Instant::now();
    let (mut reloads, mut due) = (Reloads::default(), begun);
    for number in 1_usize.. {
        let (sometimes, second) = (number.is_multiple_of(2), number % 4 >= 2);
        phzd.write(&Wish { sometimes, second, ..wish.clone() }.text())?;
        let begin = Instant::now();
        let done = sky.sometimes.change(sometimes, Duration::ZERO, || phzd.reload())?;
        reloads.times.push(begin.elapsed());
        reloads.failed += u32::from(!done);
        let served = answers(lab, SECOND)?;
        reloads.served += u64::from(served);
        reloads.unserved += u32::from(served != second);
        due += PERIOD;
        if due > until {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    // As it was at first.
    phzd.write(&wish.text())?;
    sky.sometimes.change(wish.sometimes, Duration::ZERO, || phzd.reload())?;
    reloads.lasted = begun.elapsed();
    Ok(reloads)
}

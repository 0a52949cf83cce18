//! The faults of the soak, each on a timetable of its own, so that in time they meet in every way.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{Phzd, Wish};
use crate::lab::{CHECKED, FLAPPING, Lab, RESOLVER};
use crate::names;
use crate::namespace::Outcome;
use crate::resolver::{Mood, Resolver};
use crate::sky::Sky;

/// How long phzd may take to find that the resolver is back. It looks at one that is down once a second.
const RETURNS: Duration = Duration::from_secs(4);

/// How long it may take to find that the endpoint is there or not: two checks a second, and some time between two.
const NOTICES: Duration = Duration::from_secs(6);

/// The resolver, well.
pub fn resolver_of(lab: &Lab) -> Outcome<Resolver> {
    Resolver::start(&lab.aws, RESOLVER, names::answers(), Duration::ZERO)
}

/// What changes, and until when.
pub struct Weather<'a> {
    pub lab: &'a Lab,
    pub phzd: &'a Phzd<'a>,
    pub sky: &'a Sky,
    pub wish: Wish,
    pub end: &'a AtomicBool,
}

impl Weather<'_> {
    /// Waits, and says whether the run goes on.
    fn goes_on(&self, seconds: u64) -> bool {
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until && !self.end.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        !self.end.load(Ordering::Relaxed)
    }

    /// The resolver is gone, or silent, or fails; then it takes its time. Returns how often that happened.
    pub fn of_the_resolver(&self, resolver: Resolver) -> Outcome<u32> {
        let (mut resolver, mut count) = (Some(resolver), 0);
        while self.goes_on(9) {
            // What comes of it is nobody's fault until some time after its end.
            self.sky.resolver.change(false, Duration::ZERO, || ());
            match (count % 3, &resolver) {
                (1, Some(resolver)) => resolver.turn(Mood::Silent),
                (2, Some(resolver)) => resolver.turn(Mood::Fails),
                _ => resolver = None,
            }
            count += 1;
            self.goes_on(7);
            match &resolver {
                Some(resolver) => resolver.turn(Mood::Answers),
                None => resolver = Some(resolver_of(self.lab)?),
            }
            self.sky.resolver.change(true, RETURNS, || ());
            if self.goes_on(9)
                && let Some(resolver) = &resolver
            {
                resolver.take(Duration::from_millis(200));
                self.goes_on(8);
                resolver.take(Duration::ZERO);
            }
        }
        // What is under way at the end may be answered.
        thread::sleep(crate::crowd::PATIENCE * 2);
        Ok(count)
    }

    /// Configurations come and go, good ones and bad ones, by both ways. Returns how many of each.
    pub fn of_the_configuration(&self) -> Outcome<[u32; 2]> {
        let text = |sometimes| Wish { sometimes, ..self.wish.clone() }.text();
        let (mut good, mut bad, mut sometimes) = (0, 0, true);
        while self.goes_on(3) {
            sometimes = !sometimes;
            self.phzd.write(&text(sometimes))?;
            let by_signal = good % 2 == 1;
            let reload = || if by_signal { self.phzd.hang_up() } else { self.phzd.reload() };
            if !self.sky.sometimes.change(sometimes, Duration::ZERO, reload)? {
                return Err(format!("a good configuration was refused: {}", self.phzd.last_lines(5)).into());
            }
            good += 1;
            if !self.goes_on(3) {
                break;
            }
            // The buckets are the other ones; none of it may come to serve.
            self.phzd.write(&text(!sometimes).replace("when-down = \"forward\"", "when-down = \"whenever\""))?;
            let refused = if by_signal { !self.phzd.reload()? } else { !self.phzd.hang_up()? };
            if !refused {
                return Err("a configuration with a mistake was taken".into());
            }
            bad += 1;
        }
        Ok([good, bad])
    }

    /// The endpoint that is checked comes and goes. Returns how often it went.
    pub fn of_the_endpoint(&self) -> Outcome<u32> {
        let start = || self.lab.aws.inside(|| TcpListener::bind((FLAPPING, CHECKED)));
        let (mut listener, mut count) = (Some(start()??), 0);
        self.sky.endpoint.change(true, NOTICES, || ());
        while self.goes_on(11) {
            self.sky.endpoint.change(false, NOTICES, || listener = None);
            count += 1;
            if !self.goes_on(13) {
                break;
            }
            self.sky
                .endpoint
                .change(true, NOTICES, || start().map(|started| started.map(|started| listener = Some(started))))??;
        }
        drop(listener);
        Ok(count)
    }
}

//! How the daemon is, in a value and in words.

use std::fmt;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use phzd::endpoint::watch::{Look, Serves, State};
use phzd::metrics::Totals;
use phzd::observation::{Budget, Cache, Observation};

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The configuration it reads.
    pub config: String,
    /// When it began to serve, in seconds of Unix time.
    pub started: u64,
    /// When the configuration was last read with success, likewise.
    pub loaded: u64,
    /// What the last reload failed by, if it did.
    pub reload_error: Option<String>,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// `None` if it is ready, else why it is not.
    pub not_ready: Option<String>,
    /// What was counted.
    pub totals: Totals,
    /// Queries that wait for a resolver.
    pub waiting: u64,
    /// What may be sent to the VPC's resolvers.
    pub budget: Option<Budget>,
    /// What is cached.
    pub cache: Cache,
    /// Resolvers that were asked.
    pub resolvers: Vec<Resolver>,
    /// Endpoints.
    pub endpoints: Vec<Look>,
}

/// A resolver, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resolver {
    /// Where it is.
    pub resolver: SocketAddr,
    /// How it stands: well, poor, failing, down.
    pub standing: String,
    /// What it usually takes, in microseconds.
    pub usual_us: Option<u64>,
}

impl Resolver {
    /// Those of an observation.
    pub fn all(observation: &Observation) -> Vec<Self> {
        let short = |account: &phzd::upstream::ledger::Account| Self {
            resolver: account.resolver,
            standing: account.words().into(),
            usual_us: account.usual_us,
        };
        observation.resolvers.iter().map(short).collect()
    }
}

/// Seconds of Unix time.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A span of so many seconds, in the two units that matter.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = |then: u64| span(seconds(SystemTime::now()).saturating_sub(then));
        let line = |f: &mut fmt::Formatter<'_>, what: &str, text: &dyn fmt::Display| writeln!(f, "{what:<10} {text}");
        line(f, "phzd", &format_args!("{}, pid {}, serving for {}", self.version, self.pid, since(self.started)))?;
        let ready = self.not_ready.as_ref().map_or("yes".into(), |why| format!("no: {why}"));
        line(f, "ready", &ready)?;
        line(f, "config", &format_args!("{}, read {} ago", self.config, since(self.loaded)))?;
        if let Some(error) = &self.reload_error {
            line(f, "", &"the last reload failed, the configuration before it serves:")?;
            error.lines().try_for_each(|error| writeln!(f, "           {error}"))?;
        }
        let listen: Vec<_> = self.listen.iter().map(ToString::to_string).collect();
        line(f, "listen", &listen.join(", "))?;
        let Totals { queries, private, hits, forwarded, refused, .. } = self.totals;
        line(
            f,
            "queries",
            &format_args!("{queries}: {private} private, {hits} cached, {forwarded} forwarded, {refused} refused"),
        )?;
        let budget = self.budget.as_ref().map_or("without a limit".into(), |budget| {
            format!("{} packets a second to the VPC's resolvers, {} could leave now", budget.per_second, budget.left)
        });
        line(f, "waiting", &format_args!("{} for a resolver; {budget}", self.waiting))?;
        let Cache { entries, bytes, limit_bytes, .. } = self.cache;
        let mebibytes = |bytes: u64| bytes as f64 / 1_048_576.0;
        line(
            f,
            "cache",
            &format_args!("{entries} answers, {:.1} of {:.0} MiB", mebibytes(bytes), mebibytes(limit_bytes)),
        )?;
        for Resolver { resolver, standing, usual_us } in &self.resolvers {
            let usual = usual_us.map_or(String::new(), |usual| format!(", usually {:.1} ms", usual as f64 / 1000.0));
            line(f, "resolver", &format_args!("{resolver} {standing}{usual}"))?;
        }
        self.endpoints.iter().try_for_each(|look| line(f, "endpoint", &endpoint(look)))
    }
}

/// An endpoint in one line.
fn endpoint(look: &Look) -> String {
    let healthy = look.addresses.iter().filter(|address| address.health != Some(State::Unhealthy)).count();
    let serves = match look.serves {
        Serves::Addresses => "served",
        Serves::NotReady => "not known yet: SERVFAIL",
        Serves::Away => "resolved as if not configured",
    };
    format!("{}: {healthy} of {} addresses good, {serves}", look.endpoint, look.addresses.len())
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_have_two_units() {
        for (seconds, words) in [(5, "5 s"), (65, "1 min 5 s"), (3_720, "1 h 2 min"), (90_000, "1 d 1 h")] {
            assert_eq!(span(seconds), words);
        }
    }
}

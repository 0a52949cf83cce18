//! Queries of our own that come back to our own door.
//!
//! Two ways in: a resolver address that is this very server sends us what we send it, from a socket we know; and a
//! resolver that forwards to us sends back a random name that nobody else could have made up. Both are told before a
//! client's query can go round.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::wire::Name;

/// The second label of every probe's name, after one of 32 hexadecimal digits.
const SECOND: &[u8] = b"\x0aloop-check";
/// Where that begins.
const SECOND_AT: usize = 33;
/// What the name of a probe ends in that may be anywhere: a top-level domain that nobody serves locally, as many servers do
/// `.invalid`, `.test` and their like.
const ANYWHERE: &[u8] = b"\x04phzd\x00";

/// Sockets that are ours, and probes on their way.
#[derive(Debug)]
pub struct Loops {
    /// Bit n: some socket of ours has port n. Most clients are cleared by this alone.
    ports: Box<[AtomicU64]>,
    /// Local addresses of our sockets towards resolvers.
    sockets: Mutex<HashSet<SocketAddr>>,
    /// Names sent to resolvers, each to one.
    probes: ArcSwap<Vec<(Name, SocketAddr)>>,
    /// Resolvers whose probe came back: unused until the next reload.
    looping: ArcSwap<Vec<SocketAddr>>,
}

/// Whether a name (wire form, lower case) is one that we make up for probes: nobody else asks for it, nor we again.
pub fn is_made_up(name: &[u8]) -> bool {
    name.first() == Some(&32) && name.get(SECOND_AT..).is_some_and(|rest| rest.starts_with(SECOND))
}

impl Default for Loops {
    fn default() -> Self {
        Self {
            ports: (0..1024).map(|_| AtomicU64::new(0)).collect(),
            sockets: Mutex::default(),
            probes: ArcSwap::default(),
            looping: ArcSwap::default(),
        }
    }
}

impl Loops {
    /// A socket towards a resolver was opened at this local address.
    pub fn opened(&self, local: SocketAddr) {
        self.sockets().insert(local);
        if let Some((word, bit)) = self.port(local.port()) {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// It was closed.
    pub fn closed(&self, local: SocketAddr) {
        let mut sockets = self.sockets();
        sockets.remove(&local);
        if !sockets.iter().any(|other| other.port() == local.port())
            && let Some((word, bit)) = self.port(local.port())
        {
            word.fetch_and(!bit, Relaxed);
        }
    }

    /// Whether `client` is a socket of ours.
    pub fn is_ours(&self, client: SocketAddr) -> bool {
        let maybe = self.port(client.port()).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0);
        maybe && self.sockets().contains(&SocketAddr::new(client.ip().to_canonical(), client.port()))
    }

    /// Begins anew: a name for each resolver, made of `random`, to be sent to it. It is below what that is asked about: a
    /// server that knows one domain may well forward all else to us. Earlier findings are forgotten.
    pub fn probe(&self, resolvers: &[(SocketAddr, Name)], mut random: impl FnMut() -> u128) -> Vec<(Name, SocketAddr)> {
        let probe = |(resolver, below): &(SocketAddr, Name)| probe_name(random(), below).map(|name| (name, *resolver));
        let probes: Vec<_> = resolvers.iter().filter_map(probe).collect();
        self.looping.store(Vec::new().into());
        self.probes.store(probes.clone().into());
        probes
    }

    /// A name made of `random` for one resolver more, below one that it was asked for; what was found of the others stays.
    pub fn probe_again(&self, resolver: SocketAddr, below: &Name, random: u128) -> Option<Name> {
        let name = probe_name(random, below)?;
        let others = |probes: &Arc<Vec<(Name, SocketAddr)>>| {
            let others = probes.iter().filter(|(_, other)| *other != resolver).cloned();
            others.chain([(name.clone(), resolver)]).collect::<Vec<_>>()
        };
        self.probes.rcu(others);
        Some(name)
    }

    /// Whether the name asked (wire form, lower case) is a probe that came back. If so its resolver is not used any
    /// more.
    pub fn is_probe(&self, name: &[u8]) -> bool {
        if !is_made_up(name) {
            return false;
        }
        let probes = self.probes.load();
        let Some((_, resolver)) = probes.iter().find(|(probe, _)| probe.as_wire() == name) else { return false };
        if !self.is_looping(*resolver) {
            let known = |known: &Arc<Vec<SocketAddr>>| known.iter().copied().chain([*resolver]).collect::<Vec<_>>();
            self.looping.rcu(known);
            tracing::error!(
                %resolver,
                "this resolver forwards to phzd itself; it is left unused until the next reload: point it elsewhere, \
                 or take it out of vpc.resolvers or the rule's targets"
            );
        }
        true
    }

    /// Whether what this resolver is sent comes back.
    pub fn is_looping(&self, resolver: SocketAddr) -> bool {
        self.looping.load().contains(&resolver)
    }

    fn port(&self, port: u16) -> Option<(&AtomicU64, u64)> {
        Some((self.ports.get(usize::from(port) / 64)?, 1 << (port % 64)))
    }

    fn sockets(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody else could have made up; none where that would be too long.
fn probe_name(random: u128, below: &Name) -> Option<Name> {
    let mut wire = format!(" {random:032x}").into_bytes();
    wire[0] = 32;
    wire.extend(SECOND);
    wire.extend(if below.label_count() == 0 { ANYWHERE } else { below.as_wire() });
    Name::from_wire(&wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_sockets_are_known_while_they_are_open() {
        let loops = Loops::default();
        let (ours, other) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:4000".parse().unwrap());
        loops.opened(ours);
        assert!(loops.is_ours(ours) && !loops.is_ours(other));
        assert!(loops.is_ours("[::ffff:10.0.0.1]:4000".parse().unwrap()));
        loops.opened(other);
        loops.closed(ours);
        assert!(!loops.is_ours(ours) && loops.is_ours(other));
        loops.closed(other);
        assert!(!loops.is_ours(other));
    }

    #[test]
    fn a_probe_that_comes_back_names_its_resolver() {
        let loops = Loops::default();
        let (a, b) = ("10.0.0.2:53".parse().unwrap(), "10.0.0.3:53".parse().unwrap());
        let resolvers = [(a, Name::root()), (b, "corp.example".parse().unwrap())];
        let mut next = 0;
        let probes = loops.probe(&resolvers, || {
            next += 1;
            next
        });
        assert_eq!(probes[0].0.to_string(), "00000000000000000000000000000001.loop-check.phzd");
        assert_eq!(probes[1].0.to_string(), "00000000000000000000000000000002.loop-check.corp.example");
        assert!(!loops.is_probe("00000000000000000000000000000009.loop-check.phzd".parse::<Name>().unwrap().as_wire()));
        assert!(!loops.is_probe(b"\x00"));
        assert!(!loops.is_looping(b));
        assert!(loops.is_probe(probes[1].0.as_wire()));
        assert!(loops.is_looping(b) && !loops.is_looping(a));
        loops.probe(&resolvers, || 7);
        assert!(!loops.is_looping(b), "a reload begins anew");
    }
}

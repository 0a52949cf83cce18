//! Why an answer is as it is: who the client is, who decides and who does not, what is said, whom it would be asked of.
//!
//! Nothing here decides. The reply is the responder's own, of a query that nobody sent; who decides is told by the policy
//! while it decides (`Policy::decide_before`). No packet is sent, and nothing is counted or kept. All of it can be had as
//! JSON and read back.

mod decision;
mod who;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::{Addresses, Affinity, Config};
use crate::endpoint::watch::{AddressLook, Look};
use crate::observation::CachedAnswer;
use crate::policy::Policy;
use crate::responder::{Outcome, Pending, Responder};
use crate::upstream::ledger::Account;
use crate::upstream::{Route, Upstream};
use crate::wire::query::{MAX_TCP, rcode};
use crate::wire::{Name, Question, Transport, presentation, reply};

pub use decision::{Candidate, Step};
pub use who::Who;

/// Why an answer is as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// What is asked.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Who asks.
    pub who: Who,
    /// The name asked, and each that a zone's CNAME leads to: who decides about it.
    pub steps: Vec<Step>,
    /// The endpoints that the answer is made of.
    pub endpoints: Vec<Endpoint>,
    /// What is said.
    pub outcome: Said,
}

/// What is said in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// This reply.
    Reply(Reply),
    /// None at all.
    Nothing,
    /// What resolvers say.
    Forward(Forward),
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reply {
    /// Its response code.
    pub rcode: String,
    /// It exists and has nothing of this type (RFC 2308 section 2.2).
    pub nodata: bool,
    /// Records of the answer section, ...
    pub answer: Vec<String>,
    /// ... and of the authority section.
    pub authority: Vec<String>,
    /// Why it is no better, in its own words (RFC 8914).
    pub errors: Vec<String>,
}

/// An endpoint that an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// As the configuration calls it.
    pub endpoint: String,
    /// Where it is written.
    pub stated: String,
    /// `same-az`, and not `none`.
    pub same_az: bool,
    /// The name that is looked up, and at whom, where its addresses are not stated.
    pub looked_up: Option<String>,
    /// Its addresses; none where they are looked up and nobody has.
    pub addresses: Vec<AddressLook>,
}

/// What is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forward {
    /// The name that is asked for: the one asked, or the last that CNAMEs lead to.
    pub name: String,
    /// The resolvers, in the order of the configuration.
    pub resolvers: Vec<Target>,
    /// Those that are asked when none of these lives.
    pub fallback: Vec<Target>,
    /// What the daemon has of that name and type; `None` without a daemon.
    pub cached: Option<Vec<CachedAnswer>>,
}

/// A resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Target {
    /// Where it is, and how one speaks with it.
    pub resolver: String,
    /// How it stands, if it was ever asked by the daemon.
    pub standing: Option<String>,
    /// What it usually takes, in microseconds.
    pub usual_us: Option<u64>,
}

/// What a daemon knows beside its policy.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// How its endpoints are.
    pub endpoints: Vec<Look>,
    /// How its resolvers fare.
    pub resolvers: Vec<Account>,
}

/// Explains what `client` is answered about `name` and `kind` by `policy`. `known` is what a daemon knows; `cached` gives
/// what it has of a name.
pub fn explain(
    policy: &Arc<Policy>,
    (name, kind): (&Name, u16),
    client: IpAddr,
    known: Option<&Known>,
    cached: impl Fn(&Name) -> Vec<CachedAnswer>,
    now: Instant,
) -> Explanation {
    let question = Question { name: name.clone(), kind, dnssec_ok: false, checking_disabled: false };
    let config = &policy.facts().config;
    let (said, passed) = match respond(policy, &question, client, now) {
        Heard::Reply(message) => {
            let said = Reply::read(&message, &question);
            (Said::Reply(said.0), said.1)
        }
        Heard::Nothing => (Said::Nothing, Vec::new()),
        Heard::Forward(pending) => {
            let forward = Forward::new(&pending, known, &cached);
            (Said::Forward(forward), pending.passed().cloned().collect())
        }
    };
    let who = Who::new(policy, client);
    let (mut steps, mut used) = (Vec::new(), Vec::new());
    if let Some(identified) = policy.clients().identify(client) {
        let present = policy.endpoints().present();
        // Behind a forwarded name stand others, which resolvers know.
        for name in std::iter::once(name).chain(&passed) {
            let (step, endpoint) = Step::new(policy, name, (client, identified), &present);
            let ends = step.route.is_some();
            steps.push(step);
            used.extend(endpoint.filter(|endpoint| !used.contains(endpoint)));
            if ends {
                break;
            }
        }
    }
    let endpoints = used.into_iter().filter_map(|index| Endpoint::new(config, index, known)).collect();
    Explanation { name: name.to_string(), r#type: presentation::kind(kind), who, steps, endpoints, outcome: said }
}

/// What the responder does.
enum Heard {
    Reply(Vec<u8>),
    Nothing,
    Forward(Pending),
}

/// Has the responder answer the question of `client`, from an empty cache.
fn respond(policy: &Arc<Policy>, question: &Question, client: IpAddr, now: Instant) -> Heard {
    let mut nothing_kept = policy.facts().config.clone();
    nothing_kept.cache.bytes = 0;
    let mut responder = Responder::aside(Arc::clone(policy), Upstream::new(&nothing_kept));
    let query = question.message(0, question.name.as_wire(), true);
    let mut out = vec![0; MAX_TCP];
    // Any port but 0; nothing is sent there.
    let client = SocketAddr::new(client, 1);
    match responder.enter().respond(&query, client, Transport::Tcp, now, &mut out) {
        Outcome::Drop => Heard::Nothing,
        Outcome::Reply(length) => {
            out.truncate(length);
            Heard::Reply(out)
        }
        Outcome::Forward(pending) => Heard::Forward(pending),
    }
}

impl Reply {
    /// What a message says, and the names that its CNAMEs lead to.
    fn read(message: &[u8], question: &Question) -> (Self, Vec<Name>) {
        let sections = presentation::sections(message);
        let read = reply::read(message, question, None);
        let answer = read.as_ref().ok().map(|received| &received.answer);
        let code = answer.map_or(sections.rcode, |answer| answer.rcode());
        let errors = answer.map_or(&[][..], |answer| answer.errors());
        let passed = answer.map_or(&[][..], |answer| answer.aliases()).iter().map(|alias| alias.target.clone());
        let reply = Self {
            nodata: code == rcode::NOERROR && sections.answer.is_empty(),
            rcode: rcode::mnemonic(code),
            answer: sections.answer,
            authority: sections.authority,
            errors: errors.iter().map(|error| String::from_utf8_lossy(&error.text).into_owned()).collect(),
        };
        (reply, passed.collect())
    }
}

impl Endpoint {
    fn new(config: &Config, index: usize, known: Option<&Known>) -> Option<Self> {
        let endpoint = config.endpoints.get(index)?;
        let look = known.and_then(|known| known.endpoints.iter().find(|look| look.endpoint == endpoint.name));
        let (stated, looked_up) = match &endpoint.addresses {
            Addresses::Stated(addresses) => (addresses.as_slice(), None),
            Addresses::Learned(name) => {
                let resolvers: Vec<_> = name.resolvers.iter().map(ToString::to_string).collect();
                (&[][..], Some(format!("{} at {}", name.name, resolvers.join(" or "))))
            }
        };
        let plain = |address: &crate::config::EndpointAddress| AddressLook {
            ip: address.ip,
            az_id: address.az_id.clone(),
            health: None,
            reason: None,
            served: true,
        };
        Some(Self {
            endpoint: endpoint.name.clone(),
            stated: endpoint.stated.to_string(),
            same_az: endpoint.affinity == Affinity::SameAz,
            looked_up,
            addresses: look.map_or_else(|| stated.iter().map(plain).collect(), |look| look.addresses.clone()),
        })
    }
}

impl Forward {
    fn new(pending: &Pending, known: Option<&Known>, cached: impl Fn(&Name) -> Vec<CachedAnswer>) -> Self {
        let (question, route) = (&pending.question, &pending.route);
        let targets = |route: &Route| -> Vec<Target> {
            let target = |hop: &crate::upstream::Hop| {
                let accounts = known.into_iter().flat_map(|known| &known.resolvers);
                let account = accounts.into_iter().find(|account| account.resolver == hop.address());
                Target {
                    resolver: hop.target.to_string(),
                    standing: account.map(|account| account.standing.word().to_owned()),
                    usual_us: account.and_then(|account| account.usual_us),
                }
            };
            route.hops().iter().map(target).collect()
        };
        let kind = presentation::kind(question.kind);
        let resolvers = targets(route);
        let of_these = |answer: &CachedAnswer| {
            answer.r#type == kind && answer.resolvers.iter().eq(resolvers.iter().map(|target| &target.resolver))
        };
        let cached = known.map(|_| cached(&question.name).into_iter().filter(of_these).collect());
        Self {
            name: question.name.to_string(),
            fallback: route.fallback().map(|route| targets(route)).unwrap_or_default(),
            resolvers,
            cached,
        }
    }
}

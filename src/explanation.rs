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
    /// What the daemon keeps of the name that this comes to, of every type; `None` without a daemon.
    pub cached: Option<Vec<CachedAnswer>>,
    /// Endpoints whose addresses only the daemon knows, and on which the outcome depends: it is what is said while they are
    /// not known.
    pub unknown: Vec<String>,
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
    /// Resolvers have said it, and it is kept.
    pub from_cache: bool,
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

/// How a daemon's endpoints and resolvers are.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// How its endpoints are.
    pub endpoints: Vec<Look>,
    /// How its resolvers fare.
    pub resolvers: Vec<Account>,
}

/// What a daemon knows beside its policy.
#[derive(Debug, Clone, Copy)]
pub struct Running<'d> {
    /// How its endpoints and resolvers are.
    pub known: &'d Known,
    /// What it keeps.
    pub upstream: &'d Upstream,
}

/// Explains what `client` is answered about `name` and `kind` by `policy`: by a daemon's, if it is one that is `running`.
pub fn explain(
    policy: &Arc<Policy>,
    (name, kind): (&Name, u16),
    client: IpAddr,
    running: Option<Running<'_>>,
    now: Instant,
) -> Explanation {
    let question = Question { name: name.clone(), kind, dnssec_ok: false, checking_disabled: false };
    let (config, known) = (&policy.facts().config, running.map(|running| running.known));
    let (mut outcome, passed) = match respond(policy, &question, client, running, now) {
        Heard::Reply(message) => {
            let (reply, passed) = Reply::read(&message, &question);
            (Said::Reply(reply), passed)
        }
        Heard::Nothing => (Said::Nothing, Vec::new()),
        Heard::Forward(pending) => (Said::Forward(Forward::new(&pending, known)), pending.passed().cloned().collect()),
    };
    let (mut steps, mut used, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(identified) = policy.clients().identify(client) {
        let present = policy.endpoints().present();
        for name in std::iter::once(name).chain(&passed) {
            let (step, endpoints) = Step::new(policy, name, (client, identified), &present);
            steps.push(step);
            used.extend(endpoints.has.filter(|endpoint| !used.contains(endpoint)));
            unknown.extend(endpoints.has.into_iter().chain(endpoints.away));
        }
    }
    if let Said::Reply(reply) = &mut outcome {
        reply.from_cache = steps.iter().any(|step| step.route.is_some());
    }
    let learned = |index: &usize| {
        let endpoint =
            config.endpoints.get(*index).filter(|endpoint| matches!(endpoint.addresses, Addresses::Learned(_)));
        endpoint.filter(|_| known.is_none()).map(|endpoint| endpoint.name.clone())
    };
    let last = passed.last().unwrap_or(name);
    Explanation {
        name: name.to_string(),
        r#type: presentation::kind(kind),
        who: Who::new(policy, client),
        steps,
        endpoints: used.iter().filter_map(|index| Endpoint::new(config, *index, known)).collect(),
        outcome,
        cached: running.map(|running| {
            running.upstream.cache().of_name(last).iter().map(|listed| CachedAnswer::new(listed, now)).collect()
        }),
        unknown: unknown.iter().filter_map(learned).collect(),
    }
}

/// What the responder does.
enum Heard {
    Reply(Vec<u8>),
    Nothing,
    Forward(Pending),
}

/// Has the responder answer the question of `client`, from what a daemon keeps if one is running.
fn respond(
    policy: &Arc<Policy>,
    question: &Question,
    client: IpAddr,
    running: Option<Running<'_>>,
    now: Instant,
) -> Heard {
    let query = question.message(0, question.name.as_wire(), true);
    // Any port but 0; nothing is sent there.
    let client = SocketAddr::new(client, 1);
    let mut names = vec![question.name.clone()];
    loop {
        let upstream = match running {
            Some(running) => running.upstream.copy_of(&names, now),
            None => Upstream::new(&policy.facts().config).copy_of(&[], now),
        };
        let mut responder = Responder::aside(Arc::clone(policy), upstream);
        let mut out = vec![0; MAX_TCP];
        match responder.enter().respond(&query, client, Transport::Tcp, now, &mut out) {
            Outcome::Drop => return Heard::Nothing,
            Outcome::Reply(length) => {
                out.truncate(length);
                return Heard::Reply(out);
            }
            // What a zone's CNAME leads to may be kept, too.
            Outcome::Forward(pending) if running.is_some() && !names.contains(&pending.question.name) => {
                names.push(pending.question.name);
            }
            Outcome::Forward(pending) => return Heard::Forward(pending),
        }
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
            from_cache: false,
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
    fn new(pending: &Pending, known: Option<&Known>) -> Self {
        let (question, route) = (&pending.question, &pending.route);
        let targets = |route: &Route| -> Vec<Target> {
            let target = |hop: &crate::upstream::Hop| {
                let accounts = known.into_iter().flat_map(|known| &known.resolvers);
                let account = accounts.into_iter().find(|account| account.resolver == hop.address());
                Target {
                    resolver: hop.target.to_string(),
                    standing: account.map(|account| account.words().to_owned()),
                    usual_us: account.and_then(|account| account.usual_us),
                }
            };
            route.hops().iter().map(target).collect()
        };
        Self {
            name: question.name.to_string(),
            resolvers: targets(route),
            fallback: route.fallback().map(|route| targets(route)).unwrap_or_default(),
        }
    }
}

//! What is done with a query is what would be explained of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::DNSClass;
use phzd::explanation::{Forward, Known, Reply, Running, Said, explain};
use phzd::policy::Policy;
use phzd::responder::Pending;
use phzd::upstream::Upstream;
use phzd::wire::{Name, presentation};

use super::echo::Query;
use super::notation::Told;

/// Ports from which no client asks.
const NO_CLIENTS: [u16; 8] = [0, 7, 13, 17, 19, 37, 53, 464];

/// What the responder did.
pub enum Done<'a> {
    Replied(&'a [u8]),
    Dropped,
    Forwarded(&'a Pending),
}

/// Whether what was `done` with `query` is what is explained of it by what `upstream` keeps. `refused` says that phzd
/// itself said REFUSED.
pub fn as_explained(
    policy: &Arc<Policy>,
    upstream: &Upstream,
    query: &Query,
    done: &Done<'_>,
    refused: bool,
    now: Instant,
) -> Told<()> {
    let Ok(message) = Message::from_vec(&query.packet) else { return Ok(()) };
    let [asked] = &*message.queries else { return Ok(()) };
    let flags = &message.metadata;
    let version = message.edns.as_ref().map_or(0, hickory_proto::op::Edns::version);
    let served = flags.message_type == MessageType::Query && version == 0;
    let plain =
        served && flags.op_code == OpCode::Query && flags.recursion_desired && asked.query_class() == DNSClass::IN;
    let validates = message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok) || flags.checking_disabled;
    // Those that check for themselves may be told something else, and what is not served is nobody's.
    let unserved = matches!(done, Done::Replied(reply) if matches!(reply.get(3).map(|octet| octet & 15), Some(1 | 4)));
    if !plain || validates || unserved {
        return Ok(());
    }
    let name: Name = asked.name().to_ascii().parse().map_err(|_| "a name that is none")?;
    let (kind, known) = (u16::from(asked.query_type()), Known::default());
    let running = Some(Running { known: &known, upstream });
    let explained = explain(policy, (&name, kind), query.client.ip(), running, now).outcome;
    match (done, &explained) {
        (Done::Replied(reply), Said::Reply(explained)) => same_reply(reply, explained),
        (Done::Forwarded(pending), Said::Forward(explained)) => same_way(pending, explained),
        (Done::Dropped, Said::Nothing) => Ok(()),
        // One of our own sockets, or a port that no client has.
        (Done::Dropped, _) if upstream.loops.is_ours(query.client) || NO_CLIENTS.contains(&query.client.port()) => {
            Ok(())
        }
        (Done::Replied(_), Said::Forward(_)) if refused => Ok(()),
        _ => Err(format!("it is explained otherwise: {explained:?}")),
    }
}

fn same_reply(reply: &[u8], explained: &Reply) -> Told<()> {
    let message = Message::from_vec(reply).map_err(|error| error.to_string())?;
    let sections = presentation::sections(reply);
    // What is cut short has no records.
    let cut = message.metadata.truncation;
    let lines = |lines: &[String]| lines.iter().map(|line| line.to_lowercase()).collect::<BTreeSet<_>>();
    let same = cut
        || lines(&sections.answer) == lines(&explained.answer)
            && lines(&sections.authority) == lines(&explained.authority);
    let code = message.metadata.response_code.to_string();
    let codes = [("NOERROR", 0), ("SERVFAIL", 2), ("NXDOMAIN", 3), ("NOTIMP", 4), ("REFUSED", 5)];
    // A code that the header has no room for is SERVFAIL to whom there is no OPT for.
    if explained.rcode.starts_with("RCODE") && message.edns.is_none() {
        return Ok(());
    }
    let number = codes.iter().find(|(word, _)| *word == explained.rcode).map(|(_, number)| *number);
    if !same || number != Some(u16::from(message.metadata.response_code)) {
        return Err(format!("it is explained as {explained:?}, and is {code} {sections:?}"));
    }
    Ok(())
}

fn same_way(pending: &Pending, explained: &Forward) -> Told<()> {
    let resolvers: Vec<_> = pending.route.hops().iter().map(|hop| hop.target.to_string()).collect();
    let told: Vec<_> = explained.resolvers.iter().map(|target| target.resolver.clone()).collect();
    if pending.question.name.to_string() != explained.name || resolvers != told {
        return Err(format!("it is explained as {explained:?}, and is {} at {resolvers:?}", pending.question.name));
    }
    Ok(())
}

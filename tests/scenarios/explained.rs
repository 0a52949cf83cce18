//! What is done with a query is what would be explained of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::{DNSClass, Record};
use phzd::explanation::{Forward, Reply, Said, explain};
use phzd::metrics::Totals;
use phzd::policy::Policy;
use phzd::responder::Pending;
use phzd::wire::{Name, presentation};

use super::echo::Query;
use super::notation::Told;

/// What the responder did.
pub enum Done<'a> {
    Replied(&'a [u8]),
    Dropped,
    Forwarded(&'a Pending),
}

/// Whether what was `done` with `query` is what is explained of it, wherever an explanation says that a zone answers, or
/// nobody does, or whom it is asked of. `before` and `after` are what had been counted.
pub fn as_explained(
    policy: &Arc<Policy>,
    query: &Query,
    done: &Done<'_>,
    (before, after): (Totals, Totals),
    now: Instant,
) -> Told<()> {
    let Ok(message) = Message::from_vec(&query.packet) else { return Ok(()) };
    let [asked] = &*message.queries else { return Ok(()) };
    let flags = &message.metadata;
    let plain = flags.op_code == OpCode::Query && flags.recursion_desired && asked.query_class() == DNSClass::IN;
    // Those that check for themselves may be told something else, and what is malformed is nobody's.
    if !plain || flags.checking_disabled || after.malformed > before.malformed {
        return Ok(());
    }
    let name: Name = asked.name().to_ascii().parse().map_err(|_| "a name that is none")?;
    let kind = u16::from(asked.query_type());
    let explained = explain(policy, (&name, kind), query.client.ip(), None, |_| Vec::new(), now).outcome;
    let of_a_zone = after.private > before.private || after.refused > before.refused;
    match (done, &explained) {
        (Done::Replied(reply), Said::Reply(explained)) => same_reply(reply, explained),
        (Done::Forwarded(pending), Said::Forward(explained)) => same_way(pending, explained),
        (Done::Dropped, Said::Nothing) => Ok(()),
        // The cache had it.
        (Done::Replied(_), Said::Forward(_)) if !of_a_zone || after.hits > before.hits => Ok(()),
        // A zone's CNAME to a name that the cache had.
        (Done::Replied(reply), Said::Forward(_)) if has_cname(reply) => Ok(()),
        // One of our own sockets.
        (Done::Dropped, _) if !of_a_zone => Ok(()),
        // A query of ours that came back.
        (Done::Replied(_), Said::Forward(_)) if after.refused > before.refused => Ok(()),
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

fn has_cname(reply: &[u8]) -> bool {
    let is_cname = |record: &Record| record.record_type() == hickory_proto::rr::RecordType::CNAME;
    Message::from_vec(reply).is_ok_and(|message| message.answers.iter().any(is_cname))
}

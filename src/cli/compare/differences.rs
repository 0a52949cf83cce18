//! What two replies to one question differ in, and which of that is meant to be so.

use std::collections::BTreeMap;

use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};
use serde::Serialize;

/// A field in which two replies differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which.
    pub field: &'static str,
    /// What phzd says, ...
    pub phzd: String,
    /// ... and what the other does.
    pub other: String,
    /// It is meant to be so.
    pub meant: bool,
    /// Why it is meant, or what that it is not may come from.
    pub why: &'static str,
}

/// Differences that are meant, each with its reason. All others are not.
mod meant {
    pub const COUNTED_DOWN: &str =
        "the other resolver keeps the answer, and its TTL counts down; phzd's is the endpoint's, each time";
    pub const NEGATIVE_TTL: &str = "as long as the VPC's resolver lets a hosted zone's negative answers be kept; other resolvers go by the \
                                    SOA";
    pub const SOA_LEFT_OUT: &str =
        "phzd has the SOA in every negative answer; the VPC's resolver leaves it out of repeated ones";
    pub const PAYLOAD: &str = "phzd takes 1232 octets over UDP, which need no fragments";
    pub const ANY: &str = "of ANY phzd gives the addresses alone, as the VPC's resolver does";
}

/// What `phzd` and the `other` differ in, who were asked for this type.
pub fn between(kind: RecordType, phzd: &Message, other: &Message) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |field, a: String, b: String, meant: Result<&'static str, &'static str>| {
        if a != b {
            let (meant, why) = meant.map_or_else(|why| (false, why), |why| (true, why));
            found.push(Difference { field, phzd: a, other: b, meant, why });
        }
    };
    let (ours, theirs) = (&phzd.metadata, &other.metadata);
    differ(
        "rcode",
        ours.response_code.to_string(),
        theirs.response_code.to_string(),
        Err("NXDOMAIN and NODATA are different things to clients, and a failure is neither"),
    );
    differ(
        "aa",
        flag(ours.authoritative),
        flag(theirs.authoritative),
        Err("a resolver sets no aa: an authoritative server was asked, and not a resolver in front of it"),
    );
    differ("ra", flag(ours.recursion_available), flag(theirs.recursion_available), Err("one of both does not recurse"));
    differ("ad", flag(ours.authentic_data), flag(theirs.authentic_data), Err("a hosted zone is not signed"));
    differ("tc", flag(ours.truncation), flag(theirs.truncation), Err("one reply was cut short"));
    let addresses = phzd.answers.iter().all(|record| matches!(record.record_type(), RecordType::A | RecordType::AAAA));
    let fewer = phzd.answers.iter().all(|ours| other.answers.iter().any(|theirs| line(ours) == line(theirs)));
    let any = kind == RecordType::ANY && addresses && fewer;
    let any = if any { Ok(meant::ANY) } else { Err("clients get other records") };
    differ("answer", records(&phzd.answers), records(&other.answers), any);
    for ((owner, kind), ttl) in ttls(&phzd.answers) {
        if let Some(theirs) = ttls(&other.answers).get(&(owner, kind)).copied() {
            let down =
                if theirs < ttl { Ok(meant::COUNTED_DOWN) } else { Err("clients keep the answer for another time") };
            differ("answer TTL", format!("{kind} {ttl}"), format!("{kind} {theirs}"), down);
        }
    }
    let left_out = other.authorities.is_empty() && phzd.answers.is_empty() && other.answers.is_empty();
    let authority =
        if left_out && is_soa_alone(phzd) { Ok(meant::SOA_LEFT_OUT) } else { Err("the authority sections differ") };
    differ("authority", records(&phzd.authorities), records(&other.authorities), authority);
    if let (Some(ours), Some(theirs)) = (phzd.authorities.first(), other.authorities.first()) {
        let negative =
            if is_soa_alone(phzd) && is_soa_alone(other) { Ok(meant::NEGATIVE_TTL) } else { Err("other TTLs") };
        differ("authority TTL", ours.ttl.to_string(), theirs.ttl.to_string(), negative);
    }
    differ(
        "additional",
        records(&phzd.additionals),
        records(&other.additionals),
        Err("the additional sections differ"),
    );
    let version = |message: &Message| message.edns.as_ref().map_or("none".into(), |edns| edns.version().to_string());
    differ("EDNS version", version(phzd), version(other), Err("one of both does not take EDNS"));
    let payload =
        |message: &Message| message.edns.as_ref().map_or("none".into(), |edns| edns.max_payload().to_string());
    differ("EDNS payload", payload(phzd), payload(other), Ok(meant::PAYLOAD));
    found
}

fn flag(set: bool) -> String {
    if set { "set" } else { "clear" }.into()
}

/// A record without its TTL.
fn line(record: &Record) -> String {
    let owner = record.name.to_ascii().to_lowercase();
    format!("{owner} {} {}", record.record_type(), record.data.to_string().to_lowercase())
}

/// Records without their TTLs, sorted: their order turns.
fn records(records: &[Record]) -> String {
    let mut lines: Vec<String> = records.iter().map(line).collect();
    lines.sort_unstable();
    if lines.is_empty() { "none".into() } else { lines.join(", ") }
}

/// The least TTL of each owner and type.
fn ttls(records: &[Record]) -> BTreeMap<(String, RecordType), u32> {
    let mut ttls = BTreeMap::new();
    for record in records {
        let ttl = ttls.entry((record.name.to_ascii().to_lowercase(), record.record_type())).or_insert(record.ttl);
        *ttl = record.ttl.min(*ttl);
    }
    ttls
}

fn is_soa_alone(message: &Message) -> bool {
    matches!(&*message.authorities, [soa] if soa.record_type() == RecordType::SOA)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::rdata::SOA;
    use hickory_proto::rr::{Name, RData};

    use super::*;

    fn message(soa: Option<u32>) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let name = |text| Name::from_str(text).unwrap();
        let data = SOA::new(name("ns.example."), name("host.example."), 1, 2, 3, 4, 5);
        message.authorities.extend(soa.map(|ttl| Record::from_rdata(name("example."), ttl, RData::SOA(data))));
        message
    }

    #[test]
    fn a_soa_may_be_missing_there_and_not_here() {
        let judged = |phzd, other| {
            let found = between(RecordType::AAAA, &message(phzd), &message(other));
            found.iter().map(|one| (one.field, one.meant)).collect::<Vec<_>>()
        };
        assert_eq!(judged(Some(60), Some(60)), []);
        assert_eq!(judged(Some(60), Some(900)), [("authority TTL", true)]);
        assert_eq!(judged(Some(60), None), [("authority", true)]);
        assert_eq!(judged(None, Some(60)), [("authority", false)]);
    }
}

//! Replies of resolvers as hickory-proto writes them, and as nobody should.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Asks, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, NULL, PTR, SOA, opt::EdnsOption};
use hickory_proto::rr::{Name as Presentation, RData, Record, RecordType};

use super::super::query::{Decoded, Folded, Transport, decode};
use super::*;
use crate::wire::Placement;

const TYPE_A: u16 = 1;

fn question(name: &str, kind: u16) -> Question {
    Question { name: name.parse().unwrap(), kind, dnssec_ok: true, checking_disabled: false }
}

fn name(text: &str) -> Presentation {
    Presentation::from_ascii(text).unwrap()
}

/// A reply to `host.example.`, A, with nothing in it.
fn reply() -> Message {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(Asks::query(name("host.example."), RecordType::A));
    message
}

fn a(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, 1)))
}

fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let data = SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, minimum);
    Record::from_rdata(name("example."), ttl, RData::SOA(data))
}

fn opt(high: u8, options: &[(u16, &[u8])]) -> Record {
    let mut edns = Edns::new();
    edns.set_rcode_high(high);
    for (code, data) in options {
        edns.options_mut().insert(EdnsOption::Unknown(*code, data.to_vec()));
    }
    Record::from(&edns)
}

fn read_bytes(bytes: &[u8]) -> Result<Received, Unusable> {
    read(bytes, &question("host.example", TYPE_A), None)
}

fn read_message(message: &Message) -> Received {
    read_bytes(&message.to_vec().unwrap()).unwrap()
}

/// What a client is sent that asked `question`, `age` seconds later.
pub(super) fn sent(received: &Received, question: &Question, age: u32) -> Vec<u8> {
    let packet = question.message(9, question.name.as_wire(), true);
    let mut folded = Folded::default();
    let Decoded::Query(query) = decode(&packet, &mut folded) else { panic!("{packet:?}") };
    let mut out = vec![0; 65_535];
    let place = Placement { age, ..Placement::FRESH };
    let length = received.answer.write(&query, place, query.limit(Transport::Tcp), &mut out);
    out.truncate(length);
    out
}

/// All records of a message as text, section by section.
pub(super) fn shown(bytes: &[u8]) -> [Vec<String>; 3] {
    let message = Message::from_vec(bytes).unwrap();
    let text = |records: &[Record]| records.iter().map(ToString::to_string).collect();
    [text(&message.answers), text(&message.authorities), text(&message.additionals)]
}

/// The header and question of a reply to `host.example`, A, with these counts; records follow.
fn raw(counts: [u16; 3], records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1];
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend(b"\x04host\x07example\x00\x00\x01\x00\x01");
    bytes.extend(records.concat());
    bytes
}

/// Where the records begin in what [`raw`] makes.
const RECORDS: u8 = 12 + 14 + 4;
/// An A record of the question's name.
const ADDRESS: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04";
const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";

#[test]
fn a_positive_answer_lives_as_long_as_its_shortest_ttl() {
    let mut message = reply();
    message.add_answers([a("host.example.", 60), a("host.example.", 30)]);
    assert_eq!(read_message(&message).lifetime, 30);
    message.add_authority(Record::from_rdata(name("example."), 20, RData::NS(NS(name("ns.example.")))));
    assert_eq!(read_message(&message).lifetime, 20);
    message.add_additional(a("ns.example.", 10));
    message.set_edns(Edns::new());
    let received = read_message(&message);
    assert_eq!((received.outcome, received.lifetime), (Outcome::Positive, 10), "an OPT has no TTL");
}

#[test]
fn a_ttl_with_its_highest_bit_set_is_none() {
    let mut message = reply();
    message.add_answers([a("host.example.", 60), a("host.example.", 0x8000_0001)]);
    let received = read_message(&message);
    assert_eq!(received.lifetime, 0);
    let [answers, ..] = shown(&sent(&received, &question("host.example", TYPE_A), 1));
    assert_eq!(answers, ["host.example. 59 IN A 192.0.2.1", "host.example. 0 IN A 192.0.2.1"]);
}

#[test]
fn a_negative_answer_lives_as_its_soa_says() {
    let lifetime = |code: ResponseCode, answer: Option<Record>, authority: Option<Record>| {
        let mut message = reply();
        message.metadata.response_code = code;
        message.add_answers(answer);
        message.add_authorities(authority);
        let received = read_message(&message);
        assert_eq!(received.outcome, Outcome::Negative);
        assert_eq!(received.answer.rcode(), u16::from(code));
        received.lifetime
    };
    let alias = || Some(cname("host.example.", "other.example."));
    assert_eq!(lifetime(ResponseCode::NXDomain, None, Some(soa(900, 60))), 60);
    assert_eq!(lifetime(ResponseCode::NXDomain, None, Some(soa(30, 60))), 30);
    assert_eq!(lifetime(ResponseCode::NoError, None, Some(soa(900, 0))), 0);
    assert_eq!(lifetime(ResponseCode::NoError, None, None), 5, "without SOA");
    assert_eq!(lifetime(ResponseCode::NoError, alias(), None), 5);
    assert_eq!(lifetime(ResponseCode::NoError, alias(), Some(soa(900, 600))), 60, "the CNAME's TTL");
    assert_eq!(lifetime(ResponseCode::NXDomain, alias(), Some(soa(0x8000_0000, 600))), 0);
}

#[test]
fn a_failure_does_not_live() {
    for code in [ResponseCode::FormErr, ResponseCode::ServFail, ResponseCode::NotImp, ResponseCode::Refused] {
        let mut message = reply();
        message.metadata.response_code = code;
        message.add_answer(a("host.example.", 60));
        let received = read_message(&message);
        assert_eq!((received.outcome, received.lifetime), (Outcome::Failure, 0));
        assert_eq!(received.answer.rcode(), u16::from(code));
    }
}

#[test]
fn records_of_another_type_are_no_answer_except_to_any() {
    let mut message = reply();
    message.add_answer(Record::from_rdata(name("host.example."), 60, RData::PTR(PTR(name("a.")))));
    assert_eq!(read_message(&message).outcome, Outcome::Negative);
    message.queries[0].set_query_type(RecordType::ANY);
    let received = read(&message.to_vec().unwrap(), &question("host.example", kind::ANY), None).unwrap();
    assert_eq!((received.outcome, received.lifetime), (Outcome::Positive, 60));
}

#[test]
fn what_does_not_answer_the_question_is_foreign() {
    let good = raw([1, 0, 0], &[ADDRESS]);
    assert!(read_bytes(&good).is_ok());
    let foreign = |at: usize, octet: u8, why: &str| {
        let mut bytes = good.clone();
        bytes[at] = octet;
        assert_eq!(read_bytes(&bytes), Err(Unusable::Foreign), "{why}");
    };
    foreign(2, 0x01, "a query");
    foreign(2, 0xa9, "opcode UPDATE");
    foreign(5, 0, "no question");
    foreign(5, 2, "two questions");
    foreign(4, 1, "257 questions");
    foreign(13, b'g', "another name");
    foreign(27, 28, "another type");
    foreign(29, 3, "another class");
    foreign(12, 0xc0, "a pointer");
    for length in 0..usize::from(RECORDS) {
        assert_eq!(read_bytes(&good[..length]), Err(Unusable::Foreign), "{length} octets");
    }
    let mut bytes = good;
    bytes[13..17].copy_from_slice(b"HoSt");
    assert!(read_bytes(&bytes).is_ok(), "the case of the name is the caller's concern");
}

#[test]
fn a_header_alone_can_only_be_a_failure() {
    let header = |code: u8| [0, 7, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0];
    let received = read_bytes(&header(5)).unwrap();
    assert_eq!((&*received.answer, received.outcome), (&Answer::empty(rcode::REFUSED), Outcome::Failure));
    assert_eq!(read_bytes(&header(0)), Err(Unusable::Foreign));
    assert_eq!(read_bytes(&[&header(5)[..], OPT].concat()), Err(Unusable::Foreign));
}

#[test]
fn what_was_cut_short_is_to_be_fetched_again() {
    let mut bytes = raw([9, 0, 0], &[ADDRESS]);
    bytes[2] |= 0x02;
    assert_eq!(read_bytes(&bytes), Err(Unusable::Truncated), "the records are not even looked at");
    bytes[27] = 28;
    assert_eq!(read_bytes(&bytes), Err(Unusable::Foreign), "but the question is");
}

#[test]
fn counts_and_octets_must_agree() {
    for counts in [[2, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1], [65_535, 0, 0], [65_535; 3], [1, 0, 65_535]] {
        assert_eq!(read_bytes(&raw(counts, &[ADDRESS])), Err(Unusable::Malformed), "{counts:?}");
    }
    let whole = raw([1, 1, 1], &[ADDRESS, ADDRESS, OPT]);
    assert!(read_bytes(&whole).is_ok());
    for length in usize::from(RECORDS)..whole.len() {
        assert_eq!(read_bytes(&whole[..length]), Err(Unusable::Malformed), "{length} octets");
    }
    assert_eq!(read_bytes(&[&whole[..], b"x"].concat()), Err(Unusable::Malformed));
    let long = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\xff\xff\x01\x02\x03\x04";
    assert_eq!(read_bytes(&raw([1, 0, 0], &[long])), Err(Unusable::Malformed), "65,535 octets of data claimed");
    let short_soa = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x03\x00\x00\x00";
    assert_eq!(read_bytes(&raw([0, 1, 0], &[short_soa])), Err(Unusable::Malformed));
}

#[test]
fn a_pointer_must_lead_back() {
    let owned = |at: u8| [&[0xc0, at], &ADDRESS[2..]].concat();
    let to_itself = owned(RECORDS);
    let forward = owned(RECORDS + 16);
    let into_header = owned(4);
    for record in [to_itself, forward, into_header, [b"\x40", &ADDRESS[2..]].concat()] {
        assert_eq!(read_bytes(&raw([2, 0, 0], &[&record, ADDRESS])), Err(Unusable::Malformed), "{record:?}");
    }
    let alias = |rdata: &[u8]| {
        let fixed = [&b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00"[..], &[rdata.len() as u8]].concat();
        read_bytes(&raw([2, 0, 0], &[&fixed, rdata, ADDRESS]))
    };
    let here = RECORDS + 12;
    assert_eq!(alias(&[1, b'a', 0xc0, 12]).unwrap().answer.aliases()[0].target.to_string(), "a.host.example");
    assert_eq!(alias(&[0xc0, here]), Err(Unusable::Malformed), "itself");
    assert_eq!(alias(&[1, b'a', 0xc0, here]), Err(Unusable::Malformed), "its own beginning");
    assert_eq!(alias(&[1, b'a', 0xc0, here + 2]), Err(Unusable::Malformed), "its own pointer");
    assert_eq!(alias(&[0xc0, here + 2]), Err(Unusable::Malformed), "forward");
    assert_eq!(alias(&[0xc0, 12, 0]), Err(Unusable::Malformed), "more than a name");
    assert_eq!(alias(&[9, b'a', 0]), Err(Unusable::Malformed), "less than a name");
    assert_eq!(alias(&[0xff, 0xff]), Err(Unusable::Malformed), "beyond the message");
}

#[test]
fn a_name_cannot_grow_beyond_255_octets() {
    let label = [&[63][..], &[b'x'; 63]].concat();
    let alias = |labels: usize| {
        let rdata = [label.repeat(labels), vec![0xc0, 12]].concat();
        let fixed = [&b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c"[..], &(rdata.len() as u16).to_be_bytes()].concat();
        read_bytes(&raw([1, 0, 0], &[&fixed, &rdata])).map(|received| received.answer.aliases().len())
    };
    assert_eq!(alias(3), Ok(1));
    assert_eq!(alias(4), Err(Unusable::Malformed));
}

#[test]
fn an_opt_stands_once_in_the_additional_section_at_the_root() {
    assert!(read_bytes(&raw([1, 0, 1], &[ADDRESS, OPT])).is_ok());
    assert_eq!(read_bytes(&raw([1, 0, 2], &[ADDRESS, OPT, OPT])), Err(Unusable::Malformed), "two");
    assert_eq!(read_bytes(&raw([2, 0, 0], &[ADDRESS, OPT])), Err(Unusable::Malformed), "in the answer section");
    assert_eq!(read_bytes(&raw([1, 1, 0], &[ADDRESS, OPT])), Err(Unusable::Malformed), "in the authority section");
    let owned = [b"\xc0\x0c", &OPT[1..]].concat();
    assert_eq!(read_bytes(&raw([1, 0, 1], &[ADDRESS, &owned])), Err(Unusable::Malformed), "owned by a name");
}

#[test]
fn extended_errors_and_codes_are_kept() {
    let mut message = reply();
    message.metadata.response_code = ResponseCode::ServFail;
    let options = [(10, &b"cookie12"[..]), (15, b"\x00\x06bogus"), (15, b"\x00")];
    message.add_additional(opt(0, &options));
    let received = read_message(&message);
    let bogus = ExtendedError { code: 6, text: b"bogus"[..].to_vec().into() };
    assert_eq!(*received.answer, Answer::error(rcode::SERVFAIL, bogus), "a cookie is between neighbours");
    let bytes = sent(&received, &question("host.example", TYPE_A), 0);
    assert_eq!(bytes[bytes.len() - 11..], *b"\x00\x0f\x00\x07\x00\x06bogus");
    let mut message = reply();
    message.add_additional(opt(1, &[]));
    let received = read_message(&message);
    assert_eq!((received.answer.rcode(), received.outcome), (rcode::BADVERS, Outcome::Failure));
}

#[test]
fn an_opt_among_other_records_leaves_no_trace() {
    let mut message = reply();
    message.add_answer(a("host.example.", 60));
    let mail = |owner: &str, target: &str| Record::from_rdata(name(owner), 60, RData::MX(MX::new(10, name(target))));
    let unknown = NULL::with(b"\xc0\x0c\x07unknown\xc0\x0c".to_vec());
    message.add_additionals([
        a("before.example.", 60),
        mail("early.before.example.", "host.example."),
        opt(0, &[(15, b"\x00\x04stale")]),
        a("after.example.", 60),
        mail("deep.after.example.", "mx.after.example."),
        mail("early.before.example.", "mx.deep.after.example."),
        Record::from_rdata(name("x.after.example."), 5, RData::PTR(PTR(name("mx.deep.after.example.")))),
        soa(60, 60),
        Record::from_rdata(name("deep.after.example."), 5, RData::Unknown { code: 65_399.into(), rdata: unknown }),
        Record::from_rdata(Presentation::from_labels([&b"\xe9\xe9"[..]]).unwrap(), 5, RData::A(A::new(1, 1, 1, 1))),
        a("mx.after.example.", 7),
    ]);
    let bytes = message.to_vec().unwrap();
    let asked = question("host.example", TYPE_A);
    let received = read(&bytes, &asked, None).unwrap();
    let reply = sent(&received, &asked, 0);
    assert_eq!(shown(&reply), shown(&bytes));
    assert_eq!(shown(&reply)[2].len(), 10);
    assert_eq!(received.lifetime, 5);
}

#[test]
fn octets_that_only_look_like_a_pointer_are_left_alone() {
    // The label ends in 0xc1, the name in 0: read as a pointer, that would lead to octet 256, behind the OPT.
    let owner = b"\x09xxxxxxxx\xc1\x00";
    let record = [owner, &ADDRESS[2..]].concat();
    let bytes = raw([0, 0, 2], &[OPT, &record]);
    let asked = question("host.example", TYPE_A);
    let reply = sent(&read(&bytes, &asked, None).unwrap(), &asked, 0);
    assert_eq!(shown(&reply), shown(&bytes));
}

#[test]
fn names_after_an_opt_must_be_whole() {
    let into_opt = [&[0xc0, RECORDS], &ADDRESS[2..]].concat();
    assert_eq!(read_bytes(&raw([0, 0, 2], &[OPT, &into_opt])), Err(Unusable::Malformed), "it loses its target");
    let empty_mx = b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x00";
    let bytes = raw([0, 0, 3], &[OPT, empty_mx, ADDRESS]);
    assert_eq!(read_bytes(&bytes), Err(Unusable::Malformed), "its name would be the next record's");
}

#[test]
fn types_that_nobody_knows_are_kept_octet_by_octet() {
    let record = b"\xc0\x0c\xfe\x57\x00\x01\x00\x00\x00\x3c\x00\x05\xc0\x0c\xff\x00\x80";
    let asked = Question { dnssec_ok: false, ..question("host.example", TYPE_A) };
    let received = read(&raw([1, 0, 1], &[record, OPT]), &asked, None).unwrap();
    let reply = sent(&received, &asked, 0);
    assert_eq!(reply[usize::from(RECORDS)..], [record, OPT].concat());
}

#[test]
fn a_chain_of_cnames_is_found_in_any_order() {
    let links = [
        cname("host.example.", "one.example."),
        cname("one.example.", "Two.other."),
        cname("two.OTHER.", "three.other."),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut message = reply();
        message.add_answer(cname("beside.example.", "elsewhere.example."));
        message.add_answers(order.map(|at| links[at].clone()));
        message.add_answer(a("three.other.", 9));
        let received = read_message(&message);
        assert_eq!((received.outcome, received.lifetime), (Outcome::Positive, 9));
        let targets: Vec<_> = received.answer.aliases().iter().map(|alias| alias.target.to_string()).collect();
        assert_eq!(targets, ["one.example", "two.other", "three.other"]);
    }
    let mut message = reply();
    message.add_answers(links);
    for kind in [RecordType::CNAME, RecordType::ANY] {
        message.queries[0].set_query_type(kind);
        let received = read(&message.to_vec().unwrap(), &question("host.example", kind.into()), None).unwrap();
        assert!(received.answer.aliases().is_empty(), "the CNAME itself is the answer");
    }
}

#[test]
fn a_loop_of_cnames_is_seen_to_have_no_end() {
    let mut message = reply();
    message.add_answers([cname("host.example.", "a.example."), cname("a.example.", "host.example.")]);
    assert_eq!(read_message(&message).answer.aliases().len(), MAX_CHAIN + 1);
    let long = |links: usize| {
        let mut message = reply();
        message.add_answer(cname("host.example.", "n0.example."));
        let next = |n: usize| cname(&format!("n{n}.example."), &format!("n{}.example.", n + 1));
        message.add_answers((0..links - 1).map(next));
        read_message(&message).answer.aliases().len()
    };
    assert_eq!([long(1), long(11), long(12), long(40)], [1, MAX_CHAIN, MAX_CHAIN + 1, MAX_CHAIN + 1]);
}

#[test]
fn ad_is_told_to_those_who_ask() {
    let mut message = reply();
    message.metadata.authentic_data = true;
    message.add_answer(a("host.example.", 60));
    let asked = question("host.example", TYPE_A);
    let authentic = |bytes: &[u8]| Message::from_vec(bytes).unwrap().metadata.authentic_data;
    assert!(authentic(&sent(&read_message(&message), &asked, 0)));
    message.metadata.authentic_data = false;
    assert!(!authentic(&sent(&read_message(&message), &asked, 0)));
}

#[test]
fn a_question_is_asked_as_it_is_kept() {
    for (dnssec_ok, checking_disabled) in [(false, false), (true, false), (false, true), (true, true)] {
        let asked = Question { dnssec_ok, checking_disabled, ..question("Host.Example", 65) };
        let packet = asked.message(0xabcd, asked.name.as_wire(), true);
        assert_eq!(message_id(&packet), Some(0xabcd));
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&packet, &mut folded) else { panic!("{packet:?}") };
        assert!(query.recursion_desired() && query.wants_authentic());
        assert_eq!(Asked::by(&query), asked.as_asked());
        assert_eq!(Asked::by(&query).to_question(), Some(asked));
    }
}

#[test]
fn what_is_kept_of_a_reply_is_no_more_than_twice_as_large() {
    // A failure without a record, and as many empty extended errors as a datagram has room for.
    let options = [0, 15, 0, 2, 0, 0].repeat(670);
    let length = (options.len() as u16).to_be_bytes();
    let opt = [&b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00"[..], &length, &options].concat();
    let mut message = raw([0, 0, 1], &[&opt]);
    message[3] = 0x82;
    let question =
        Question { name: "host.example".parse().unwrap(), kind: 1, dnssec_ok: false, checking_disabled: false };
    let received = read(&message, &question, None).unwrap();
    assert_eq!(received.outcome, Outcome::Failure);
    let kept = received.answer.footprint();
    assert!(kept < 2 * message.len(), "{kept} octets for {}", message.len());
}

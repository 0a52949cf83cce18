//! Public names that the cache of a house knows: aliases into zones and past them, chains, loops, large and negative
//! answers.

use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::{Action, Forwarder};
use phzd::wire::Transport;

use crate::house::wish;

/// A client for whom all of these names are public.
const CLIENT: &str = "172.31.0.5:4242";

/// Has all of them asked for and answered at `now`.
pub fn learn(responder: &mut Responder, upstream: &Arc<Upstream>, now: Instant) {
    let mut forwarder: Forwarder<Pending> = Forwarder::new(Arc::clone(upstream), [7; 32]);
    let mut out = vec![0; 65_535];
    for (asked, code, answers) in known() {
        let client = CLIENT.parse().expect("an address");
        let packet = query(&asked, 1);
        let Outcome::Forward(pending) = responder.enter().respond(&packet, client, Transport::Udp, now, &mut out)
        else {
            panic!("{asked} is known already")
        };
        forwarder.ask(wish(pending), now);
        for action in std::mem::take(forwarder.actions()) {
            if let Action::Send { socket, message } = action {
                forwarder.datagram(socket, &said(&message, code, &answers), now);
            }
        }
        assert_eq!(forwarder.answered().drain(..).count(), 1, "{asked}");
    }
    assert_eq!(upstream.cache().entries(), known().len());
}

/// A question with RD and an OPT of 1232 octets.
pub fn query(name: &str, kind: u16) -> Vec<u8> {
    let name: phzd::wire::Name = name.parse().expect("the lists have names");
    let question = phzd::wire::Question { name, kind, dnssec_ok: false, checking_disabled: false };
    question.message(0x1234, question.name.as_wire(), true)
}

/// The resolver's reply to `asked`.
fn said(asked: &[u8], code: ResponseCode, answers: &[Record]) -> Vec<u8> {
    let mut reply = Message::from_vec(asked).expect("phzd asks in good form");
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.response_code = code;
    reply.metadata.recursion_available = true;
    reply.add_answers(answers.iter().cloned());
    if answers.is_empty() {
        let soa = SOA::new(name("ns.example"), name("admin.example"), 1, 2, 3, 4, 300);
        reply.add_authorities([Record::from_rdata(name("example"), 300, RData::SOA(soa))]);
    }
    reply.to_vec().expect("a message of few records")
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("the lists have names");
    name.set_fqdn(true);
    name
}

/// Names, and what a resolver says of their addresses.
fn known() -> Vec<(String, ResponseCode, Vec<Record>)> {
    let record = |owner: &str, data| Record::from_rdata(name(owner), 3600, data);
    let alias = |owner: &str, target: &str| record(owner, RData::CNAME(CNAME(name(target))));
    let address = |owner: &str| record(owner, RData::A(A::new(192, 0, 2, 1)));
    let good = |asked: &str, answers| (asked.to_owned(), ResponseCode::NoError, answers);
    let into = |asked: &str, target: &str| good(asked, vec![alias(asked, target), address(target)]);
    let s3 = |bucket: &str| format!("{bucket}.s3.ap-northeast-1.amazonaws.com");
    let mut known = vec![
        good("www.example", vec![address("www.example")]),
        good("text.example", vec![record("text.example", RData::TXT(TXT::new(vec!["x".repeat(200); 20])))]),
        good("many.example", vec![address("many.example"); 200]),
        good("none.example", vec![]),
        ("nobody.example".to_owned(), ResponseCode::NXDomain, vec![]),
        into("internal-bucket.example", "bucket.internal.example"),
        into("internal-loop.example", "loop.internal.example"),
        into("mx.example", "a.w.internal.example"),
        into("to-x.example", "a.x.example"),
        into("to-rule.example", "www.corp.example"),
        into("lenient.example", "below.lenient.s3.ap-northeast-1.amazonaws.com"),
        good("loop.example", vec![alias("loop.example", "loop2.example"), alias("loop2.example", "loop.example")]),
        into("www.corp.example", "forwarding.s3.ap-northeast-1.amazonaws.com"),
    ];
    for bucket in ["forwarding", "refusing", "dropping", "hiding", "empty", "shared"] {
        known.push(into(&format!("{bucket}.example"), &s3(bucket)));
    }
    let mut chain: Vec<_> =
        (0..11).map(|at| alias(&format!("c{at}.example"), &format!("c{}.example", at + 1))).collect();
    chain.push(address("c11.example"));
    known.push(good("c0.example", chain));
    known
}

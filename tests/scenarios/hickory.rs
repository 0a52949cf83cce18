//! The same conversations behind hickory's server: every query of every scenario is read by hickory, its reply is put
//! through `phzd::hickory::Handler` and written by hickory, and must say the same, record by record.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponse;
use phzd::hickory::{Answer, Handler};
use phzd::wire::Transport;
use tokio::runtime::Builder;

use super::echo::Query;
use super::file::Scenario;
use super::{all, player};

#[test]
fn every_conversation_is_the_same_behind_hickorys_server() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let mut failures = Vec::new();
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        let scenario: Scenario = toml::from_str(&text).unwrap();
        let replies = player::played(&text).unwrap_or_else(|told| panic!("{}, {told}", path.display()));
        let different: Vec<String> =
            replies.iter().filter_map(|(query, reply)| runtime.block_on(difference(query, reply.as_deref()))).collect();
        match (&scenario.hickory, different.first()) {
            (None, Some(difference)) => failures.push(format!("{}: {difference}", path.display())),
            (Some(_), None) => failures.push(format!("{}: hickory takes part in it all the same", path.display())),
            _ => {}
        }
    }
    assert!(failures.is_empty(), "{} scenarios:\n{}", failures.len(), failures.join("\n"));
}

/// What hickory makes otherwise of one query and its reply.
async fn difference(query: &Query, reply: Option<&[u8]>) -> Option<String> {
    let tcp = query.asking.as_ref().is_some_and(|asking| asking.tcp);
    let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
    let request = match Request::from_bytes(query.packet.clone(), query.client, protocol) {
        Ok(request) => request,
        Err(error) => return Some(format!("hickory does not hand the query on: {error}")),
    };
    let canned = Canned { packet: query.packet.clone().into(), client: query.client, reply: reply.map(Into::into) };
    let taken = Taken { protocol, octets: Arc::default() };
    Handler::new(canned).handle_request::<_, TokioTime>(&request, taken.clone()).await;
    let octets = taken.octets.lock().unwrap().take();
    match (reply, octets) {
        (None, None) => None,
        (None, Some(_)) => Some("a reply where there should be none".into()),
        (Some(_), None) => Some("no reply".into()),
        (Some(wanted), Some(got)) => compare(wanted, &got),
    }
}

/// The first difference of two messages.
fn compare(wanted: &[u8], got: &[u8]) -> Option<String> {
    let read = |octets: &[u8]| Message::from_vec(octets);
    let (wanted_message, got_message) = match (read(wanted), read(got)) {
        (Ok(wanted), Ok(got)) => (wanted, got),
        (Err(error), _) => return Some(format!("hickory cannot read the reply: {error}")),
        (_, Err(error)) => return Some(format!("hickory wrote what cannot be read: {error}")),
    };
    let differs = |what: &str, wanted: &dyn std::fmt::Debug, got: &dyn std::fmt::Debug| {
        let (wanted, got) = (format!("{wanted:?}"), format!("{got:?}"));
        (wanted != got).then(|| format!("{what}: {wanted}, and hickory says {got}"))
    };
    differs("header", &wanted_message.metadata, &got_message.metadata)
        .or_else(|| differs("question", &wanted_message.queries, &got_message.queries))
        .or_else(|| differs("octets of the question", &question(wanted), &question(got)))
        .or_else(|| differs("answer", &wanted_message.answers, &got_message.answers))
        .or_else(|| differs("authority", &wanted_message.authorities, &got_message.authorities))
        .or_else(|| differs("additional", &wanted_message.additionals, &got_message.additionals))
        .or_else(|| differs("OPT", &wanted_message.edns, &got_message.edns))
}

/// The octets of a message's first question, if it has one.
fn question(message: &[u8]) -> Option<&[u8]> {
    let mut end = 12;
    while message.get(4..6)? != [0, 0] && *message.get(end)? > 0 {
        end += 1 + usize::from(message[end]);
    }
    message.get(12..end)
}

/// Says what was said in the scenario.
#[derive(Clone)]
struct Canned {
    packet: Arc<[u8]>,
    client: SocketAddr,
    reply: Option<Arc<[u8]>>,
}

impl Answer for Canned {
    async fn answer(&self, packet: &[u8], client: SocketAddr, _: Transport) -> Option<Vec<u8>> {
        assert_eq!((packet, client), (&*self.packet, self.client), "the query comes as it was sent");
        self.reply.as_deref().map(<[u8]>::to_vec)
    }
}

/// Takes what hickory would send.
#[derive(Clone)]
struct Taken {
    protocol: Protocol,
    octets: Arc<Mutex<Option<Vec<u8>>>>,
}

#[async_trait::async_trait]
impl ResponseHandler for Taken {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        // As hickory's own handler bounds a reply.
        encoder.set_max_size(match self.protocol {
            Protocol::Udp => response.edns().map_or(512, hickory_proto::op::Edns::max_payload),
            _ => u16::MAX,
        });
        let info = response.destructive_emit(&mut encoder)?;
        *self.octets.lock().unwrap() = Some(octets);
        Ok(info)
    }
}

//! A stand-in for the VPC's resolver, the `.2`, on a machine that is in no VPC. No part of the service: nothing on a
//! query's path knows it. `phzd demo` starts it beside the server, and so may a test that wants a resolver.
//!
//! It answers as the `.2` does: `qr rd ra`, never `aa`, the SOA with what does not exist (RFC 2308), an OPT of 4096
//! octets for who sent one. What it knows of `amazonaws.com` has the form of the public names; the IPv4 addresses look
//! like those of S3, the IPv6 one is from the block for documentation. Any other domain it refuses.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// The public addresses of S3 by its plain names.
pub const S3: [Ipv4Addr; 2] = [Ipv4Addr::new(52, 219, 1, 10), Ipv4Addr::new(52, 219, 9, 74)];
/// Its IPv4 addresses by the names for both families, ...
pub const DUAL_STACK_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(52, 219, 4, 138), Ipv4Addr::new(52, 219, 16, 202)];
/// ... and its IPv6 address.
pub const DUAL_STACK_V6: [Ipv6Addr; 1] = [Ipv6Addr::new(0x2001, 0xdb8, 0x52, 0, 0, 0, 0x219, 1)];

/// The only domain that is known here.
const DOMAIN: &str = "amazonaws.com.";
/// Names, and what each has. A `*` stands for any name below, as S3 has an address for every bucket, even one that is
/// not there.
const TABLE: [(&str, Known); 5] = [
    ("*.s3.ap-northeast-1.amazonaws.com.", Known::Alias("s3-r-w.ap-northeast-1.amazonaws.com.")),
    ("s3.ap-northeast-1.amazonaws.com.", Known::Addresses(&S3, &[])),
    ("s3-r-w.ap-northeast-1.amazonaws.com.", Known::Addresses(&S3, &[])),
    ("*.s3.dualstack.ap-northeast-1.amazonaws.com.", Known::Alias("s3-r-w.dualstack.ap-northeast-1.amazonaws.com.")),
    ("s3-r-w.dualstack.ap-northeast-1.amazonaws.com.", Known::Addresses(&DUAL_STACK_V4, &DUAL_STACK_V6)),
];
/// TTL of an alias, in seconds.
const ALIAS_TTL: u32 = 300;
/// TTL of S3's addresses: it moves them often.
const ADDRESS_TTL: u32 = 5;
/// TTL of the SOA in a negative answer.
const NEGATIVE_TTL: u32 = 60;
/// What the `.2` says of the datagrams it takes.
const PAYLOAD: u16 = 4096;
/// How long a client's TCP connection may be idle.
const IDLE: Duration = Duration::from_secs(5);
/// Replies that may wait on a TCP connection.
const QUEUE: usize = 16;
/// How often a port that is free for UDP as well as for TCP is looked for.
const ATTEMPTS: usize = 16;
/// The EDNS option of extended errors (RFC 8914 section 2).
const EXTENDED_ERROR: u16 = 15;

/// A name's records.
#[derive(Debug, Clone, Copy)]
enum Known {
    Alias(&'static str),
    Addresses(&'static [Ipv4Addr], &'static [Ipv6Addr]),
}

/// The stand-in, serving on a loopback address until it is dropped.
pub struct StandIn {
    address: SocketAddr,
    /// Its tasks end with it.
    _server: Server<Table>,
}

impl StandIn {
    /// Serves on a free port, UDP and TCP. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// No free port.
    pub async fn start() -> io::Result<Self> {
        let (udp, tcp) = free_port().await?;
        let address = udp.local_addr()?;
        let mut server = Server::new(Table::new());
        server.register_socket(udp);
        server.register_listener(tcp, IDLE, QUEUE);
        Ok(Self { address, _server: server })
    }

    /// Where it can be asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Sockets on a port that nobody has.
async fn free_port() -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempt = 1;
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// [`TABLE`] with its names read.
#[derive(Debug)]
struct Table {
    domain: Name,
    names: Vec<(Name, Known)>,
}

/// What is said of a name and type.
#[derive(Debug, Default)]
struct Said {
    code: ResponseCode,
    answer: Vec<Record>,
    authority: Vec<Record>,
    /// For the reader, where the name is none of ours.
    extended_error: Option<&'static str>,
}

impl Table {
    fn new() -> Self {
        Self { domain: name(DOMAIN), names: TABLE.iter().map(|(text, known)| (name(text), *known)).collect() }
    }

    fn say(&self, asked: &Name, kind: RecordType) -> Said {
        if !self.domain.zone_of(asked) {
            let extended_error = Some("the stand-in for the VPC's resolver knows only amazonaws.com");
            return Said { code: ResponseCode::Refused, extended_error, ..Said::default() };
        }
        let mut said = Said::default();
        let mut owner = asked.clone();
        while let Some(Known::Alias(target)) = self.find(&owner) {
            let target = name(target);
            said.answer.push(Record::from_rdata(owner, ALIAS_TTL, RData::CNAME(CNAME(target.clone()))));
            if matches!(kind, RecordType::CNAME | RecordType::ANY) {
                return said;
            }
            owner = target;
        }
        let links = said.answer.len();
        match self.find(&owner) {
            Some(known) => said.answer.extend(known.records(&owner, kind)),
            None if self.names.iter().any(|(name, _)| owner.zone_of(name)) => {}
            None => said.code = ResponseCode::NXDomain,
        }
        if said.answer.len() == links {
            said.authority.push(self.soa());
        }
        said
    }

    /// What there is at a name: its own entry, else that of the `*` above it.
    fn find(&self, wanted: &Name) -> Option<Known> {
        let above = |name: &Name| name.is_wildcard() && name.base_name() != *wanted && name.base_name().zone_of(wanted);
        let exact = self.names.iter().find(|(name, _)| name == wanted);
        exact.or_else(|| self.names.iter().find(|(name, _)| above(name))).map(|(_, known)| *known)
    }

    fn soa(&self) -> Record {
        let soa =
            SOA::new(name("dns-external-master.amazon.com."), name("root.amazon.com."), 1, 180, 60, 3_024_000, 60);
        Record::from_rdata(self.domain.clone(), NEGATIVE_TTL, RData::SOA(soa))
    }
}

impl Known {
    /// The addresses of a type, as records of `owner`.
    fn records(self, owner: &Name, kind: RecordType) -> Vec<Record> {
        let Self::Addresses(v4, v6) = self else { return Vec::new() };
        let v4 = v4.iter().map(|address| RData::A((*address).into()));
        let v6 = v6.iter().map(|address| RData::AAAA((*address).into()));
        let wanted = |data: &RData| kind == RecordType::ANY || data.record_type() == kind;
        v4.chain(v6).filter(wanted).map(|data| Record::from_rdata(owner.clone(), ADDRESS_TTL, data)).collect()
    }
}

/// A name of this program's own.
fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("the names above are well-formed")
}

#[async_trait]
impl RequestHandler for Table {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let said = match request.request_info() {
            Ok(info) if info.metadata.op_code == OpCode::Query => {
                self.say(&Name::from(info.query.name()), info.query.query_type())
            }
            Ok(_) => Said { code: ResponseCode::NotImp, ..Said::default() },
            Err(_) => Said { code: ResponseCode::FormErr, ..Said::default() },
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        metadata.response_code = said.code;
        let edns = request.edns.as_ref().map(|_| edns(said.extended_error));
        let message = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let message = message.build(metadata, &said.answer, &said.authority, [], []);
        // Who asked is gone: there is nobody to tell.
        let unsent = || ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        reply.send_response(message).await.unwrap_or_else(|_| unsent())
    }
}

/// The OPT of a reply.
fn edns(extended_error: Option<&str>) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    if let Some(text) = extended_error {
        // Two octets of code, 0 for "other", then the text.
        let option = [&[0, 0], text.as_bytes()].concat();
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, option));
    }
    edns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(asked: &str, kind: RecordType) -> (ResponseCode, Vec<String>, usize) {
        let said = Table::new().say(&name(asked), kind);
        let data = said.answer.iter().map(|record| record.data.to_string()).collect();
        (said.code, data, said.authority.len())
    }

    #[test]
    fn every_bucket_is_an_alias_of_s3() {
        let s3 = ["s3-r-w.ap-northeast-1.amazonaws.com.", "52.219.1.10", "52.219.9.74"].map(String::from).to_vec();
        for asked in ["bbbbb-bucket.s3.ap-northeast-1.amazonaws.com.", "A.B.S3.ap-northeast-1.amazonaws.COM."] {
            assert_eq!(said(asked, RecordType::A), (ResponseCode::NoError, s3.clone(), 0), "{asked}");
            let alias = s3[..1].to_vec();
            assert_eq!(said(asked, RecordType::AAAA), (ResponseCode::NoError, alias.clone(), 1), "{asked}");
            assert_eq!(said(asked, RecordType::CNAME), (ResponseCode::NoError, alias, 0), "{asked}");
        }
    }

    #[test]
    fn what_is_not_there_comes_with_the_domains_soa() {
        assert_eq!(said("nothing.amazonaws.com.", RecordType::A), (ResponseCode::NXDomain, vec![], 1));
        // Names are below it.
        assert_eq!(said("ap-northeast-1.amazonaws.com.", RecordType::A), (ResponseCode::NoError, vec![], 1));
        assert_eq!(said("example.com.", RecordType::A), (ResponseCode::Refused, vec![], 0));
    }
}

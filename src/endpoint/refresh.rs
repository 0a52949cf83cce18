//! One lookup of an endpoint's DNS name, by hickory's resolver.
//!
//! The resolvers are the configuration's and nobody else's: no file of the system is read, no name is completed by a
//! search list, nothing is cached here. Each is asked by itself, because hickory takes a SERVFAIL for the last word of
//! all and lets a silent server use up the time of those after it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name as Absolute, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use tokio::time::timeout;

use super::watch::{Family, Found, Lookup};

/// How long one resolver may take, with all CNAMEs on the way. Within it hickory repeats a datagram that was lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks a name up; its resolvers are asked in their order until one gives a usable answer.
pub async fn look_up(lookup: &Lookup) -> Found {
    let mut last = Found::Failed("there is nobody to ask".into());
    for resolver in lookup.resolvers.iter() {
        last = match ask(*resolver, lookup).await {
            Found::Failed(why) => Found::Failed(format!("{why} from {}", resolver.ip())),
            found => return found,
        };
    }
    last
}

/// Asks one resolver, once.
async fn ask(resolver: SocketAddr, lookup: &Lookup) -> Found {
    let Ok(name) = absolute(lookup.name.as_wire()) else { return Found::Failed("the name cannot be asked for".into()) };
    let client = match client(resolver) {
        Ok(client) => client,
        Err(error) => return Found::Failed(error.to_string()),
    };
    let kind = match lookup.family {
        Family::A => RecordType::A,
        Family::Aaaa => RecordType::AAAA,
    };
    match timeout(PATIENCE, client.lookup(name, kind)).await {
        Ok(Ok(lookup)) => found(lookup.answers()),
        Ok(Err(error)) => failure(&error),
        Err(_) => failure(&NetError::Timeout),
    }
}

/// The addresses in an answer, which are all of the family that was asked for. The least TTL is that of the whole chain
/// of CNAMEs that leads to them.
fn found(answers: &[Record]) -> Found {
    let ip = |record: &Record| match &record.data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    };
    let addresses: Vec<IpAddr> = answers.iter().filter_map(ip).collect();
    match answers.iter().map(|record| record.ttl).min() {
        Some(ttl) if !addresses.is_empty() => Found::Addresses { addresses, ttl },
        _ => Found::NoData,
    }
}

/// The end of a lookup without addresses.
fn failure(error: &NetError) -> Found {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Found::NxDomain,
            ResponseCode::NoError => Found::NoData,
            code => Found::Failed(mnemonic(code)),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Found::Failed(mnemonic(*code)),
        NetError::Timeout => Found::Failed("no answer".into()),
        error => Found::Failed(error.to_string()),
    }
}

/// `SERVFAIL`.
fn mnemonic(code: ResponseCode) -> String {
    format!("{code:?}").to_uppercase()
}

/// A client of this resolver alone. It is made for one lookup, so that nothing of an earlier one, such as a connection
/// that has died, can spoil a later.
fn client(resolver: SocketAddr) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = resolver.port();
        connection
    });
    let server = NameServerConfig::new(resolver.ip(), true, connections.into());
    let mut options = ResolverOpts::default();
    // Retries after the first attempt.
    options.attempts = 0;
    options.timeout = PATIENCE;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.edns_payload_len = 1232;
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

/// The name as hickory has it, absolute because its wire form is.
fn absolute(wire: &[u8]) -> Result<Absolute, ProtoError> {
    Absolute::read(&mut BinDecoder::new(wire)).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    #[test]
    fn the_least_ttl_is_that_of_the_whole_chain() {
        let name = |text: &str| text.parse::<Absolute>().unwrap();
        let alias = Record::from_rdata(name("a.example."), 20, RData::CNAME(CNAME(name("b.example."))));
        let address = |ttl, last| Record::from_rdata(name("b.example."), ttl, RData::A(A([10, 0, 0, last].into())));
        let both = |ttl| Found::Addresses { addresses: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()], ttl };
        assert_eq!(found(&[alias.clone(), address(60, 1), address(50, 2)]), both(20));
        assert_eq!(found(&[address(60, 1), address(50, 2)]), both(50));
        assert_eq!(found(&[alias]), Found::NoData);
        assert_eq!(found(&[]), Found::NoData);
    }

    #[test]
    fn failures_are_told_by_their_mnemonic() {
        let told = |code| failure(&NetError::Dns(DnsError::ResponseCode(code))).to_string();
        assert_eq!(told(ResponseCode::ServFail), "SERVFAIL");
        assert_eq!(told(ResponseCode::Refused), "REFUSED");
        assert_eq!(failure(&NetError::Timeout).to_string(), "no answer");
    }
}

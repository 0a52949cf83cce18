//! The endpoints' network interfaces: whether this host gets through to each, and to whom.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use phzd::config::{Addresses, Config, DnsName, EndpointAddress};
use phzd::resolver::source_towards;
use phzd::zone::partition::before_suffix;

use super::asking::{PATIENCE, heard, mnemonic};
use super::bucket::{Expected, View};
use super::certificate::{self, Trust};
use super::each;
use super::finding::Finding;

/// The port of HTTPS, to which clients of an endpoint connect.
const HTTPS: u16 = 443;
/// Addresses that are connected to.
const MOST: usize = 32;
const CHECK: &str = "endpoint";

/// An endpoint's addresses, or why they are not known.
pub type Known = Result<Vec<EndpointAddress>, String>;

/// The addresses of each endpoint; those known by a DNS name are asked for where phzd asks.
pub fn look_up(config: &Config) -> Vec<Known> {
    each(&config.endpoints, |endpoint| match &endpoint.addresses {
        Addresses::Stated(addresses) => Ok(addresses.clone()),
        Addresses::Learned(name) => learn(name),
    })
}

fn learn(name: &DnsName) -> Known {
    let text = name.name.to_string();
    let answers = each(&name.resolvers, |resolver| {
        let families = each(&[RecordType::A, RecordType::AAAA], |kind| heard(*resolver, &text, *kind));
        let mut addresses = Vec::new();
        for said in families {
            let said = said.map_err(|why| format!("{resolver}: {why}"))?;
            if said.code != ResponseCode::NoError {
                return Err(format!("{resolver} says {}", mnemonic(said.code)));
            }
            addresses.extend(said.addresses.into_iter().map(|ip| EndpointAddress { ip, az_id: name.az_id.clone() }));
        }
        if addresses.is_empty() { Err(format!("{resolver} knows no address of it")) } else { Ok(addresses) }
    });
    let mut why = format!("there is nobody to ask for {text}");
    for answer in answers {
        match answer {
            Ok(addresses) => return Ok(addresses),
            Err(reason) => why = format!("{text}: {reason}"),
        }
    }
    Err(why)
}

/// One address to connect to.
struct Door<'a> {
    name: &'a str,
    address: SocketAddr,
    /// Names that its certificate must cover.
    covers: Vec<&'a str>,
    /// This host is given the address for some name.
    for_this_host: bool,
}

/// Connects to every address of every endpoint, and looks whom the certificate there is for.
pub fn check(config: &Config, known: &[Known], view: &View<'_>) -> Vec<Finding> {
    let (mut findings, mut doors) = (Vec::new(), Vec::new());
    for (index, (endpoint, known)) in config.endpoints.iter().zip(known).enumerate() {
        let addresses = match known {
            Ok(addresses) => addresses,
            Err(why) => {
                let remedy =
                    "look at dns-name: `aws ec2 describe-vpc-endpoints` shows it below DnsEntries, without the `*.`";
                findings.push(Finding::failure(CHECK, &endpoint.name, format!("cannot be looked up: {why}"), remedy));
                continue;
            }
        };
        let leading = view.names.iter().filter(|private| private.endpoint == index);
        let covers = leading.clone().map(|private| &*private.name).filter(|name| must_be_covered(name));
        let for_this_host = { leading }.any(|private| private.expected == Expected::Endpoint(index));
        // What is checked beside what clients use.
        let checked = endpoint.health_check.map(|check| check.port).filter(|port| *port != HTTPS);
        for port in std::iter::once(HTTPS).chain(checked) {
            doors.extend(addresses.iter().map(|address| Door {
                name: &endpoint.name,
                address: SocketAddr::new(address.ip, port),
                covers: covers.clone().filter(|_| port == HTTPS).collect(),
                for_this_host,
            }));
        }
    }
    let more = doors.len().saturating_sub(MOST);
    doors.truncate(MOST);
    let trust = Trust::of_the_system();
    findings.extend(each(&doors, |door| connect(door, &trust)).into_iter().flatten());
    if more > 0 {
        findings.push(Finding::skipped(CHECK, format!("{more} further addresses"), format!("only {MOST} are tried")));
    }
    findings
}

/// Names of AWS are covered; one with a dot in its bucket is asked for by path, as `check` warns.
fn must_be_covered(name: &str) -> bool {
    let front = before_suffix(name).unwrap_or_default();
    !front.is_empty() && front.split_once(".s3.").is_none_or(|(bucket, _)| !bucket.contains('.'))
}

fn connect(door: &Door<'_>, trust: &Trust) -> Vec<Finding> {
    let subject = format!("{} at {}", door.name, door.address);
    let stream = match TcpStream::connect_timeout(&door.address, PATIENCE) {
        Ok(stream) => stream,
        Err(error) => return vec![closed(door, &subject, &error)],
    };
    let open = Finding::ok(CHECK, &subject, "lets this host connect");
    if door.address.port() != HTTPS {
        return vec![open];
    }
    let certificate = if door.covers.is_empty() {
        Finding::skipped(certificate::CHECK, &subject, "no name of AWS leads there")
    } else {
        certificate::check(stream, &subject, &door.covers, trust)
    };
    vec![open, certificate]
}

/// Why there is no connection, by how it failed.
fn closed(door: &Door<'_>, subject: &str, error: &io::Error) -> Finding {
    let port = door.address.port();
    match error.kind() {
        ErrorKind::TimedOut if !door.for_this_host => {
            Finding::ok(CHECK, subject, "does not let this host connect, which phzd sends there for no name either")
        }
        ErrorKind::TimedOut => {
            let here = source_towards(door.address).map_or_else(|| "this host".to_owned(), |ip: IpAddr| ip.to_string());
            let said = format!("no answer to a connect in {} s", PATIENCE.as_secs());
            let remedy = format!(
                "most likely the endpoint's security group: let it admit TCP port {port} from {here}, or from the subnet; \
                 then the network ACLs of both subnets"
            );
            Finding::failure(CHECK, subject, said, remedy)
        }
        ErrorKind::ConnectionRefused => {
            let remedy = "an endpoint always listens on port 443: look whether the address is the endpoint's \
                          (aws ec2 describe-network-interfaces), and for a firewall that rejects";
            Finding::failure(CHECK, subject, format!("nobody listens on port {port}: the connect was refused"), remedy)
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            let remedy = "look at the route of this host's subnet towards it, and whether the address still exists";
            Finding::failure(CHECK, subject, "there is no route to it", remedy)
        }
        _ => Finding::failure(CHECK, subject, error.to_string(), "look whether the address is right"),
    }
}

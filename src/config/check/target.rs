//! Targets of a rule: addresses, and URLs of resolvers over TLS and HTTPS (RFC 7858, RFC 8484).
//!
//! A URL's name says for whom the certificate must be. It is never looked up: the address stands beside it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Judge;
use super::address::{Use, Wrong, judge_socket, usable};
use crate::config::file::{self, Written};
use crate::config::problem::Problem;
use crate::config::{Channel, Target};
use crate::wire::Name;

/// The port of DNS over TLS (RFC 7858 section 3.1).
const TLS_PORT: u16 = 853;
/// The port of HTTPS.
const HTTPS_PORT: u16 = 443;
/// The path that RFC 8484 uses in its examples, and everybody else since.
const PATH: &str = "/dns-query";

impl Judge<'_> {
    /// Every target of a list, without those that are wrong, each once.
    pub(super) fn targets(&mut self, list: &Option<Written<Vec<Written<file::Target>>>>) -> Vec<Written<Target>> {
        let mut targets: Vec<Written<Target>> = Vec::new();
        for written in list.iter().flat_map(|list| &list.value) {
            let Some(text) = &written.value.url else { continue };
            for target in self.target(text, &written.value) {
                match targets.iter().find(|earlier| earlier.value == target.value) {
                    Some(earlier) => {
                        let message = format!("{} is given twice", target.value);
                        let problem = Problem::mistake(target.place.as_ref(), message);
                        let problem = problem.note(earlier.place.as_ref(), "the first is here");
                        self.problems.push(problem.hint("keep one of them"));
                    }
                    None => targets.push(target),
                }
            }
        }
        targets
    }

    /// What one target means: as many as it has addresses.
    fn target(&mut self, text: &Written<String>, written: &file::Target) -> Vec<Written<Target>> {
        let judged = match text.value.split_once("://") {
            Some((scheme, rest)) => Url::judge(scheme, rest).map(Some),
            None => Ok(None),
        };
        let url = match judged {
            Ok(url) => url,
            Err((message, hint)) => {
                let message = format!("{:?}: {message}", text.value);
                self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
                return Vec::new();
            }
        };
        let literal = match &url {
            None => judge_socket(&text.value, Use::Target).map(Target::from).map(Some),
            Some(url) => url.literal(),
        };
        match (literal, &written.ip) {
            (Err((message, hint)), _) => {
                self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
                Vec::new()
            }
            (Ok(Some(target)), None) => vec![text.with(target)],
            (Ok(Some(_)), Some(ip)) => {
                let problem = Problem::mistake(ip.place.as_ref(), format!("{:?} has its address already", text.value));
                let hint = "ip is for a URL with a name: remove it";
                self.problems.push(problem.note(text.place.as_ref(), "the address is here").hint(hint));
                Vec::new()
            }
            (Ok(None), ip) => {
                let list = ip.iter().flat_map(|ip| &ip.value);
                let url = url.as_ref();
                if list.clone().next().is_none() {
                    self.say_what_is_named(text, url);
                }
                list.filter_map(|ip| Some(ip.with(url?.at(self.host_address(ip)?)))).collect()
            }
        }
    }

    /// A name without an address.
    fn say_what_is_named(&mut self, text: &Written<String>, url: Option<&Url<'_>>) {
        let host = url.map_or("", |url| url.host);
        let message = format!("{host} is a name, and phzd never looks such a name up");
        let hint = format!("say where it is: {{ url = {:?}, ip = \"10.0.0.53\" }}", text.value);
        self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
    }

    /// The address of a host that a URL names.
    fn host_address(&mut self, text: &Written<String>) -> Option<IpAddr> {
        let ip = self.address(text)?.value;
        match on_every_interface(ip) {
            Ok(ip) => Some(ip),
            Err((message, hint)) => {
                self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
                None
            }
        }
    }
}

/// A URL in its parts.
struct Url<'t> {
    secure: Secure,
    host: &'t str,
    port: u16,
    path: &'t str,
}

/// What a URL's scheme says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secure {
    Tls,
    Https,
}

impl<'t> Url<'t> {
    /// Takes apart what stands after `scheme://`.
    fn judge(scheme: &str, rest: &'t str) -> Result<Self, Wrong> {
        let secure = secure(scheme)?;
        let hint = |hint: &str| hint.to_owned();
        if rest.contains(['?', '#']) {
            return Err((
                "a target has no query and no fragment".into(),
                hint("end it with the path; questions are sent by POST"),
            ));
        }
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(("a target has no user".into(), hint("remove what stands before the @, and the @")));
        }
        let whole = path.chars().all(|letter| letter.is_ascii_graphic() && !"\"<>\\^`{|}".contains(letter));
        if !whole {
            return Err(("this is not a path".into(), hint("write other letters than those of a URL as %20")));
        }
        let path = match (secure, path) {
            (Secure::Https, "" | "/") => PATH,
            (Secure::Tls, "" | "/") | (Secure::Https, _) => path,
            (Secure::Tls, _) => return Err(("DNS over TLS has no path".into(), hint("remove it, or write https://"))),
        };
        let (host, port) = split_port(authority)?;
        let default = if secure == Secure::Tls { TLS_PORT } else { HTTPS_PORT };
        Ok(Self { secure, host: host.strip_suffix('.').unwrap_or(host), port: port.unwrap_or(default), path })
    }

    /// The target, if the host is an address; `None` if it is a name.
    fn literal(&self) -> Result<Option<Target>, Wrong> {
        let Ok(ip) = self.host.parse::<IpAddr>() else {
            let last = self.host.rsplit('.').next().unwrap_or_default();
            let plausible = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
            // A name whose last label is a number would be an address with a slip.
            let name = self.host.parse::<Name>().is_ok_and(|name| name.label_count() > 0)
                && self.host.chars().all(plausible)
                && !last.chars().all(|letter| letter.is_ascii_digit());
            return if name {
                Ok(None)
            } else {
                let hint = "write a name as dns.corp.example, or an address: 10.0.0.53, [fd00::53]";
                Err((format!("{:?} is not a host", self.host), hint.into()))
            };
        };
        let ip = on_every_interface(usable(ip.to_canonical())?)?;
        Ok(Some(self.at(ip)))
    }

    /// The target at one address.
    fn at(&self, ip: IpAddr) -> Target {
        // Both spellings of an address, and both cases of a name, are one host.
        let host = self
            .host
            .parse::<IpAddr>()
            .map_or_else(|_| self.host.to_ascii_lowercase(), |ip| ip.to_canonical().to_string());
        let channel = match self.secure {
            Secure::Tls => Channel::Tls(host),
            Secure::Https => Channel::Https { host, path: self.path.to_owned() },
        };
        Target { address: SocketAddr::new(ip, self.port), channel }
    }
}

fn secure(scheme: &str) -> Result<Secure, Wrong> {
    let hint = match scheme.to_ascii_lowercase().as_str() {
        "tls" => return Ok(Secure::Tls),
        "https" => return Ok(Secure::Https),
        "http" => "DNS over HTTP would be in the clear: write https://",
        "udp" | "tcp" | "dns" => "UDP, and TCP for long answers, need no scheme: write the address alone",
        "quic" | "doq" | "h3" => "DNS over QUIC is not spoken here: write tls:// or https://",
        _ => "write tls:// or https://, or an address alone for UDP and TCP",
    };
    Err((format!("{scheme:?} is no way to ask"), hint.into()))
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), Wrong> {
    let wrong =
        || (format!("{authority:?} is not a host"), "write it as dns.corp.example, 10.0.0.53 or [fd00::53]".to_owned());
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
        }
        None if authority.matches(':').count() > 1 => {
            return Err((format!("{authority:?} is not a host"), "put an IPv6 address in brackets: [fd00::53]".into()));
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    match port.map(str::parse::<u16>) {
        None => Ok((host, None)),
        Some(Ok(port)) if port > 0 => Ok((host, Some(port))),
        Some(_) => {
            Err((format!("{:?} is not a port", port.unwrap_or_default()), "write a number from 1 to 65535".into()))
        }
    }
}

/// A link-local address says nothing without an interface, and a URL has no place for one.
fn on_every_interface(ip: IpAddr) -> Result<IpAddr, Wrong> {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Err((format!("{ip} means another host on each interface"), "write another address of the host".into()))
        }
        _ => Ok(ip),
    }
}

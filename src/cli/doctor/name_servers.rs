//! Whom the host's own programs ask: phzd, and nobody beside it.
//!
//! Apart from every other room of phzd because it reads the files of the system's resolver, which none else may: to judge
//! them. Nothing is ever resolved by what they say.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use phzd::config::Config;

use super::asking::list;
use super::each;
use super::finding::Finding;
use super::host::{Host, output};

/// Where the C library reads which name servers there are.
pub const PATH: &str = "/etc/resolv.conf";
/// Where systemd-resolved writes all servers that it knows itself.
pub const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// The C library reads no more name servers than these.
const MOST: usize = 3;
/// Where systemd-resolved listens.
const STUBS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
/// How systemd-resolved is told to ask phzd.
const DROP_IN: &str = "write DNS=<phzd's address> and Domains=~. below [Resolve] in \
                       /etc/systemd/resolved.conf.d/phzd.conf, then systemctl restart systemd-resolved";
const CHECK: &str = "name servers";

/// Whether this host's programs ask phzd and nobody else.
pub fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let here = Here { config, host };
    let path = host.name_servers.display().to_string();
    let text = match fs::read_to_string(&host.name_servers) {
        Ok(text) => text,
        // Without the file the C library asks this host.
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return vec![Finding::skipped(CHECK, path, format!("it cannot be read: {error}"))],
    };
    let mut servers = name_servers(&text);
    let named = !servers.is_empty();
    if !named {
        servers.push(Ipv4Addr::LOCALHOST.into());
    }
    servers.truncate(MOST);
    let is_stub = |server: &IpAddr| STUBS.contains(server) && !here.is(SocketAddr::new(*server, 53));
    let others: Vec<_> = servers.iter().filter(|server| !is_stub(server) && !here.has(**server)).collect();
    let mut findings = Vec::new();
    let remedy = || {
        let leave = match others.len() == servers.len() {
            true => format!("let `nameserver {}` be its only name server", here.shown()),
            false => format!("take {} out of it", list(&others)),
        };
        format!("{leave}; {}", writer(&text, &host.name_servers))
    };
    if others.len() == servers.len() {
        let said = match named {
            true => format!("points to {} and not to phzd", list(&others)),
            false => format!("names no server, which means {}, and phzd does not listen there", list(&others)),
        };
        return vec![Finding::failure(CHECK, path, said, remedy())];
    }
    if !others.is_empty() {
        let said = format!(
            "names {} beside phzd: a stub resolver moves on to it, and then gets the public address",
            list(&others)
        );
        findings.push(Finding::failure(CHECK, &path, said, remedy()));
    }
    if servers.iter().any(is_stub) {
        findings.push(resolved(&here));
    } else if others.is_empty() {
        let said = format!("{}, which is phzd, and no other", list(&servers));
        findings.push(Finding::ok(CHECK, path, said));
    }
    findings
}

/// What is phzd's on this host.
struct Here<'a> {
    config: &'a Config,
    host: &'a Host,
}

impl Here<'_> {
    /// Whether phzd listens at `server`.
    fn is(&self, server: SocketAddr) -> bool {
        self.config.server.listen.iter().any(|listen| {
            let of_host = || server.ip().is_loopback() || self.host.interface(server.ip()).is_some();
            let any = listen.ip().is_unspecified() && listen.is_ipv4() == server.is_ipv4() && of_host();
            listen.port() == server.port() && (listen.ip() == server.ip() || any)
        })
    }

    /// Whether phzd listens at the port of DNS of `server`.
    fn has(&self, server: IpAddr) -> bool {
        self.is(SocketAddr::new(server, 53))
    }

    /// An address at which programs of this host can ask.
    fn shown(&self) -> IpAddr {
        let listen = self.config.server.listen.iter().map(SocketAddr::ip);
        let specific = listen.clone().filter(|ip| !ip.is_unspecified());
        specific.clone().find(IpAddr::is_loopback).or_else(|| { specific }.next()).unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    /// A private name below `domain`.
    fn private_below(&self, domain: &str) -> Option<String> {
        let buckets = self.config.buckets.iter().flat_map(|bucket| &bucket.names);
        let mut names = buckets.chain(self.config.zones.iter().map(|zone| &zone.name)).map(ToString::to_string);
        names.find(|name| name == domain || name.strip_suffix(domain).is_some_and(|front| front.ends_with('.')))
    }
}

/// The name servers in a file of the system's resolver.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        let address = words.next()?;
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

/// How to change a file that somebody writes again and again.
fn writer(text: &str, path: &Path) -> String {
    let target = fs::read_link(path).map(|target| target.display().to_string()).unwrap_or_default();
    let wrote = |who: &str| text.lines().any(|line| line.starts_with(['#', ';']) && line.contains(who));
    if target.contains("systemd/resolve") || wrote("systemd-resolved") {
        format!("systemd-resolved writes it: {DROP_IN}, and make it a link to /run/systemd/resolve/stub-resolv.conf")
    } else if target.contains("NetworkManager") || wrote("NetworkManager") {
        "NetworkManager writes it: nmcli connection modify <connection> ipv4.ignore-auto-dns yes ipv4.dns <phzd's address>"
            .into()
    } else if wrote("dhclient") {
        "dhclient writes it: PEERDNS=no in the interface's ifcfg file, or `supersede domain-name-servers` in dhclient.conf"
            .into()
    } else {
        "if a DHCP client writes it, tell that to leave it alone".into()
    }
}

//------------ systemd-resolved ---------------------------------------------------------------------------------------

/// A line of `resolvectl dns` or `resolvectl domain`.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    /// The interface; `None` for what holds for all.
    link: Option<String>,
    words: Vec<String>,
}

/// Whether systemd-resolved asks phzd and nobody else.
fn resolved(here: &Here<'_>) -> Finding {
    let subject = "systemd-resolved";
    let told: Result<Vec<_>, _> = each(&["dns", "domain"], |word| output("resolvectl", &[word])).into_iter().collect();
    let (dns, domains) = match told.as_deref() {
        Ok([dns, domains]) => (scopes(dns), scopes(domains)),
        Ok(_) => (Vec::new(), Vec::new()),
        Err(why) => return by_file(here, subject, why),
    };
    let mut global = dns.iter().filter(|scope| scope.link.is_none()).flat_map(|scope| &scope.words);
    if let Some(server) = global.clone().find(|server| !is_phzd(here, server)) {
        let said = format!("asks {server}, which is not phzd");
        return Finding::failure(CHECK, subject, said, format!("{DROP_IN}; no other file may say DNS="));
    }
    let asks_phzd = global.next().is_some();
    let everything = asks_phzd && domains.iter().any(|scope| scope.link.is_none() && scope.has("~."));
    let mut links_ask_phzd = false;
    for scope in &dns {
        let Some(link) = &scope.link else { continue };
        let Some(server) = scope.words.iter().find(|server| !is_phzd(here, server)) else {
            links_ask_phzd |= !scope.words.is_empty();
            continue;
        };
        let own = domains.iter().find(|domains| domains.link.as_ref() == Some(link));
        let own = own.map_or(&[][..], |domains| &domains.words);
        let below = |domain: &String| here.private_below(domain.trim_start_matches('~'));
        let leak = match own.iter().find_map(below) {
            _ if own.iter().any(|domain| domain == "~.") => "everything".to_owned(),
            Some(private) => private,
            // What phzd's server is for as a whole, a link without a domain of its own is not asked for.
            None if everything => continue,
            None => "everything that is for no other link".to_owned(),
        };
        let said = format!("asks {server}, which the link {link} has of its own, for {leak}");
        let remedy = format!("{DROP_IN}; where the link has the server from DHCP, UseDNS=no in its .network file");
        return Finding::failure(CHECK, subject, said, remedy);
    }
    if !asks_phzd && !links_ask_phzd {
        return Finding::failure(CHECK, subject, "knows no server of its own", DROP_IN);
    }
    Finding::ok(CHECK, subject, "asks phzd, and no link has a server that is asked beside it")
}

/// The same by what it writes, where it cannot be asked.
fn by_file(here: &Here<'_>, subject: &str, why: &str) -> Finding {
    let path = here.host.resolved.display();
    let Ok(text) = fs::read_to_string(&here.host.resolved) else {
        let why = format!("{why}, and there is no {path}: whom it asks cannot be told");
        return Finding::skipped(CHECK, subject, why);
    };
    let servers = name_servers(&text);
    let others: Vec<_> = servers.iter().filter(|server| !here.has(**server)).collect();
    if servers.is_empty() || others.len() == servers.len() {
        let others = if servers.is_empty() { "nobody".into() } else { list(&others) };
        return Finding::failure(CHECK, subject, format!("asks {others} and not phzd, by {path}"), DROP_IN);
    }
    if !others.is_empty() {
        let said =
            format!("has {} beside phzd in {path}; {why}, so it cannot be told when it asks there", list(&others));
        return Finding::warning(CHECK, subject, said, DROP_IN);
    }
    Finding::ok(CHECK, subject, format!("asks phzd and no other, by {path}"))
}

/// Whether a server, as resolvectl shows it, is phzd here: `ADDRESS[:PORT][%INTERFACE][#NAME]`.
fn is_phzd(here: &Here<'_>, server: &str) -> bool {
    let plain = server.split(['#', '%']).next().unwrap_or_default();
    let socket = plain.parse().ok().or_else(|| Some(SocketAddr::new(plain.parse().ok()?, 53)));
    socket.is_some_and(|socket| here.is(socket))
}

impl Scope {
    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }
}

/// The lines `Global: …` and `Link 2 (eth0): …`.
fn scopes(text: &str) -> Vec<Scope> {
    let scope = |line: &str| {
        let (title, rest) = line.trim().split_once(':')?;
        let link =
            title.strip_prefix("Link ").and_then(|title| Some(title.split_once('(')?.1.strip_suffix(')')?.into()));
        let known = link.is_some() || title == "Global";
        known.then(|| Scope { link, words: rest.split_ascii_whitespace().map(Into::into).collect() })
    };
    text.lines().filter_map(scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_c_library_does() {
        let text = "# nameserver 192.0.2.1\nsearch example.com\nnameserver\t172.31.0.2 # x\nnameserver fe80::1%eth0\n\
                    nameserver nonsense\nnameservers 192.0.2.2\n  nameserver 127.0.0.1";
        let expected: [IpAddr; 3] = ["172.31.0.2", "fe80::1", "127.0.0.1"].map(|address| address.parse().unwrap());
        assert_eq!(name_servers(text), expected);
    }

    #[test]
    fn lines_of_resolvectl() {
        let scope = |link: Option<&str>, words: &[&str]| Scope {
            link: link.map(Into::into),
            words: words.iter().map(|word| (*word).into()).collect(),
        };
        let text = "Global: 127.0.0.1\nLink 2 (eth0): 172.31.0.2 fe80::1%2\nLink 3 (docker0):\n";
        let expected = [
            scope(None, &["127.0.0.1"]),
            scope(Some("eth0"), &["172.31.0.2", "fe80::1%2"]),
            scope(Some("docker0"), &[]),
        ];
        assert_eq!(scopes(text), expected);
    }
}

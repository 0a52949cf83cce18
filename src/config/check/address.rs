//! Addresses, addresses with ports, and blocks: the texts of which a configuration has most.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::Judge;
use crate::config::file::{List, Written};
use crate::config::problem::Problem;

/// The port of DNS.
const PORT: u16 = 53;
/// What to do about a link-local address.
const SCOPE: &str =
    "write it with the number of its interface, as `ip link` shows it, and the port: \"[fe80::1%2]:53\"";

impl Judge<'_> {
    /// The blocks of a list, without those that are wrong.
    pub(super) fn blocks(&mut self, list: &Option<List>) -> Vec<Written<IpNet>> {
        list.iter().flat_map(|list| &list.value).filter_map(|text| self.block(text)).collect()
    }

    /// A CIDR block without host bits.
    pub(super) fn block(&mut self, text: &Written<String>) -> Option<Written<IpNet>> {
        match judge_block(&text.value) {
            Ok(block) => Some(text.with(block)),
            Err((message, hint)) => {
                self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
                None
            }
        }
    }

    /// An address that a packet can be sent to.
    pub(super) fn address(&mut self, text: &Written<String>) -> Option<Written<IpAddr>> {
        match judge_address(&text.value) {
            Ok(ip) => Some(text.with(ip)),
            Err((message, hint)) => {
                self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
                None
            }
        }
    }

    /// `ADDRESS[:PORT]` of each text in a list, each once.
    pub(super) fn sockets(&mut self, list: &Option<List>, use_of: Use) -> Vec<Written<SocketAddr>> {
        let mut sockets: Vec<Written<SocketAddr>> = Vec::new();
        for text in list.iter().flat_map(|list| &list.value) {
            let place = text.place.as_ref();
            match judge_socket(&text.value, use_of) {
                Ok(socket) => match sockets.iter().find(|earlier| earlier.value == socket) {
                    Some(earlier) => self.problems.push(
                        Problem::mistake(place, format!("{socket} is given twice"))
                            .note(earlier.place.as_ref(), "the first is here")
                            .hint("keep one of them"),
                    ),
                    None => sockets.push(text.with(socket)),
                },
                Err((message, hint)) => self.problems.push(Problem::mistake(place, message).hint(hint)),
            }
        }
        sockets
    }
}

/// What an `ADDRESS[:PORT]` is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Listening: an unspecified address is every address, port 0 any port.
    Listen,
    /// Sending queries to.
    Target,
}

/// What is wrong, and what to do.
pub(super) type Wrong = (String, String);

fn judge_block(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let whole = IpNet::from(ip);
        return Err((
            format!("{text} is an address, not a block"),
            format!("write \"{whole}\" for this address alone"),
        ));
    }
    let block: IpNet = text.parse().map_err(|_| {
        (format!("{text:?} is not a CIDR block"), "write a block as \"172.31.1.0/24\" or \"2001:db8::/64\"".to_owned())
    })?;
    if block != block.trunc() {
        let message = format!("{text} has bits set beyond its prefix");
        return Err((message, format!("the network is \"{}\"", block.trunc())));
    }
    let mapped = Ipv6Addr::from(0xffff_u128 << 32);
    match block {
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.network().octets()[..12] == mapped.octets()[..12] => Err((
            format!("{text} is made of IPv4-mapped addresses, which clients never have here"),
            "write the IPv4 block".to_owned(),
        )),
        _ => Ok(block),
    }
}

fn judge_address(text: &str) -> Result<IpAddr, Wrong> {
    let ip: IpAddr = text.parse().map_err(|_| not_an_address(text, "\"172.31.1.152\""))?;
    usable(ip.to_canonical())
}

pub(super) fn judge_socket(text: &str, use_of: Use) -> Result<SocketAddr, Wrong> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let alone = text.parse::<IpAddr>().ok().or_else(bracketed).map(|ip| SocketAddr::new(ip, PORT));
    let mut socket = match alone.or_else(|| text.parse().ok()) {
        Some(socket) => socket,
        None => return Err(not_an_address(text, "\"172.31.0.2\", \"172.31.0.2:53\" or \"[::1]:53\"")),
    };
    if socket.ip() != socket.ip().to_canonical() {
        socket.set_ip(socket.ip().to_canonical());
    }
    if let SocketAddr::V6(v6) = socket
        && v6.ip().is_unicast_link_local()
        && v6.scope_id() == 0
    {
        return Err((format!("{text} means another host on each interface"), SCOPE.to_owned()));
    }
    if use_of == Use::Target || !socket.ip().is_unspecified() {
        usable(socket.ip())?;
    }
    if use_of == Use::Target && socket.port() == 0 {
        return Err((
            format!("{text} has port 0, to which nothing can be sent"),
            "write the port, or none for 53".into(),
        ));
    }
    Ok(socket)
}

/// An address to which a packet can be sent.
pub(super) fn usable(ip: IpAddr) -> Result<IpAddr, Wrong> {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err((
            format!("{ip} is not the address of a host"),
            "write the address of one network interface".into(),
        ));
    }
    Ok(ip)
}

fn not_an_address(text: &str, example: &str) -> Wrong {
    let message = format!("{text:?} is not an address");
    let host = text.contains(|letter: char| letter.is_ascii_alphabetic()) && text.contains('.');
    let hint = if text.contains('%') {
        SCOPE.to_owned()
    } else if text.contains('/') {
        "write one address, not a block".to_owned()
    } else if host {
        format!("write an address as {example}: a name would have to be resolved first")
    } else {
        format!("write an address as {example}")
    };
    (message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_brackets_are_optional() {
        for (text, socket) in [
            ("172.31.0.2", "172.31.0.2:53"),
            ("172.31.0.2:5353", "172.31.0.2:5353"),
            ("fd00:ec2::253", "[fd00:ec2::253]:53"),
            ("[fd00:ec2::253]", "[fd00:ec2::253]:53"),
            ("[::1]:5353", "[::1]:5353"),
            ("::ffff:10.0.0.1", "10.0.0.1:53"),
        ] {
            assert_eq!(judge_socket(text, Use::Target).ok(), socket.parse().ok(), "{text}");
        }
        assert!(judge_socket("0.0.0.0", Use::Target).is_err());
        assert!(judge_socket("0.0.0.0:0", Use::Listen).is_ok());
        assert!(judge_socket("224.0.0.251:53", Use::Listen).is_err());
        assert!(judge_socket("255.255.255.255", Use::Listen).is_err());
        for use_of in [Use::Listen, Use::Target] {
            assert!(judge_socket("[fe80::1%2]:53", use_of).is_ok());
            assert!(judge_socket("fe80::1", use_of).is_err());
        }
        assert!(judge_socket("10.0.0.1:0", Use::Target).is_err());
    }

    #[test]
    fn only_whole_blocks_are_blocks() {
        assert!(judge_block("172.31.1.0/24").is_ok());
        assert!(judge_block("::/0").is_ok());
        assert_eq!(judge_block("172.31.1.5/24").unwrap_err().1, "the network is \"172.31.1.0/24\"");
        assert_eq!(judge_block("::1").unwrap_err().1, "write \"::1/128\" for this address alone");
        assert!(judge_block("::ffff:10.0.0.0/104").is_err());
        assert!(judge_block("10.0.0.0/33").is_err());
    }
}

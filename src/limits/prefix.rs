//! Whom a limit counts as one client: a prefix of addresses, so that nobody has more by using more addresses.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::Limits;

/// Where IPv4 addresses begin among those of IPv6.
const V4: u128 = 0xffff << 32;

/// All addresses that begin alike. IPv4 ones are written as IPv6 does (RFC 4291 section 2.5.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u128);

impl Prefix {
    /// The first address of it.
    pub fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self.0).to_canonical()
    }

    /// Whether it is of this host itself, which no limit is for.
    pub fn is_loopback(self) -> bool {
        is_loopback(self.0)
    }
}

/// How long prefixes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    v4: u128,
    v6: u128,
}

impl From<&Limits> for Prefixes {
    fn from(limits: &Limits) -> Self {
        Self::new(limits.ipv4_prefix, limits.ipv6_prefix)
    }
}

impl Prefixes {
    /// Bits of an IPv4 address, and of an IPv6 one.
    pub const fn new(v4: u8, v6: u8) -> Self {
        Self { v4: mask(v4.saturating_add(96)), v6: mask(v6) }
    }

    /// The prefix of an address. Those of this host are told apart whatever the lengths are.
    pub fn of(self, client: IpAddr) -> Prefix {
        let bits = bits(client);
        let mask = if is_v4(bits) { self.v4 } else { self.v6 };
        Prefix(if is_loopback(bits) { bits } else { bits & mask })
    }

    /// The same; none for an address of this host.
    #[inline]
    pub(super) fn limited(self, client: IpAddr) -> Option<Prefix> {
        match client {
            // What `of` does, in a few instructions.
            IpAddr::V4(v4) if v4.is_loopback() => None,
            IpAddr::V4(v4) => Some(Prefix(V4 | u128::from(v4.to_bits() & self.v4 as u32))),
            IpAddr::V6(_) => Some(self.of(client)).filter(|prefix| !prefix.is_loopback()),
        }
    }
}

/// An address of either family.
#[inline]
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => V4 | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `bits` of an address, at most all of them.
const fn mask(bits: u8) -> u128 {
    match u128::MAX.checked_shr(bits as u32) {
        Some(rest) => !rest,
        None => u128::MAX,
    }
}

fn is_v4(bits: u128) -> bool {
    bits >> 32 == 0xffff
}

fn is_loopback(bits: u128) -> bool {
    bits == 1 || bits >> 24 == 0x00ff_ff7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_site_is_one_client() {
        let of = |text| Prefixes::new(32, 56).of(ip(text));
        assert_eq!(of("2001:db8:0:1201::1"), of("2001:db8:0:12ff::9"));
        assert_ne!(of("2001:db8:0:1201::1"), of("2001:db8:0:1301::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("10.0.0.1").address(), ip("10.0.0.1"));
        assert_eq!(of("2001:db8:0:12ff::9").address(), ip("2001:db8:0:1200::"));
    }

    #[test]
    fn every_length_is_kept() {
        for length in 1..=128 {
            let of = |bits: u128| Prefixes::new(32, length).of(Ipv6Addr::from_bits(bits).into());
            let (one, last) = (1 << 125 | 1 << 3, 1 << (128 - length));
            assert_ne!(of(one), of(one ^ last), "/{length}");
            assert_eq!(length < 128, of(one) == of(one ^ 1), "/{length}");
        }
        let of = |text| Prefixes::new(8, 1).of(ip(text));
        assert_eq!(of("10.0.0.1"), of("10.255.0.1"));
        assert_ne!(of("10.0.0.1"), of("11.0.0.1"));
    }

    #[test]
    fn this_host_is_nobodys_neighbour() {
        let prefixes = Prefixes::new(1, 1);
        for here in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(prefixes.limited(ip(here)), None, "{here}");
            assert!(prefixes.of(ip(here)).is_loopback());
        }
        for there in ["126.255.255.255", "128.0.0.0", "::2", "::"] {
            let prefix = prefixes.limited(ip(there));
            assert!(prefix.is_some_and(|prefix| !prefix.is_loopback() && prefix == prefixes.of(ip(there))), "{there}");
        }
    }
}

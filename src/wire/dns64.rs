//! DNS64: IPv6 addresses made of IPv4 ones, for clients that have IPv6 alone (RFC 6147, RFC 6052 section 2.1).

use std::net::{IpAddr, Ipv6Addr};

/// The Well-Known Prefix, 64:ff9b::/96, which a VPC's NAT gateways translate. RFC 6052 section 3.1 keeps it for global
/// IPv4 addresses; a VPC's resolver makes no such difference, and private ones are what an endpoint has.
const PREFIX: u128 = 0x0064_ff9b << 96;

/// The IPv6 address that stands for the IPv4 one; `None` for an IPv6 address.
pub fn synthesise(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv6Addr::from_bits(PREFIX | u128::from(v4.to_bits()))),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_goes_before_the_address() {
        let made = synthesise("172.31.1.152".parse().unwrap());
        assert_eq!(made, Some("64:ff9b::172.31.1.152".parse().unwrap()));
        assert_eq!(synthesise("2001:db8::1".parse().unwrap()), None);
    }
}

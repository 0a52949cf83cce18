//! DNS64: IPv6 addresses made of IPv4 ones, for clients that have IPv6 alone (RFC 6147, RFC 6052 section 2.1).

use std::net::{Ipv4Addr, Ipv6Addr};

/// The Well-Known Prefix, 64:ff9b::/96, which a VPC's NAT gateways translate. RFC 6052 section 3.1 keeps it for global
/// IPv4 addresses; a VPC's resolver makes no such difference, and private ones are what an endpoint has.
const PREFIX: u128 = 0x0064_ff9b << 96;

/// The IPv6 address that stands for the IPv4 one.
pub fn synthesise(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(PREFIX | u128::from(address.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_goes_before_the_address() {
        let made = synthesise("172.31.1.152".parse().unwrap());
        assert_eq!(made, "64:ff9b::172.31.1.152".parse::<Ipv6Addr>().unwrap());
    }
}

//! What a configuration takes from the machine it is for, in one value, so that `check` gives the same result
//! everywhere it is given the same machine.

use std::net::IpAddr;
use std::num::NonZero;

/// What `check` has to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores this process may use; at least 1 counts.
    pub cores: usize,
    /// Addresses of its network interfaces.
    pub addresses: Vec<IpAddr>,
}

impl Machine {
    /// The machine this program runs on. What the system does not tell counts as one core and no address.
    pub fn here() -> Self {
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        Self { cores: std::thread::available_parallelism().map_or(1, NonZero::get), addresses: addresses.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_core_and_a_loopback_address() {
        let machine = Machine::here();
        assert!(machine.cores >= 1);
        assert!(machine.addresses.iter().any(IpAddr::is_loopback), "{machine:?}");
    }
}

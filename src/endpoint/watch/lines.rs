//! What is said in the log of endpoints and their names: once when something begins and once when it is over.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::{Action, Change, Family, Health, Named, Outage, Shortfall, Watched};
use crate::config::WhenDown;
use crate::wire::Name;

impl Watched {
    /// Checks changed something.
    pub(super) fn say(&mut self, change: Change, now: Instant, actions: &mut Vec<Action>) {
        let (name, Some(health)) = (&self.config.name, &self.health) else { return };
        let port = health.check().port;
        let reason = |ip| health.reason(ip);
        let (line, action): (_, fn(String) -> Action) = match change {
            Change::Down(ip) => {
                (format!("endpoint {name:?}: {ip} port {port} is unhealthy: {}", reason(ip)), Action::Warn)
            }
            Change::Up(ip) => (format!("endpoint {name:?}: {ip} port {port} is healthy again"), Action::Inform),
            Change::Unproven(ip) => (
                format!(
                    "endpoint {name:?}: {ip} port {port} has never let this host connect ({}), so it counts as up all \
                     the same: for checks to count, let the endpoint's security group admit this host",
                    reason(ip)
                ),
                Action::Warn,
            ),
        };
        actions.extend(self.lines.admit(line, now).map(action));
    }

    /// Says that no address works, or none of one family, when that begins.
    pub(super) fn say_outage(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let outage = self.health.as_ref().map(Health::outage).unwrap_or_default();
        if std::mem::replace(&mut self.outage, outage) == outage {
            return;
        }
        let what = match (outage, self.config.when_down) {
            (Outage::None, _) => return,
            (Outage::Of(Family::A), _) => "no IPv4 address is healthy, and all of them are answered all the same",
            (Outage::Of(Family::Aaaa), _) => "no IPv6 address is healthy, and all of them are answered all the same",
            (Outage::Total, WhenDown::Answer) => "no address is healthy any more, all are answered all the same",
            (Outage::Total, WhenDown::Forward) => {
                "no address is healthy any more, its names are resolved as if they were not configured"
            }
        };
        let line = format!("endpoint {:?}: {what}", self.config.name);
        actions.extend(self.lines.admit(line, now).map(Action::Warn));
    }
}

impl Named {
    /// Says which addresses are known, if they are others than before.
    pub(super) fn say_addresses(&mut self, name: &Name, blocks: &[IpNet], now: Instant, actions: &mut Vec<Action>) {
        let addresses: Vec<IpAddr> = self.learned.addresses().collect();
        let before = std::mem::replace(&mut self.said, addresses.clone());
        if addresses == before {
            return;
        }
        let public = |addresses: Vec<IpAddr>| addresses.into_iter().filter(|ip| is_public(*ip, blocks)).collect();
        let (public_before, public): (Vec<_>, Vec<_>) = (public(before), public(addresses.clone()));
        let line = format!("{name}: {}", list(addresses.into_iter()));
        actions.extend(self.lines.admit(line, now).map(Action::Inform));
        if !public.is_empty() && public != public_before {
            let line = format!(
                "{name}: {} is neither private nor in vpc.cidrs: is this the name of an interface endpoint?",
                list(public.into_iter())
            );
            actions.extend(self.lines.admit(line, now).map(Action::Warn));
        }
    }

    /// A round did not bring all it should.
    pub(super) fn say_failing(&mut self, name: &Name, shortfall: &Shortfall, now: Instant, actions: &mut Vec<Action>) {
        let known = self.learned.addresses().next().is_some();
        // An endpoint need not have an address in every zone.
        let no_matter = self.zonal && shortfall.nonexistent && !known;
        if no_matter || std::mem::replace(&mut self.failing, true) {
            return;
        }
        let meanwhile = if known { "what was known is still answered" } else { "no address is known yet" };
        let line = format!("{name} cannot be looked up ({}): {meanwhile}, and it is tried again", shortfall.reason);
        actions.extend(self.lines.admit(line, now).map(Action::Warn));
    }

    /// A round brought all it should.
    pub(super) fn say_recovered(&mut self, name: &Name, now: Instant, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.failing) {
            let line = format!("{name} is looked up again without failure");
            actions.extend(self.lines.admit(line, now).map(Action::Inform));
        }
    }
}

/// `172.31.1.152, 172.31.2.77`.
pub(super) fn list(addresses: impl Iterator<Item = IpAddr>) -> String {
    let texts: Vec<_> = addresses.map(|ip| ip.to_string()).collect();
    if texts.is_empty() { "no address".into() } else { texts.join(", ") }
}

/// Whether an address is nobody's in particular: an interface endpoint's are in its VPC's blocks, which `blocks` are,
/// or, in a VPC that is connected to this one, in other private ones.
fn is_public(ip: IpAddr, blocks: &[IpNet]) -> bool {
    let private = match ip {
        // RFC 6598: VPCs may have these blocks too.
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    };
    !private && !blocks.iter().any(|block| block.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_is_what_is_in_nobodys_network() {
        let blocks = ["203.0.113.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        for (ip, public) in [
            ("172.31.1.152", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("203.0.113.5", false),
            ("52.219.1.1", true),
            ("fd00::1", false),
            ("2001:db8:1::5", false),
            ("2001:db8:2::5", true),
        ] {
            assert_eq!(is_public(ip.parse().unwrap(), &blocks), public, "{ip}");
        }
    }
}

//! Who the client is, in the configuration's words.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Stated};
use crate::policy::Policy;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Who {
    /// Its address.
    pub client: IpAddr,
    /// It may ask; others are REFUSED.
    pub may_ask: bool,
    /// The block by which it may, and what that is: `172.31.0.0/16, of vpc.cidrs`.
    pub because: Option<String>,
    /// It counts as this host.
    pub is_self: bool,
    /// This host's address, where it counts as this host and that is known.
    pub own_address: Option<IpAddr>,
    /// The subnet that it belongs to, ...
    pub subnet: Option<String>,
    /// ... by which block, ...
    pub block: Option<String>,
    /// ... and where that is written.
    pub stated: Option<String>,
    /// Its Availability Zone id.
    pub az_id: Option<String>,
    /// It gets AAAA made of A.
    pub dns64: bool,
}

impl Who {
    /// Who the client at `address` is to `policy`.
    pub(super) fn new(policy: &Policy, address: IpAddr) -> Self {
        let (config, clients) = (&policy.facts().config, policy.clients());
        let identified = clients.identify(address);
        let is_self = clients.is_self(address);
        let own_address = clients.own_address().filter(|_| is_self);
        let subnet = identified.and_then(|client| config.subnets.get(client.subnet? as usize));
        // As this host it is where this host is.
        let at = own_address.unwrap_or(address);
        let block = subnet.and_then(|subnet| longest(subnet.blocks.iter(), at));
        Self {
            client: address,
            may_ask: identified.is_some(),
            because: identified.and_then(|_| because(config, address)),
            is_self,
            own_address,
            subnet: subnet.map(|subnet| subnet.name.clone()),
            block: block.map(ToString::to_string),
            stated: subnet.map(|subnet| subnet.stated.to_string()),
            az_id: subnet.and_then(|subnet| subnet.az_id.clone()),
            dns64: identified.is_some_and(|client| client.whereabouts.dns64),
        }
    }
}

/// The narrowest block around `address` by which it may ask, and what the block is.
fn because(config: &Config, address: IpAddr) -> Option<String> {
    let (vpc, server) = (&config.vpc, &config.server);
    let of = |blocks: &[IpNet], what: &str, stated: &Stated| {
        let block = longest(blocks.iter(), address)?;
        let stated = stated.to_string();
        let stated = if stated.is_empty() { stated } else { format!(" ({stated})") };
        Some((block.prefix_len(), format!("{block}, {what}{stated}")))
    };
    let nowhere = Stated::default();
    let loopback = address.to_canonical().is_loopback().then(|| (u8::MAX, "a loopback address".to_owned()));
    let subnets = config
        .subnets
        .iter()
        .filter_map(|subnet| of(&subnet.blocks, &format!("of the subnet {}", subnet.name), &subnet.stated));
    let others = [
        of(&vpc.cidrs, "of vpc.cidrs", &vpc.stated),
        of(&server.clients, "of server.clients", &nowhere),
        of(&vpc.behind_self, "of vpc.behind-self", &vpc.stated),
        loopback,
    ];
    subnets.chain(others.into_iter().flatten()).max_by_key(|(length, _)| *length).map(|(_, words)| words)
}

/// The narrowest of `blocks` around `address`.
pub(super) fn longest<'b>(blocks: impl Iterator<Item = &'b IpNet>, address: IpAddr) -> Option<&'b IpNet> {
    let address = address.to_canonical();
    blocks.filter(|block| block.contains(&address)).max_by_key(|block| block.prefix_len())
}

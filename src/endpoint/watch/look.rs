//! Endpoints as a person looks at them: their addresses, how these are, and what clients get.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Family, Published, Watch, Watched};
use crate::endpoint::health::State;

/// One endpoint at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Look {
    /// As the configuration calls it.
    pub endpoint: String,
    /// The name whose addresses it has, where these are looked up.
    pub dns_name: Option<String>,
    /// When its addresses were found last, in seconds of Unix time, where they are looked up and were found.
    pub found: Option<u64>,
    /// What names that are an alias to it get.
    pub serves: Serves,
    /// Every address that is known, in the order of the configuration, else sorted.
    pub addresses: Vec<AddressLook>,
}

/// One of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddressLook {
    /// The address.
    pub ip: IpAddr,
    /// Its Availability Zone id, where it is known.
    pub az_id: Option<String>,
    /// What checks have shown; `None` where nothing is checked.
    pub health: Option<State>,
    /// Why the last check that failed did, if one has.
    pub reason: Option<String>,
    /// Clients are given it.
    pub served: bool,
}

/// What names that are an alias to an endpoint get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serves {
    /// Its addresses.
    Addresses,
    /// SERVFAIL: no address is known yet.
    NotReady,
    /// What they would get if they were not configured.
    Away,
}

impl Watch {
    /// Every endpoint, in the order of the configuration.
    pub fn look(&self) -> Vec<Look> {
        self.watched.iter().map(|watched| watched.look(self)).collect()
    }
}

impl Watched {
    fn look(&self, watch: &Watch) -> Look {
        let known = match self.known(&watch.names) {
            Published::Serving { addresses, .. } => addresses,
            Published::NotReady | Published::Away => Vec::new(),
        };
        let served = |ip| matches!(&self.published, Some(Published::Serving { addresses, .. }) if addresses.iter().any(|address| address.ip == ip));
        let addresses = known.into_iter().map(|address| {
            let health = self.health.as_ref().map(|health| health.state(address.ip));
            let reason =
                self.health.as_ref().map(|health| health.reason(address.ip)).filter(|reason| !reason.is_empty());
            AddressLook {
                ip: address.ip,
                az_id: address.az_id,
                health,
                reason: reason.filter(|_| health != Some(State::Healthy)).map(Into::into),
                served: served(address.ip),
            }
        });
        let name = self.names().find(|(.., zonal)| !zonal).map(|(name, ..)| name);
        let learned = name.and_then(|name| watch.names.get(name)).map(|named| &named.learned);
        let found = learned.and_then(|learned| {
            Family::ALL.into_iter().filter_map(|family| learned.good(family)).map(|good| good.time).max()
        });
        Look {
            endpoint: self.config.name.clone(),
            dns_name: name.map(ToString::to_string),
            found,
            serves: match &self.published {
                Some(Published::Serving { .. }) => Serves::Addresses,
                Some(Published::Away) => Serves::Away,
                Some(Published::NotReady) | None => Serves::NotReady,
            },
            addresses: addresses.collect(),
        }
    }
}

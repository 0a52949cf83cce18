//! The resolvers that a question may go to.
//!
//! Apart from what is done with them: a route is made with the policy and never changes, and what is kept was said by
//! the resolvers of an equal one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Channel, Target};

/// The resolvers that a question may go to: the VPC's, or a rule's targets.
#[derive(Debug, Clone)]
pub struct Route {
    /// At least one; the order is the configuration's.
    hops: Box<[Hop]>,
    /// Of all hops, made once: whatever is looked up in the cache is looked up under its route.
    digest: u64,
    /// Where questions go instead when no resolver of this route lives.
    fallback: Option<Arc<Route>>,
}

/// A resolver on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Where it is, and how one speaks with it.
    pub target: Target,
    /// What it is sent counts against `upstream.packets-per-second`.
    pub metered: bool,
}

impl Route {
    /// The route to `targets`; what those in `metered` are sent counts against the packet budget.
    pub fn new(targets: impl IntoIterator<Item = Target>, metered: &[SocketAddr]) -> Self {
        let hop = |target: Target| Hop { metered: metered.contains(&target.address), target };
        let hops: Box<[Hop]> = targets.into_iter().map(hop).collect();
        let mut hasher = DefaultHasher::new();
        hops.iter().for_each(|hop| hop.target.hash(&mut hasher));
        Self { hops, digest: hasher.finish(), fallback: None }
    }

    /// The same with another route for when no resolver of this one lives.
    #[must_use]
    pub fn or(self, fallback: &Arc<Self>) -> Self {
        Self { fallback: Some(Arc::clone(fallback)), ..self }
    }

    /// The resolvers, at least one unless the route was made of none.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Where the resolvers are.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.hops.iter().map(|hop| hop.target.address)
    }

    /// Where questions go when no resolver of this route lives, if anywhere.
    pub fn fallback(&self) -> Option<&Arc<Self>> {
        self.fallback.as_ref()
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.hops.iter().map(|hop| &hop.target)
    }
}

impl Hop {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.target.address
    }

    /// Whether it is asked in datagrams.
    pub fn is_plain(&self) -> bool {
        self.target.channel == Channel::Plain
    }
}

/// Routes with the same resolvers are the same: what one of them said, the other would say.
impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.targets().eq(other.targets())
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

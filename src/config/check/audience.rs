//! Whether two zones can be asked for by one client.
//!
//! A client belongs to the subnet with the longest block around it, so two subnet names never share a client, and a
//! block shares one with a subnet only where no longer subnet takes it away.

use ipnet::IpNet;

use crate::config::Audience;

/// A subnet's index and one of its blocks.
pub(super) type Owned = (usize, IpNet);

/// Whether some client is in both audiences. `blocks` are the blocks of all subnets.
pub(super) fn overlap(one: &Audience, other: &Audience, blocks: &[Owned]) -> bool {
    let (
        Audience::Only { subnets, blocks: literals },
        Audience::Only { subnets: their_subnets, blocks: their_literals },
    ) = (one, other)
    else {
        return true;
    };
    subnets.iter().any(|subnet| their_subnets.contains(subnet))
        || literals.iter().any(|block| their_literals.iter().any(|other| nested(*block, *other)))
        || literals.iter().any(|block| their_subnets.iter().any(|subnet| reaches(*block, *subnet, blocks)))
        || their_literals.iter().any(|block| subnets.iter().any(|subnet| reaches(*block, *subnet, blocks)))
}

/// Whether one block lies in the other; blocks that overlap always do.
pub(super) fn nested(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Whether an address of `literal` belongs to `subnet`.
pub(super) fn reaches(literal: IpNet, subnet: usize, blocks: &[Owned]) -> bool {
    blocks.iter().filter(|(owner, _)| *owner == subnet).any(|&(_, block)| {
        let common = if block.contains(&literal) { literal } else { block };
        let longer: Vec<IpNet> = inside(block, blocks).map(|(_, longer)| longer).collect();
        nested(block, literal) && !covered(common, &longer)
    })
}

/// The subnet blocks that lie in `block` and take clients away from it.
pub(super) fn inside(block: IpNet, blocks: &[Owned]) -> impl Iterator<Item = Owned> + '_ {
    blocks
        .iter()
        .copied()
        .filter(move |&(_, longer)| longer.prefix_len() > block.prefix_len() && block.contains(&longer))
}

/// Whether `by` together hold every address of `block`.
fn covered(block: IpNet, by: &[IpNet]) -> bool {
    if by.iter().any(|other| other.contains(&block)) {
        return true;
    }
    let within: Vec<IpNet> = by.iter().copied().filter(|other| block.contains(other)).collect();
    if within.is_empty() {
        return false;
    }
    // Something longer lies inside, so the block has halves.
    block.subnets(block.prefix_len() + 1).is_ok_and(|mut halves| halves.all(|half| covered(half, &within)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(subnets: &[usize], blocks: &[&str]) -> Audience {
        let blocks = blocks.iter().map(|block| block.parse().unwrap()).collect();
        Audience::Only { subnets: subnets.to_vec(), blocks }
    }

    fn owned(blocks: &[(usize, &str)]) -> Vec<Owned> {
        blocks.iter().map(|&(subnet, block)| (subnet, block.parse().unwrap())).collect()
    }

    #[test]
    fn audiences_overlap_where_a_client_is_in_both() {
        let blocks = owned(&[(0, "10.0.0.0/16"), (1, "10.0.1.0/24"), (2, "10.0.2.0/25"), (3, "10.0.2.128/25")]);
        for (one, other, shared) in [
            (Audience::Everyone, only(&[0], &[]), true),
            (only(&[0], &[]), only(&[0, 1], &[]), true),
            // The longer subnet takes its clients away from the wider one.
            (only(&[0], &[]), only(&[1], &[]), false),
            (only(&[0], &[]), only(&[], &["10.0.1.0/24"]), false),
            (only(&[0], &[]), only(&[], &["10.0.0.0/23"]), true),
            // Two halves together take everything.
            (only(&[0], &[]), only(&[], &["10.0.2.0/24"]), false),
            (only(&[2], &[]), only(&[], &["10.0.2.0/24"]), true),
            (only(&[1], &[]), only(&[], &["10.0.1.7/32"]), true),
            (only(&[], &["10.0.0.0/8"]), only(&[], &["10.0.1.0/24"]), true),
            (only(&[], &["10.0.0.0/24"]), only(&[], &["10.0.1.0/24"]), false),
            (only(&[1], &[]), only(&[], &["2001:db8::/32"]), false),
        ] {
            assert_eq!(overlap(&one, &other, &blocks), shared, "{one:?} {other:?}");
            assert_eq!(overlap(&other, &one, &blocks), shared, "{other:?} {one:?}");
        }
    }
}

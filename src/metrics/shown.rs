//! Which zones are told by name, and what is told of them: counts that never go down.
//!
//! A thread forgets a name that others wear down, and who is among the busiest changes. A counter must not fall for that:
//! whoever reads it would take it for a new one, and add up the whole. So a name that was once told is told from then on, and
//! what is told of it grows by what its count has grown.

use std::collections::HashMap;

use super::Ranking;
use crate::wire::Name;

/// Zones that are told when they are among so many busiest.
const BUSIEST: usize = 50;
/// Zones that are told at all; with more, those that come later are told with the others.
const MOST: usize = 1000;

/// What was counted and told last.
#[derive(Debug, Default)]
pub(super) struct Shown {
    counted: Ranking,
    /// By name.
    zones: HashMap<Name, [u64; 2]>,
    /// Those that are not told by name.
    others: [u64; 2],
}

impl Shown {
    /// What is to be told of what threads have counted: zones by name, busiest first, and the others together.
    pub fn next(&mut self, ranking: Ranking) -> (Vec<(Name, [u64; 2])>, [u64; 2]) {
        let Self { counted, zones, others } = self;
        for (name, _) in ranking.clone().top(BUSIEST).0 {
            if zones.len() < MOST {
                zones.entry(name).or_default();
            }
        }
        let mut by_name = [0; 2];
        for (name, told) in zones.iter_mut() {
            let [before, now] = [&*counted, &ranking].map(|it| it.by_name.get(name).copied().unwrap_or_default());
            // Less than before: the name lost its place, and has counted from nothing since.
            let grown = [0, 1].map(|at| now[at].checked_sub(before[at]).unwrap_or(now[at]));
            *told = added(*told, grown);
            by_name = added(by_name, grown);
        }
        let [before, now] = [&*counted, &ranking].map(Ranking::all);
        let grown = [0, 1].map(|at| now[at].saturating_sub(before[at]).saturating_sub(by_name[at]));
        *others = added(*others, grown);
        *counted = ranking;
        let mut zones: Vec<_> = zones.iter().map(|(name, told)| (name.clone(), *told)).collect();
        zones.sort_by(|(a, x), (b, y)| (y[0] + y[1]).cmp(&(x[0] + x[1])).then_with(|| a.as_wire().cmp(b.as_wire())));
        (zones, *others)
    }
}

fn added(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [0, 1].map(|at| one[at] + other[at])
}

#[cfg(test)]
mod tests {
    use super::super::Busiest;
    use super::*;

    #[test]
    fn nothing_that_is_told_goes_down() {
        let (busiest, mut shown) = (Busiest::default(), Shown::default());
        let names: Vec<Name> = (0..5000).map(|number| format!("{number}.example").parse().unwrap()).collect();
        let mut before: HashMap<Name, [u64; 2]> = HashMap::new();
        let (mut others_before, mut asked) = ([0; 2], 0);
        for round in 0..200_usize {
            // Other names are busy in each round, and in between all are.
            for turn in 0..2000_usize {
                let number = if turn % 2 == 0 { round / 10 * 7 + turn % 20 } else { turn * 31 + round * 17 };
                busiest.add(names[number % names.len()].as_wire(), turn % 5 == 0);
                asked += 1;
            }
            let mut ranking = Ranking::default();
            ranking.add(&busiest);
            let (zones, others) = shown.next(ranking);
            for (name, told) in &zones {
                let was = before.insert(name.clone(), *told).unwrap_or_default();
                assert!(told[0] >= was[0] && told[1] >= was[1], "{name}: {was:?}, then {told:?}");
            }
            assert!(zones.len() <= MOST && before.len() == zones.len(), "whoever was told is told");
            assert!(
                others[0] >= others_before[0] && others[1] >= others_before[1],
                "{others_before:?}, then {others:?}"
            );
            others_before = others;
            let all: u64 = zones.iter().map(|(_, told)| told[0] + told[1]).sum::<u64>() + others[0] + others[1];
            assert_eq!(all, asked);
        }
    }
}

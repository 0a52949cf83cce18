//! Chance that can be repeated, and what clients ask by it.

use hickory_proto::rr::RecordType;

use crate::asked::{Bad, What};
use crate::lab::Who;
use crate::names::{MANY, Name};

/// Xorshift.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        // Not zero.
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    pub fn one_in(&mut self, many: u32) -> bool {
        self.below(many) == 0
    }

    pub fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }
}

/// What is asked, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Everything there is.
    All,
    /// Mostly what needs no resolver.
    Quick,
    /// What everybody asks, and a new name now and then.
    Ordinary,
    /// New names.
    Flood,
    /// Names with many addresses.
    Big,
    /// The same names from one client, each asked for with what makes the reply as large as can be.
    Loud,
}

impl Mix {
    /// The next.
    pub fn draw(self, dice: &mut Dice) -> (Who, What) {
        let who = if self.is_of_one() { Who::Greedy } else { self.who(dice) };
        if self == Mix::All && dice.one_in(40) {
            return (who, What::Bad(dice.any(&Bad::ALL)));
        }
        let opt = match dice.below(4) {
            0 => None,
            1 => Some(dice.any(&[0, 512, 4096, 65_535])),
            _ => Some(1232),
        };
        let opt = if self == Mix::Loud { Some(1232) } else { opt };
        let name = self.name(dice);
        let is_odd = matches!(self, Mix::All | Mix::Quick) && dice.one_in(10);
        let kind = if is_odd { dice.any(&[RecordType::AAAA, RecordType::TXT]) } else { RecordType::A };
        (who, What::Question(name, kind, opt))
    }

    /// Whether one client asks all of it.
    pub fn is_of_one(self) -> bool {
        matches!(self, Mix::Flood | Mix::Loud)
    }

    fn who(self, dice: &mut Dice) -> Who {
        match dice.below(100) {
            0 if matches!(self, Mix::All | Mix::Quick) => Who::Stranger,
            0..50 => Who::Allowed,
            _ => Who::Public,
        }
    }

    fn name(self, dice: &mut Dice) -> Name {
        let number = dice.below(MANY);
        let new = dice.next();
        match (self, dice.below(1000)) {
            (Mix::Flood, _) | (Mix::Quick | Mix::Ordinary, 995..) => Name::Fresh(new),
            (Mix::Loud, _) | (Mix::Big, 500..) => Name::Middle(number),
            (Mix::Big, _) => Name::Big(number),
            (_, 0..250) => Name::Always(number),
            (Mix::Ordinary, _) | (Mix::Quick, 470..) => Name::Known(number),
            (_, 250..400) => Name::Sometimes(number),
            (_, 400..450) => Name::Hidden(number),
            (_, 450..470) => Name::Mute(number),
            (_, 470..550) => Name::Flapping(number),
            (_, 550..850) => Name::Popular(number),
            (_, 850..880) => Name::Alias(number),
            (_, 880..890) => Name::Big(number),
            (_, 890..920) => Name::Middle(number),
            (_, 920..940) => Name::Absent(new),
            (_, _) => Name::Fresh(new),
        }
    }
}

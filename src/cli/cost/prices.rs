//! The table of prices: read, and what an amount comes to by it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::Error;

/// A table of prices. One of a file may lack what the one that phzd comes with has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Prices {
    /// The day they were listed.
    pub date: Option<String>,
    /// Where they are listed.
    pub sources: Option<String>,
    /// Route 53.
    pub hosted_zone: Option<HostedZone>,
    /// PrivateLink, by region.
    #[serde(default)]
    pub region: BTreeMap<String, Region>,
}

/// What a hosted zone costs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostedZone {
    /// Each, a month.
    pub month: Tiers,
}

/// What an interface endpoint costs in a region.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Region {
    /// Each Availability Zone, an hour.
    pub endpoint_hour: Usd,
    /// Each GB.
    pub endpoint_gb: Tiers,
}

/// A price for each of the first so many, another for the next.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<Tier>")]
pub struct Tiers(Vec<Tier>);

/// One of them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tier {
    up_to: Option<u64>,
    price: Usd,
}

/// An amount of money, in billionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(i128);

/// The digits behind the point that [`Usd`] keeps.
const DIGITS: usize = 9;

impl Prices {
    /// Reads a table; `Err` says in one line what is wrong, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            format!("{line}:{column}: error: {}", error.message().replace('\n', "; "))
        })
    }
}

impl TryFrom<Vec<Tier>> for Tiers {
    type Error = &'static str;

    fn try_from(tiers: Vec<Tier>) -> Result<Self, &'static str> {
        let ends = tiers.iter().map(|tier| tier.up_to.unwrap_or(u64::MAX));
        match tiers.last() {
            None => Err("a price needs at least one tier"),
            Some(Tier { up_to: Some(_), .. }) => Err("the last tier has no up-to"),
            Some(_) if !ends.is_sorted_by(|one, next| one < next) => Err("each tier ends above the one before it"),
            Some(_) => Ok(Self(tiers)),
        }
    }
}

impl Tiers {
    /// What so many cost, and how that comes about: how many at which price.
    pub fn cost(&self, count: u64) -> (Usd, Vec<(u64, Usd)>) {
        let (mut from, mut parts) = (0, Vec::new());
        for tier in &self.0 {
            let end = tier.up_to.unwrap_or(u64::MAX).min(count);
            if end > from {
                parts.push((end - from, tier.price));
                from = end;
            }
        }
        (parts.iter().map(|(count, price)| *price * *count).sum(), parts)
    }
}

impl FromStr for Usd {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a price is digits with a point between, in quotes, as \"0.014\"";
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        if whole.is_empty() || whole.len() > 9 || part.len() > DIGITS || !digits(whole) || !digits(part) {
            return Err(wrong);
        }
        format!("{whole}{part:0<DIGITS$}").parse().map(Self).map_err(|_| wrong)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl std::ops::Mul<u64> for Usd {
    type Output = Self;

    fn mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count.into()))
    }
}

impl std::ops::Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl std::iter::Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.fold(0, |sum, amount| sum.saturating_add(amount.0)))
    }
}

impl fmt::Display for Usd {
    /// Exact, with at least two digits behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let part = format!("{part:09}");
        let shown = part.trim_end_matches('0');
        write!(f, "{whole}.{shown:0<2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn money_is_exact() {
        assert_eq!(usd("0.014") * 720, usd("10.08"));
        assert_eq!((usd("0.1") * 3).to_string(), "0.30");
        assert_eq!(usd("0.014").to_string(), "0.014");
        assert_eq!((usd("0.0015") * 3).to_string(), "0.0045");
        assert_eq!(usd("1234").to_string(), "1234.00");
        for wrong in ["", ".5", "1,5", "-1", "1e3", "0.0000000001", "12345678901"] {
            assert!(wrong.parse::<Usd>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_month_goes_through_the_tiers() {
        let prices = Prices::read(include_str!("prices.toml")).unwrap();
        let zones = |count| prices.hosted_zone.as_ref().unwrap().month.cost(count).0;
        assert_eq!([1, 25, 26, 40].map(zones), ["0.50", "12.50", "12.60", "14.00"].map(usd));
        let gb = &prices.region["us-east-1"].endpoint_gb;
        let pb = 1_048_576;
        assert_eq!(gb.cost(pb).0, usd("0.01") * pb);
        assert_eq!(gb.cost(pb + 1).1, [(pb, usd("0.01")), (1, usd("0.006"))]);
        assert_eq!(gb.cost(6 * pb).1, [(pb, usd("0.01")), (4 * pb, usd("0.006")), (pb, usd("0.004"))]);
        assert_eq!(gb.cost(0), (Usd::default(), vec![]));
    }

    #[test]
    fn a_wrong_table_says_where() {
        let good = include_str!("prices.toml");
        for (from, to, said) in [
            ("\"0.014\"", "0.014", "17:17: error: invalid type: floating point"),
            ("\"0.50\"", "\"half\"", "8:32: error"),
            ("endpoint-hour = \"0.01\"", "endpoint-day = \"0.01\"", "12:1: error: unknown field"),
            (", { price = \"0.10\" }", "", "8:9: error: the last tier has no up-to"),
            ("up-to = 5_242_880", "up-to = 1", "each tier ends above"),
        ] {
            assert!(good.contains(from), "{from}");
            let told = Prices::read(&good.replacen(from, to, 1)).unwrap_err();
            assert!(told.contains(said) && !told.contains('\n'), "{told}");
        }
    }
}

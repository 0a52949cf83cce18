//! `phzd cost`: what a month costs with a hosted zone for each bucket, and what it costs with phzd.

mod prices;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use prices::{Prices, Usd};

/// The prices that phzd comes with.
const PRICES: &str = include_str!("cost/prices.toml");

/// The arguments.
#[derive(Debug, Args)]
pub struct Cost {
    /// The region of the endpoint
    #[arg(long)]
    region: String,
    /// Availability Zones with a network interface of the endpoint
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    azs: u64,
    /// GB through the endpoint in a month, both ways together
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000))]
    gb: u64,
    /// Buckets, with a hosted zone each
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    buckets: u64,
    /// Hours of the month
    #[arg(long, default_value_t = 720, value_parser = clap::value_parser!(u64).range(1..=744))]
    hours: u64,
    /// Other prices, in a TOML file; what it lacks is as phzd has it
    ///
    ///   date = "2026-09-20"
    ///   [hosted-zone]
    ///   month = [{ up-to = 25, price = "0.50" }, { price = "0.10" }]
    ///   [region.us-east-1]
    ///   endpoint-hour = "0.01"
    ///   endpoint-gb = [{ up-to = 1048576, price = "0.01" }, { price = "0.006" }]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    prices: Option<PathBuf>,
    /// Print JSON, with amounts as texts
    #[arg(long)]
    json: bool,
}

/// A month.
#[derive(Debug, Serialize)]
struct Month {
    currency: &'static str,
    region: String,
    prices_of: String,
    lines: Vec<Line>,
    hosted_zones_total: String,
    phzd_total: String,
    difference: String,
}

/// One thing that costs.
#[derive(Debug, Serialize)]
struct Line {
    what: &'static str,
    /// How the amount comes about.
    how: String,
    hosted_zones: String,
    phzd: String,
}

/// Prints the month.
pub fn cost(arguments: &Cost) -> ExitCode {
    let month = match month(arguments) {
        Ok(month) => month,
        Err(error) => {
            super::say(&format_args!("phzd: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&month).unwrap_or_default(),
        false => month.words(),
    };
    // Who closed the output does not want it.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn month(arguments: &Cost) -> Result<Month, String> {
    let Cost { region, azs, gb, buckets, hours, .. } = arguments;
    let tables = tables(arguments.prices.as_deref())?;
    let (here, of_region) = tables.find(|prices| prices.region.get(region)).ok_or_else(|| {
        let known: BTreeSet<&str> = tables.0.iter().flat_map(|(_, prices)| prices.region.keys()).map(String::as_str).collect();
        format!(
            "there are no prices for {region:?} here, only for {}: write region.{region} = {{ endpoint-hour = \"0.01\", \
             endpoint-gb = [{{ price = \"0.01\" }}] }} with its prices into a file, and name that with --prices",
            known.into_iter().collect::<Vec<_>>().join(" and ")
        )
    })?;
    let (zone, of_zone) = tables.find(|prices| prices.hosted_zone.as_ref()).ok_or("no table has a price of zones")?;
    let parts = |parts: Vec<(u64, Usd)>, unit: &str| {
        let part = |(count, price): &(u64, Usd)| {
            let unit = if *count == 1 { unit.trim_end_matches('s') } else { unit };
            format!("{} {unit} x {price}", grouped(*count))
        };
        if parts.is_empty() { format!("0 {unit}") } else { parts.iter().map(part).collect::<Vec<_>>().join(" + ") }
    };
    let (zones, how_zones) = zone.month.cost(*buckets);
    let endpoint = here.endpoint_hour * *hours * *azs;
    let (data, how_data) = here.endpoint_gb.cost(*gb);
    let line = |what, how, amount: Usd, phzd: Usd| Line {
        what,
        how,
        hosted_zones: amount.to_string(),
        phzd: phzd.to_string(),
    };
    let total = |amounts: [Usd; 3]| amounts.into_iter().sum::<Usd>();
    let (with_zones, with_phzd) = (total([zones, endpoint, data]), total([Usd::default(), endpoint, data]));
    Ok(Month {
        currency: "USD",
        region: region.clone(),
        prices_of: if of_zone == of_region { of_zone } else { format!("{of_region}, and for zones of {of_zone}") },
        lines: vec![
            line("hosted zones", parts(how_zones, "zones"), zones, Usd::default()),
            line(
                "interface endpoint",
                format!("{} x {azs} AZ x {}", month_of(*hours), here.endpoint_hour),
                endpoint,
                endpoint,
            ),
            line("data through it", parts(how_data, "GB"), data, data),
        ],
        hosted_zones_total: with_zones.to_string(),
        phzd_total: with_phzd.to_string(),
        difference: (with_zones - with_phzd).to_string(),
    })
}

/// Tables of prices, each with what it is called; what one lacks the next may have.
struct Tables(Vec<(String, Prices)>);

fn tables(path: Option<&Path>) -> Result<Tables, String> {
    let own = path.map(|path| {
        let named = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{named} cannot be read: {error}"))?;
        let prices = Prices::read(&text).map_err(|error| format!("{named}:{error}"))?;
        Ok::<_, String>((Some(named.to_string()), prices))
    });
    let built_in = Prices::read(PRICES).map_err(|error| format!("the prices that phzd comes with: {error}"))?;
    let all = own.transpose()?.into_iter().chain([(None, built_in)]);
    let called = |(file, prices): (Option<String>, Prices)| {
        let parts = [file, prices.date.clone(), prices.sources.clone()];
        (parts.into_iter().flatten().collect::<Vec<_>>().join(", "), prices)
    };
    Ok(Tables(all.map(called).collect()))
}

impl Tables {
    /// The first that there is, and what its table is called.
    fn find<'a, T>(&'a self, what: impl Fn(&'a Prices) -> Option<&'a T>) -> Option<(&'a T, String)> {
        self.0.iter().find_map(|(called, prices)| Some((what(prices)?, called.clone())))
    }
}

/// Hours, as days where they are whole ones.
fn month_of(hours: u64) -> String {
    if hours.is_multiple_of(24) { format!("24 h x {}", hours / 24) } else { format!("{hours} h") }
}

/// The digits behind the point of an amount.
fn decimals(amount: &str) -> usize {
    amount.split_once('.').map_or(0, |(_, part)| part.len())
}

impl Month {
    fn words(&self) -> String {
        let total = ("together", "", &*self.hosted_zones_total, &*self.phzd_total);
        let lines =
            self.lines.iter().map(|line| (line.what, &*line.how, &*line.hosted_zones, &*line.phzd)).chain([total]);
        // As many digits behind every point, so that the points stand below each other.
        let digits = lines.clone().flat_map(|(_, _, one, other)| [one, other]).map(decimals).max().unwrap_or(0);
        let padded = |amount: &str| format!("{amount}{}", "0".repeat(digits - decimals(amount)));
        let head = ["USD a month".into(), self.region.clone(), "hosted zones".into(), "phzd".into()];
        let rows = lines.map(|(what, how, one, other)| [what.into(), how.into(), padded(one), padded(other)]);
        let rows: Vec<[String; 4]> = [head].into_iter().chain(rows).collect();
        let widest = |column: fn(&[String; 4]) -> &str| rows.iter().map(|row| column(row).len()).max().unwrap_or(0);
        let (a, b, c, d) = (
            widest(|[what, ..]| what),
            widest(|[_, how, ..]| how),
            widest(|[_, _, one, _]| one),
            widest(|[.., other]| other),
        );
        let mut text = String::new();
        for [what, how, one, other] in &rows {
            text += &format!("{what:<a$}  {how:<b$}  {one:>c$}  {other:>d$}\n");
        }
        text += &format!(
            "\nphzd saves {} USD a month here. Prices of {}.\nNot in it: the hosts phzd runs on, S3 itself, queries (an alias to an \
             endpoint is free), tax.",
            self.difference, self.prices_of
        );
        text
    }
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut out = digits.get(..first).unwrap_or_default().to_owned();
    for three in digits.as_bytes().get(first..).unwrap_or_default().chunks(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out += std::str::from_utf8(three).unwrap_or_default();
    }
    out
}

//! `phzd cost`: what a month costs with a hosted zone for each bucket, and what it costs with phzd.

mod prices;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
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
    /// Other prices, in a file like the one phzd comes with (src/cli/cost/prices.toml)
    #[arg(long, value_name = "FILE")]
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
    let prices = match &arguments.prices {
        None => Prices::read(PRICES).map_err(|error| format!("the prices that phzd comes with: {error}"))?,
        Some(path) => {
            let text =
                fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            Prices::read(&text).map_err(|error| format!("{}:{error}", path.display()))?
        }
    };
    let here = prices.region.get(region).ok_or_else(|| {
        let known: Vec<&str> = prices.region.keys().map(String::as_str).collect();
        format!(
            "there are no prices for {region:?} here, only for {}: write [region.{region}] into a file and name it with --prices",
            known.join(" and ")
        )
    })?;
    let parts = |parts: Vec<(u64, Usd)>, unit: &str| {
        let part = |(count, price): &(u64, Usd)| {
            let unit = if *count == 1 { unit.trim_end_matches('s') } else { unit };
            format!("{} {unit} x {price}", grouped(*count))
        };
        if parts.is_empty() { format!("0 {unit}") } else { parts.iter().map(part).collect::<Vec<_>>().join(" + ") }
    };
    let (zones, how_zones) = prices.hosted_zone.month.cost(*buckets);
    let endpoint = here.endpoint_hour * *hours * *azs;
    let (data, how_data) = here.endpoint_gb.cost(*gb);
    let line = |what, how, amount: Usd, phzd: Usd| Line {
        what,
        how,
        hosted_zones: amount.cents().to_string(),
        phzd: phzd.cents().to_string(),
    };
    let total = |amounts: [Usd; 3]| amounts.into_iter().sum::<Usd>();
    let (with_zones, with_phzd) = (total([zones, endpoint, data]), total([Usd::default(), endpoint, data]));
    Ok(Month {
        currency: "USD",
        region: region.clone(),
        prices_of: format!("{}, {}", prices.date, prices.sources),
        lines: vec![
            line("hosted zones", parts(how_zones, "zones"), zones, Usd::default()),
            line("interface endpoint", format!("{hours} h x {azs} AZ x {}", here.endpoint_hour), endpoint, endpoint),
            line("data through it", parts(how_data, "GB"), data, data),
        ],
        hosted_zones_total: with_zones.cents().to_string(),
        phzd_total: with_phzd.cents().to_string(),
        difference: (with_zones - with_phzd).cents().to_string(),
    })
}

impl Month {
    fn words(&self) -> String {
        let total = |what| Line {
            what,
            how: String::new(),
            hosted_zones: self.hosted_zones_total.clone(),
            phzd: self.phzd_total.clone(),
        };
        let head = Line {
            what: "USD a month",
            how: self.region.clone(),
            hosted_zones: "hosted zones".into(),
            phzd: "phzd".into(),
        };
        let total = total("together");
        let lines: Vec<&Line> = std::iter::once(&head).chain(&self.lines).chain([&total]).collect();
        let widest = |text: fn(&Line) -> &str| lines.iter().map(|line| text(line).len()).max().unwrap_or(0);
        let widths = (
            widest(|line| line.what),
            widest(|line| &line.how),
            widest(|line| &line.hosted_zones),
            widest(|line| &line.phzd),
        );
        let mut text = String::new();
        for Line { what, how, hosted_zones, phzd } in lines {
            let (a, b, c, d) = widths;
            text += &format!("{what:<a$}  {how:<b$}  {hosted_zones:>c$}  {phzd:>d$}\n");
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

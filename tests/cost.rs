//! `phzd cost`: the case's figures, other months, other prices, and what it says when it cannot.

use std::fs;

use serde_json::Value;

use crate::cli::phzd;

/// What it prints, says and ends with.
fn cost(arguments: &str) -> (String, String, Option<i32>) {
    let output = phzd().arg("cost").args(arguments.split(' ')).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn the_cases_figures_come_out() {
    let (text, error, code) = cost("--region ap-northeast-1 --azs 1 --gb 1024 --buckets 1");
    assert_eq!((error.as_str(), code), ("", Some(0)));
    let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[1], ["hosted", "zones", "1", "zone", "x", "0.50", "0.50", "0.00"]);
    assert_eq!(lines[2], "interface endpoint 24 h x 30 x 1 AZ x 0.014 10.08 10.08".split(' ').collect::<Vec<_>>());
    assert_eq!(lines[3], ["data", "through", "it", "1,024", "GB", "x", "0.01", "10.24", "10.24"]);
    assert_eq!(lines[4], ["together", "20.82", "20.32"]);
    assert!(text.contains("phzd saves 0.50 USD a month"), "{text}");
}

#[test]
fn json_has_the_same_and_tiers_add_up() {
    let (text, _, code) = cost("--region us-east-1 --azs 3 --gb 10240 --buckets 40 --hours 730 --json");
    assert_eq!(code, Some(0));
    let month: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(month["lines"][0]["how"], "25 zones x 0.50 + 15 zones x 0.10");
    let amounts: Vec<_> = (0..3).map(|nth| month["lines"][nth]["hosted_zones"].as_str().unwrap()).collect();
    assert_eq!(amounts, ["14.00", "21.90", "102.40"]);
    assert_eq!((&month["hosted_zones_total"], &month["phzd_total"]), (&"138.30".into(), &"124.30".into()));
}

#[test]
fn a_file_may_have_other_prices() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.toml");
    let text = fs::read_to_string("src/cli/cost/prices.toml").unwrap();
    fs::write(&file, text.replace("ap-northeast-1", "eu-north-9")).unwrap();
    let (text, _, code) = cost(&format!("--region eu-north-9 --gb 0 --buckets 1 --prices {}", file.display()));
    assert_eq!(code, Some(0));
    assert!(text.contains("0 GB"), "{text}");
    fs::write(&file, "date = 1").unwrap();
    let (_, error, code) = cost(&format!("--region eu-north-9 --gb 0 --buckets 1 --prices {}", file.display()));
    assert_eq!((error.lines().count(), code), (1, Some(1)));
    assert!(error.starts_with(&format!("phzd: {}:1:8: error: ", file.display())), "{error}");
}

#[test]
fn what_a_file_lacks_is_as_phzd_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.toml");
    let with_file = |arguments: &str| cost(&format!("{arguments} --prices {}", file.display()));

    // What one is told to write about an unknown region is enough, as it stands.
    let (_, error, _) = cost("--region mars-1 --gb 1 --buckets 1");
    let line = error.split_once(": write ").unwrap().1.split_once(" with its prices").unwrap().0;
    fs::write(&file, line).unwrap();
    let (text, error, code) = with_file("--region mars-1 --gb 1 --buckets 1");
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert!(text.contains(&format!("Prices of {}, and for zones of 2026-09-20, ", file.display())), "{text}");
    // It has a say in its own regions only.
    let arguments = "--region us-east-1 --gb 1 --buckets 1";
    assert_eq!(with_file(arguments), cost(arguments));

    // And so is what the help shows.
    let help = cost("--help").0;
    let begin = help.find("date = ").unwrap();
    let end = begin + help[begin..].find("\n\n").unwrap();
    fs::write(&file, help[begin..end].replace("0.50", "0.60")).unwrap();
    let (text, error, code) = with_file("--region us-east-1 --gb 1 --buckets 26");
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert!(text.contains("25 zones x 0.60 + 1 zone x 0.10"), "{text}");
    assert!(text.contains(&format!("Prices of {}, 2026-09-20.", file.display())), "{text}");
}

#[test]
fn amounts_are_exact_and_add_up() {
    let (text, _, code) = cost("--region ap-northeast-1 --gb 1048580 --hours 1 --buckets 40");
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    // A half cent is not rounded, and the points stand below each other.
    for (line, both) in
        lines[1..].iter().zip(["14.000 0.000", "0.014 0.014", "10485.784 10485.784", "10499.798 10485.798"])
    {
        let amounts: Vec<&str> = line.split_whitespace().rev().take(2).collect();
        assert_eq!(format!("{} {}", amounts[1], amounts[0]), both, "{text}");
        assert_eq!(line.len(), lines[0].len(), "{text}");
    }
    assert!(lines[3].contains("1,048,576 GB x 0.01 + 4 GB x 0.006"), "{text}");
}

#[test]
fn what_it_cannot_do_is_one_line() {
    let (_, error, code) = cost("--region mars-1 --gb 1 --buckets 1");
    let known = "phzd: there are no prices for \"mars-1\" here, only for ap-northeast-1 and us-east-1: ";
    assert!(error.starts_with(known) && error.lines().count() == 1, "{error}");
    assert_eq!(code, Some(1));
    let (_, error, code) = cost("--region us-east-1 --gb 1 --buckets 1 --prices /no/such.toml");
    assert!(error.starts_with("phzd: /no/such.toml cannot be read: ") && error.lines().count() == 1, "{error}");
    assert_eq!(code, Some(1));
    for wrong in ["--region us-east-1 --gb 1 --buckets 0", "--region us-east-1 --buckets 1", "--azs x"] {
        assert_eq!(cost(wrong).2, Some(2), "{wrong}");
    }
}

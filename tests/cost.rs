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
    assert_eq!(lines[2], ["interface", "endpoint", "720", "h", "x", "1", "AZ", "x", "0.014", "10.08", "10.08"]);
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

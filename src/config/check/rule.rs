//! Resolver rules.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Judge;
use super::claim::{Claim, Contents};
use crate::config::file::Written;
use crate::config::problem::{Place, Problem};
use crate::config::{Rule, Stated};
use crate::wire::Name;
use crate::wire::name::labels;
use crate::zone::partition::suffix;

impl Judge<'_> {
    /// Every `[[rule]]`, `None` for one that is wrong.
    pub(super) fn rules(&mut self, listen: &[Written<SocketAddr>]) -> Vec<Option<Rule>> {
        let mut domains: HashMap<Name, &Written<String>> = HashMap::new();
        let mut rules = Vec::new();
        for rule in &self.file.rules {
            let written = self.required(&rule.domain, &rule.origin, "domain");
            let domain = written.and_then(|text| self.domain(text));
            if let (Some(text), Some(domain)) = (written, &domain) {
                if let Some(earlier) = domains.insert(domain.clone(), text) {
                    let problem = Problem::mistake(text.place.as_ref(), format!("two rules are for {domain}"));
                    let problem = problem.note(earlier.place.as_ref(), "the other is here");
                    self.problems.push(problem.hint("name all targets in one of them"));
                }
                self.warn_of_wide_rule(text, domain);
            }
            let forward = rule.forward.as_ref().is_none_or(|flag| flag.value);
            if let (false, Some(targets)) = (forward, &rule.targets) {
                let problem = Problem::mistake(targets.place.as_ref(), "targets of a rule that forwards to none");
                let problem =
                    problem.note(rule.forward.as_ref().and_then(|flag| flag.place.as_ref()), "forward is here");
                self.problems.push(problem.hint("remove the targets, or forward = false"));
            } else if forward && rule.targets.as_ref().is_none_or(|list| list.value.is_empty()) {
                let place = rule.targets.as_ref().and_then(|list| list.place.as_ref()).or(rule.origin.place.as_ref());
                let problem = Problem::mistake(place, "a rule without targets");
                let hint = "add targets = [\"10.0.0.53\"], or forward = false to leave the domain to vpc.resolvers";
                self.absent(&rule.origin, problem.hint(hint));
            }
            let targets = self.targets(&rule.targets);
            let addresses: Vec<_> = targets.iter().map(|target| target.with(target.value.address)).collect();
            self.warn_of_loops(&addresses, listen, "target");
            let targets = targets.into_iter().map(|target| target.value).collect();
            let fallback = rule.fallback.as_ref().filter(|flag| flag.value);
            if let (false, Some(flag)) = (forward, fallback) {
                let problem = Problem::mistake(flag.place.as_ref(), "fallback of a rule that forwards to none");
                let problem =
                    problem.note(rule.forward.as_ref().and_then(|flag| flag.place.as_ref()), "forward is here");
                self.problems.push(problem.hint("the domain is left to vpc.resolvers already: remove fallback"));
            }
            let fallback = fallback.is_some();
            let stated = Stated::at(rule.origin.place.as_ref());
            rules.push(domain.map(|domain| Rule { domain, targets, fallback, stated }));
        }
        rules
    }

    /// A domain, whole and without a wildcard.
    pub(super) fn domain(&mut self, text: &Written<String>) -> Option<Name> {
        let bare =
            text.value.strip_prefix("*.").or_else(|| text.value.strip_prefix('.')).filter(|bare| !bare.is_empty());
        let strange =
            text.value.contains(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '_' | '.'));
        if let Ok(name) = text.value.parse::<Name>()
            && bare.is_none()
            && !strange
        {
            return Some(name);
        }
        let problem = Problem::mistake(text.place.as_ref(), format!("{:?} is not a domain", text.value));
        self.problems.push(match (bare, strange) {
            (Some(bare), _) => problem.hint(format!("it covers all that is below, too: write {bare:?}")),
            (None, false) => problem.hint("a label between dots has 1 to 63 letters, and the whole at most 253"),
            _ => problem.hint("write a domain as \"corp.example\", in letters, digits and hyphens"),
        });
        None
    }

    /// A rule above S3 sends on what AWS's own software asks for.
    fn warn_of_wide_rule(&mut self, text: &Written<String>, domain: &Name) {
        let region = self.file.vpc.region.as_ref().map_or("us-east-1", |region| region.value.as_str());
        let Ok(s3) = format!("s3.{region}.{}", suffix(region)).parse::<Name>() else { return };
        let above = s3.as_wire().ends_with(domain.as_wire())
            && (domain.label_count() == 0
                || labels(s3.as_wire()).any(|at| s3.as_wire().get(at..) == Some(domain.as_wire())));
        if above {
            let message = format!("the rule for {domain} takes Amazon Linux, ECR and Systems Manager names too");
            let problem = Problem::warning(text.place.as_ref(), message);
            self.problems
                .push(problem.hint("its targets must resolve them; a longer domain leaves them to vpc.resolvers"));
        }
    }

    /// At equal length the rule decides, as in Route 53.
    pub(super) fn warn_of_hidden(&mut self, rules: &[Option<Rule>], claims: &[Claim]) {
        let places = self.file.rules.iter().map(|rule| rule.domain.as_ref().and_then(|domain| domain.place.as_ref()));
        let domains: HashMap<&Name, Option<&Place>> =
            rules.iter().zip(places).filter_map(|(rule, place)| Some((&rule.as_ref()?.domain, place))).collect();
        if domains.is_empty() {
            return;
        }
        for claim in claims {
            let what = if matches!(claim.contents, Contents::Alias(_)) { "bucket" } else { "zone" };
            for (name, place) in &claim.names {
                if let Some(rule) = domains.get(name) {
                    let problem = Problem::warning(*rule, format!("this rule hides the {what} {name}"));
                    let problem = problem
                        .note(place.as_ref(), if what == "bucket" { "the bucket is here" } else { "the zone is here" });
                    self.problems
                        .push(problem.hint(format!("of a rule and a {what} of one name the rule decides: remove one")));
                }
            }
        }
    }
}

//! Resolver rules.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Judge;
use super::address::Use;
use super::bucket::Judged;
use crate::config::Rule;
use crate::config::file::Written;
use crate::config::problem::Problem;
use crate::wire::Name;
use crate::wire::name::labels;
use crate::zone::bucket::suffix;

impl Judge<'_> {
    /// Every `[[rule]]`, `None` for one that is wrong.
    pub(super) fn rules(&mut self, listen: &[Written<SocketAddr>], buckets: &[Judged]) -> Vec<Option<Rule>> {
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
            if rule.targets.as_ref().is_none_or(|list| list.value.is_empty()) {
                let place = rule.targets.as_ref().and_then(|list| list.place.as_ref()).or(rule.origin.place.as_ref());
                let problem = Problem::mistake(place, "a rule without targets");
                self.absent(&rule.origin, problem.hint("add targets = [\"10.0.0.53\"]"));
            }
            let targets = self.sockets(&rule.targets, Use::Target);
            self.warn_of_loops(&targets, listen, "target");
            let targets = targets.into_iter().map(|target| target.value).collect();
            rules.push(domain.map(|domain| Rule { domain, targets }));
        }
        self.warn_of_hidden_buckets(&domains, buckets);
        rules
    }

    fn domain(&mut self, text: &Written<String>) -> Option<Name> {
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
            (Some(bare), _) => problem.hint(format!("a rule covers all below its domain: write {bare:?}")),
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
    fn warn_of_hidden_buckets(&mut self, domains: &HashMap<Name, &Written<String>>, buckets: &[Judged]) {
        if domains.is_empty() {
            return;
        }
        for (host, place) in buckets.iter().flat_map(|bucket| &bucket.names) {
            if let Some(rule) = domains.get(host) {
                let problem = Problem::warning(rule.place.as_ref(), format!("this rule hides the bucket {host}"));
                let problem = problem.note(place.as_ref(), "the bucket is here");
                self.problems.push(problem.hint("of a rule and a bucket of one name the rule decides: remove one"));
            }
        }
    }
}

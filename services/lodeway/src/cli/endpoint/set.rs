//! `lodeway endpoint set`: the next revision, made from the one that serves.

use clap::Args;
use lodeway_proto::gateway::v1::{CreateRevisionRequest, Endpoint, RevisionSpec};

use super::flags::{Care, Routing, Settings};
use crate::cli::{
    Failure,
    parse::{self, Named, Weight},
    refused,
};

/// What changes; everything else stays as it is.
#[derive(Args)]
pub struct Set {
    /// The endpoint.
    pub name: String,
    #[command(flatten)]
    change: Change,
    /// Why.
    #[arg(long, default_value = "")]
    comment: String,
    /// How long to wait for the models.
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse::span)]
    wait: prost_types::Duration,
}

#[derive(Args)]
struct Change {
    /// A further target, without weight unless `--weight` gives it some; repeatable.
    #[arg(long = "add", value_name = "[TARGET=]MODEL", value_parser = parse::named)]
    added: Vec<Named>,
    /// A target that goes; repeatable.
    #[arg(long = "remove", value_name = "TARGET")]
    removed: Vec<String>,
    /// The part of the traffic of one target; repeatable.
    #[arg(long = "weight", value_name = "TARGET=N", value_parser = parse::weight)]
    weights: Vec<Weight>,
    #[command(flatten)]
    routing: Routing,
    /// Each call is on its own again.
    #[arg(long, conflicts_with_all = ["sticky_header", "sticky_input"])]
    no_sticky: bool,
    /// No copies any more.
    #[arg(long, conflicts_with = "shadow")]
    no_shadow: bool,
    /// No rules any more; with `--rule`, the rules given replace those before anyway.
    #[arg(long, conflicts_with = "rules")]
    no_rules: bool,
    #[command(flatten)]
    care: Care,
    /// How the targets that `--add` names are run.
    #[command(flatten)]
    settings: Settings,
}

impl Set {
    /// What the platform is asked for, from the endpoint as it stands; refused there if another revision came first.
    /// Errors: a change of nothing, or of targets that are not there.
    pub fn request(self, of: &Endpoint) -> Result<CreateRevisionRequest, Failure> {
        let revision = of.revision.clone().unwrap_or_default();
        let spec = self
            .change
            .apply(revision.spec.unwrap_or_default())
            .map_err(refused)?;
        Ok(CreateRevisionRequest {
            name: self.name,
            spec: Some(spec),
            comment: self.comment,
            expected_revision: Some(revision.number),
            wait: Some(self.wait),
            request_id: String::new(),
        })
    }
}

impl Change {
    fn is_empty(&self) -> bool {
        let targets = self.added.is_empty() && self.removed.is_empty() && self.weights.is_empty();
        let rest = self.routing.is_empty() && self.care.is_empty();
        targets && rest && !self.no_sticky && !self.no_shadow && !self.no_rules
    }

    fn apply(&self, mut spec: RevisionSpec) -> Result<RevisionSpec, String> {
        if self.is_empty() && self.settings.is_empty() {
            return Err(
                "nothing to change; give --weight, --add, --remove, --sticky-…, --shadow, --rule, --log-… or how failures \
                 are met, such as --default-timeout, --max-retries or --ejection-failures"
                    .to_owned(),
            );
        }
        if self.added.is_empty() && !self.settings.is_empty() {
            return Err(
                "settings are of targets that --add names; a target that is there keeps its own".to_owned(),
            );
        }
        for name in &self.removed {
            let before = spec.targets.len();
            spec.targets.retain(|target| target.name != *name);
            if spec.targets.len() == before {
                return Err(unknown(&spec, name));
            }
        }
        for added in &self.added {
            let mut target = self.settings.target(added, 0);
            // The platform would make the same name, but weights must find it here.
            target.name = added.known_as();
            if target.name.is_empty() && !self.weights.is_empty() {
                return Err(format!(
                    "`{}` gets its name from the platform; for a weight in the same call give it one: --add NAME={0}",
                    target.reference
                ));
            }
            if spec.targets.iter().any(|there| there.name == target.name) {
                return Err(format!(
                    "there is a target `{0}` already; add --remove {0} to replace it",
                    target.name
                ));
            }
            spec.targets.push(target);
        }
        for weight in &self.weights {
            let name = weight.target.as_deref().unwrap_or_default();
            match spec.targets.iter_mut().find(|target| target.name == name) {
                Some(target) => target.weight = weight.parts,
                None if name.is_empty() => {
                    return Err(format!("whose weight is {}? Write TARGET=N", weight.parts));
                }
                None => return Err(unknown(&spec, name)),
            }
        }
        if self.no_sticky {
            spec.sticky_key = None;
        }
        if self.no_shadow {
            spec.shadow = None;
        }
        if self.no_rules {
            spec.rules.clear();
        }
        self.routing.apply(&mut spec);
        self.care.apply(&mut spec);
        Ok(spec)
    }
}

fn unknown(spec: &RevisionSpec, name: &str) -> String {
    let known: Vec<_> = spec
        .targets
        .iter()
        .map(|target| format!("`{}`", target.name))
        .collect();
    format!("there is no target `{name}`; there is {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lodeway_proto::gateway::v1::{MatchRule, Shadow, StickyKey, Target, sticky_key::Source};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    fn changed(spec: &RevisionSpec, line: &str) -> Result<RevisionSpec, String> {
        let words = ["set", "iris"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        line.set.change.apply(spec.clone())
    }

    fn now() -> RevisionSpec {
        let target = |name: &str, weight| Target {
            name: name.to_owned(),
            reference: format!("models:/iris@{name}"),
            weight,
            ..Target::default()
        };
        RevisionSpec {
            targets: vec![target("champion", 9), target("old", 1)],
            rules: vec![parse::rule("x-old->old").unwrap()],
            ..RevisionSpec::default()
        }
    }

    fn weights(spec: &RevisionSpec) -> Vec<(&str, u32)> {
        spec.targets.iter().map(|t| (t.name.as_str(), t.weight)).collect()
    }

    #[test]
    fn weights_change_and_the_rest_stays() {
        let spec = changed(&now(), "--weight champion=90 --weight old=10").unwrap();
        assert_eq!(weights(&spec), [("champion", 90), ("old", 10)]);
        assert_eq!(spec.rules, now().rules);
    }

    #[test]
    fn what_is_kept_of_calls_changes_field_by_field() {
        let spec = changed(&now(), "--log-share 10% --log-redact age --log-redact name").unwrap();
        let spec = changed(&spec, "--log-slice plan").unwrap();
        let log = spec.request_log.unwrap();
        assert_eq!(
            (log.sample_share, log.slice_fields),
            (0.1, vec!["plan".to_owned()])
        );
        assert_eq!(log.redacted_fields, ["age", "name"]);
    }

    #[test]
    fn what_is_done_about_failures_changes_field_by_field() {
        let line = "--default-timeout 5s --hedge-after 200ms --max-retries 2 --ejection-failures 3";
        let spec = changed(&now(), line).unwrap();
        let spec = changed(
            &spec,
            "--max-retries 0 --retry-percent 5 --ejection-time 1m --hedge-after 0s",
        )
        .unwrap();
        let of = spec.resilience.unwrap();
        let span = |text: &str| parse::span(text).ok();
        assert_eq!((of.timeout, of.hedge_after), (span("5s"), span("0s")));
        assert_eq!((of.max_retries, of.retry_percent), (Some(0), Some(5)));
        assert_eq!((of.ejection_failures, of.ejection_time), (3, span("1m")));
        assert_eq!((of.retry_min_per_second, of.max_active_calls), (None, 0));
        assert_eq!(changed(&now(), "--weight old=2").unwrap().resilience, None);
        for line in [
            "--max-retries 0",
            "--retry-percent 0",
            "--hedge-after 0s",
            "--max-active-calls 9",
        ] {
            assert!(changed(&now(), line).unwrap().resilience.is_some(), "{line}");
        }
    }

    #[test]
    fn targets_come_and_go() {
        let line = "--add models:/iris/7 --remove old --weight v7=1 --no-rules --workers 2";
        let spec = changed(&now(), line).unwrap();
        assert_eq!(weights(&spec), [("champion", 9), ("v7", 1)]);
        assert_eq!(spec.targets[1].settings.as_ref().unwrap().workers, 2);
        assert_eq!(spec.targets[0].settings, None);
        assert_eq!(spec.rules, Vec::<MatchRule>::new());
        // A target is replaced by going and coming back.
        let spec = changed(&now(), "--remove old --add old=models:/iris/2").unwrap();
        assert_eq!(weights(&spec), [("champion", 9), ("old", 0)]);
    }

    #[test]
    fn sticky_keys_and_shadows_are_set_and_taken_back() {
        let spec = changed(&now(), "--sticky-header x-user --shadow old=25%").unwrap();
        let source = Some(Source::Header("x-user".to_owned()));
        assert_eq!(spec.sticky_key, Some(StickyKey { source }));
        let shadow = Shadow {
            target: "old".to_owned(),
            share: 0.25,
            max_active_calls: 0,
        };
        assert_eq!(spec.shadow, Some(shadow));
        let spec = changed(&spec, "--no-sticky --no-shadow").unwrap();
        assert_eq!((spec.sticky_key, spec.shadow), (None, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, why) in [
            ("", "nothing to change"),
            ("--weight v9=1", "no target `v9`; there is `champion`, `old`"),
            ("--weight 5", "whose weight is 5"),
            ("--remove v9", "no target `v9`"),
            ("--add old=models:/iris/2", "already"),
            ("--weight old=0 --workers 2", "settings"),
            ("--no-shadow --shadow old=1%", "cannot be used with"),
            ("--sticky-header a --sticky-input b", "cannot be used with"),
        ] {
            let refusal = changed(&now(), line).unwrap_err();
            assert!(refusal.contains(why), "{line}: {refusal}");
        }
    }
}

//! `lodeway endpoint create`.

use clap::Args;
use lodeway_proto::gateway::v1::{CreateEndpointRequest, RevisionSpec};

use super::flags::{Care, Routing, Settings};
use crate::cli::{
    Failure, output,
    parse::{self, Named, Weight},
    refused,
};

/// A new endpoint.
#[derive(Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// What answers: `models:/NAME/3`, `models:/NAME@alias` or `models:/NAME/STAGE` (both followed as they move), or
    /// an address such as `grpc://host:8001/MODEL`; `v2=…` names it; repeatable.
    #[arg(long = "model", required = true, value_name = "[TARGET=]MODEL", value_parser = parse::named)]
    models: Vec<Named>,
    /// The part of the traffic of each model, in the order of the models, or by name as `TARGET=N`; by default equal
    /// parts, none for the shadow.
    #[arg(long = "weight", value_name = "[TARGET=]N", value_parser = parse::weight)]
    weights: Vec<Weight>,
    #[command(flatten)]
    routing: Routing,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    settings: Settings,
    /// Free text.
    #[arg(long, default_value = "")]
    description: String,
    /// A label; repeatable.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = output::key_value)]
    tags: Vec<(String, String)>,
    /// Why.
    #[arg(long, default_value = "")]
    comment: String,
    /// How long to wait for the models.
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse::span)]
    wait: prost_types::Duration,
}

impl Create {
    /// What the platform is asked for. Errors: weights that fit no model.
    pub fn request(self) -> Result<CreateEndpointRequest, Failure> {
        let parts = weigh(&self.models, &self.weights, self.routing.shadow_target()).map_err(refused)?;
        let targets = self.models.iter().zip(parts);
        let targets = targets.map(|(model, parts)| self.settings.target(model, parts));
        let mut spec = RevisionSpec {
            targets: targets.collect(),
            ..RevisionSpec::default()
        };
        self.routing.apply(&mut spec);
        self.care.apply(&mut spec);
        Ok(CreateEndpointRequest {
            name: self.name,
            description: self.description,
            tags: self.tags.into_iter().collect(),
            spec: Some(spec),
            comment: self.comment,
            wait: Some(self.wait),
            request_id: String::new(),
        })
    }
}

/// The weight of each model.
fn weigh(models: &[Named], weights: &[Weight], shadow: Option<&str>) -> Result<Vec<u32>, String> {
    if weights.is_empty() {
        let is_shadow = |model: &Named| models.len() > 1 && shadow == Some(model.known_as().as_str());
        return Ok(models.iter().map(|model| u32::from(!is_shadow(model))).collect());
    }
    if weights.iter().all(|weight| weight.target.is_none()) {
        if weights.len() != models.len() {
            return Err(format!(
                "{} weights for {} models; give each model one, or write TARGET=N",
                weights.len(),
                models.len()
            ));
        }
        return Ok(weights.iter().map(|weight| weight.parts).collect());
    }
    let mut parts = vec![0; models.len()];
    for weight in weights {
        let Some(target) = &weight.target else {
            return Err("give either each weight with its target or none".to_owned());
        };
        let of = models
            .iter()
            .zip(&mut parts)
            .find(|(model, _)| model.known_as() == *target);
        let Some((_, part)) = of else {
            return Err(format!(
                "there is no target `{target}` to weigh; name one by `--model {target}=MODEL`"
            ));
        };
        *part = weight.parts;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(models: &[&str], weights: &[&str], shadow: Option<&str>) -> Result<Vec<u32>, String> {
        let models: Vec<_> = models.iter().map(|text| parse::named(text).unwrap()).collect();
        let weights: Vec<_> = weights.iter().map(|text| parse::weight(text).unwrap()).collect();
        weigh(&models, &weights, shadow)
    }

    const TWO: &[&str] = &["models:/iris@champion", "new=models:/iris/7"];

    #[test]
    fn without_weights_parts_are_equal_and_a_shadow_has_none() {
        assert_eq!(parts(TWO, &[], None), Ok(vec![1, 1]));
        assert_eq!(parts(TWO, &[], Some("new")), Ok(vec![1, 0]));
        assert_eq!(parts(TWO, &[], Some("champion")), Ok(vec![0, 1]));
        // A shadow alone would leave nobody to answer; the platform says what it thinks of it.
        assert_eq!(parts(&TWO[..1], &[], Some("champion")), Ok(vec![1]));
    }

    #[test]
    fn weights_go_by_place_or_by_name() {
        assert_eq!(parts(TWO, &["90", "10"], None), Ok(vec![90, 10]));
        assert_eq!(parts(TWO, &["new=10", "champion=90"], None), Ok(vec![90, 10]));
        assert_eq!(parts(TWO, &["champion=1"], None), Ok(vec![1, 0]));
    }

    #[test]
    fn weights_that_fit_no_model_are_refused() {
        assert!(
            parts(TWO, &["90"], None)
                .unwrap_err()
                .contains("1 weights for 2 models")
        );
        assert!(
            parts(TWO, &["90", "new=10"], None)
                .unwrap_err()
                .contains("either")
        );
        assert!(parts(TWO, &["old=10"], None).unwrap_err().contains("`old`"));
    }
}

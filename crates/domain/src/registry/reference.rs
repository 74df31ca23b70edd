//! Model URIs.

use std::fmt;

use super::{AliasName, ModelName, Stage, names::is_latest};
use crate::{
    Error, Result,
    id::{ModelId, RunId, clip},
};

/// What a model URI says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelRef {
    /// `models:/NAME/3`
    Version {
        /// The registered model.
        name: ModelName,
        /// The version, at least 1.
        version: i64,
    },
    /// `models:/NAME/Production`: the highest version there.
    Stage {
        /// The registered model.
        name: ModelName,
        /// The stage.
        stage: Stage,
    },
    /// `models:/NAME/latest`: the highest version of all.
    Latest {
        /// The registered model.
        name: ModelName,
    },
    /// `models:/NAME@champion`
    Alias {
        /// The registered model.
        name: ModelName,
        /// The alias.
        alias: AliasName,
    },
    /// `models:/m-ID`
    LoggedModel(ModelId),
    /// `runs:/ID/path`
    Run {
        /// The run.
        run_id: RunId,
        /// Below the run's artifacts; empty: all of them.
        path: String,
    },
}

impl ModelRef {
    /// Parses a `models:` or `runs:` URI; `field` is named in the error.
    pub fn parse(field: &str, uri: &str) -> Result<Self> {
        Self::parse_any(uri)
            .unwrap_or_else(|| {
                let known = "models:/NAME/3, models:/NAME/STAGE, models:/NAME/latest, models:/NAME@ALIAS, \
                             models:/m-ID or runs:/ID/path";
                Err(Error::invalid(
                    "",
                    format!("`{}` is not a model URI; write {known}", clip(uri)),
                ))
            })
            .map_err(|error| under(field, error))
    }

    /// Whether the text is meant as a `models:` or `runs:` URI, and not as a place in a store.
    pub fn is_meant(uri: &str) -> bool {
        after_scheme(uri, "models:").is_some() || after_scheme(uri, "runs:").is_some()
    }

    fn parse_any(uri: &str) -> Option<Result<Self>> {
        if let Some(rest) = after_scheme(uri, "runs:/") {
            return run(rest.trim_start_matches('/'));
        }
        let rest = after_scheme(uri, "models:/")?.trim_start_matches('/');
        match rest.split_once('/') {
            Some((name, word)) if !word.is_empty() && !word.contains('/') => Some(by_word(name, word)),
            Some(_) => None,
            None => match rest.rsplit_once('@') {
                Some((name, alias)) => Some(by_alias(name, alias)),
                None if rest.starts_with("m-") => Some(ModelId::parse(rest).map(Self::LoggedModel)),
                None => None,
            },
        }
    }
}

fn run(rest: &str) -> Option<Result<ModelRef>> {
    let (id, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    if path.contains('\0') || path.split('/').any(|part| part == ".." || part == ".") {
        return None;
    }
    Some(RunId::parse(id).map(|run_id| ModelRef::Run {
        run_id,
        path: path.to_owned(),
    }))
}

fn by_word(name: &str, word: &str) -> Result<ModelRef> {
    let name = ModelName::parse("name", name)?;
    if word.bytes().all(|b| b.is_ascii_digit()) {
        // A number too large for any version is one that does not exist.
        let version = word.parse().unwrap_or(i64::MAX);
        return Ok(ModelRef::Version { name, version });
    }
    if is_latest(word) {
        return Ok(ModelRef::Latest { name });
    }
    Stage::parse(word).map(|stage| ModelRef::Stage { name, stage })
}

fn by_alias(name: &str, alias: &str) -> Result<ModelRef> {
    let name = ModelName::parse("name", name)?;
    if is_latest(alias) {
        return Ok(ModelRef::Latest { name });
    }
    AliasName::parse_any(alias).map(|alias| ModelRef::Alias { name, alias })
}

fn under(field: &str, error: Error) -> Error {
    match error {
        Error::Invalid(mut violations) => {
            violations.iter_mut().for_each(|v| field.clone_into(&mut v.field));
            Error::Invalid(violations)
        }
        other => other,
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { name, version } => write!(f, "models:/{name}/{version}"),
            Self::Stage { name, stage } => write!(f, "models:/{name}/{stage}"),
            Self::Latest { name } => write!(f, "models:/{name}/latest"),
            Self::Alias { name, alias } => write!(f, "models:/{name}@{alias}"),
            Self::LoggedModel(id) => write!(f, "models:/{id}"),
            Self::Run { run_id, path } if path.is_empty() => write!(f, "runs:/{run_id}"),
            Self::Run { run_id, path } => write!(f, "runs:/{run_id}/{path}"),
        }
    }
}

/// What stands behind a scheme, which may be written in capitals.
fn after_scheme<'a>(uri: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = uri.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        for (uri, shown) in [
            ("models:/churn/3", "models:/churn/3"),
            ("models:/churn/production", "models:/churn/Production"),
            ("models:/churn/LATEST", "models:/churn/latest"),
            ("models:/churn@latest", "models:/churn/latest"),
            ("models:/churn@champion", "models:/churn@champion"),
            ("models:/a@b@champion", "models:/a@b@champion"),
            ("models:///churn/3", "models:/churn/3"),
            ("models:/m-0123", "models:/m-0123"),
            ("models:/m-0123/3", "models:/m-0123/3"),
            ("runs:/4f1/sub/model/", "runs:/4f1/sub/model"),
            ("runs:/4f1", "runs:/4f1"),
            ("RUNS:/4F1/m", "runs:/4F1/m"),
            ("Models:/churn@best", "models:/churn@best"),
        ] {
            assert_eq!(ModelRef::parse("uri", uri).unwrap().to_string(), shown, "{uri}");
        }
    }

    #[test]
    fn what_is_no_model_uri() {
        for uri in [
            "",
            "churn",
            "models:",
            "models:/",
            "models:/churn",
            "models:/churn/",
            "models:/churn/prod",
            "models:/churn/3/x",
            "models://churn",
            "models:/churn@",
            "models:/@x",
            "runs:/",
            "runs:/a/../b",
            "runs:/a/./b",
            "runs:/ü ü/x",
            "s3://b/x",
            "models:/a:b/3",
        ] {
            let Err(Error::Invalid(violations)) = ModelRef::parse("source", uri) else {
                panic!("{uri}")
            };
            assert_eq!(violations[0].field, "source", "{uri}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_shown_again(text in "(models|runs):/.{0,20}") {
            if let Ok(parsed) = ModelRef::parse("uri", &text) {
                prop_assert_eq!(ModelRef::parse("uri", &parsed.to_string()).unwrap(), parsed);
            }
        }
    }
}

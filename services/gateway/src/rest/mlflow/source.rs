//! Sources of model versions: what may be one, for the run or logged model that it is said to come from.

use lodeway_domain::registry::ModelRef;

use super::{
    Ask,
    error::{Code, RestError},
    logged_models,
    paths::{decoded, inside, local_path, parse},
    runs,
    validate::normal_path,
};

/// Refuses a source that reads the server's files or steps out of where it says it is. A local path must lie in the
/// artifact folder of the run or logged model that the version is made from.
pub(super) async fn check(ask: &Ask, source: &str, run_id: &str, model_id: &str) -> Result<(), RestError> {
    let Some(path) = local_path(source)? else {
        check_remote(source)?;
        return check_reference(ask, source, run_id, model_id).await;
    };
    let root = match (model_id, run_id) {
        ("", "") => None,
        ("", run_id) => Some(
            runs::fetch(ask, run_id.to_owned(), &["artifact_uri"])
                .await?
                .artifact_uri,
        ),
        (model_id, _) => Some(
            logged_models::fetch(ask, model_id.to_owned(), false)
                .await?
                .artifact_uri,
        ),
    };
    let root = root.map_or(Ok(None), |root| local_path(&root))?;
    if root.is_some_and(|root| inside(&path, &root)) {
        return Ok(());
    }
    let what = if model_id.is_empty() { "run" } else { "model" };
    Err(RestError::invalid(format!(
        "Invalid model version source: '{source}'. To use a local path as a model version source, the {what}_id request \
         parameter has to be specified and the local path has to be contained within the artifact directory of the \
         {what} specified by the {what}_id."
    )))
}

/// Refuses a source that names a run or logged model nobody knows. MLflow accepts any run as long as the caller names one
/// besides, so this does too; an explicit `model_id` is checked on its own.
async fn check_reference(ask: &Ask, source: &str, run_id: &str, model_id: &str) -> Result<(), RestError> {
    let found = match ModelRef::parse("source", source) {
        Ok(ModelRef::Run { run_id: named, .. }) if run_id.is_empty() => {
            runs::fetch(ask, named.to_string(), &["artifact_uri"])
                .await
                .map(drop)
        }
        Ok(ModelRef::LoggedModel(named)) if named.as_str() != model_id => {
            logged_models::fetch(ask, named.to_string(), false)
                .await
                .map(drop)
        }
        // What else is wrong with a source, the registry says.
        _ => Ok(()),
    };
    match found {
        Err(error) if error.code == Code::ResourceDoesNotExist => Err(RestError::invalid(format!(
            "Invalid model version source: '{source}'. {}",
            error.message
        ))),
        // A gateway without tracking cannot know.
        _ => Ok(()),
    }
}

fn check_remote(source: &str) -> Result<(), RestError> {
    let refuse = || {
        RestError::invalid(format!(
            "Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, \
             objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references \
             present. Please provide an absolute path."
        ))
    };
    let plain = decoded(&source.replace('+', " ")).map_err(|_| refuse())?;
    let path = parse(&plain).path;
    let collapsed = path.trim_end_matches('/').split('/').collect::<Vec<_>>();
    let collapsed: String = collapsed
        .iter()
        .enumerate()
        .filter(|(i, part)| *i == 0 || !part.is_empty())
        .map(|(_, part)| *part)
        .collect::<Vec<_>>()
        .join("/");
    let up = plain.split('/').any(|part| part == "..");
    let absolute = collapsed.starts_with('/') && normal_path(&collapsed) == collapsed;
    if collapsed.contains('\0') || up || !absolute {
        Err(refuse())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_sources_are_absolute_and_normal() {
        for good in [
            "mlflow-artifacts:/models",
            "mlflow-artifacts:/models///",
            "mlflow-artifacts:/models/foo///bar",
            "mlflow-artifacts://host:9000/models/artifact/..../",
            "runs:/abc/model",
            "models:/m-1",
            "s3://b/k",
            "models:/name@alias",
            "http://host/a+b",
        ] {
            assert!(check_remote(good).is_ok(), "{good}");
        }
        for bad in [
            "mlflow-artifacts://host:9000/models/../../../",
            "http://host:9000/models/../../../",
            "mlflow-artifacts://host:9000/models/..%2f..%2fartifacts",
            "mlflow-artifacts://host:9000/models/artifact%00",
            "dbfs:/x/artifacts/a%3f/../../../",
            "s3a://b/..",
            "http://host/%252e%252e/x",
            "s3://bucket",
        ] {
            let error = check_remote(bad).unwrap_err();
            assert!(
                error.message.contains("If supplying a source as an http, https,"),
                "{bad}"
            );
        }
    }
}

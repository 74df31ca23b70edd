//! Environments built from a model's own requirements. What needs packages from outside is left out without
//! `LODEWAY_TEST_INDEX`, which is the address of a package index.

use std::{fs, path::PathBuf, time::Instant};

use lodeway_inference::Payload;
use lodeway_worker::{EnvManager, PoolSpec};

use crate::support::{House, models, none, run, soon, text};

/// A copy of a model with its own requirements.
fn model(house: &House, name: &str, requirements: &str) -> PathBuf {
    let folder = house.models.join(name);
    fs::create_dir_all(&folder).unwrap();
    for file in ["MLmodel", "model.pkl", "python_env.yaml"] {
        let _ = fs::copy(models().join("iris").join(file), folder.join(file));
    }
    fs::write(folder.join("requirements.txt"), requirements).unwrap();
    folder
}

#[test]
fn an_environment_that_cannot_be_built_says_why() {
    run(async {
        let root = tempfile::tempdir().unwrap();
        let house = House::with(|config| config.models_root = root.path().canonicalize().unwrap());
        let folder = model(&house, "bad", "not a requirement!!\n");
        fs::write(
            folder.join("python_env.yaml"),
            "python: 3.11\nbuild_dependencies: []\ndependencies:\n- -r requirements.txt\n",
        )
        .unwrap();
        let mut spec = PoolSpec::new(&folder);
        spec.env_manager = EnvManager::Virtualenv;
        let failed = house.zygotes.pool(spec.clone()).await.err().unwrap();
        assert_eq!(failed.reason().as_str(), "INVALID_FIELD", "{failed:?}");
        assert!(failed.to_string().contains("not a requirement"), "{failed}");
        // and nothing of it counts as built
        assert!(house.zygotes.pool(spec.clone()).await.is_err());
        fs::write(
            folder.join("python_env.yaml"),
            "python: 2.7.18\ndependencies: []\n",
        )
        .unwrap();
        let failed = house.zygotes.pool(spec).await.err().unwrap();
        assert!(failed.to_string().contains("python2.7"), "{failed}");
    });
}

#[test]
fn an_environment_is_built_once() {
    if std::env::var_os("LODEWAY_TEST_INDEX").is_none() {
        return;
    }
    run(async {
        let root = tempfile::tempdir().unwrap();
        let house = House::with(|config| {
            config.models_root = root.path().canonicalize().unwrap();
            let index = std::env::var_os("LODEWAY_TEST_INDEX")
                .unwrap()
                .into_string()
                .unwrap();
            config.search_path = std::env::var_os("PATH").unwrap();
            if !index.is_empty() {
                config.build_variables = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX"]
                    .map(|name| (name.to_owned(), index.clone()))
                    .to_vec();
            }
        });
        let requirements = fs::read_to_string(models().join("iris/requirements.txt")).unwrap();
        let folder = model(&house, "iris", &requirements);
        for env_manager in [EnvManager::Uv, EnvManager::Virtualenv] {
            let mut spec = PoolSpec::new(&folder);
            spec.env_manager = env_manager;
            let started = Instant::now();
            let (a, b) = tokio::join!(house.zygotes.pool(spec.clone()), house.zygotes.pool(spec.clone()));
            let (a, _) = (a.unwrap(), b.unwrap());
            let first = started.elapsed();
            let body = r#"{"instances": [{"sepal length (cm)": 5.1, "sepal width (cm)": 3.5,
                "petal length (cm)": 1.4, "petal width (cm)": 0.2}]}"#;
            let answer: Payload = a
                .predict(crate::support::document(body), &none(), soon())
                .await
                .unwrap();
            assert_eq!(text(answer), r#"{"predictions": [0]}"#);
            let started = Instant::now();
            house.zygotes.pool(spec).await.unwrap();
            assert!(
                started.elapsed() * 5 < first,
                "{first:?}, then {:?}",
                started.elapsed()
            );
        }
    });
}

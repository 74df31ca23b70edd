//! The interpreter of a model. (Environments of its own follow.)

use std::path::Path;

use lodeway_domain::Error;

use crate::{
    EnvManager,
    python::Interpreter,
    zygotes::{Inner, unimplemented},
};

impl Inner {
    /// The interpreter for the model in `folder`.
    pub async fn interpreter(&self, manager: EnvManager, _folder: &Path) -> Result<Interpreter, Error> {
        match manager {
            EnvManager::Local => self.local_interpreter().await,
            EnvManager::Uv | EnvManager::Virtualenv => {
                Err(unimplemented("environments of models are not built yet"))
            }
        }
    }
}

//! A server of one model alone (`lodeway serve-model`): it is ready when that model is.

use super::Endpoints;

/// What is said before anything is known of the model.
const LOADING: &str = "the model is still being loaded";

impl Endpoints {
    /// Why the only model of this server is not ready; none once it is, and on a server of many.
    pub(crate) fn waits_for(&self) -> Option<String> {
        if !self.0.config.one_model {
            return None;
        }
        let routes = self.0.table.all();
        let targets = || routes.iter().flat_map(|route| &route.targets);
        if targets().any(|target| target.ready().is_some()) {
            return None;
        }
        let trouble = targets()
            .map(|target| target.trouble())
            .find(|why| !why.is_empty());
        Some(trouble.map_or_else(
            || LOADING.to_owned(),
            |why| format!("the model is not ready: {why}"),
        ))
    }

    /// As [`Endpoints::waits_for`], while no call can be answered either: one that was ready once is asked all the same.
    pub(crate) fn waits_for_first(&self) -> Option<String> {
        let routes = self.0.table.all();
        let mut targets = routes.iter().flat_map(|route| &route.targets);
        match targets.any(|target| target.known().is_some()) {
            true => None,
            false => self.waits_for(),
        }
    }
}

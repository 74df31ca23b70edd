//! Making endpoints and revisions. A change is refused before anything of it is kept if it would send traffic to a target
//! that is not ready; what served before goes on until the new revision is in the table.

use std::{collections::BTreeSet, time::Duration};

use lodeway_domain::{
    Caller, Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    error::Violations,
    page::{Page, PageRequest},
    serving::{
        Authorship, EndpointKey, EndpointName, EndpointUid, NewEndpoint, Revision, RevisionChange,
        RevisionReason, RevisionSpec, diff,
    },
    time::{CLOCK_SKEW, Timestamp},
};
use lodeway_rpc::{CallContext, Repeat};
use lodeway_store::{
    gateway::{EndpointRecord, EndpointUpdate, NewRevision},
    ledger::Write,
};

use super::{
    Endpoints,
    resolve::Readied,
    table::{Ready, Route},
};

/// How a change is to be made.
#[derive(Debug, Clone)]
pub(crate) struct How {
    /// Why, in the caller's words.
    pub(crate) comment: String,
    /// How long to wait for targets.
    pub(crate) wait: Duration,
    /// What makes a repetition harmless.
    pub(crate) repeat: Repeat,
}

impl Endpoints {
    pub(crate) fn write(&self, caller: &Caller, repeat: Repeat) -> Write {
        Write {
            caller: caller.clone(),
            now: self.0.clock.now(),
            request: repeat.id,
            body_hash: repeat.body_hash,
        }
    }

    pub(crate) fn author(&self, cx: &CallContext, comment: String, reason: RevisionReason) -> Authorship {
        Authorship {
            principal: cx.caller.principal.clone(),
            principal_verified: cx.caller.verified,
            created: self.0.clock.now(),
            comment,
            reason,
        }
    }

    /// Creates an endpoint once its targets are ready.
    pub(crate) async fn create(
        &self,
        cx: &CallContext,
        new: NewEndpoint,
        spec: RevisionSpec,
        How {
            comment,
            wait,
            repeat,
        }: How,
    ) -> Result<EndpointRecord> {
        let uid = EndpointUid::generate();
        let revision = spec.first(&uid, self.author(cx, comment, RevisionReason::Created))?;
        let endpoint = new.create(uid, revision.created)?;
        // Before targets are loaded in vain; the store asks again.
        if repeat.id.is_none() && self.get(cx, &endpoint.name).await.is_ok() {
            return Err(Error::exists(ResourceKind::Endpoint, &endpoint.name));
        }
        let Readied { ready, resolutions } = self.ready_targets(cx, &revision, None, wait).await?;
        self.redacts_what_there_is(cx, &revision, &ready).await?;
        let write = self.write(&cx.caller, repeat);
        let record = self
            .0
            .store
            .create_endpoint(write, endpoint, revision, resolutions)
            .await?;
        self.publish(&cx.caller.workspace, record.clone(), ready).await;
        Ok(record)
    }

    /// Puts a record into the table with its targets ready.
    pub(crate) async fn publish(&self, workspace: &Workspace, record: EndpointRecord, ready: Vec<Ready>) {
        let route = self.0.table.put(workspace, record, ready, self.0.clock.now());
        if let Some(route) = route {
            self.declare(&route).await;
        }
    }

    /// The next revision of an endpoint, once its targets are ready. Errors: `ETAG_MISMATCH` unless `expected` serves.
    pub(crate) async fn revise(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        spec: RevisionSpec,
        expected: Option<u32>,
        How {
            comment,
            wait,
            repeat,
        }: How,
    ) -> Result<EndpointRecord> {
        let record = self.0.store.endpoint(&cx.caller.workspace, name).await?;
        let stale = || Error::Conflict(Resource::new(ResourceKind::Endpoint, name));
        let base = match expected.filter(|expected| *expected != record.revision.number) {
            None => record.revision.clone(),
            // A repeated request gets its old answer from the store, which refuses any other.
            Some(expected) if repeat.id.is_some() => {
                let before = self.0.store.revision(record.endpoint.uid.key(), expected).await;
                before.map_err(|error| match error {
                    Error::NotFound(_) => stale(),
                    other => other,
                })?
            }
            Some(_) => return Err(stale()),
        };
        let author = self.author(cx, comment, RevisionReason::Updated);
        let revision = spec.following(&base, author)?;
        self.serve(cx, &record, revision, "CreateRevision", wait, repeat)
            .await
    }

    /// An earlier revision as the next one, its division of keys included.
    pub(crate) async fn roll_back(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        number: Option<u32>,
        comment: String,
        repeat: Repeat,
    ) -> Result<EndpointRecord> {
        let record = self.0.store.endpoint(&cx.caller.workspace, name).await?;
        let to = match number {
            Some(number) => number,
            None => self.before(&record).await?,
        };
        if to == 0 || to >= record.revision.number {
            let serving = record.revision.number;
            let why = match number {
                Some(_) => format!("`{to}` is no revision before the one that serves, {serving}"),
                None => format!("there is no revision before the one that serves, {serving}, to go back to"),
            };
            return Err(Error::invalid("number", why));
        }
        let earlier = self.0.store.revision(record.endpoint.uid.key(), to).await?;
        if number.is_none() && matches!(record.revision.reason, RevisionReason::RolloutFollowed { .. }) {
            // It would look as if something went back, and nothing would.
            let what: Vec<_> = earlier
                .targets
                .iter()
                .map(|target| format!("`{}`", target.reference))
                .collect();
            let why = format!(
                "revision {to} follows {}, which the rollout moved, so that it means what serves now; move that back with \
                 `lodeway model rollback`, or say which revision is meant",
                what.join(", ")
            );
            return Err(Error::precondition(Reason::RolloutState, why, Vec::new()));
        }
        let author = self.author(cx, comment, RevisionReason::RolledBack { to });
        let revision = record.revision.restore(&earlier, author)?;
        self.serve(cx, &record, revision, "RollbackEndpoint", DEFAULT_WAIT, repeat)
            .await
    }

    /// The revision to go back to unless somebody says which: the one before the one that serves, or before the first step
    /// of the rollout that made that, whose steps are no state that somebody chose. 0: there is none.
    async fn before(&self, record: &EndpointRecord) -> Result<u32> {
        let of_rollout = |revision: &Revision| match &revision.reason {
            RevisionReason::RolloutStep { rollout, .. }
            | RevisionReason::RolloutRestored { rollout, .. }
            | RevisionReason::RolloutFollowed { rollout, .. } => Some(rollout.clone()),
            RevisionReason::Created | RevisionReason::Updated | RevisionReason::RolledBack { .. } => None,
        };
        let rollout = of_rollout(&record.revision);
        let mut to = record.revision.number.saturating_sub(1);
        while to > 0 && rollout.is_some() {
            let earlier = self.0.store.revision(record.endpoint.uid.key(), to).await?;
            if of_rollout(&earlier) != rollout {
                break;
            }
            to -= 1;
        }
        Ok(to)
    }

    async fn serve(
        &self,
        cx: &CallContext,
        record: &EndpointRecord,
        revision: Revision,
        method: &'static str,
        wait: Duration,
        repeat: Repeat,
    ) -> Result<EndpointRecord> {
        let Readied { ready, resolutions } = self.ready_targets(cx, &revision, Some(record), wait).await?;
        fits(record, &ready)?;
        // The way back is open even to what would be refused now.
        if matches!(revision.reason, RevisionReason::Updated) {
            self.redacts_what_there_is(cx, &revision, &ready).await?;
        }
        let new = NewRevision {
            key: record.endpoint.uid.key(),
            revision,
            resolutions,
        };
        let write = self.write(&cx.caller, repeat);
        let record = self.0.store.add_revision(write, method, new).await?;
        self.publish(&cx.caller.workspace, record.clone(), ready).await;
        Ok(record)
    }

    /// A field that is to be left out and that no target has is a slip of the pen: what was meant would be kept.
    ///
    /// Nothing is said where a target does not declare what it takes and gives by name: anything may be there. Errors:
    /// `INVALID_FIELD` naming the field.
    async fn redacts_what_there_is(
        &self,
        cx: &CallContext,
        revision: &Revision,
        ready: &[Ready],
    ) -> Result<()> {
        let redacted = &revision.request_log.redacted;
        if redacted.is_empty() || ready.len() < revision.targets.len() {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        for one in ready {
            let Some(names) = self.declared_names(cx, one).await else {
                return Ok(());
            };
            known.extend(names);
        }
        let all: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        let mut bad = Violations::new();
        for (place, field) in redacted.iter().enumerate() {
            if !known.contains(field) {
                let why = format!(
                    "`{field}` is no input or output of any target; there is {}",
                    all.join(", ")
                );
                bad.add(format!("spec.request_log.redacted_fields[{place}]"), why);
            }
        }
        bad.finish()
    }

    /// The names of everything that goes into a model and comes out; none where they are not known.
    async fn declared_names(&self, cx: &CallContext, ready: &Ready) -> Option<Vec<String>> {
        let signature = ready.signature.as_ref()?;
        let mut all = signature.inputs.as_ref()?.names()?;
        match signature.outputs.as_ref()?.names() {
            Some(names) => all.extend(names),
            // The host knows under which name it answers.
            None => {
                let outputs = self.upstream_metadata(cx, ready).await.ok()?.outputs;
                match outputs.as_slice() {
                    [only] => all.push(only.name.clone()),
                    _ => return None,
                }
            }
        }
        Some(all)
    }

    pub(crate) async fn get(&self, cx: &CallContext, name: &EndpointName) -> Result<EndpointRecord> {
        self.0.store.endpoint(&cx.caller.workspace, name).await
    }

    pub(crate) async fn list(&self, cx: &CallContext, page: &PageRequest) -> Result<Page<EndpointRecord>> {
        self.0.store.list_endpoints(&cx.caller.workspace, page).await
    }

    pub(crate) async fn change(
        &self,
        cx: &CallContext,
        update: EndpointUpdate,
        repeat: Repeat,
    ) -> Result<EndpointRecord> {
        let record = self
            .0
            .store
            .update_endpoint(self.write(&cx.caller, repeat), update)
            .await?;
        self.publish(&cx.caller.workspace, record.clone(), Vec::new())
            .await;
        Ok(record)
    }

    /// Deletes an endpoint; a second time, it is gone already.
    pub(crate) async fn delete(&self, cx: &CallContext, name: EndpointName, repeat: Repeat) -> Result<()> {
        let key = self
            .0
            .store
            .endpoint(&cx.caller.workspace, &name)
            .await
            .map(|record| record.endpoint.uid.key());
        self.0
            .store
            .delete_endpoint(self.write(&cx.caller, repeat), name)
            .await?;
        if let Ok(key) = key {
            self.0.table.remove(key);
        }
        Ok(())
    }

    /// A revision and the share of all keys that it moved.
    pub(crate) async fn revision(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        number: u32,
    ) -> Result<(Revision, f64)> {
        let key = self.get(cx, name).await?.endpoint.uid.key();
        let found = self.0.store.revision(key, number).await?;
        let moved = self.moved(key, &found).await;
        Ok((found, moved))
    }

    /// Revisions, newest first, and the share of all keys that each of them moved.
    pub(crate) async fn revisions(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        page: &PageRequest,
    ) -> Result<(Page<Revision>, Vec<f64>)> {
        let key = self.get(cx, name).await?.endpoint.uid.key();
        let found = self.0.store.revisions(key, page).await?;
        let mut moved = Vec::with_capacity(found.items.len());
        for (at, revision) in found.items.iter().enumerate() {
            moved.push(match found.items.get(at + 1) {
                Some(before) => before.split.moved(&revision.split),
                // The one before the last of a page is on the next.
                None => self.moved(key, revision).await,
            });
        }
        Ok((found, moved))
    }

    /// Which share of all keys a revision moved; none by the first, nor by one whose predecessor is not there any more.
    pub(crate) async fn moved(&self, key: EndpointKey, revision: &Revision) -> f64 {
        let Some(before) = revision.number.checked_sub(1).filter(|&before| before > 0) else {
            return 0.0;
        };
        let before = self.0.store.revision(key, before).await;
        before.map_or(0.0, |before| before.split.moved(&revision.split))
    }

    /// What differs between two revisions, and which share of all keys moves.
    pub(crate) async fn diff(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        from: u32,
        to: Option<u32>,
    ) -> Result<(Vec<RevisionChange>, f64)> {
        let record = self.get(cx, name).await?;
        let key = record.endpoint.uid.key();
        let from = self.0.store.revision(key, from).await?;
        let to = match to {
            Some(to) => self.0.store.revision(key, to).await?,
            None => record.revision,
        };
        Ok((diff(&from, &to), from.split.moved(&to.split)))
    }

    /// What was behind an endpoint at a moment.
    pub(crate) async fn served_at(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        at: Timestamp,
    ) -> Result<(Revision, Vec<lodeway_store::gateway::Resolution>)> {
        if at > self.0.clock.now().plus(CLOCK_SKEW) {
            return Err(Error::invalid(
                "time",
                "is in the future; nobody knows what serves then",
            ));
        }
        let key = self.get(cx, name).await?.endpoint.uid.key();
        let revision = self.0.store.revision_at(key, at).await?;
        let revision = revision.ok_or_else(|| {
            let why = format!("is before endpoint `{name}` was created; nothing served then");
            Error::invalid("time", why)
        })?;
        let targets = self.0.store.resolutions_at(key, revision.number, at).await?;
        Ok((revision, targets))
    }

    /// The only endpoint of this workspace, if there is exactly one.
    pub(crate) fn only(&self, cx: &CallContext) -> Option<std::sync::Arc<Route>> {
        self.0.table.only(&cx.caller.workspace)
    }

    /// The endpoint as calls see it.
    pub(crate) fn route(&self, cx: &CallContext, name: &str) -> Result<std::sync::Arc<Route>> {
        self.0.table.find(&cx.caller.workspace, name)
    }
}

/// How long a change waits for its targets unless told otherwise.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// A target whose signature takes other inputs than the endpoint's does not fit behind it: its callers would break.
///
/// Compared are the names of required inputs; more optional ones, other outputs and models without a signature fit.
pub(crate) fn fits(record: &EndpointRecord, ready: &[Ready]) -> Result<()> {
    let required = |signature: &lodeway_domain::signature::ModelSignature| {
        let columns = signature
            .inputs
            .as_ref()
            .and_then(|inputs| inputs.columns())
            .unwrap_or_default();
        let mut names: Vec<_> = columns
            .iter()
            .filter(|column| column.required)
            .filter_map(|column| column.name.clone())
            .collect();
        names.sort_unstable();
        names
    };
    let declared = record.resolutions.iter().find_map(|known| {
        let value = serde_json::from_str(&known.signature_json).ok()?;
        lodeway_domain::signature::ModelSignature::parse("signature", &value).ok()
    });
    let Some(declared) = declared
        .map(|signature| required(&signature))
        .filter(|names| !names.is_empty())
    else {
        return Ok(());
    };
    for one in ready {
        let Some(own) = one.signature.as_ref().map(required) else {
            continue;
        };
        if let Some(extra) = own.iter().find(|name| !declared.contains(name)) {
            let why = format!(
                "target `{}` requires the input `{extra}`, which callers of the endpoint do not send; create another endpoint",
                one.resolution.target
            );
            return Err(Error::invalid("spec.targets", why));
        }
    }
    Ok(())
}

//! Routes to language models.

use async_trait::async_trait;
use lodeway_domain::{
    Error, Resource, ResourceKind, Result,
    caller::Workspace,
    llm::{LlmDefaults, LlmLimits, LlmRoute, LlmRouteName, LlmTarget},
    page::{KeyValue, Page, PageRequest, Position},
};
use serde::{Deserialize, Serialize};

use super::SqlGateway;
use crate::{
    args,
    ledger::Write,
    ledger::once::once,
    sql::{Conn, Row, Tx, is_unique},
};

/// A route and its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmRouteRecord {
    /// The route.
    pub route: LlmRoute,
    /// Grows with every change; the etag.
    pub version: i64,
}

/// What to change about a route; what is none stays.
#[derive(Debug, Clone)]
pub struct LlmRouteUpdate {
    /// Which.
    pub name: LlmRouteName,
    /// Refused unless this is its version.
    pub version: Option<i64>,
    /// The new description.
    pub description: Option<String>,
    /// The new targets.
    pub targets: Option<Vec<LlmTarget>>,
    /// The new limits.
    pub limits: Option<LlmLimits>,
    /// The new defaults.
    pub defaults: Option<LlmDefaults>,
}

/// Keeps routes to language models. Each method is one atomic operation.
#[async_trait]
pub trait LlmStore: Send + Sync + 'static {
    /// Keeps a new route. Errors: `RESOURCE_EXISTS`, `REQUEST_ID_REUSED`.
    async fn create_llm_route(&self, write: Write, route: LlmRoute) -> Result<LlmRouteRecord>;
    /// A route. Errors: `RESOURCE_NOT_FOUND`.
    async fn llm_route(&self, workspace: &Workspace, name: &LlmRouteName) -> Result<LlmRouteRecord>;
    /// Routes by name.
    async fn list_llm_routes(
        &self,
        workspace: &Workspace,
        page: &PageRequest,
    ) -> Result<Page<LlmRouteRecord>>;
    /// Changes a route. Errors: `RESOURCE_NOT_FOUND`, `ETAG_MISMATCH`, `REQUEST_ID_REUSED`.
    async fn update_llm_route(&self, write: Write, update: LlmRouteUpdate) -> Result<LlmRouteRecord>;
    /// Removes a route. Errors: `RESOURCE_NOT_FOUND`, `REQUEST_ID_REUSED`.
    async fn delete_llm_route(&self, write: Write, name: LlmRouteName) -> Result<()>;
}

#[async_trait]
impl LlmStore for SqlGateway {
    async fn create_llm_route(&self, write: Write, route: LlmRoute) -> Result<LlmRouteRecord> {
        once(&self.db, write, "CreateRoute", route, |tx, w, route| {
            Box::pin(create(tx, w, route))
        })
        .await
    }

    async fn llm_route(&self, workspace: &Workspace, name: &LlmRouteName) -> Result<LlmRouteRecord> {
        get(&mut *self.db.read().await?, workspace.as_str(), name, "").await
    }

    async fn list_llm_routes(
        &self,
        workspace: &Workspace,
        page: &PageRequest,
    ) -> Result<Page<LlmRouteRecord>> {
        list(&mut *self.db.read().await?, workspace.as_str(), page).await
    }

    async fn update_llm_route(&self, write: Write, update: LlmRouteUpdate) -> Result<LlmRouteRecord> {
        once(&self.db, write, "UpdateRoute", update, |tx, w, update| {
            Box::pin(change(tx, w, update))
        })
        .await
    }

    async fn delete_llm_route(&self, write: Write, name: LlmRouteName) -> Result<()> {
        once(&self.db, write, "DeleteRoute", name, |tx, w, name| {
            Box::pin(delete(tx, w, name))
        })
        .await
    }
}

fn written(route: &LlmRoute) -> Result<String> {
    serde_json::to_string(route).map_err(Error::internal)
}

/// Columns `body, version`.
fn read(row: &Row) -> Result<LlmRouteRecord> {
    Ok(LlmRouteRecord {
        route: serde_json::from_str(row.str(0)?).map_err(Error::internal)?,
        version: row.int(1)?,
    })
}

async fn create(tx: &mut Tx, write: &Write, route: &LlmRoute) -> Result<LlmRouteRecord> {
    let name = route.name.as_str();
    let taken = || Error::exists(ResourceKind::LlmRoute, name);
    // PostgreSQL ends a transaction at its first error, so it is asked before.
    let exists = "SELECT 1 FROM llm_routes WHERE workspace = $1 AND name = $2";
    let found = tx.query_opt(exists, &args![write.workspace(), name]).await?;
    if found.is_some() {
        return Err(taken());
    }
    let sql = "INSERT INTO llm_routes (workspace, name, body, version) VALUES ($1, $2, $3, 1)";
    let args = args![write.workspace(), name, written(route)?];
    if let Err(error) = tx.execute(sql, &args).await {
        return Err(if is_unique(&error) { taken() } else { error });
    }
    Ok(LlmRouteRecord {
        route: route.clone(),
        version: 1,
    })
}

async fn get(conn: &mut Conn, workspace: &str, name: &LlmRouteName, lock: &str) -> Result<LlmRouteRecord> {
    let sql = format!("SELECT body, version FROM llm_routes WHERE workspace = $1 AND name = $2{lock}");
    let row = conn.query_opt(&sql, &args![workspace, name.as_str()]).await?;
    read(&row.ok_or_else(|| Error::not_found(ResourceKind::LlmRoute, name))?)
}

async fn list(conn: &mut Conn, workspace: &str, page: &PageRequest) -> Result<Page<LlmRouteRecord>> {
    let after = match page.after.as_ref().map(|position| position.0.as_slice()) {
        Some([KeyValue::Text(name)]) => name.as_str(),
        _ => "",
    };
    let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
    let sql =
        "SELECT body, version FROM llm_routes WHERE workspace = $1 AND name > $2 ORDER BY name LIMIT $3";
    let rows = conn.query(sql, &args![workspace, after, limit]).await?;
    let found = rows.iter().map(|row| {
        let record = read(row)?;
        let place = Position(vec![KeyValue::Text(record.route.name.to_string())]);
        Ok((record, place))
    });
    Ok(Page::from_lookahead(found.collect::<Result<_>>()?, page.size))
}

async fn change(tx: &mut Tx, write: &Write, update: &LlmRouteUpdate) -> Result<LlmRouteRecord> {
    let lock = tx.engine().for_update();
    let mut record = get(tx, write.workspace(), &update.name, lock).await?;
    if update.version.is_some_and(|version| version != record.version) {
        let name = &update.name;
        return Err(Error::Conflict(Resource::new(ResourceKind::LlmRoute, name)));
    }
    let route = &mut record.route;
    if let Some(description) = &update.description {
        route.description.clone_from(description);
    }
    if let Some(targets) = &update.targets {
        route.targets.clone_from(targets);
    }
    route.limits = update.limits.unwrap_or(route.limits);
    route.defaults = update.defaults.unwrap_or(route.defaults);
    route.updated = write.now;
    record.version += 1;
    let sql = "UPDATE llm_routes SET body = $3, version = $4 WHERE workspace = $1 AND name = $2";
    let args = args![
        write.workspace(),
        update.name.as_str(),
        written(&record.route)?,
        record.version
    ];
    tx.execute(sql, &args).await?;
    Ok(record)
}

async fn delete(tx: &mut Tx, write: &Write, name: &LlmRouteName) -> Result<()> {
    let lock = tx.engine().for_update();
    get(tx, write.workspace(), name, lock).await?;
    let sql = "DELETE FROM llm_routes WHERE workspace = $1 AND name = $2";
    tx.execute(sql, &args![write.workspace(), name.as_str()])
        .await
        .map(|_| ())
}

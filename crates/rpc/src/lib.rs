//! Everything between a socket and a service: transports, errors on the wire, the caller of a call, listeners.
//!
//! Not its job: any rule of the domain, any table, any message of our own contract (it sees descriptor sets as bytes).
//!
//! # How a service uses this
//! ```text
//! // api.rs: one method
//! async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
//!     let (cx, message) = context::split(request)?;             // caller, request id, deadline; the message
//!     let id = convert::get_run(message).map_err(|e| cx.status(e))?;
//!     let run = self.runs.get(&cx.caller, id).await.map_err(|e| cx.status(e))?;
//!     Ok(Response::new(convert::run(run)))
//! }
//! // calling a peer: the request carries caller, request id and deadline on
//! let reply = self.artifacts.clone().list(cx.request(ListRequest { .. })).await.map_err(|s| status::into_error(&s))?;
//! ```
//! # How the binary wires it
//! ```text
//! let telemetry = Telemetry::init(&config.telemetry, "lodeway")?;                // first: the column keeps its metrics
//! let auth = Authenticator::open().trusting_peers(config.peer_token.as_ref());   // or ::with_table(TokenTable::load(..)?)
//! let column = Column::new(config.column, auth, access::platform());
//! let tracking = Transport::local(column.wrap(tracking_routes.clone()));         // in process, the same column
//! let registry = Transport::remote(&url)?.with_peer_token(config.peer_token);    // or lazily connected
//! let (health, tasks) = (Health::new(), Tasks::new());
//! let routes = merge([tracking_routes, proxy(&["lodeway.registry.v1.RegistryService"], &registry),
//!     platform_routes(&health, &Reflection::new(&[DESCRIPTORS], &served)?)]);
//! let rest = column.wrap_rest(rest_router, mlflow_error);                         // or default_router(Some(metrics))
//! let server = Server::bind(addr, config.serve, health, tasks.clone()).await?;
//! server.serve(column.wrap(routes), rest, shutdown_signal, grace).await;          // drains
//! tasks.shutdown(grace).await;                                                   // then background work ends
//! ```
//! [`transport`] and [`context`] are what services touch, [`status`] the one mapping of errors, [`layers`] the column
//! every call passes, [`serve`] the listener, [`config`] and [`telemetry`] what the binary reads and starts, [`inference`]
//! the one protocol whose messages are read here, because serving and gateway both speak it.

pub mod access;
pub mod auth;
pub mod config;
pub mod context;
pub mod inference;
pub mod layers;
mod packed;
mod repeat;
mod seldom;
pub mod serve;
pub mod status;
pub mod tasks;
pub mod telemetry;
pub mod time;
mod trace;
pub mod transport;
pub mod wire;

pub use context::CallContext;
pub use repeat::Repeat;
pub use tasks::Tasks;
pub use transport::Transport;

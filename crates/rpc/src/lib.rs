//! Everything between a socket and a service: transports, errors on the wire, the caller of a call, listeners.
//!
//! Not its job: any rule of the domain, any table, any message of our own contract (it sees descriptor sets as bytes).
//!
//! # How a service uses this
//! ```ignore
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
//! ```ignore
//! let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform(), tasks.clone());
//! let tracking = Transport::local(column.wrap(tracking_routes.clone()));        // in process, same layers
//! let registry = Transport::remote(&url)?.with_peer_token(Some(peer_token));    // lazily connected
//! let server = Server::bind(config, column, tasks).await?;
//! server.serve(routes, rest_router, shutdown, grace).await?;
//! ```
//! [`transport`] and [`context`] are what services touch, [`status`] the one mapping of errors, [`layers`] the column
//! every call passes, [`serve`] the listener, [`config`] and [`telemetry`] what the binary reads and starts.

pub mod access;
pub mod auth;
pub mod config;
pub mod context;
pub mod layers;
pub mod serve;
pub mod status;
pub mod tasks;
pub mod telemetry;
pub mod transport;
pub mod wire;

pub use context::CallContext;
pub use tasks::Tasks;
pub use transport::Transport;

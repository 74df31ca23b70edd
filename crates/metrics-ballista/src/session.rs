//! The functions in every process of a cluster, and in the session that asks.

use std::collections::HashMap;

use ballista::prelude::{SessionConfigExt, SessionContextExt};
use ballista_core::{
    extension::{ballista_aggregate_functions, ballista_scalar_functions},
    registry::BallistaFunctionRegistry,
    utils::default_session_builder,
};
use datafusion::{
    error::Result,
    execution::{SessionState, session_state::SessionStateBuilder},
    prelude::{SessionConfig, SessionContext},
};

use crate::{aggregate_functions, scalar_functions};

/// How much one message of the scheduler or between executors may hold.
pub(crate) const MESSAGE_BYTES: usize = 64 << 20;

/// What a scheduler plans queries with.
pub fn session_state(config: SessionConfig) -> Result<SessionState> {
    let mut state = default_session_builder(config)?;
    register(&mut state)?;
    Ok(state)
}

/// What an executor runs tasks with.
pub fn function_registry() -> BallistaFunctionRegistry {
    let scalar = ballista_scalar_functions().into_iter().chain(scalar_functions());
    let aggregate = ballista_aggregate_functions()
        .into_iter()
        .chain(aggregate_functions());
    BallistaFunctionRegistry {
        scalar_functions: scalar
            .map(|function| (function.name().to_owned(), function))
            .collect::<HashMap<_, _>>(),
        aggregate_functions: aggregate
            .map(|function| (function.name().to_owned(), function))
            .collect::<HashMap<_, _>>(),
        ..BallistaFunctionRegistry::default()
    }
}

/// A session whose queries run on the cluster of a scheduler, `df://HOST:PORT`.
pub async fn client(scheduler: &str, config: SessionConfig) -> Result<SessionContext> {
    let config = config.with_ballista_grpc_client_max_message_size(MESSAGE_BYTES);
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .build();
    let context = SessionContext::remote_with_state(scheduler, state).await?;
    // The engine's own functions are set anew for a cluster, so these come last.
    register_in(&context);
    Ok(context)
}

/// A session whose queries run in this process.
pub fn local(config: SessionConfig) -> SessionContext {
    let context = SessionContext::new_with_config(config);
    register_in(&context);
    context
}

fn register_in(context: &SessionContext) {
    for function in aggregate_functions() {
        context.register_udaf(function.as_ref().clone());
    }
    for function in scalar_functions() {
        context.register_udf(function.as_ref().clone());
    }
}

fn register(state: &mut SessionState) -> Result<()> {
    use datafusion::execution::FunctionRegistry as _;

    for function in aggregate_functions() {
        state.register_udaf(function)?;
    }
    for function in scalar_functions() {
        state.register_udf(function)?;
    }
    Ok(())
}

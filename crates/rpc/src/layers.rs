//! The column of layers (skeleton; the real one follows).
use http::{Request, Response};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{body::Body, service::Routes};
use tower::Service;
/// Routes with the column around them; see `Column::wrap`.
#[derive(Clone)]
pub struct Layered {
    routes: Routes,
}
impl From<Routes> for Layered {
    fn from(routes: Routes) -> Self {
        Self {
            routes: routes.prepare(),
        }
    }
}
/// The answer of [`Layered`].
pub type LayeredFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
impl Service<Request<Body>> for Layered {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LayeredFuture;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: Request<Body>) -> LayeredFuture {
        Box::pin(self.routes.call(request))
    }
}

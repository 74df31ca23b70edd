//! placeholder
pub(crate) fn inject(_: &mut http::HeaderMap) {}

//! Who is asking: the installation's access keys, and the verification of Signature Version 4 on requests. And what is
//! kept from everybody else: secrets.
//!
//! * [`Keys`] holds the root key, made at the first start and kept in a file that only root can read.
//! * [`EndpointIds`] derives what containers prove themselves with at the endpoints that are made for them.
//! * [`sigv4`] checks the `Authorization` header of a request against those keys.
//!
//! * [`Secrets`] keeps what containers may know and nobody else, sealed in the store.
//! * [`fleet`] is what a hub and its boxes trust each other by: signatures, certificates, join tokens.
//!
//! Nothing here knows HTTP servers or ECS errors: `api` turns an [`AuthError`] into the answer.
//!
//! Not here yet: further keys, policies, session tokens. A request that carries a session token is
//! refused, as its token cannot be one of ours.

mod endpoints;
pub mod fleet;
mod keys;
pub mod secrets;
pub mod sigv4;

pub use endpoints::EndpointIds;
pub use keys::{AccessKey, Keys, KeysError};
pub use secrets::{SecretError, Secrets};
pub use sigv4::AuthError;
